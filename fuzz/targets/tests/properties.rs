//! The fuzz targets over mutated good files: the same cases each time.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hs_fuzz_targets::{configuration, mutate, onnx, program, xclbin};
use hs_hw::{
    Fingerprint,
    testing::{Config, random_program},
};
use hs_xclbin::{
    ArgumentSpec, Builder, ComputeUnitSpec, KernelSpec, Memory, MemoryKind, Mode, Protocol, UserMetadata,
};

/// A case that takes longer hangs, even on a busy machine.
const SLOW: Duration = Duration::from_secs(20);

/// Number of cases a target.
fn cases(default: u64) -> u64 {
    env::var("HYPERSONIC_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Files of `folder` that end in `extension`, in order, each with its name.
fn files(folder: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no .{extension} in {folder}");
    found.iter().map(|p| (p.display().to_string(), fs::read(p).unwrap())).collect()
}

/// Runs `target` on `count` mutations of `seeds`; a failure says which one it was.
fn all<T: AsRef<[u8]>>(
    count: u64,
    seeds: &[(String, Vec<u8>)],
    mutate: impl Fn(u64, &[u8]) -> T,
    target: fn(&[u8]),
) {
    for case in 0..count {
        let (name, good) = &seeds[case as usize % seeds.len()];
        let bad = mutate(case, good);
        let start = Instant::now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bad.as_ref()))) {
            let kept = env::temp_dir().join(format!("hypersonic-fuzz-{case}"));
            fs::write(&kept, bad.as_ref()).unwrap();
            eprintln!("case {case} of {name}, kept as {}", kept.display());
            resume_unwind(panic);
        }
        assert!(start.elapsed() < SLOW, "case {case} of {name} took {:?}", start.elapsed());
    }
}

fn as_text(mutate: fn(u64, &str) -> String) -> impl Fn(u64, &[u8]) -> String {
    move |seed, good| mutate(seed, std::str::from_utf8(good).unwrap())
}

fn models() -> Vec<(String, Vec<u8>)> {
    let mut all = files("tests/fixtures/exports", "onnx");
    all.retain(|(_, bytes)| bytes.len() < 100_000);
    all
}

#[test]
fn models_with_changed_parts() {
    all(cases(1500), &models(), mutate::model, onnx);
}

#[test]
fn models_with_changed_bytes() {
    all(cases(600), &models(), mutate::bytes, onnx);
}

#[test]
fn configurations() {
    let ours = "[model]\nprecision = \"fixed<16,6>\"\nio = \"stream\"\nreuse = 2\n[type.Gemm]\nweight = \
                \"fixed<8,2,RND,SAT>\"\n[node.fc1]\nresult = \"fixed<12,4>\"\nstrategy = \"resource\"\n[node.act]\n\
                result = \"ufixed<8,0>\"\n";
    let mut seeds = vec![("ours".to_owned(), ours.as_bytes().to_vec())];
    seeds.extend(files("examples/hls4ml", "yml"));
    seeds.extend(files("examples/hls4ml", "toml"));
    all(cases(1500), &seeds, as_text(mutate::text), configuration);
    all(cases(500), &seeds, mutate::bytes, configuration);
}

#[test]
fn programs() {
    let mut seeds = files("compiler/compiler/tests/programs", "hw");
    for seed in 0..40 {
        let text = hs_hw::text::print(&random_program(seed, &Config::default()));
        seeds.push((format!("random program {seed}"), text.into_bytes()));
    }
    all(cases(3000), &seeds, as_text(mutate::text), program);
    all(cases(1000), &seeds, mutate::bytes, program);
}

#[test]
fn containers() {
    let seeds = [("a container".to_owned(), container())];
    xclbin(&seeds[0].1);
    all(cases(5000), &seeds, mutate::bytes, xclbin);
}

/// A container with a section of each kind that is read.
fn container() -> Vec<u8> {
    let pointer = |name: &str| ArgumentSpec::Pointer { name: name.to_owned() };
    let kernel = KernelSpec {
        name: "net_kernel".to_owned(),
        arguments: vec![pointer("x"), pointer("y"), ArgumentSpec::Uint { name: "rows".to_owned() }],
        compute_units: vec![ComputeUnitSpec { name: "net_kernel_1".to_owned(), banks: vec![0, 1] }],
    };
    let memory = |tag: &str, base| Memory {
        kind: MemoryKind::DDR4,
        used: false,
        size_kib: 1 << 20,
        base,
        tag: tag.to_owned(),
    };
    let builder = Builder {
        platform: "xilinx_u250_gen3x16_xdma_4_1_202210_1".to_owned(),
        mode: Mode::SW_EMU,
        memories: vec![memory("DDR[0]", 0), memory("DDR[1]", 0x4_0000_0000)],
        kernels: vec![kernel],
        protocol: Protocol::Chain,
        clock_mhz: 250,
        bitstream: vec![7; 64],
        user: Some(UserMetadata::new("net", Fingerprint([1; 32]))),
        interface: None,
    };
    builder.build().unwrap().to_bytes()
}
