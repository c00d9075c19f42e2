//! Reports of `v++ --link` and what stands beside an xclbin.
//!
//! Formats: `system_estimate_*.xtxt` (UG1393, "Interpreting the System Estimate Report"), `*_kernel_util_routed.rpt` and
//! `*_timing_summary_*.rpt` (UG906) below the report directory, `NAME.xclbin.info` (UG1702, "xclbinutil Utility").

use hs_package::{Figures, Resources};

use super::{
    cycles, decimal, number,
    tables::{bars, columns, under},
};

/// What `*_kernel_util_routed.rpt` (or `_placed`, `_synthed`) says: the kernels, without the platform's shell.
pub fn kernel_utilisation(text: &str) -> Figures {
    let mut heading = None;
    for row in text.lines().filter_map(bars) {
        match row.first() {
            Some(&"Name") => heading = Some(row),
            Some(&"Used Resources") => {
                let Some(heading) = &heading else { continue };
                // A cell is a count and its share: `120 [ 0.5%]`.
                let used = |name: &str| under(heading, &row, name)?.split('[').next().and_then(decimal);
                let whole = |v: f64| (0.0..1e12).contains(&v).then_some(v.ceil() as u64);
                return Figures {
                    resources: Resources {
                        lut: used("LUT").and_then(whole),
                        ff: used("REG").and_then(whole),
                        dsp: used("DSP").and_then(whole),
                        bram18: used("BRAM").and_then(|tiles| whole(tiles * 2.0)),
                        uram: used("URAM").and_then(whole),
                    },
                    ..Figures::default()
                };
            }
            Some(_) | None => {}
        }
    }
    Figures::default()
}

/// What a timing summary says: its worst slack.
pub fn timing_summary(text: &str) -> Figures {
    let is_heading = |l: &&str| l.trim_start().starts_with("WNS(ns)") && l.contains("TNS(ns)");
    let after = text.lines().skip_while(|l| !is_heading(l)).skip(1);
    // A line of dashes, then the numbers.
    let slack = after.take(3).find_map(decimal);
    Figures { worst_slack_ns: slack, ..Figures::default() }
}

/// What `system_estimate_*.xtxt` says: estimates of all compute units together.
pub fn system_estimate(text: &str) -> Figures {
    let mut f = Figures::default();
    // A kernel's own line; its modules have lines of their own in designs with DATAFLOW.
    let own = |heading: &[&str], row: &[&str]| {
        let (kernel, module) = (under(heading, row, "Kernel Name"), under(heading, row, "Module Name"));
        kernel.is_some() && kernel == module
    };
    let of = |title: &str| {
        let (heading, mut rows) = columns(text, title)?;
        rows.retain(|r| own(&heading, r));
        Some((heading, rows))
    };
    if let Some((heading, rows)) = of("Timing Information") {
        let slowest = |name: &str| {
            let mhz = rows.iter().filter_map(|r| under(&heading, r, name).and_then(decimal));
            mhz.filter(|m| *m > 0.0).reduce(f64::min).map(|m| 1000.0 / m)
        };
        f.target_clock_ns = slowest("Target Frequency");
        f.estimated_clock_ns = slowest("Estimated Frequency");
    }
    if let Some((heading, rows)) = of("Latency Information") {
        let all = |name: &str| {
            rows.iter().map(|r| under(&heading, r, name).and_then(number)).collect::<Option<Vec<u64>>>()
        };
        let (best, worst) = (all("Best Case"), all("Worst Case"));
        f.latency_cycles =
            cycles(best.and_then(|v| v.into_iter().min()), worst.and_then(|v| v.into_iter().max()));
    }
    if let Some((heading, rows)) = of("Area Information").filter(|(_, rows)| !rows.is_empty()) {
        let sum =
            |name: &str| rows.iter().map(|r| under(&heading, r, name).and_then(number)).sum::<Option<u64>>();
        f.resources = Resources {
            lut: sum("LUT"),
            ff: sum("FF"),
            dsp: sum("DSP"),
            bram18: sum("BRAM"),
            uram: sum("URAM"),
        };
    }
    f
}

/// What `NAME.xclbin.info` says: the frequency of the data clock, which kernels run at.
pub fn xclbin_info(text: &str) -> Figures {
    let mut kind = "";
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(':') else { continue };
        match (key.trim(), value.trim()) {
            ("Name", _) => kind = "",
            ("Type", value) => kind = value,
            ("Frequency", value) if kind == "DATA" => {
                return Figures { kernel_clock_mhz: decimal(value), ..Figures::default() };
            }
            _ => {}
        }
    }
    Figures::default()
}

/// What the linker's log says: the clock it chose (message 60-1230), for when there is no `.info`.
pub fn link_log(text: &str) -> Figures {
    let line = text.lines().rev().find(|l| l.contains("selected the following frequencies"));
    let data = line.and_then(|l| l.split("(DATA) clock:").nth(1)?.split('=').nth(1));
    let digits = data
        .map(|d| d.trim_start().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>());
    Figures { kernel_clock_mhz: digits.and_then(|d| decimal(&d)), ..Figures::default() }
}
