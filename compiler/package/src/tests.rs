use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use hs_hw::{
    Fifo, Io, LayerSchedule, Op, Program, Schedule, Strategy,
    testing::{Config, random_program},
    text,
};

use super::*;

fn schedule(program: &Program) -> Schedule {
    let layer = LayerSchedule { strategy: Strategy::Latency, reuse: 1 };
    Schedule { io: Io::Parallel, layers: vec![layer; program.nodes.len()], fifos: Vec::new() }
}

/// A Program with constants large enough for the side file.
fn program() -> Program {
    let has_weights =
        |p: &Program| p.nodes.iter().any(|n| matches!(&n.op, Op::Dot(d) if d.weight.len() > 20));
    (0..).map(|seed| random_program(seed, &Config::default())).find(has_weights).unwrap()
}

fn writer(program: &Program) -> PackageWriter {
    PackageWriter::new(program, &schedule(program), Arithmetic::Native)
        .unwrap()
        .source(b"a model")
        .file("hls/src/top.cpp", "void top() {}\n")
        .file("report/report.txt", "fine\n")
}

/// A package in a new directory.
fn package() -> (tempfile::TempDir, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("pkg");
    writer(&program()).finish(&out, Overwrite::Never).unwrap();
    (tmp, out)
}

/// Every file below `dir` with its bytes.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn edit(file: PathBuf, change: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(&file).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after);
    fs::write(file, after).unwrap();
}

fn refused(out: &Path) -> String {
    Package::open(out).unwrap_err().to_string()
}

#[test]
fn what_is_written_opens() {
    for seed in 0..60 {
        let tmp = tempfile::tempdir().unwrap();
        let out = tmp.path().join("deep/er/pkg");
        let program = random_program(seed, &Config::default());
        let manifest = writer(&program).finish(&out, Overwrite::Never).unwrap();
        let package = Package::open(&out).unwrap();
        assert_eq!(package.program(), &program);
        assert_eq!(package.schedule(), &schedule(&program));
        assert_eq!(package.manifest(), &manifest);
        assert_eq!(manifest.fingerprint, program.fingerprint());
        assert_eq!(manifest.source_sha256.as_deref(), Some(sha256(b"a model").as_str()));
        assert_eq!(package.read("hls/src/top.cpp").unwrap(), b"void top() {}\n");
        assert!(package.read("../x").is_err());
        package.check_files().unwrap();
        for (port, id) in manifest.inputs.iter().zip(program.inputs()) {
            let node = program.node(id);
            let bits = node.format().width() as usize;
            assert!(
                port.element_bytes * 8 >= bits && (port.element_bytes == 1 || port.element_bytes * 4 < bits)
            );
            assert_eq!(port.row_bytes, node.len() * port.element_bytes);
            assert!(port.row_stride % 4 == 0 && port.row_stride - port.row_bytes < 4);
        }
        // Nothing else is left beside the package.
        assert_eq!(fs::read_dir(out.parent().unwrap()).unwrap().count(), 1);
    }
}

#[test]
fn bytes_are_reproducible() {
    let (_a, a) = package();
    let (_b, b) = package();
    assert_eq!(tree(&a), tree(&b));
    assert_eq!(tree(&a).len(), 5);
    assert!(!tree(&a)[Path::new("weights.bin")].is_empty());
}

#[test]
fn known_digest() {
    assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn changed_files_are_refused() {
    for (file, sign) in [("program.hw", "SHA-256"), ("weights.bin", "SHA-256")] {
        let (_tmp, out) = package();
        let mut bytes = fs::read(out.join(file)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(out.join(file), bytes).unwrap();
        assert!(refused(&out).contains(sign), "{}", refused(&out));
        fs::write(out.join(file), vec![b' '; 1 << 20]).unwrap();
        assert!(refused(&out).contains("more than"), "{}", refused(&out));
        fs::write(out.join(file), "").unwrap();
        assert!(refused(&out).contains("0 bytes"), "{}", refused(&out));
        fs::remove_file(out.join(file)).unwrap();
        assert!(refused(&out).contains("cannot read"), "{}", refused(&out));
    }
    let (_tmp, out) = package();
    fs::write(out.join("report/report.txt"), "fake\n").unwrap();
    let package = Package::open(&out).unwrap();
    assert!(package.check_files().unwrap_err().to_string().contains("SHA-256"));
    assert!(package.read("report/report.txt").is_err());
}

/// Whoever edits the Program and its digest still needs the fingerprint; whoever edits that too has made
/// another Program, which is verified.
#[test]
fn edits_behind_matching_digests_are_refused() {
    let rename = |out: &Path, from: &str, to: &str| {
        edit(out.join(PROGRAM), |t| t.replacen(from, to, 1));
        let bytes = fs::read(out.join(PROGRAM)).unwrap();
        let mut manifest: Manifest = serde_json::from_slice(&fs::read(out.join(MANIFEST)).unwrap()).unwrap();
        let entry = manifest.files.iter_mut().find(|f| f.path == PROGRAM).unwrap();
        entry.bytes = bytes.len() as u64;
        entry.sha256 = sha256(&bytes);
        fs::write(out.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
    };
    let (_tmp, out) = package();
    rename(&out, "\"x0\"", "\"z0\"");
    assert!(refused(&out).contains("fingerprint"), "{}", refused(&out));
    let (_tmp, out) = package();
    rename(&out, "index: 0", "index: 7");
    assert!(refused(&out).contains("not valid"), "{}", refused(&out));
    let (_tmp, out) = package();
    rename(&out, "index: 0", "index: zero");
    assert!(refused(&out).contains("line 3"), "{}", refused(&out));
}

#[test]
fn foreign_manifests_are_refused_with_advice() {
    let with = |from: &str, to: &str| {
        let (_tmp, out) = package();
        edit(out.join(MANIFEST), |t| t.replacen(from, to, 1));
        refused(&out)
    };
    let version = with("\"format_version\": 2", "\"format_version\": 99, \"colour\": 3");
    assert!(version.contains("format 99") && version.contains("compile the model again"), "{version}");
    assert!(version.contains(concat!("hypersonic ", env!("CARGO_PKG_VERSION"))), "{version}");
    assert!(with("\"kernel_abi\": 1", "\"kernel_abi\": 2").contains("kernel ABI 2"));
    assert!(with("hypersonic-package", "other-package").contains("not a package"));
    assert!(with("\"model\"", "\"colour\": 3, \"model\"").contains("unknown field `colour`"));
    assert!(with("\"x0\"", "\"x9\"").contains("its inputs are not those of program.hw"));
    assert!(with("\"y0\"", "\"y9\"").contains("its outputs are not those of program.hw"));
    assert!(with("\"row_stride\": ", "\"row_stride\": 1").contains("not those of program.hw"));
    assert!(with("\"reuse\": 1", "\"reuse\": 0").contains("reuse 0"));
    assert!(
        with("\"fifos\": []", "\"fifos\": [{\"from\": 9999, \"to\": null, \"depth\": 1}]").contains("9999")
    );
    assert!(with("\"program.hw\"", "\"program.ho\"").contains("does not list program.hw"));
    assert!(with("{", "[").contains("not a package"));
}

#[test]
fn a_kernel_is_the_models() {
    let program = program();
    let (inputs, outputs) = Port::of(&program);
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let kernel = Kernel {
        name: "net_kernel".to_owned(),
        inputs: names("x_", inputs.len()),
        outputs: names("y_", outputs.len()),
        rows: "rows".to_owned(),
        weights: Some(KernelWeights {
            argument: "weights".to_owned(),
            path: "hls/w.bin".to_owned(),
            bytes: 3,
        }),
        part: "xcu55c-fsvh2892-2L-e".to_owned(),
        platform: None,
        clock_mhz: 250,
        compute_units: 1,
    };
    let write = |change: &dyn Fn(&mut Kernel)| {
        let tmp = tempfile::tempdir().unwrap();
        let mut kernel = kernel.clone();
        change(&mut kernel);
        let out = tmp.path().join("pkg");
        writer(&program).file("hls/w.bin", "abc").kernel(kernel).finish(&out, Overwrite::Never)?;
        Package::open(&out).map(|p| p.manifest().kernel.clone())
    };
    assert_eq!(write(&|_| ()).unwrap(), Some(kernel.clone()));
    let refused = |change: &dyn Fn(&mut Kernel)| write(change).unwrap_err().to_string();
    assert!(refused(&|k| drop(k.inputs.pop())).contains(" inputs, the model has "));
    assert!(refused(&|k| k.outputs.push("z".to_owned())).contains(" outputs, the model has "));
    assert!(refused(&|k| k.rows = "x_0".to_owned()).contains("'x_0' is given twice"));
    assert!(refused(&|k| k.name = "a; rm -rf".to_owned()).contains("is no C++ name"));
    assert!(refused(&|k| k.weights.as_mut().unwrap().bytes = 4).contains("hls/w.bin has 3"));
    assert!(
        refused(&|k| k.weights.as_mut().unwrap().path = "../w.bin".to_owned()).contains("no file '../w.bin'")
    );
}

#[test]
fn manifests_cannot_point_outside() {
    let (tmp, out) = package();
    fs::write(tmp.path().join("secret"), "fine\n").unwrap();
    edit(out.join(MANIFEST), |t| t.replace("report/report.txt", "../secret"));
    let error = Package::open(&out).unwrap().read("../secret").unwrap_err().to_string();
    assert!(error.contains("stay inside"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let (tmp, out) = package();
    fs::rename(out.join("report"), tmp.path().join("elsewhere")).unwrap();
    symlink(tmp.path().join("elsewhere"), out.join("report")).unwrap();
    let error = Package::open(&out).unwrap().read("report/report.txt").unwrap_err().to_string();
    assert!(error.contains("not a directory"), "{error}");
    fs::rename(out.join(PROGRAM), tmp.path().join("text")).unwrap();
    symlink(tmp.path().join("text"), out.join(PROGRAM)).unwrap();
    assert!(refused(&out).contains("not a plain file"));

    let link = tmp.path().join("link");
    symlink(tmp.path().join("elsewhere"), &link).unwrap();
    let error = writer(&program()).finish(&link, Overwrite::Package).unwrap_err().to_string();
    assert!(error.contains("not a directory"), "{error}");
}

#[test]
fn paths_stay_inside() {
    let tmp = tempfile::tempdir().unwrap();
    let out = tmp.path().join("pkg");
    let long = "a/".repeat(600);
    for path in [
        "",
        "/etc/x",
        "../x",
        "a/../x",
        "a//b",
        "a/",
        "./a",
        "a\\b",
        "C:x",
        "a\nb",
        "a\0b",
        &long,
        "manifest.json",
        "Program.hw",
        "weights.bin",
        "evidence.json",
        "Evidence.JSON",
        "build/log",
        "BUILD",
        "hls/src/top.cpp",
        "HLS/src/TOP.cpp",
        "hls",
        "hls/src/top.cpp/x",
    ] {
        let error = writer(&program()).file(path, "x").finish(&out, Overwrite::Never).unwrap_err();
        assert!(matches!(error, PackageError::BadPath { .. }), "{path:?}: {error}");
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0, "{path:?} left something");
    }
    writer(&program())
        .file("hls/src/other.cpp", "x")
        .file("π/ b.txt", "x")
        .finish(&out, Overwrite::Never)
        .unwrap();
    Package::open(&out).unwrap().check_files().unwrap();
}

#[test]
fn only_packages_are_replaced_and_only_when_asked() {
    let (tmp, out) = package();
    let before = tree(&out);
    let other = random_program(1, &Config::default());
    let refused = |path: &Path, overwrite| writer(&other).finish(path, overwrite).unwrap_err().to_string();
    assert!(refused(&out, Overwrite::Never).contains("exists; allow overwriting"));
    assert_eq!(tree(&out), before);
    fs::write(out.join("built.xclbin"), "x").unwrap();
    writer(&other).finish(&out, Overwrite::Package).unwrap();
    assert_eq!(Package::open(&out).unwrap().program(), &other);
    assert!(!out.join("built.xclbin").exists());
    // A damaged package, or one of another version, can be replaced as well.
    edit(out.join(MANIFEST), |t| t.replace("\"format_version\": 2", "\"format_version\": 3"));
    writer(&other).finish(&out, Overwrite::Package).unwrap();
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);

    let full = tmp.path().join("full");
    fs::create_dir(&full).unwrap();
    writer(&other).finish(&full, Overwrite::Never).unwrap();
    Package::open(&full).unwrap();
    let precious = tmp.path().join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("thesis.tex"), "x").unwrap();
    assert!(refused(&precious, Overwrite::Package).contains("not a package"));
    let file = precious.join("thesis.tex");
    assert!(refused(&file, Overwrite::Package).contains("not a directory"));
    assert!(refused(Path::new("/"), Overwrite::Package).contains("name a new directory"));
    assert_eq!(fs::read(&file).unwrap(), b"x");
    assert!(!Package::is_package(&precious) && !Package::is_package(&file) && Package::is_package(&full));
    assert!(refused(&file.join("pkg"), Overwrite::Never).contains("cannot"));
}

#[test]
fn bad_programs_and_schedules_are_not_written() {
    let mut bad = program();
    let good = schedule(&bad);
    assert!(PackageWriter::new(&bad, &good, Arithmetic::Hls4ml).is_ok());
    let mut short = good.clone();
    short.layers.pop();
    let error = PackageWriter::new(&bad, &short, Arithmetic::Native).unwrap_err();
    assert!(error.to_string().contains("layers for"), "{error}");
    bad.nodes[0].shape = vec![0];
    let error = PackageWriter::new(&bad, &good, Arithmetic::Native).unwrap_err();
    assert!(matches!(error, PackageError::Invalid(_)), "{error}");
}

fn step(step: Step, lut: u64) -> StepEvidence {
    StepEvidence {
        step,
        date: "2026-01-02T03:04:05Z".to_owned(),
        tools: vec![Tool { name: "vitis_hls".to_owned(), version: "2023.2".to_owned() }],
        part: "xcu55c-fsvh2892-2L-e".to_owned(),
        platform: None,
        figures: Figures {
            latency_cycles: Some(Cycles { min: 10, max: 20 }),
            estimated_clock_ns: Some(2.5),
            resources: Resources { lut: Some(lut), ..Resources::default() },
            ..Figures::default()
        },
        missing: vec!["the latency of a row".to_owned()],
        reports: Vec::new(),
    }
}

#[test]
fn evidence_is_read_as_it_was_written() {
    let (_tmp, out) = package();
    let package = Package::open(&out).unwrap();
    assert_eq!(package.evidence().unwrap(), None);
    let mut evidence = Evidence::of(&package);
    evidence.record(step(Step::Hw, 3));
    evidence.record(step(Step::Csynth, 1));
    evidence.record(step(Step::Csynth, 2));
    package.write_evidence(&evidence).unwrap();
    let found = package.evidence().unwrap().unwrap();
    assert_eq!(found, evidence);
    assert_eq!(found.steps.iter().map(|s| s.step).collect::<Vec<_>>(), [Step::Csynth, Step::Hw]);
    assert_eq!(found.step(Step::Csynth).unwrap().figures.resources.lut, Some(2));
    assert_eq!(found.step(Step::Cosim), None);
    let names: Vec<_> = tree(&out).into_keys().filter(|p| p.to_string_lossy().contains("evidence")).collect();
    assert_eq!(names, [PathBuf::from("evidence.json")]);
    // The package is still one, and all its files are still what they were.
    Package::open(&out).unwrap().check_files().unwrap();
}

#[test]
fn evidence_of_another_package_is_refused() {
    let (_tmp, out) = package();
    let package = Package::open(&out).unwrap();
    package.write_evidence(&Evidence::of(&package)).unwrap();
    let refused = |package: &Package| package.evidence().unwrap_err().to_string();

    let other = random_program(1, &Config::default());
    let there = out.with_file_name("other");
    writer(&other).finish(&there, Overwrite::Never).unwrap();
    let another = Package::open(&there).unwrap();
    assert!(another.write_evidence(&Evidence::of(&package)).unwrap_err().to_string().contains("fingerprint"));
    assert_eq!(another.evidence().unwrap(), None);
    fs::copy(out.join("evidence.json"), there.join("evidence.json")).unwrap();
    assert!(refused(&another).contains("fingerprint"), "{}", refused(&another));

    // The same bits, laid out differently.
    let relaid = out.with_file_name("relaid");
    writer(&program()).file("hls/options.tcl", "set part x\n").finish(&relaid, Overwrite::Never).unwrap();
    fs::copy(out.join("evidence.json"), relaid.join("evidence.json")).unwrap();
    let relaid = Package::open(&relaid).unwrap();
    assert_eq!(relaid.manifest().fingerprint, package.manifest().fingerprint);
    assert!(refused(&relaid).contains("another HLS project"), "{}", refused(&relaid));

    let at = out.join("evidence.json");
    edit(at.clone(), |t| t.replace("\"format_version\": 1", "\"format_version\": 2, \"colour\": 3"));
    assert!(refused(&package).contains("version 2"), "{}", refused(&package));
    edit(at.clone(), |t| t.replace("hypersonic-evidence", "gossip"));
    assert!(refused(&package).contains("'gossip'"), "{}", refused(&package));
    fs::write(&at, "{").unwrap();
    assert!(refused(&package).contains("remove it and build again"), "{}", refused(&package));
    fs::remove_file(&at).unwrap();
    fs::create_dir(&at).unwrap();
    assert!(refused(&package).contains("not a plain file"), "{}", refused(&package));
}

/// A node that only moves data may have no process of its own: the FIFO leads from the node before it to the one behind.
#[test]
fn a_fifo_leads_past_a_reshape() {
    let text = r#"program "p" version 1
%0 = input "x" {index: 0, tensor: "x", onnx_shape: [2, 2, 1], perm: [0, 1, 2]} : [2, 2, 1] fixed<8,4,RND,SAT>
%1 = permute(%0) "turned" {perm: [1, 0, 2]} : [2, 2, 1] fixed<8,4,RND,SAT>
%2 = reshape(%1) "flat" {} : [4] fixed<8,4,RND,SAT>
%3 = requant(%2) "narrow" {act: none} : [4] fixed<4,4,RND,SAT>
%4 = requant(%3) "wide" {act: none} : [4] fixed<8,4,RND,SAT>
%5 = output(%4) "y" {index: 0, tensor: "y", onnx_shape: [4], perm: [0]} : [4] fixed<8,4,RND,SAT>
"#;
    let program = text::parse(text).unwrap();
    let written = |from, to| {
        let fifos = vec![Fifo { from, to: Some((to, 0)), depth: 2 }];
        let schedule = Schedule { io: Io::Stream, fifos, ..schedule(&program) };
        PackageWriter::new(&program, &schedule, Arithmetic::Native).is_ok()
    };
    assert!(written(0, 3) && written(1, 3) && written(3, 4));
    assert!(!written(0, 4) && !written(4, 3) && !written(3, 3));
}
