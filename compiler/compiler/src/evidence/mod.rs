//! What the reports and logs of the vendor's tools say.
//!
//! Everything here is pure: text in, figures out. A report may be missing, cut off or of another version: what cannot be
//! found is absent from the figures, and [`missing`] names it.

mod csynth;
mod link;
mod log;
mod nodes;
mod tables;
#[cfg(test)]
mod tests;
mod xml;

use hs_package::{Cycles, Figures, Resources, Step};

pub use csynth::{cosim_rpt, csynth_rpt, csynth_xml};
pub use link::{kernel_utilisation, link_log, system_estimate, timing_summary, xclbin_info};
pub use log::{Blame, Log, Problem, progress};
pub use nodes::Nodes;

/// Adds to `figures` what only `more` says.
pub fn fill(figures: &mut Figures, more: Figures) {
    let Figures {
        passed,
        latency_cycles,
        interval_cycles,
        target_clock_ns,
        estimated_clock_ns,
        kernel_clock_mhz,
        worst_slack_ns,
        resources: Resources { lut, ff, dsp, bram18, uram },
        modules,
    } = more;
    let f = figures;
    f.passed = f.passed.or(passed);
    f.latency_cycles = f.latency_cycles.or(latency_cycles);
    f.interval_cycles = f.interval_cycles.or(interval_cycles);
    f.target_clock_ns = f.target_clock_ns.or(target_clock_ns);
    f.estimated_clock_ns = f.estimated_clock_ns.or(estimated_clock_ns);
    f.kernel_clock_mhz = f.kernel_clock_mhz.or(kernel_clock_mhz);
    f.worst_slack_ns = f.worst_slack_ns.or(worst_slack_ns);
    f.resources.lut = f.resources.lut.or(lut);
    f.resources.ff = f.resources.ff.or(ff);
    f.resources.dsp = f.resources.dsp.or(dsp);
    f.resources.bram18 = f.resources.bram18.or(bram18);
    f.resources.uram = f.resources.uram.or(uram);
    if f.modules.is_empty() {
        f.modules = modules;
    }
}

/// What the reports of a step should say and `figures` does not hold, in words.
pub fn missing(step: Step, figures: &Figures) -> Vec<String> {
    let f = figures;
    let r = &f.resources;
    let mut lacks = Vec::new();
    let mut expect = |there: bool, what: &str| {
        if !there {
            lacks.push(what.to_owned());
        }
    };
    match step {
        Step::Csynth => {
            let why =
                "latency in cycles (synthesis cannot tell it where a loop runs once a row; cosim counts it)";
            expect(f.latency_cycles.is_some(), why);
            expect(f.estimated_clock_ns.is_some(), "estimated clock");
        }
        Step::Cosim => {
            expect(f.passed.is_some(), "whether RTL and C++ agree");
            expect(f.latency_cycles.is_some(), "latency in cycles");
            return lacks;
        }
        Step::HwEmu => expect(f.estimated_clock_ns.is_some(), "estimated clock"),
        Step::Hw => {
            expect(f.kernel_clock_mhz.is_some(), "clock of the kernel");
            expect(f.worst_slack_ns.is_some(), "worst slack");
        }
    }
    for (there, what) in [
        (r.lut.is_some(), "LUT"),
        (r.ff.is_some(), "FF"),
        (r.dsp.is_some(), "DSP"),
        (r.bram18.is_some(), "BRAM"),
        (r.uram.is_some(), "URAM"),
    ] {
        expect(there, what);
    }
    lacks
}

/// A whole number; `undef`, `?`, `-` and `NA` are none.
fn number(text: &str) -> Option<u64> {
    text.trim().replace(',', "").parse().ok()
}

/// A decimal number, with or without a unit behind it.
fn decimal(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok().filter(|v: &f64| v.is_finite())
}

fn cycles(min: Option<u64>, max: Option<u64>) -> Option<Cycles> {
    let (min, max) = (min?, max?);
    (min <= max).then_some(Cycles { min, max })
}
