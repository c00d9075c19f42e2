//! `build --target emu` and `xrt-emu`.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use hs_xclbin::{Design, Mode, Xclbin};

use crate::{MLP, Run, listing, run};

fn compiled(dir: &Path, more: &[&str]) -> String {
    let model = MLP.onnx();
    let mut args = vec!["compile", model.to_str().unwrap(), "-o", "pkg", "--precision", "fixed<12,4>"];
    args.extend(more);
    crate::hypersonic(dir, &args).ok();
    hs_package::Package::open(dir.join("pkg")).unwrap().manifest().kernel.clone().unwrap().name
}

#[test]
fn emu_builds_an_xclbin_of_a_package() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = compiled(dir.path(), &[]);
    let json = run!(dir.path(), "build", "pkg", "--target", "emu", "--json").ok().json();
    assert_eq!(json["xclbin"], format!("pkg/build/{kernel}.emu.xclbin"));
    assert_eq!(json["compute_units"], 1);
    assert_eq!(listing(&dir.path().join("pkg/build")), ["emconfig.json", &format!("{kernel}.emu.xclbin")]);
    let bytes = fs::read(dir.path().join(format!("pkg/build/{kernel}.emu.xclbin"))).unwrap();
    let xclbin = Xclbin::parse(&bytes).unwrap();
    assert_eq!(xclbin.header().mode, Mode::SW_EMU);
    run!(dir.path(), "bitstream", "verify", format!("pkg/build/{kernel}.emu.xclbin"), "pkg").ok();

    // The same package gives the same bytes, wherever they are written.
    run!(dir.path(), "build", "pkg", "--target", "emu", "-o", "again.xclbin").ok();
    assert_eq!(fs::read(dir.path().join("again.xclbin")).unwrap(), bytes);
    run!(dir.path(), "build", "pkg", "--target", "emu", "-o", "four.xclbin", "--cus", "4").ok();
    let four = Xclbin::parse(&fs::read(dir.path().join("four.xclbin")).unwrap()).unwrap();
    let design = Design::of(&four).unwrap();
    let names: Vec<_> = design.kernels[0].compute_units.iter().map(|u| u.name.clone()).collect();
    assert_eq!(names, (1..=4).map(|i| format!("{kernel}_{i}")).collect::<Vec<_>>());

    // What the vendor's tool has written stays.
    fs::write(dir.path().join("emconfig.json"), "{}").unwrap();
    run!(dir.path(), "build", "pkg", "--target", "emu", "-o", "again.xclbin").ok();
    assert_eq!(fs::read_to_string(dir.path().join("emconfig.json")).unwrap(), "{}");
}

#[test]
fn emu_has_the_memories_that_the_package_links() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = compiled(dir.path(), &["--platform", "U55C", "--cus", "2", "--reuse", "64"]);
    run!(dir.path(), "build", "pkg", "--target", "emu", "-o", "f.xclbin", "--cus", "3").ok();
    let design =
        Design::of(&Xclbin::parse(&fs::read(dir.path().join("f.xclbin")).unwrap()).unwrap()).unwrap();
    assert_eq!(
        (design.platform.as_str(), design.memories.len()),
        ("xilinx_u55c_gen3x16_xdma_3_202210_1", 32)
    );
    let link = fs::read_to_string(dir.path().join("pkg/hls/connectivity.cfg")).unwrap();
    for (unit, like) in [(0, 1), (1, 2), (2, 1)] {
        let arguments = &design.kernels[0].arguments;
        for (id, argument) in arguments.iter().enumerate().filter(|(_, a)| a.name != "rows") {
            let banks: Vec<_> = design.kernels[0].compute_units[unit].banks_of(id).collect();
            let tag = design.memories[banks[0]].tag.trim_end_matches(']');
            let line = format!("sp={kernel}_{like}.{}:{tag}", argument.name);
            assert!(banks.len() == 1 && link.contains(&line), "{line} is not in\n{link}");
        }
    }
}

#[test]
fn emu_refuses_what_does_not_go_together() {
    let dir = tempfile::tempdir().unwrap();
    compiled(dir.path(), &[]);
    for (args, word) in [
        (&["build", "pkg"][..], "--until"),
        (&["build", "pkg", "--target", "emu", "--until", "csim"], "cannot be used with"),
        (&["build", "pkg", "--target", "hw"], "invalid value"),
        (&["build", "pkg", "--until", "csim", "--cus", "2"], "cannot be used with"),
        (&["build", "pkg", "--target", "emu", "--cus", "32"], "32"),
        (&["build", "nowhere", "--target", "emu"], "is no package"),
        (&["xrt-emu", "true"], "unexpected argument"),
        (&["xrt-emu"], "PROGRAM"),
        (&["xrt-emu", "--devices", "0", "--", "true"], "0"),
        (&["xrt-emu", "--devices", "2", "--emconfig", "f", "--", "true"], "cannot be used with"),
    ] {
        let run = crate::hypersonic(dir.path(), args);
        assert!(run.code == 2 && run.stderr.contains(word), "{args:?}: {}\n{}", run.code, run.stderr);
    }
    let run = run!(dir.path(), "build", "pkg", "--target", "emu", "-o", "no/such/folder/f.xclbin");
    assert!(run.code == 3 && run.stderr.contains("no/such/folder"), "{}", run.stderr);
    let run = run!(dir.path(), "xrt-emu", "--emconfig", "nowhere.json", "--", "true");
    assert!(run.code == 3 && run.stderr.contains("nowhere.json"), "{}", run.stderr);
    assert_eq!(listing(dir.path()), ["pkg"]);
}

/// None, and it is said why, where there is no XRT.
fn xrt_emu(dir: &Path, args: &[&str]) -> Option<Run> {
    let run = crate::hypersonic(dir, &[&["xrt-emu"], args].concat());
    if run.code == 4 && run.stderr.contains("libxrt1") {
        eprintln!("SKIPPED: {}", run.stderr);
        return None;
    }
    Some(run)
}

#[test]
fn xrt_emu_ends_as_its_program() {
    let dir = tempfile::tempdir().unwrap();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let Some(run) = xrt_emu(dir.path(), &["--", "sh", "-c", script]) else { return };
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{script}: {}", run.stderr);
    }
    let run = xrt_emu(dir.path(), &["--json", "--", "sh", "-c", "echo said; exit 7"]).unwrap();
    let json = run.json();
    assert_eq!((run.code, run.stderr.as_str()), (7, "said\n"));
    assert_eq!((&json["exit_code"], &json["ok"]), (&7.into(), &false.into()));
    let run = xrt_emu(dir.path(), &["--", "no-such-program"]).unwrap();
    assert!(run.code == 2 && run.stderr.contains("'no-such-program' cannot be started"), "{}", run.stderr);

    // Beds go as they came.
    let script = "echo $XILINX_XRT; echo $XILINX_VITIS; ls $EMCONFIG_PATH $XILINX_XRT/lib/libxrt_swemu.so.2";
    let said = xrt_emu(dir.path(), &["--", "sh", "-c", script]).unwrap().ok().stdout;
    for folder in said.lines().take(2) {
        assert!(folder.starts_with("/tmp/hsbed") && !Path::new(folder).exists(), "{said}");
    }
    assert!(said.contains("emconfig.json") && said.contains("libxrt_swemu.so.2"), "{said}");
    assert_eq!(listing(dir.path()), [""; 0]);
}

#[test]
fn xrt_emu_kills_what_takes_too_long_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let alive = dir.path().join("alive");
    // One child in the program's group, one in a group of its own.
    let loops = "(while :; do touch alive; sleep 0.05; done) & (setsid sh -c 'while :; do touch alive; sleep 0.05; done') & wait";
    let begin = Instant::now();
    let Some(run) = xrt_emu(dir.path(), &["--timeout", "1", "--", "sh", "-c", loops]) else { return };
    assert!(run.code == 124 && run.stderr.contains("killed after 1 s"), "{}", run.stderr);
    assert!(alive.exists() && begin.elapsed() < Duration::from_secs(20));
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_file(&alive).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(!alive.exists(), "a child lives on");
}

#[test]
fn xrt_emu_stops_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_) = xrt_emu(dir.path(), &["--", "true"]) else { return };
    let mut emu = Command::new(assert_cmd::cargo::cargo_bin("hypersonic"));
    emu.args([
        "xrt-emu",
        "--",
        "sh",
        "-c",
        "trap 'echo ended > told; exit' TERM; echo $XILINX_XRT > on; while :; do sleep 0.05; done",
    ]);
    let mut emu = emu.current_dir(dir.path()).spawn().unwrap();
    let on = dir.path().join("on");
    while !fs::read_to_string(&on).is_ok_and(|text| text.ends_with('\n')) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = emu.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap().success());
    assert_eq!(emu.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_to_string(dir.path().join("told")).unwrap(), "ended\n");
    assert!(!Path::new(fs::read_to_string(on).unwrap().trim()).exists());
}

#[test]
fn xrt_emu_takes_its_program_along_when_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_) = xrt_emu(dir.path(), &["--", "true"]) else { return };
    let mut emu = Command::new(assert_cmd::cargo::cargo_bin("hypersonic"));
    emu.args([
        "xrt-emu",
        "--",
        "sh",
        "-c",
        "echo $XILINX_XRT > on; while :; do touch alive; sleep 0.05; done",
    ]);
    let mut emu = emu.current_dir(dir.path()).spawn().unwrap();
    let alive = dir.path().join("alive");
    while !alive.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    emu.kill().unwrap();
    emu.wait().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_file(&alive).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(!alive.exists(), "the program lives on");
    // Nobody was left to remove the bed.
    let bed = fs::read_to_string(dir.path().join("on")).unwrap();
    fs::remove_dir_all(Path::new(bed.trim()).parent().unwrap()).unwrap();
}
