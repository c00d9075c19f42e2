//! `build`, with programs on PATH that behave as Vitis' do: they write reports in the tools' formats, succeed, fail with
//! the tools' messages, hang, or are killed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::{MLP, Run, can_simulate, listing, run};

/// A directory with a package and, later, tools.
struct Bed {
    dir: tempfile::TempDir,
    kernel: String,
}

const PLATFORM: &str = "xilinx_u55c_gen3x16_xdma_3_202210_1";
/// Rows are simulated in a test of their own: compiling the C++ takes long.
const NO_CSIM: [&str; 2] = ["--skip", "csim"];
const SAMPLES: &str = "compiler/compiler/src/evidence/samples";

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        run!(dir.path(), "compile", MLP.onnx(), "-o", "pkg", "--precision", "fixed<12,4>").ok();
        let manifest = fs::read_to_string(dir.path().join("pkg/manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        let kernel = manifest["kernel"]["name"].as_str().unwrap().to_owned();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir_all(dir.path().join(format!("platforms/{PLATFORM}"))).unwrap();
        fs::write(dir.path().join(format!("platforms/{PLATFORM}/{PLATFORM}.xpfm")), "").unwrap();
        Self { dir, kernel }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.replace("KERNEL", &self.kernel))
    }

    /// Puts a shell script on the PATH; KERNEL and SAMPLES are filled in.
    fn tool(&self, name: &str, script: &str) {
        let at = self.at(&format!("bin/{name}"));
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join(SAMPLES);
        let script = script.replace("KERNEL", &self.kernel).replace("SAMPLES", samples.to_str().unwrap());
        fs::write(&at, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An installation where everything goes well. Each call leaves a line in `calls`.
    fn vitis(&self) {
        self.tool("vitis_hls", HLS);
        self.tool("v++", VPP);
        self.tool(
            "emconfigutil",
            "echo \"emconfigutil $*\" >> ../../calls\n[ \"$1\" = --version ] || echo '{}' > emconfig.json",
        );
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.at("calls")).unwrap_or_default();
        text.lines().filter(|l| !l.contains("version")).map(str::to_owned).collect()
    }

    fn build(&self, args: &[&str]) -> Run {
        let path = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
        let path = std::env::join_paths([self.at("bin")].into_iter().chain(path)).unwrap();
        let mut command = Command::cargo_bin("hypersonic").unwrap();
        command
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("PLATFORM_REPO_PATHS", self.at("platforms"));
        command.args(["build", "pkg", "--rows", "3"]).args(NO_CSIM).args(args);
        let out = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run { code: out.status.code().unwrap(), stdout: text(out.stdout), stderr: text(out.stderr) }
    }

    /// Fails with `code`, and the error says `words`.
    #[track_caller]
    fn fails(&self, args: &[&str], code: i32, words: &[&str]) {
        let run = self.build(args);
        assert_eq!(run.code, code, "{}\n{}", run.stdout, run.stderr);
        for word in words {
            assert!(run.stderr.contains(word), "'{word}' is not in: {}", run.stderr);
        }
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
        let json = self.build(&[args, &["--json"]].concat()).json();
        assert_eq!((json["ok"].clone(), json["exit_code"].clone()), (json!(false), json!(code)));
    }

    fn evidence(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.at("pkg/evidence.json")).unwrap()).unwrap()
    }
}

/// `vitis_hls -f SCRIPT` as it leaves its reports.
const HLS: &str = r#"
echo "vitis_hls $*" >> "${0%/bin/*}/calls"
if [ "$1" = -version ]; then echo "Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2023.2 (64-bit)"; exit 0; fi
p=project_KERNEL/solution1
case "$2" in
*/csynth.tcl)
    echo "INFO: [HLS 200-10] Analyzing design file '../hls/firmware/KERNEL.cpp' ..."
    echo "WARNING: [HLS 200-880] The II Violation in module 'dense_cfg_inner_net_net_0_Gemm_s' (loop 'rows'): Unable to"
    mkdir -p $p/syn/report
    sed 's/net_kernel/KERNEL/' SAMPLES/net_kernel_csynth.xml > $p/syn/report/KERNEL_csynth.xml;;
*/cosim.tcl)
    [ -d $p/syn ] || { echo "ERROR: [COSIM 212-1] no RTL"; exit 1; }
    mkdir -p $p/sim/report
    cp SAMPLES/net_kernel_cosim.rpt $p/sim/report/KERNEL_cosim.rpt;;
*/xo.tcl)
    [ -d $p/syn ] || exit 1
    echo xo > KERNEL.xo;;
*) exit 9;;
esac
"#;

/// `v++ --link -t TARGET …`.
const VPP: &str = r#"
echo "v++ $*" >> "${0%/bin/*}/calls"
if [ "$1" = --version ]; then echo "****** v++ v2023.2 (64-bit)"; exit 0; fi
[ -f KERNEL.xo ] || exit 1
mkdir -p $3/reports/link/imp $3/reports/link
if [ "$3" = hw ]; then
    echo "[14:02:11] Starting logic placement.."
    cp SAMPLES/impl_1_kernel_util_routed.rpt SAMPLES/impl_1_timing_summary_routed.rpt hw/reports/link/imp
    cp SAMPLES/net.xclbin.info KERNEL.hw.xclbin.info
else
    cp SAMPLES/system_estimate_net.xtxt $3/reports/link/system_estimate_KERNEL.xtxt
fi
echo xclbin > KERNEL.$3.xclbin
"#;

fn states(json: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    json["steps"].as_array().unwrap().iter().map(|s| (text(&s["step"]), text(&s["state"]))).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn without_vitis_the_rest_is_a_plan() {
    if !can_simulate() {
        return;
    }
    let bed = Bed::new();
    // What is asked for is not skipped.
    let out = bed.build(&["--until", "csim"]).ok();
    assert!(out.stdout.contains("codes, all equal"), "{}", out.stdout);
    assert_eq!(listing(&bed.at("pkg/build")), ["lock"]);

    let out = run!(bed.dir.path(), "build", "pkg", "--until", "hw", "--platform", PLATFORM, "--json");
    assert_eq!(out.code, 4, "{}", out.stderr);
    let json = out.json();
    assert_eq!(json["built"], json!("csim"));
    assert_eq!((json["ok"].clone(), json["complete"].clone()), (json!(false), json!(false)));
    assert_eq!(json.get("error"), None, "nothing failed");
    assert_eq!(states(&json)[0], ("csim".to_owned(), "done".to_owned()));
    assert!(states(&json)[1..].iter().all(|(_, s)| s == "not_built"), "{json}");
    assert!(json["missing"][0].as_str().unwrap().contains("vitis-run"), "{json}");
    let commands: Vec<&str> =
        json["plan"]["commands"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    let k = &bed.kernel;
    let link = |t: &str| {
        format!(
            "v++ --link -t {t} --platform {PLATFORM} --config ../hls/link.cfg --temp_dir {t}/temp --log_dir {t}/logs \
             --report_dir {t}/reports {k}.xo -o {k}.{t}.xclbin"
        )
    };
    let expected = [
        "vitis-run --mode hls --tcl ../hls/csynth.tcl".to_owned(),
        "vitis-run --mode hls --tcl ../hls/cosim.tcl".to_owned(),
        "vitis-run --mode hls --tcl ../hls/xo.tcl".to_owned(),
        link("hw_emu"),
        format!("emconfigutil --platform {PLATFORM} --nd 1 --od ."),
        link("hw"),
    ];
    let without_connectivity: Vec<String> =
        commands.iter().map(|c| c.replace(" --config ../hls/connectivity.cfg", "")).collect();
    assert_eq!(without_connectivity, expected);
    assert!(json["plan"]["cwd"].as_str().unwrap().ends_with("pkg/build"), "{json}");
    // The scripts that the plan names are there.
    for script in ["csynth", "cosim", "xo"] {
        assert!(bed.at(&format!("pkg/hls/{script}.tcl")).is_file());
    }
    let text = bed.build(&["--until", "csynth"]);
    assert_eq!(text.code, 4);
    for words in [
        "nothing failed; what is left to run:",
        "vitis-run --mode hls --tcl ../hls/csynth.tcl",
        "settings64.sh",
    ] {
        assert!(text.stdout.contains(words), "{}", text.stdout);
    }
    assert!(!bed.at("pkg/evidence.json").exists());
}

#[test]
fn a_dry_run_runs_nothing() {
    let bed = Bed::new();
    bed.vitis();
    let json = bed.build(&["--until", "hw", "--platform", PLATFORM, "--dry-run", "--json"]).ok().json();
    assert!(states(&json).iter().all(|(_, s)| s == "planned"), "{json}");
    assert_eq!(json["plan"]["commands"][0], json!("vitis_hls -f ../hls/csynth.tcl"));
    assert_eq!(json["tools"][0]["version"], json!("2023.2"));
    assert_eq!(bed.calls(), [""; 0]);
    assert!(!bed.at("pkg/build").exists());
}

#[test]
fn a_whole_build_and_what_it_need_not_repeat() {
    let bed = Bed::new();
    bed.vitis();
    let hw = ["--until", "hw", "--platform", PLATFORM, "--json"];
    let json = bed.build(&hw).ok().json();
    let all = ["csynth", "cosim", "xo", "hw_emu", "hw"];
    assert_eq!(states(&json), pairs(&all.map(|s| (s, "done"))));
    assert_eq!(json["complete"], json!(true));
    assert_eq!(bed.calls().len(), 6, "{:?}", bed.calls());
    // A warning is about the node that it names.
    assert_eq!(json["warnings"][0]["node"], json!("/inner/net/net.0/Gemm"), "{json}");
    assert!(fs::read_to_string(bed.at("pkg/build/csynth.log")).unwrap().contains("Analyzing design file"));

    let evidence = bed.evidence();
    let step = |name: &str| {
        let steps = evidence["steps"].as_array().unwrap();
        steps.iter().find(|s| s["step"] == name).unwrap_or_else(|| panic!("{evidence}")).clone()
    };
    assert_eq!(step("csynth")["figures"]["resources"]["lut"], json!(20_000));
    assert_eq!(step("csynth")["tools"], json!([{ "name": "vitis_hls", "version": "2023.2" }]));
    assert_eq!(step("cosim")["figures"]["latency_cycles"], json!({ "min": 248, "max": 278 }));
    assert_eq!(step("cosim")["missing"], json!([]));
    assert_eq!(step("hw_emu")["platform"], json!(PLATFORM));
    assert_eq!(step("hw")["figures"]["kernel_clock_mhz"], json!(241.0));
    assert_eq!(step("hw")["figures"]["worst_slack_ns"], json!(-0.021));
    assert_eq!(step("hw")["figures"]["resources"]["bram18"], json!(161));
    assert_eq!(step("hw")["reports"].as_array().map(Vec::len), Some(3));
    let date = step("hw")["date"].as_str().unwrap().to_owned();
    assert!(date.starts_with("20") && date.ends_with('Z') && date.len() == 20, "{date}");
    let fingerprint = evidence["fingerprint"].clone();
    assert_eq!(json["fingerprint"], fingerprint);

    // The same again.
    let again = bed.build(&hw).ok().json();
    assert_eq!(states(&again), pairs(&all.map(|s| (s, "up_to_date"))));
    assert_eq!(bed.calls().len(), 6);
    assert_eq!(again["steps"][4]["evidence"]["figures"]["kernel_clock_mhz"], json!(241.0));
    // A lost output, and what was made from it.
    fs::remove_file(bed.at("pkg/build/KERNEL.xo")).unwrap();
    let json = bed.build(&hw).ok().json();
    let ran: Vec<_> = states(&json).into_iter().filter(|(_, s)| s == "done").map(|(t, _)| t).collect();
    assert_eq!(ran, ["xo", "hw_emu", "hw"]);
    // A damaged one.
    fs::write(bed.at("pkg/build/KERNEL.hw.xclbin"), "xclbim\n").unwrap();
    let json = bed.build(&hw).ok().json();
    assert_eq!(states(&json)[4].1, "done");
    // Another version of a tool.
    bed.tool("vitis_hls", &HLS.replace("v2023.2", "v2024.1"));
    let json = bed.build(&["--until", "csynth", "--json"]).ok().json();
    assert_eq!(states(&json), pairs(&[("csynth", "done")]));
    let text = bed.build(&["--until", "csynth"]).ok().stdout;
    for words in ["up to date", "estimated clock", "2.92 ns (342 MHz)", "20,000"] {
        assert!(text.contains(words), "{text}");
    }
    // What a tool reported is no reason to distrust the package.
    run!(bed.dir.path(), "inspect", "pkg").ok();
    // A project that was edited is not what was compiled.
    let options = bed.at("pkg/hls/options.tcl");
    fs::write(&options, fs::read_to_string(&options).unwrap().replace("12.5%", "10%")).unwrap();
    bed.fails(&["--until", "csynth"], 3, &["options.tcl", "was changed since it was compiled"]);
}

#[test]
fn vitis_run_takes_over_after_2024_2() {
    let bed = Bed::new();
    // An old name that is still on PATH is not taken.
    bed.tool("vitis_hls", "echo 'Vitis HLS v2025.1 (64-bit)'; [ \"$1\" = -version ]");
    let script =
        HLS.replace("\"$1\" = -version", "\"$1\" = --version").replace("vitis_hls $*", "vitis-run $*");
    let script = script.replace(
        "Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2023.2",
        "****** vitis-run v2025.1",
    );
    bed.tool(
        "vitis-run",
        &script.replace("case \"$2\"", "[ \"$1 $2 $3\" = '--mode hls --tcl' ] || exit 8\ncase \"$4\""),
    );
    let json = bed.build(&["--until", "cosim", "--json"]).ok().json();
    assert_eq!(json["steps"][1]["evidence"]["tools"], json!([{ "name": "vitis-run", "version": "2025.1" }]));
    assert_eq!(bed.calls()[0], "vitis-run --mode hls --tcl ../hls/csynth.tcl");
}

#[test]
fn errors_have_a_node_and_a_remedy() {
    let bed = Bed::new();
    let csynth = ["--until", "csynth"];
    let failing =
        |lines: &str| HLS.replace("*/csynth.tcl)", &format!("*/csynth.tcl)\n{lines}\nexit 1;;\n*/never)"));
    let cases = [
        (
            "echo \"ERROR: [XFORM 203-504] Stop unrolling loop 'l' in function 'dense<cfg_inner_net_net_0_Gemm>' because\"; \
             echo 'ERROR: [HLS 200-70] Pre-synthesis failed.'",
            3,
            ["[XFORM 203-504]", "'/inner/net/net.0/Gemm'", "--reuse", "csynth.log"],
        ),
        (
            "echo \"ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis'\" >&2",
            4,
            ["[Common 17-345]", "licence", "XILINXD_LICENSE_FILE", "csynth.log"],
        ),
        (
            "echo 'ERROR: [HLS 207-1] use of undeclared identifier'",
            5,
            ["[HLS 207-1]", "undeclared", "not known", "report"],
        ),
        (":", 4, ["ended with status 1", "no message", "csynth.log", "csynth"]),
        ("kill -9 $$", 4, ["killed by signal 9", "memory", "csynth.log", "csynth"]),
    ];
    for (lines, code, words) in cases {
        bed.tool("vitis_hls", &failing(lines));
        bed.fails(&csynth, code, &words);
    }
    assert!(!bed.at("pkg/evidence.json").exists());
    // After that, it goes on where it stopped.
    bed.tool("vitis_hls", HLS);
    bed.build(&csynth).ok();

    let cosim = ["--until", "cosim"];
    let fails = "*/cosim.tcl)\necho 'ERROR: [COSIM 212-4] *** C/RTL co-simulation finished: FAIL ***'; mkdir -p $p/sim; exit 0;;\n*/never)";
    bed.tool("vitis_hls", &HLS.replace("*/cosim.tcl)", fails));
    bed.fails(&cosim, 1, &["[COSIM 212-4]", "RTL and C++ differ"]);
    let fails =
        HLS.replace("cp SAMPLES/net_kernel_cosim.rpt", "sed s/Pass/Fail/ SAMPLES/net_kernel_cosim.rpt >");
    bed.tool("vitis_hls", &fails);
    bed.fails(&cosim, 1, &["RTL and C++ differ", "cosim.log"]);
    bed.tool("vitis_hls", HLS);

    bed.tool(
        "v++",
        &VPP.replace("[ -f KERNEL.xo ]", "echo 'ERROR: [VPL 101-2] design did not meet timing'; false"),
    );
    let hw = ["--until", "hw", "--platform", PLATFORM, "--skip", "cosim,hw_emu"];
    bed.fails(&hw, 3, &["hw: [VPL 101-2]", "lower clock", "hw.log"]);
    bed.tool("v++", &VPP.replace("echo xclbin >", ": >&2; true ||"));
    bed.fails(&hw, 4, &["left no", "hw.xclbin", "hw.log"]);
}

#[test]
fn reports_that_are_not_there_are_said() {
    let bed = Bed::new();
    bed.tool("vitis_hls", &HLS.replace("KERNEL_csynth.xml;;", "renamed.xml;;"));
    let json = bed.build(&["--until", "csynth", "--json"]).ok().json();
    let missing = json["steps"][0]["evidence"]["missing"].as_array().unwrap().clone();
    assert_eq!(missing.len(), 7, "{json}");
    assert_eq!(bed.evidence()["steps"][0]["reports"], json!([]));
}

#[test]
fn a_tool_that_hangs_is_stopped() {
    let bed = Bed::new();
    bed.tool(
        "vitis_hls",
        &HLS.replace("*/csynth.tcl)", "*/csynth.tcl)\necho begun; sleep 600 & wait;;\n*/never)"),
    );
    let begin = Instant::now();
    bed.fails(&["--until", "csynth", "--timeout", "1"], 4, &["longer than 1 s", "--timeout", "csynth.log"]);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    assert_eq!(fs::read_to_string(bed.at("pkg/build/csynth.log")).unwrap(), "begun\n");
}

#[test]
fn an_interrupted_build_stops_its_tool_and_goes_on_later() {
    let bed = Bed::new();
    bed.tool(
        "vitis_hls",
        &HLS.replace("*/csynth.tcl)", "*/csynth.tcl)\necho $$ > ../../tool; sleep 600 & wait;;\n*/never)"),
    );
    let path = format!("{}:{}", bed.at("bin").display(), std::env::var("PATH").unwrap());
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("hypersonic"))
        .current_dir(bed.dir.path())
        .env("PATH", path)
        .args(["build", "pkg", "--until", "csynth", "--skip", "csim"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let tool = loop {
        match fs::read_to_string(bed.at("tool")) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            _ => assert!(begin.elapsed() < Duration::from_secs(120), "the tool was not started"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    // Two at once would work on the same files.
    bed.fails(&["--until", "csynth"], 4, &["another build works in"]);
    let sent =
        std::process::Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(sent.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(4));
    let gone = std::process::Command::new("sh")
        .args(["-c", &format!("kill -0 {tool} 2>/dev/null")])
        .status()
        .unwrap();
    assert!(!gone.success(), "the tool lives on");
    bed.tool("vitis_hls", HLS);
    bed.build(&["--until", "csynth"]).ok();
}

#[test]
fn what_cannot_be_built_is_refused() {
    let bed = Bed::new();
    let dir = bed.dir.path();
    bed.fails(&["--until", "hw_emu"], 2, &["for a part alone", "--platform"]);
    assert_eq!(run!(dir, "build", "none", "--until", "csim").code, 2);
    assert_eq!(run!(dir, "build", "platforms", "--until", "csim").code, 3);
    assert_eq!(run!(dir, "build", "pkg", "--until", "lunch").code, 2);
    // A platform that is not installed is missing, not wrong.
    bed.vitis();
    if can_simulate() {
        let out =
            bed.build(&["--until", "hw", "--skip", "cosim,hw_emu", "--platform", "xilinx_u1", "--json"]);
        assert_eq!(out.code, 4, "{}", out.stderr);
        let json = out.json();
        assert_eq!(json["built"], json!("xo"));
        assert!(json["missing"][0].as_str().unwrap().contains("PLATFORM_REPO_PATHS"), "{json}");
    }
}

#[test]
fn a_card_stands_for_its_platform() {
    let bed = Bed::new();
    bed.vitis();
    let dir = bed.dir.path();
    run!(
        dir,
        "compile",
        MLP.onnx(),
        "-o",
        "pkg",
        "--precision",
        "fixed<12,4>",
        "--platform",
        "U55C",
        "--reuse",
        "8",
        "--force"
    )
    .ok();
    for args in [vec![], vec!["--platform", "u55c"], vec!["--platform", PLATFORM]] {
        let args = [&["--until", "hw", "--skip", "cosim,hw_emu", "--json"], args.as_slice()].concat();
        let json = bed.build(&args).ok().json();
        assert_eq!(json["platform"], json!(PLATFORM));
    }
    // Built once: all three are the same.
    let links: Vec<_> = bed.calls().into_iter().filter(|c| c.starts_with("v++")).collect();
    assert_eq!(links.len(), 1, "{links:?}");
    assert!(links[0].contains("--config ../hls/connectivity.cfg"), "{links:?}");
    bed.fails(&["--until", "hw", "--platform", "U50"], 2, &["compiled for the platform", PLATFORM, "U50"]);
}
