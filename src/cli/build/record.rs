//! The reports that a task left, read into the package's evidence.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use hs_compiler::evidence::{self, Nodes, fill, missing};
use hs_package::{BUILD, Evidence, Figures, Package, Step, StepEvidence, Tool};

use super::{super::exit::Failure, plan::Task};

/// Largest report that is read, in bytes.
const MAX_REPORT: u64 = 64 << 20;
/// Directories below directories that are searched for reports.
const DEEPEST: usize = 12;

type Parser = fn(&str) -> Figures;

/// File names (a beginning and an end, `KERNEL` for the kernel's name) and their readers, the best first.
fn sources(step: Step) -> &'static [(&'static str, &'static str, Parser)] {
    match step {
        Step::Csynth => &[
            ("KERNEL_csynth", ".xml", evidence::csynth_xml),
            ("csynth", ".xml", evidence::csynth_xml),
            ("KERNEL_csynth", ".rpt", evidence::csynth_rpt),
        ],
        Step::Cosim => &[("KERNEL_cosim", ".rpt", evidence::cosim_rpt)],
        Step::HwEmu => &[("system_estimate", ".xtxt", evidence::system_estimate)],
        Step::Hw => &[
            ("", "kernel_util_routed.rpt", evidence::kernel_utilisation),
            ("", "timing_summary_postroute_physopted.rpt", evidence::timing_summary),
            ("", "timing_summary_routed.rpt", evidence::timing_summary),
            ("KERNEL", ".xclbin.info", evidence::xclbin_info),
            ("system_estimate", ".xtxt", evidence::system_estimate),
        ],
    }
}

/// Reads the reports of `step` and adds them to `evidence.json`.
pub(super) fn record(
    package: &Package,
    task: Task,
    step: Step,
    tools: Vec<Tool>,
    platform: Option<&str>,
    nodes: &Nodes,
) -> Result<StepEvidence, Failure> {
    let Some(kernel) = &package.manifest().kernel else {
        return Err(Failure::internal("a package without a kernel was built"));
    };
    let build = package.dir().join(BUILD);
    let mut files = Vec::new();
    find(&build.join(task.reports(&kernel.name)), DEEPEST, &mut files);
    // What stands beside the reports' directory: xclbin.info.
    find(&build, 0, &mut files);
    let (mut figures, mut reports) = (Figures::default(), Vec::new());
    for (begin, end, parse) in sources(step) {
        let begin = begin.replace("KERNEL", &kernel.name);
        let is = |p: &&PathBuf| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with(&begin) && name.ends_with(end) && (begin != "csynth" || name == "csynth.xml")
        };
        let other = |p: &&PathBuf| task != Task::Hw || !p.to_string_lossy().contains(".hw_emu.");
        let Some(path) = files.iter().filter(is).find(other) else { continue };
        let Some(text) = text(path) else { continue };
        fill(&mut figures, parse(&text));
        if let Ok(inside) = path.strip_prefix(package.dir()) {
            reports.push(package.describe_file(inside)?);
        }
    }
    if task == Task::Hw
        && let Some(log) = text(&log_of(package, task))
    {
        fill(&mut figures, evidence::link_log(&log));
    }
    for module in &mut figures.modules {
        module.node = nodes.find(&module.name).map(str::to_owned);
    }
    let entry = StepEvidence {
        step,
        date: now(),
        tools,
        part: kernel.part.clone(),
        platform: platform.filter(|_| matches!(step, Step::HwEmu | Step::Hw)).map(str::to_owned),
        missing: missing(step, &figures),
        figures,
        reports,
    };
    // Evidence of another package that was left here is no reason to throw hours of work away.
    let mut all = package.evidence().ok().flatten().unwrap_or_else(|| Evidence::of(package));
    all.record(entry.clone());
    package.write_evidence(&all)?;
    Ok(entry)
}

/// Where a task's output goes.
pub(super) fn log_of(package: &Package, task: Task) -> PathBuf {
    package.dir().join(BUILD).join(format!("{}.log", task.name()))
}

fn text(path: &Path) -> Option<String> {
    if fs::metadata(path).ok()?.len() > MAX_REPORT {
        return None;
    }
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// The files below `dir`, those nearest first, sorted.
fn find(dir: &Path, deeper: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let is = |e: &&fs::DirEntry, dir: bool| e.file_type().is_ok_and(|t| if dir { t.is_dir() } else { t.is_file() });
    files.extend(entries.iter().filter(|e| is(e, false)).map(fs::DirEntry::path));
    if deeper > 0 {
        for entry in entries.iter().filter(|e| is(e, true)) {
            find(&entry.path(), deeper - 1, files);
        }
    }
}

/// The time, RFC 3339 in UTC.
fn now() -> String {
    date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}

/// Seconds since 1970 as a date: days are counted from the 1st of March of the year 0, so that leap days come last.
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_323_045, "2026-01-02T03:04:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
