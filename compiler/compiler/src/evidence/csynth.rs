//! Reports of C synthesis and of RTL simulation.
//!
//! Formats: `TOP_csynth.xml`, `csynth.xml` and `TOP_csynth.rpt` below `syn/report`, `TOP_cosim.rpt` below `sim/report` of a
//! solution (UG1399, "Output Directories").

use hs_package::{Figures, Module, Resources};

use super::{
    cycles, decimal, number,
    tables::{bars, under},
    xml::{self, Element},
};

/// What `TOP_csynth.xml` or `csynth.xml` says.
pub fn csynth_xml(text: &str) -> Figures {
    let root = xml::parse(text);
    let read = |path: &[&str]| root.text_at(path);
    let latency = ["PerformanceEstimates", "SummaryOfOverallLatency"];
    let cycle = |name: &str| read(&[latency[0], latency[1], name]).and_then(number);
    let modules = root.at(&["ModuleInformation"]).map(|m| m.children.as_slice()).unwrap_or_default();
    Figures {
        latency_cycles: cycles(cycle("Best-caseLatency"), cycle("Worst-caseLatency")),
        interval_cycles: cycles(cycle("Interval-min"), cycle("Interval-max")),
        target_clock_ns: read(&["UserAssignments", "TargetClockPeriod"]).and_then(decimal),
        estimated_clock_ns: read(&[
            "PerformanceEstimates",
            "SummaryOfTimingAnalysis",
            "EstimatedClockPeriod",
        ])
        .and_then(decimal),
        resources: resources(&root),
        modules: modules.iter().filter(|m| m.name == "Module").filter_map(module).collect(),
        ..Figures::default()
    }
}

fn resources(of: &Element) -> Resources {
    let all = of.at(&["AreaEstimates", "Resources"]);
    let count = |name: &str| all.and_then(|e| e.text_at(&[name])).and_then(number);
    Resources {
        lut: count("LUT"),
        ff: count("FF"),
        dsp: count("DSP").or_else(|| count("DSP48E")),
        bram18: count("BRAM_18K"),
        uram: count("URAM"),
    }
}

fn module(m: &Element) -> Option<Module> {
    let loops = m.at(&["PerformanceEstimates", "SummaryOfLoopLatency"]);
    Some(Module {
        name: m.text_at(&["Name"]).filter(|n| !n.is_empty())?.to_owned(),
        node: None,
        loop_interval: loops.and_then(slowest),
        // Modules have the counts below AreaEstimates or Resources, by version.
        resources: resources(m),
    })
}

/// Greatest initiation interval of the loops below.
fn slowest(loops: &Element) -> Option<u64> {
    let own = (loops.name == "PipelineII").then(|| number(&loops.text)).flatten();
    loops.children.iter().filter_map(slowest).chain(own).max()
}

/// What `TOP_csynth.rpt` says: for versions whose XML is elsewhere.
pub fn csynth_rpt(text: &str) -> Figures {
    let mut f = Figures::default();
    let rows: Vec<Vec<&str>> = text.lines().filter_map(bars).collect();
    for (row, next) in rows.iter().zip(rows.iter().skip(1)) {
        let first = row.first().copied().unwrap_or_default();
        if first == "Clock" && f.target_clock_ns.is_none() {
            f.target_clock_ns = under(row, next, "Target").and_then(decimal);
            f.estimated_clock_ns = under(row, next, "Estimated").and_then(decimal);
        } else if first == "min" && row.last() == Some(&"Type") && f.latency_cycles.is_none() {
            let at = |i: usize| next.get(i).copied().and_then(number);
            // With absolute times between the cycles and the interval, or, in old reports, without.
            let interval = if row.len() >= 7 { 4 } else { 2 };
            f.latency_cycles = f.latency_cycles.or(cycles(at(0), at(1)));
            f.interval_cycles = f.interval_cycles.or(cycles(at(interval), at(interval + 1)));
        }
    }
    let heading = rows.iter().position(|r| r.first() == Some(&"Name") && r.contains(&"LUT"));
    let heading = heading.map(|i| (&rows[i], &rows[i + 1..]));
    let total =
        heading.and_then(|(h, rest)| rest.iter().find(|r| r.first() == Some(&"Total")).map(|r| (h, r)));
    if let Some((heading, total)) = total {
        let count = |name: &str| under(heading, total, name).and_then(number);
        f.resources = Resources {
            lut: count("LUT"),
            ff: count("FF"),
            dsp: count("DSP"),
            bram18: count("BRAM_18K"),
            uram: count("URAM"),
        };
    }
    f
}

/// What `TOP_cosim.rpt` says: of the language that was simulated.
pub fn cosim_rpt(text: &str) -> Figures {
    let mut f = Figures::default();
    for row in text.lines().filter_map(bars) {
        let is_rtl = matches!(row.first(), Some(&"Verilog" | &"VHDL" | &"SystemC"));
        let Some(status) = row.get(1).filter(|s| is_rtl && **s != "NA") else { continue };
        let at = |i: usize| row.get(i).copied().and_then(number);
        f.passed = Some(status.eq_ignore_ascii_case("pass"));
        f.latency_cycles = cycles(at(2), at(4));
        f.interval_cycles = cycles(at(5), at(7));
    }
    f
}
