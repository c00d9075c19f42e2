//! The log of a tool as it runs: what it is doing, and what went wrong with what to do about it.

use super::Nodes;

/// Who can do something about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The machine or the installation: a licence, a platform, memory.
    Machine,
    /// The model's layout: it is too large or too fast for the tool or the card.
    Design,
    /// RTL and C++ do not agree.
    Mismatch,
    /// The generated project: a bug of ours.
    Generator,
}

/// An error or a warning that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The message's number, such as `HLS 200-1471`; empty where it has none.
    pub id: String,
    /// The message, without number.
    pub text: String,
    /// The ONNX node that it names.
    pub node: Option<String>,
    /// Who can do something about it; `None`: not known.
    pub blame: Option<Blame>,
    /// What to do.
    pub advice: Option<&'static str>,
}

/// A message that is known: by number (whatever tool repeats it), or by words.
struct Known {
    numbers: &'static [&'static str],
    /// All of them must be in the message, in lower case.
    words: &'static [&'static str],
    blame: Blame,
    advice: &'static str,
}

const UNROLL: &str = "the layer has too many products at once: give it a larger reuse factor (--reuse, or `reuse` of the \
                      node in the configuration), or strategy resource";
const LICENCE: &str = "the tool has no licence for this part: set XILINXD_LICENSE_FILE (or LM_LICENSE_FILE), or take a part \
                       that the free edition has";
const PLATFORM: &str = "install the platform, and name its parent directory in PLATFORM_REPO_PATHS; `platforminfo --list` \
                        shows what the tool sees";
const TIMING: &str = "compile for a lower clock, or with a larger reuse factor";
const TOO_LARGE: &str =
    "the design does not fit: use a larger reuse factor, fewer bits, fewer compute units, or a larger card";
const MEMORY: &str =
    "the machine has too little memory for this design: use a larger machine, or a larger reuse factor";
const MISMATCH: &str = "RTL and C++ differ: please report it, with the package and the log";
const REPORT: &str =
    "the generated project breaks a rule of the tool: please report it, with the package and the log";

/// The first that fits counts.
const KNOWN: &[Known] = &[
    known(&["203-504", "200-1471"], &[], Blame::Design, UNROLL),
    known(&[], &["stop unrolling"], Blame::Design, UNROLL),
    known(&["203-103"], &[], Blame::Design, PARTITION),
    known(&[], &["cannot partition"], Blame::Design, PARTITION),
    known(&[], &["partition", "exceed"], Blame::Design, PARTITION),
    known(&["17-345"], &[], Blame::Machine, LICENCE),
    known(&[], &["license", "not found"], Blame::Machine, LICENCE),
    known(&[], &["failed to check out", "license"], Blame::Machine, LICENCE),
    known(&[], &["no license"], Blame::Machine, LICENCE),
    known(&["60-1258", "60-587", "60-705"], &[], Blame::Machine, PLATFORM),
    known(&[], &["no valid platform"], Blame::Machine, PLATFORM),
    known(&["200-1023"], &[], Blame::Machine, PART),
    known(&[], &["part", "not installed"], Blame::Machine, PART),
    known(&[], &["invalid part"], Blame::Machine, PART),
    known(&["101-2", "VPL-4"], &[], Blame::Design, TIMING),
    known(&[], &["did not meet timing"], Blame::Design, TIMING),
    known(&[], &["failed to meet timing"], Blame::Design, TIMING),
    known(&["UTLZ-1", "30-640"], &[], Blame::Design, TOO_LARGE),
    known(&[], &["over-utilized"], Blame::Design, TOO_LARGE),
    known(&[], &["requires more", "available"], Blame::Design, TOO_LARGE),
    known(&[], &["routing congestion"], Blame::Design, TOO_LARGE),
    known(&[], &["deadlock detected"], Blame::Generator, DEADLOCK),
    known(&["212-359", "212-360", "212-320"], &[], Blame::Mismatch, MISMATCH),
    known(&["212-303", "212-344", "212-4"], &[], Blame::Mismatch, MISMATCH),
    known(&[], &["out of memory"], Blame::Machine, MEMORY),
    known(&[], &["bad_alloc"], Blame::Machine, MEMORY),
    known(
        &[],
        &["no space left on device"],
        Blame::Machine,
        "make room on the disk and run the command again",
    ),
    known(&["200-471"], &[], Blame::Generator, REPORT),
    known(&["200-880"], &[], Blame::Design, INTERVAL),
    known(&[], &["ii violation"], Blame::Design, INTERVAL),
    known(&["200-871"], &[], Blame::Design, TIMING),
    known(&[], &["estimated clock period", "exceeds"], Blame::Design, TIMING),
];

const PARTITION: &str =
    "an array is split into too many pieces: give the layer a larger reuse factor, or use --io stream";
const PART: &str =
    "the installation does not have this part: add its family with the installer, or compile for another one";
const DEADLOCK: &str =
    "the processes wait for each other: a FIFO is too small; please report it, with the package and the log";
const INTERVAL: &str =
    "the layer takes more cycles a row than planned: the result is right, the throughput lower";

const fn known(
    numbers: &'static [&'static str],
    words: &'static [&'static str],
    blame: Blame,
    advice: &'static str,
) -> Known {
    Known { numbers, words, blame, advice }
}

/// Errors that only say that there was one before.
const ECHOES: &[&str] = &[
    "200-70", "60-300", "60-592", "60-599", "60-661", "60-703", "60-704", "60-773", "60-806", "60-1257",
    "60-1442", "101-3", "212-4", "212-5", "212-344",
];

/// Warnings that are worth a word: the design works, but not as planned.
const WARNINGS: &[&str] = &["200-880", "200-871", "200-471"];

/// Problems kept of one run.
const MOST: usize = 200;

/// What a log said so far.
#[derive(Debug, Default)]
pub struct Log {
    /// Errors, in order.
    pub errors: Vec<Problem>,
    /// Warnings that matter, in order, each once.
    pub warnings: Vec<Problem>,
}

impl Log {
    /// Takes a line.
    pub fn line(&mut self, line: &str, nodes: &Nodes) {
        let Some((severity, id, text)) = message(line) else { return };
        let number = id.rsplit(' ').next().unwrap_or_default();
        let list = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning if WARNINGS.contains(&number) => &mut self.warnings,
            Severity::Warning | Severity::Info => return,
        };
        let lower = text.to_lowercase();
        let known = KNOWN.iter().find(|k| {
            let words = !k.words.is_empty() && k.words.iter().all(|w| lower.contains(w));
            words || k.numbers.contains(&number)
        });
        let problem = Problem {
            id: id.to_owned(),
            text: text.chars().take(500).collect(),
            node: nodes.find(text).map(str::to_owned),
            blame: known.map(|k| k.blame),
            advice: known.map(|k| k.advice),
        };
        if list.len() < MOST && !list.contains(&problem) {
            list.push(problem);
        }
    }

    /// The error to show: the first that is known and no echo of another, else the first that is no echo, else the first.
    pub fn cause(&self) -> Option<&Problem> {
        let is_echo = |p: &&Problem| ECHOES.contains(&p.id.rsplit(' ').next().unwrap_or_default());
        let own = || self.errors.iter().filter(|p| !is_echo(p));
        own()
            .find(|p| p.blame.is_some())
            .or_else(|| self.errors.iter().find(|p| p.blame.is_some()))
            .or_else(|| own().next())
            .or_else(|| self.errors.first())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
    Info,
}

/// Severity, number and text of `ERROR: [HLS 200-70] text` and the like.
fn message(line: &str) -> Option<(Severity, &str, &str)> {
    let line = line.trim();
    // A deadlock in RTL simulation is announced without a number.
    if line.contains("DEADLOCK DETECTED") {
        return Some((Severity::Error, "", line));
    }
    let (severity, rest) = [
        ("ERROR:", Severity::Error),
        ("CRITICAL WARNING:", Severity::Warning),
        ("WARNING:", Severity::Warning),
        ("INFO:", Severity::Info),
    ]
    .into_iter()
    .find_map(|(word, severity)| Some((severity, line.strip_prefix(word)?.trim_start())))?;
    match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((id, text)) => Some((severity, id.trim(), text.trim())),
        None => Some((severity, "", rest)),
    }
}

/// What a line says about where the tool is, for a line of progress; `None` for the many that say nothing.
pub fn progress(line: &str) -> Option<&str> {
    /// Beginnings of the messages at which the tools pass from one phase to the next.
    const PHASES: &[&str] = &[
        "Analyzing design file",
        "Starting code transformations",
        "Starting hardware synthesis",
        "Starting global optimizations",
        "Implementing module",
        "Generating all RTL models",
        "Generating Verilog RTL",
        "Compiling C TB",
        "Starting C TB testing",
        "Starting C/RTL cosimulation",
        "Starting simulation",
        "Generating RTL test bench",
        "Linking",
        "Run vpl",
        "Run run_link",
    ];
    let line = line.trim();
    // v++ puts the time of day before each phase of the implementation.
    let timed = line
        .strip_prefix('[')
        .and_then(|l| l.split_once("] "))
        .filter(|(time, _)| time.len() == 8 && time.bytes().all(|b| b.is_ascii_digit() || b == b':'));
    if let Some((_, what)) = timed {
        return Some(what.trim_end_matches('.'));
    }
    let text = message(line).map_or(line, |(_, _, text)| text);
    PHASES.iter().any(|p| text.starts_with(p)).then(|| text.trim_end_matches([' ', '.']))
}
