//! Texts in the formats of the tools' reports, written by hand.

use hs_package::{Cycles, Figures, Module, Resources, Step};

use super::*;

const CSYNTH_XML: &str = include_str!("samples/net_kernel_csynth.xml");
const CSYNTH_RPT: &str = include_str!("samples/net_kernel_csynth.rpt");
const CSYNTH_OLD: &str = include_str!("samples/old_csynth.rpt");
const COSIM: &str = include_str!("samples/net_kernel_cosim.rpt");
const ESTIMATE: &str = include_str!("samples/system_estimate_net.xtxt");
const UTILISATION: &str = include_str!("samples/impl_1_kernel_util_routed.rpt");
const TIMING: &str = include_str!("samples/impl_1_timing_summary_routed.rpt");
const INFO: &str = include_str!("samples/net.xclbin.info");

fn all(lut: u64, ff: u64, dsp: u64, bram18: u64, uram: u64) -> Resources {
    Resources { lut: Some(lut), ff: Some(ff), dsp: Some(dsp), bram18: Some(bram18), uram: Some(uram) }
}

fn exactly(cycles: u64) -> Option<Cycles> {
    Some(Cycles { min: cycles, max: cycles })
}

/// A program whose nodes give the identifiers conv1, conv1_2 and dense_Gemm.
fn nodes() -> Nodes {
    let text = include_str!("../../tests/programs/softmaxes.hw");
    let mut program = hs_hw::text::parse(text).unwrap();
    for (node, name) in program.nodes.iter_mut().zip(["conv1", "conv1/2", "/dense/Gemm"]) {
        name.clone_into(&mut node.name);
    }
    Nodes::of(&program, "net")
}

#[test]
fn csynth_as_xml() {
    let f = csynth_xml(CSYNTH_XML);
    assert_eq!(f.latency_cycles, None, "it is 'undef'");
    assert_eq!(f.interval_cycles, Some(Cycles { min: 140, max: 4200 }));
    assert_eq!((f.target_clock_ns, f.estimated_clock_ns), (Some(4.0), Some(2.92)));
    assert_eq!(f.resources, all(20_000, 30_000, 96, 40, 2));
    let module = |name: &str, loop_interval, resources| Module {
        name: name.to_owned(),
        node: None,
        loop_interval,
        resources,
    };
    assert_eq!(
        f.modules,
        [
            module("load_row", None, all(900, 1100, 0, 30, 0)),
            module("conv_stream_fast_cfg_conv1_s", Some(3), all(12_000, 15_000, 96, 4, 2)),
        ]
    );
    assert_eq!(missing(Step::Csynth, &f).len(), 1);
    assert!(missing(Step::Csynth, &f)[0].starts_with("latency"));
}

#[test]
fn csynth_as_text() {
    let f = csynth_rpt(CSYNTH_RPT);
    assert_eq!((f.latency_cycles, f.interval_cycles), (exactly(182_001), exactly(182_002)));
    assert_eq!((f.target_clock_ns, f.estimated_clock_ns), (Some(4.0), Some(2.92)));
    assert_eq!(f.resources, all(12_964, 4442, 64, 3, 0));
    assert_eq!(missing(Step::Csynth, &f), [""; 0]);

    let f = csynth_rpt(CSYNTH_OLD);
    assert_eq!((f.latency_cycles, f.interval_cycles), (exactly(66), exactly(67)));
    assert_eq!((f.target_clock_ns, f.estimated_clock_ns), (Some(4.0), Some(3.85)));
    let Resources { lut, ff, dsp, bram18, uram } = f.resources;
    assert_eq!((lut, ff, dsp, bram18, uram), (Some(17_169), Some(17_927), Some(1), Some(0), None));
    assert_eq!(missing(Step::Csynth, &f), ["URAM"]);
}

#[test]
fn cosim() {
    let f = cosim_rpt(COSIM);
    assert_eq!(f.passed, Some(true));
    assert_eq!(f.latency_cycles, Some(Cycles { min: 248, max: 278 }));
    assert_eq!(f.interval_cycles, Some(Cycles { min: 240, max: 270 }));
    assert_eq!(missing(Step::Cosim, &f), [""; 0]);
    // One call has no interval; a failure has no cycles.
    let one = COSIM.replace("240|            255|            270", " NA|             NA|             NA");
    assert_eq!((cosim_rpt(&one).latency_cycles.is_some(), cosim_rpt(&one).interval_cycles), (true, None));
    assert_eq!(cosim_rpt(&COSIM.replace("Pass", "Fail")).passed, Some(false));
    assert_eq!(missing(Step::Cosim, &cosim_rpt("")).len(), 2);
}

#[test]
fn the_system_estimate_adds_compute_units() {
    let f = system_estimate(ESTIMATE);
    assert_eq!(f.resources, all(2 * 20_500, 2 * 31_000, 2 * 96, 2 * 40, 0));
    assert_eq!(f.latency_cycles, Some(Cycles { min: 825, max: 828 }));
    assert_eq!(f.target_clock_ns, Some(4.0));
    assert_eq!(f.estimated_clock_ns, Some(1000.0 / 312.5));
    assert_eq!(missing(Step::HwEmu, &f), [""; 0]);
    let undef = system_estimate(&ESTIMATE.replace("825 ", "undef").replace("Area Information", "Space"));
    assert_eq!(undef.latency_cycles, None);
    assert_eq!(missing(Step::HwEmu, &undef), ["LUT", "FF", "DSP", "BRAM", "URAM"]);
}

#[test]
fn a_routed_kernel() {
    let mut f = kernel_utilisation(UTILISATION);
    assert_eq!(f.resources, all(61_000, 82_000, 192, 161, 4));
    fill(&mut f, timing_summary(TIMING));
    assert_eq!(f.worst_slack_ns, Some(-0.021));
    assert_eq!(missing(Step::Hw, &f), ["clock of the kernel"]);
    fill(&mut f, xclbin_info(INFO));
    assert_eq!(f.kernel_clock_mhz, Some(241.0));
    assert_eq!(missing(Step::Hw, &f), [""; 0]);
    // What is there stays.
    let other = Figures { worst_slack_ns: Some(9.0), kernel_clock_mhz: Some(9.0), ..Figures::default() };
    fill(&mut f, other);
    assert_eq!((f.worst_slack_ns, f.kernel_clock_mhz), (Some(-0.021), Some(241.0)));
}

#[test]
fn the_clock_in_the_linkers_log() {
    let log = "INFO: [v++ 60-1230] The compiler selected the following frequencies for the runtime controllable kernel \
               clock(s) and scalable system clock(s): System (SYSTEM) clock: hbm_aclk = 450, Kernel (DATA) clock: \
               ulp_ucs_aclk_kernel_00 = 238, Kernel (KERNEL) clock: ulp_ucs_aclk_kernel_01 = 500\n";
    assert_eq!(link_log(log).kernel_clock_mhz, Some(238.0));
    assert_eq!(link_log("INFO: nothing").kernel_clock_mhz, None);
}

#[test]
fn broken_reports_give_less_and_never_panic() {
    let parsers: [fn(&str) -> Figures; 8] = [
        csynth_xml,
        csynth_rpt,
        cosim_rpt,
        system_estimate,
        kernel_utilisation,
        timing_summary,
        xclbin_info,
        link_log,
    ];
    for sample in [CSYNTH_XML, CSYNTH_RPT, CSYNTH_OLD, COSIM, ESTIMATE, UTILISATION, TIMING, INFO] {
        for parse in parsers {
            for cut in (0..sample.len()).filter(|i| sample.is_char_boundary(*i)).step_by(7) {
                parse(&sample[..cut]);
                parse(&sample[cut..]);
            }
            parse(&sample.replace(|c: char| c.is_ascii_digit(), "?"));
            parse(&sample.replace('|', ""));
        }
    }
    assert_eq!(csynth_xml("<html>the wrong page</html>"), Figures::default());
    assert_eq!(timing_summary("WNS(ns) TNS(ns)\n-----\n"), Figures::default());
    // Half of an XML report still tells its clock.
    let half = &CSYNTH_XML[..CSYNTH_XML.find("<AreaEstimates>").unwrap()];
    assert_eq!(csynth_xml(half).estimated_clock_ns, Some(2.92));
    assert_eq!(missing(Step::Csynth, &csynth_xml(half)).len(), 6);
}

#[test]
fn names_lead_back_to_nodes() {
    let nodes = nodes();
    for (text, node) in [
        ("in function 'conv_stream_fast<cfg_conv1>'", Some("conv1")),
        ("in function 'conv_stream_fast<cfg_conv1_2>'", Some("conv1/2")),
        ("array 'w_conv1_2' in dimension 1", Some("conv1/2")),
        ("module 'conv_stream_fast_cfg_dense_Gemm_s'", Some("/dense/Gemm")),
        ("stream 'c_dense_Gemm'", Some("/dense/Gemm")),
        ("stream 'c12_conv1'", Some("conv1")),
        ("net_kernel.cpp:12", None),
        ("function 'conv10'", None),
        ("cfg_conv1x", None),
        ("abc_conv1", None),
        ("", None),
    ] {
        assert_eq!(nodes.find(text), node, "{text}");
    }
}

/// The cause of a log's failure: number, node, blame.
fn cause(log: &str) -> (String, Option<String>, Option<Blame>) {
    let (nodes, mut all) = (nodes(), Log::default());
    log.lines().for_each(|l| all.line(l, &nodes));
    let cause = all.cause().expect("an error").clone();
    assert_eq!(cause.blame.is_some(), cause.advice.is_some());
    (cause.id, cause.node, cause.blame)
}

#[test]
fn errors_are_explained() {
    let unroll = "INFO: [HLS 200-10] Starting code transformations ...\n\
        ERROR: [HLS 200-70] Pre-synthesis failed.\n\
        ERROR: [XFORM 203-504] Stop unrolling loop 'lanes' (dot.h:40) in function 'dense_fast<cfg_dense_Gemm>' because it may \
        cause large runtime and excessive memory usage.\n\
        command 'ap_source' returned error code\n";
    assert_eq!(cause(unroll), ("XFORM 203-504".into(), Some("/dense/Gemm".into()), Some(Blame::Design)));
    let cases: &[(&str, &str, Option<Blame>)] = &[
        (
            "ERROR: [v++ 200-1471] Stop unrolling loop 'l'\nERROR: [v++ 60-300] Failed to build kernel(ip) k, see log",
            "v++ 200-1471",
            Some(Blame::Design),
        ),
        ("ERROR: [XFORM 203-103] Cannot partition array 'w_conv1'", "XFORM 203-103", Some(Blame::Design)),
        ("ERROR: [HLS 214-999] Array partition factor exceeds the limit", "HLS 214-999", Some(Blame::Design)),
        (
            "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis'",
            "Common 17-345",
            Some(Blame::Machine),
        ),
        (
            "ERROR: [v++ 60-1258] No valid platform was found that matches 'u55'\nERROR: [v++ 60-587] Failed to add a platform\nERROR: [v++ 60-592] Failed to finish compilation",
            "v++ 60-1258",
            Some(Blame::Machine),
        ),
        ("ERROR: [HLS 200-1023] Part 'xcu55c' is not installed.", "HLS 200-1023", Some(Blame::Machine)),
        (
            "ERROR: [VPL 101-2] design did not meet timing\nERROR: [VPL 60-773] caught Tcl error",
            "VPL 101-2",
            Some(Blame::Design),
        ),
        (
            "ERROR: [VPL UTLZ-1] Resource utilization: CLB LUTs over-utilized in Top Level Design",
            "VPL UTLZ-1",
            Some(Blame::Design),
        ),
        (
            "ERROR: [COSIM 212-360] Aborting co-simulation: C TB simulation failed.\nERROR: [COSIM 212-4] *** C/RTL co-simulation finished: FAIL ***",
            "COSIM 212-360",
            Some(Blame::Mismatch),
        ),
        (
            "ERROR: [COSIM 212-4] *** C/RTL co-simulation finished: FAIL ***",
            "COSIM 212-4",
            Some(Blame::Mismatch),
        ),
        (
            "// ERROR!!! DEADLOCK DETECTED at 1234000 ns!\nERROR: [COSIM 212-4] *** C/RTL co-simulation finished: FAIL ***",
            "",
            Some(Blame::Generator),
        ),
        (
            "ERROR: [HLS 207-3337] use of undeclared identifier 'q'\nERROR: [HLS 200-70] Pre-synthesis failed.",
            "HLS 207-3337",
            None,
        ),
        ("ERROR: [HLS 200-70] Pre-synthesis failed.", "HLS 200-70", None),
        ("ERROR: Could not open file", "", None),
    ];
    for (log, id, blame) in cases {
        let found = cause(log);
        assert_eq!((found.0.as_str(), found.2), (*id, *blame), "{log}");
    }
}

#[test]
fn warnings_that_matter_are_kept_once() {
    let (nodes, mut log) = (nodes(), Log::default());
    let violation = "WARNING: [HLS 200-880] The II Violation in module 'conv_stream_fast_cfg_conv1_s' (loop 'rows'): Unable \
                     to enforce a carried dependence constraint (II = 1, distance = 1, offset = 1)";
    for line in [
        violation,
        violation,
        "WARNING: [SYN 201-103] Legalizing function name 'dense<cfg_conv1>' to 'dense_cfg_conv1_s'.",
        "INFO: [HLS 200-10] For user 'x'",
        "ERRORS: 0",
        "",
    ] {
        log.line(line, &nodes);
    }
    assert_eq!(log.errors, []);
    assert_eq!(log.cause(), None);
    let [warning] = &log.warnings[..] else { panic!("{:?}", log.warnings) };
    assert_eq!((warning.id.as_str(), warning.node.as_deref()), ("HLS 200-880", Some("conv1")));
    assert!(warning.advice.unwrap().contains("throughput"));
}

#[test]
fn lines_of_progress() {
    for (line, text) in [
        ("INFO: [HLS 200-10] Starting code transformations ...", Some("Starting code transformations")),
        ("INFO: [HLS 200-42] -- Implementing module 'x'", None),
        ("[14:02:11] Starting logic placement..", Some("Starting logic placement")),
        ("[14:02:11] Run vpl: Step synth: Completed", Some("Run vpl: Step synth: Completed")),
        ("[not a time] x", None),
        ("INFO: [HLS 200-111] Finished Command csynth_design", None),
        ("", None),
    ] {
        assert_eq!(progress(line), text, "{line}");
    }
}
