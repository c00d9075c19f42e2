//! Random Programs: the compiled HLS C++ against the interpreter, in both io types.
//!
//! `HYPERSONIC_SEED=n` repeats the run of a printed seed; `HYPERSONIC_PROGRAMS=n` sets how many Programs each test
//! draws. What fails is shrunk and written to `tests/regressions/`, whose files are replayed by every run.

mod support;

use std::path::{Path, PathBuf};

use hs_compiler::hls;
use hs_compiler::platform::Target;
use hs_hw::testing::{Config, random_program, shrink};
use hs_hw::{Io, Program, text};

use support::{Case, can_simulate, differences, is_inexpressible, laid_out};

/// Programs of each test; each is compiled in both io types.
const PROGRAMS: usize = 100;
/// Programs of a translation unit.
const BATCH: usize = 20;
/// Compilations that shrinking may take.
const SHRINKS: usize = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{variable}={v} is no number")))
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("differential-{name}"))
}

fn regressions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions")
}

/// A random Program and its layouts; `None` when the vendor's headers cannot express it.
fn draw(seed: u64) -> Option<Vec<Case>> {
    let narrow = Config { max_width: 20, ..Config::default() };
    let config = if seed.is_multiple_of(2) { narrow } else { Config::default() };
    both(random_program(seed, &config), seed)
}

fn both(program: Program, salt: u64) -> Option<Vec<Case>> {
    let cases: Vec<Case> =
        [Io::Parallel, Io::Stream].map(|io| (program.clone(), laid_out(&program, io, salt))).into();
    for (program, schedule) in &cases {
        if let Err(errors) = hls::emit(program, schedule, "net", &Target::default()) {
            assert!(is_inexpressible(&errors), "{errors:?}\n{program}");
            return None;
        }
    }
    Some(cases)
}

/// Shrinks a Program that fails and writes it down.
fn keep(program: Program, seed: u64, dir: &Path) -> PathBuf {
    let mut left = SHRINKS;
    let small = shrink(program, |candidate| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let Some(cases) = both(candidate.clone(), seed) else { return false };
        differences(&cases, dir, seed).map_or(true, |all| all.iter().any(Option::is_some))
    });
    let path = regressions().join(format!("seed-{seed}.hw"));
    std::fs::write(&path, text::print(&small)).unwrap();
    path
}

/// Draws and compares Programs from `start` on.
fn battle(start: u64, name: &str) {
    if !can_simulate() {
        return;
    }
    let count = number("HYPERSONIC_PROGRAMS").map_or(PROGRAMS, |n| n as usize);
    eprintln!("seed {start}, {count} programs (HYPERSONIC_SEED={start} repeats them)");
    let dir = scratch(name);
    let mut failures = Vec::new();
    let mut drawn = (start..).filter_map(|seed| draw(seed).map(|cases| (seed, cases))).take(count).peekable();
    while drawn.peek().is_some() {
        let batch: Vec<(u64, Vec<Case>)> = drawn.by_ref().take(BATCH).collect();
        let cases: Vec<Case> = batch.iter().flat_map(|(_, c)| c.iter().cloned()).collect();
        let found = differences(&cases, &dir, start).unwrap_or_else(|_| {
            // One of them does not compile: each on its own says which.
            cases
                .iter()
                .map(|c| {
                    differences(std::slice::from_ref(c), &dir, start).map_or_else(Some, |mut d| d.remove(0))
                })
                .collect()
        });
        for (k, difference) in found.into_iter().enumerate() {
            if let Some(d) = difference {
                failures.push((batch[k / 2].0, cases[k].0.clone(), d));
            }
        }
    }
    failures.dedup_by_key(|(seed, ..)| *seed);
    let report: Vec<String> = failures
        .into_iter()
        .map(|(seed, program, why)| {
            let path = keep(program, seed, &dir);
            format!("seed {seed}: {why}\n  shrunk to {}", path.display())
        })
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn random_programs_of_a_fixed_seed() {
    battle(1_000, "fixed");
}

#[test]
fn random_programs_of_a_fresh_seed() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    battle(number("HYPERSONIC_SEED").unwrap_or(now.as_nanos() as u64 % 1_000_000_000), "fresh");
}

#[test]
fn programs_that_once_failed() {
    if !can_simulate() {
        return;
    }
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(regressions()).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "hw"));
    paths.sort();
    let mut cases = Vec::new();
    for path in &paths {
        let program = text::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        program.verify().unwrap();
        cases.extend(both(program, 0).expect("expressible"));
    }
    if cases.is_empty() {
        return;
    }
    for (k, difference) in differences(&cases, &scratch("regressions"), 1).unwrap().into_iter().enumerate() {
        assert_eq!(difference, None, "{}", paths[k / 2].display());
    }
}
