//! Bitstreams on their way to AWS and to cards.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use hs_xclbin::{Clock, ClockKind, Section, SectionKind, Xclbin};
use serde_json::{Value, json};

use crate::{Run, listing, registry::Sandbox};

const F1: &str = "xilinx_aws-vu9p-f1_shell-v04261818_201920_3";
const INTERFACE: &str = "862c7020a250293e32036f19956669e5";

/// With a bitstream as v++ links it for F1.
fn f1() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.bed.builder.platform = F1.to_owned();
    let (mut header, mut sections) = sandbox.bed.write().into_parts();
    header.time_stamp = 1_709_210_096;
    let clock = |kind, mhz, name: &str| Clock { mhz, kind, name: name.to_owned() };
    let clocks = [
        clock(ClockKind::SYSTEM, 250, "SYSTEM_CLK"),
        clock(ClockKind::DATA, 300, "DATA_CLK"),
        clock(ClockKind::KERNEL, 500, "KERNEL_CLK"),
    ];
    let built =
        json!({ "build_metadata": { "xclbin": { "generated_by": { "name": "v++", "version": "2021.2" } } } });
    for section in &mut sections {
        let data = match section.kind() {
            SectionKind::CLOCK_FREQ_TOPOLOGY => Clock::write(&clocks).unwrap(),
            SectionKind::BUILD_METADATA => built.to_string().into_bytes(),
            _ => continue,
        };
        *section = Section::new(section.kind(), "of v++", data).unwrap();
    }
    sections.push(Section::new(SectionKind::SYSTEM_METADATA, "system", b"{}".to_vec()).unwrap());
    fs::write(sandbox.path().join("f.xclbin"), Xclbin::new(header, sections).to_bytes()).unwrap();
    sandbox
}

const DEPLOY: [&str; 9] =
    ["deploy", "aws-f1", "f.xclbin", "--package", "pkg", "--bucket", "bucket", "--poll", "0"];

fn deploy(sandbox: &Sandbox, more: &[&str]) -> Run {
    sandbox.run(&[&DEPLOY[..], more].concat())
}

fn images(sandbox: &Sandbox) -> usize {
    let text = fs::read_to_string(sandbox.path().join("fake/images")).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str::<Value>(&text).unwrap().as_object().unwrap().len()
}

#[track_caller]
fn refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
    assert!(words.iter().all(|w| run.stderr.contains(w)), "{words:?}: {}", run.stderr);
}

#[test]
fn f1_from_a_bitstream_to_the_registry() {
    let sandbox = f1();
    sandbox.fake("states", "pending\nlost\npending\navailable");
    let run = deploy(&sandbox, &["--region", "us-east-1", "--logs-prefix", "logs", "--json"]).ok();
    let json = run.json();
    assert_eq!((&json["complete"], images(&sandbox)), (&json!(true), 1));
    assert!(json["warnings"].to_string().contains("end of life"), "{json}");
    let image = json!({ "afi": "afi-00000000000000001", "agfi": "agfi-00000000000000001" });
    assert_eq!(json["image"], image);
    let manifest = &json["registered"]["manifest"];
    assert_eq!(manifest["aws"]["afi"], image["afi"]);
    assert_eq!((&manifest["aws"]["region"], &manifest["interfaces"]), (&json!("us-east-1"), &json!(null)));

    // What AWS wants to know, in the words of its flow.
    let stamp = "24_02_29-123456";
    let told = json["aws_manifest"].as_str().unwrap();
    for line in [
        "manifest_format_version=2",
        "pci_device_id=0xF010",
        "shell_version=0x04261818",
        &format!("dcp_hash={}", hs_package::sha256(b"bits")),
        &format!("dcp_file_name={stamp}_SH_CL_routed.dcp"),
        "tool_version=v2021.2",
        &format!("date={stamp}"),
        "clock_main_a0=250",
        "clock_extra_b0=300",
        "clock_extra_c0=500",
    ] {
        assert!(told.lines().any(|l| l == line), "'{line}' is not in:\n{told}");
    }
    // tar reads the archive.
    let folder = sandbox.path().join("f.aws-f1");
    let archive = listing(&folder).into_iter().find(|n| n.ends_with(".tar")).unwrap();
    let uploaded = sandbox.path().join("fake/s3/bucket/hypersonic/dcp").join(&archive);
    assert_eq!(fs::read(&uploaded).unwrap(), fs::read(folder.join(&archive)).unwrap());
    let tar = |args: &[&str]| {
        let out = std::process::Command::new("tar").args(args).arg(&uploaded).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(
        tar(&["-tf"]).lines().collect::<Vec<_>>(),
        [format!("to_aws/{stamp}_SH_CL_routed.dcp"), format!("to_aws/{stamp}_manifest.txt")]
    );
    assert_eq!(tar(&["-xO", "--wildcards", "*.dcp", "-f"]), "bits");
    assert_eq!(tar(&["-xO", "--wildcards", "*.txt", "-f"]), told);

    // The .awsxclbin names the image, is the package's still, and for no shell.
    let file = json["awsxclbin"].as_str().unwrap();
    let shown = sandbox.run(&["bitstream", "inspect", file, "--json"]).ok().json();
    assert_eq!((&shown["aws_image"], &shown["design"]["interfaces"]), (&image["agfi"], &json!([])));
    // 2021.2 keeps the system's diagram.
    assert!(shown["sections"].to_string().contains("SYSTEM_METADATA"), "{shown}");
    let verified = sandbox.run(&["bitstream", "verify", file, "pkg", "--json"]).ok().json();
    assert_eq!(verified["fingerprint_compared"], json!(true));

    let calls = sandbox.calls();
    assert!(calls.iter().all(|c| c.ends_with(&["--region".to_owned(), "us-east-1".to_owned()])), "{calls:?}");
    let create = calls.iter().find(|c| c[1] == "create-fpga-image").unwrap();
    let after = |name: &str| &create[create.iter().position(|w| w == name).unwrap() + 1];
    assert_eq!(after("--input-storage-location"), &format!("Bucket=bucket,Key=hypersonic/dcp/{archive}"));
    assert_eq!(after("--logs-storage-location"), "Bucket=bucket,Key=logs");
    assert_eq!(after("--client-token"), json["client_token"].as_str().unwrap());
    assert!(after("--client-token").len() <= 64);

    // Once more: nothing is asked of AWS again.
    let before = calls.len();
    let again = deploy(&sandbox, &["--region", "us-east-1", "--logs-prefix", "logs", "--json"]).ok().json();
    assert_eq!((sandbox.calls().len(), &again["image"]), (before, &image));
    assert_eq!(again["registered"]["manifest"]["file"], manifest["file"]);
}

#[test]
fn f1_later_releases_lose_the_systems_diagram() {
    let sandbox = f1();
    let json = deploy(&sandbox, &["--tool-version", "2022.1", "--json"]).ok().json();
    let file = json["awsxclbin"].as_str().unwrap();
    let shown = sandbox.run(&["bitstream", "inspect", file, "--json"]).ok().json();
    assert!(!shown["sections"].to_string().contains("SYSTEM_METADATA"), "{shown}");
    assert!(json["aws_manifest"].as_str().unwrap().contains("tool_version=v2022.1\n"));
}

#[test]
fn f1_interrupted_anywhere_goes_on_to_the_same_end() {
    let registry = ["--registry", "s3://registry/f1", "--json"];
    let states = "pending\navailable";
    let whole = f1();
    whole.fake("states", states);
    let expected = deploy(&whole, &registry).ok().json();
    let calls = whole.calls().len();
    assert!(calls >= 8, "{:?}", whole.calls());
    let stored = |sandbox: &Sandbox| {
        let folder = sandbox.path().join("fake/s3/registry/f1");
        let bytes = |name: &String| fs::read(folder.join(name)).unwrap();
        let names = listing(&folder);
        let files: Vec<_> = names.iter().filter(|n| !n.ends_with(".toml")).map(bytes).collect();
        (names, files)
    };
    let sandbox = f1();
    for call in 1..=calls {
        for when in ["before", "after"] {
            for folder in ["fake", "home", "f.aws-f1"] {
                let _ = fs::remove_dir_all(sandbox.path().join(folder));
            }
            fs::create_dir(sandbox.path().join("fake")).unwrap();
            sandbox.fake("states", states);
            sandbox.fake("kill", &format!("{call} {when}"));
            let args = [&DEPLOY[..], &registry].concat();
            assert!(sandbox.try_run(&args).is_none(), "call {call} {when}: not interrupted");
            let json = deploy(&sandbox, &registry).ok().json();
            assert_eq!(images(&sandbox), 1, "call {call} {when}");
            for key in ["image", "complete", "client_token"] {
                assert_eq!(json[key], expected[key], "call {call} {when}");
            }
            assert_eq!(stored(&sandbox), stored(&whole), "call {call} {when}");
        }
    }
}

#[test]
fn f1_images_that_fail_or_take_long() {
    let sandbox = f1();
    sandbox.fake("states", "pending");
    let run = sandbox.run(&[&DEPLOY[..7], &["--timeout", "0", "--json"]].concat());
    let json = run.json();
    assert_eq!((run.code, &json["complete"], &json["registered"]), (4, &json!(false), &json!(null)));
    sandbox.fake("states", "failed UNKNOWN_BITSTREAM_ERROR: bad");
    refused(
        &deploy(&sandbox, &[]),
        3,
        &["afi-00000000000000001", "UNKNOWN_BITSTREAM_ERROR", "--logs-prefix", "--again"],
    );
    // AWS is not asked again before one says so.
    let calls = sandbox.calls().len();
    refused(&deploy(&sandbox, &[]), 3, &["UNKNOWN_BITSTREAM_ERROR"]);
    assert_eq!(sandbox.calls().len(), calls);
    sandbox.fake("states", "available");
    let json = deploy(&sandbox, &["--again", "--json"]).ok().json();
    assert_eq!((&json["image"]["afi"], images(&sandbox)), (&json!("afi-00000000000000002"), 2));
    refused(&deploy(&sandbox, &["--again"]), 2, &["no image", "has failed"]);
    // An image that stays lost, or a state that is none, ends the wait.
    let sandbox = f1();
    sandbox.fake("states", "lost");
    refused(&deploy(&sandbox, &[]), 4, &["InvalidFpgaImageID.NotFound", "run it again"]);
    sandbox.fake("states", "sleeping");
    refused(&deploy(&sandbox, &[]), 4, &["the state 'sleeping'"]);
    assert_eq!(images(&sandbox), 1);
}

#[test]
fn f1_dry_run_does_nothing() {
    let sandbox = f1();
    let before = listing(&sandbox.path());
    let text = deploy(&sandbox, &["--dry-run"]).ok().stdout;
    for word in [
        "aws s3 cp --only-show-errors /",
        "aws ec2 create-fpga-image --name f ",
        "--client-token hypersonic-",
    ] {
        assert!(text.contains(word), "'{word}' is not in:\n{text}");
    }
    let json = deploy(&sandbox, &["--dry-run", "--json"]).ok().json();
    let steps: Vec<_> =
        json["steps"].as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["archive", "upload", "create", "wait", "write", "register"]);
    assert_eq!(json["steps"][2]["commands"][0][1], json!("ec2"));
    assert!(json["steps"].as_array().unwrap().iter().all(|s| s["state"] == "planned"), "{json}");
    assert_eq!((listing(&sandbox.path()), sandbox.calls().len()), (before, 0));
}

#[test]
fn f1_refuses_before_anything_is_uploaded() {
    let mut sandbox = f1();
    refused(&sandbox.run(&["deploy", "aws-f1", "f.xclbin", "--bucket", "bucket"]), 2, &["--package"]);
    refused(
        &sandbox.run(&["deploy", "aws-f1", "pkg", "--bucket", "bucket"]),
        3,
        &["no bitstream", "--until hw"],
    );
    for bad in ["a,Key=b", "../x", "-x", "Ab"] {
        let bucket = format!("--bucket={bad}");
        let run = sandbox.run(&["deploy", "aws-f1", "f.xclbin", "--package", "pkg", &bucket]);
        refused(&run, 2, &["--bucket"]);
    }
    refused(&deploy(&sandbox, &["--dcp-prefix", "a,b"]), 2, &["--dcp-prefix"]);
    refused(&deploy(&sandbox, &["--golden", "nowhere.npz"]), 3, &["nowhere.npz"]);
    // Another bitstream has the name.
    fs::copy(sandbox.path().join("f.xclbin"), sandbox.path().join("good.xclbin")).unwrap();
    sandbox.run(&["bitstream", "register", "f.xclbin", "--package", "pkg"]).ok();
    refused(&deploy(&sandbox, &[]), 3, &["'f' already", "--replace"]);
    sandbox.bed.builder.platform = "xilinx_u55c_gen3x16_xdma_3_202210_1".to_owned();
    sandbox.bed.write();
    refused(&deploy(&sandbox, &[]), 3, &["xilinx_u55c", "not for AWS F1"]);
    sandbox.bed.builder.platform = F1.to_owned();
    sandbox.bed.builder.user.as_mut().unwrap().fingerprint.0[0] ^= 1;
    sandbox.bed.write();
    refused(&deploy(&sandbox, &[]), 3, &["another model"]);
    sandbox.bed.builder.user.as_mut().unwrap().fingerprint.0[0] ^= 1;
    sandbox.bed.builder.mode = hs_xclbin::Mode::HW_EMU;
    sandbox.bed.write();
    refused(&deploy(&sandbox, &[]), 3, &["hw_emu", "not for a card"]);
    sandbox.bed.builder.mode = hs_xclbin::Mode::FLAT;
    sandbox.bed.write();
    refused(&deploy(&sandbox, &["--tool-version", "2021.2"]), 3, &["no system clock"]);
    assert_eq!(sandbox.calls(), Vec::<Vec<String>>::new());

    // The folder of one deployment is not that of another.
    let good = ["deploy", "aws-f1", "good.xclbin", "--package", "pkg", "--poll", "0", "--bucket"];
    sandbox.run(&[&good[..], &["bucket"]].concat()).ok();
    let run = sandbox.run(&[&good[..], &["another"]].concat());
    refused(&run, 2, &["its bucket was 'bucket' and is 'another'", "--work"]);
    fs::write(sandbox.path().join("good.aws-f1/state.json"), "{}").unwrap();
    refused(&sandbox.run(&[&good[..], &["bucket"]].concat()), 3, &["state.json", "not what `deploy` wrote"]);
}

#[test]
fn f2_goes_as_far_as_aws_does() {
    let mut sandbox = Sandbox::new();
    let args = ["deploy", "aws-f2", "f.xclbin", "--package", "pkg"];
    refused(&sandbox.run(&args), 3, &["xilinx_u55c", "not for AWS F2"]);
    sandbox.bed.builder.platform = "xilinx_aws-vu47p-f2_202410_1".to_owned();
    sandbox.bed.write();
    let run = sandbox.run(&args);
    assert_eq!(run.code, 4, "{}", run.stderr);
    for word in ["stopped at 'create'", "AWS makes no FPGA images", "HDK", "emulator"] {
        assert!(run.stdout.contains(word), "'{word}' is not in:\n{}", run.stdout);
    }
    let json = sandbox.run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!((&json["complete"], &json["unsupported"]["step"]), (&json!(false), &json!("create")));
    assert_eq!(sandbox.calls(), Vec::<Vec<String>>::new());
}

/// A card in a made-up sysfs.
fn card(sysfs: &Path, bdf: &str, driver: Option<&str>, interface: &str) {
    let device = sysfs.join("bus/pci/devices").join(bdf);
    fs::create_dir_all(device.join("rom.u.1")).unwrap();
    fs::write(device.join("vendor"), "0x10ee\n").unwrap();
    fs::write(device.join("device"), "0x505d\n").unwrap();
    fs::write(device.join("interface_uuids"), format!("{interface}\n")).unwrap();
    fs::write(device.join("rom.u.1/VBNV"), "xilinx_u55c_gen3x16_xdma_base_3\n").unwrap();
    if let Some(driver) = driver {
        symlink(Path::new("/drivers").join(driver), device.join("driver")).unwrap();
    }
}

#[test]
fn alveo_compares_the_shell_and_registers() {
    let sandbox = Sandbox::new();
    let args = ["deploy", "alveo", "f.xclbin", "--package", "pkg", "--sysfs", "sys"];
    let run = |more: &[&str]| sandbox.run(&[&args[..], more].concat());
    refused(&run(&[]), 4, &["no card", "bitstream register"]);
    let sys = sandbox.path().join("sys");
    let other = INTERFACE.replace('8', "9");
    card(&sys, "0000:3b:00.1", Some("xocl"), &other);
    refused(
        &run(&[]),
        3,
        &["shell interface", "0000:3b:00.1", "862c7020-a250-293e-3203-6f19956669e5", "962c7020"],
    );
    card(&sys, "0000:3c:00.1", None, INTERFACE);
    refused(&run(&["--card", "3c:00.1"]), 4, &["no driver", "0000:3c:00.1", "install XRT"]);
    refused(&run(&["--card", "0000:3d:00.1"]), 4, &["no card 0000:3d:00.1", "0000:3b:00.1, 0000:3c:00.1"]);
    refused(&run(&["--card", "card0"]), 2, &["card0", "0000:3b:00.1"]);
    assert!(!sandbox.path().join("home").exists());
    card(&sys, "0000:3d:00.1", Some("xocl"), INTERFACE);
    let json = run(&["--dry-run", "--json"]).ok().json();
    assert_eq!((&json["cards"][0]["card"], &json["registered"]), (&json!("0000:3d:00.1"), &json!(null)));
    assert!(!sandbox.path().join("home").exists());
    let json = run(&["--json"]).ok().json();
    assert_eq!(json["registered"]["manifest"]["name"], json!("f"));
    let text = run(&[]).ok().stdout;
    assert!(text.contains("Alveo U55C at 0000:3d:00.1"), "{text}");

    // A package that was built has its bitstream with it.
    let built = sandbox.path().join("pkg/build");
    fs::create_dir(&built).unwrap();
    let name = format!("{}.hw", sandbox.bed.builder.kernels[0].name);
    fs::copy(sandbox.path().join("f.xclbin"), built.join(format!("{name}.xclbin"))).unwrap();
    let json = sandbox.run(&["deploy", "alveo", "pkg", "--sysfs", "sys", "--json"]).ok().json();
    assert_eq!(json["registered"]["manifest"]["name"], json!(name));

    // What AWS keeps the bits of is for no card of one's own.
    let (header, mut sections) = sandbox.bed.write().into_parts();
    sections[0] = Section::new(SectionKind::BITSTREAM, "image", b"agfi-0123456789abcdef0".to_vec()).unwrap();
    fs::write(sandbox.path().join("f.xclbin"), Xclbin::new(header, sections).to_bytes()).unwrap();
    refused(&run(&[]), 3, &["f.xclbin is an .awsxclbin", "agfi-0123456789abcdef0"]);
}

/// A process of the test, ended with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The real `aws` program, against moto's S3 and an endpoint of our own for the two calls about images.
#[test]
fn f1_by_the_real_aws_program() {
    let Some(python) = std::env::var_os("HYPERSONIC_PYTHON").map(PathBuf::from) else {
        println!("SKIPPED: aws needs HYPERSONIC_PYTHON (scripts/setup --test, then eval \"$(scripts/env)\")");
        return;
    };
    let bin = python.parent().unwrap().to_owned();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/aws");
    let imports = std::process::Command::new(&python).args(["-c", "import moto.server"]).output().unwrap();
    if !bin.join("aws").is_file() || !imports.status.success() {
        println!("SKIPPED: aws needs awscli and moto beside {} (scripts/setup --test)", python.display());
        return;
    }
    let serve = |script: &Path| {
        let mut child = std::process::Command::new(&python)
            .arg("-B")
            .arg(script)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap_or_else(|e| panic!("{}: {e}: {line}", script.display()));
        (Server(child), format!("http://127.0.0.1:{port}"))
    };
    let (_s3, s3) = serve(&here.join("s3.py"));
    let (_ec2, ec2) = serve(&here.join("endpoint.py"));
    let mut sandbox = f1();
    let mut path = vec![bin.clone()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    sandbox.env[0].1 = std::env::join_paths(path).unwrap();
    for (name, value) in [
        ("AWS_ENDPOINT_URL_S3", s3.as_str()),
        ("AWS_ENDPOINT_URL_EC2", &ec2),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("NO_PROXY", "127.0.0.1"),
    ] {
        sandbox.env.push((name, value.into()));
    }
    // The buckets are there: s3.py makes `bucket`.
    let registry = ["--registry", "s3://bucket/registry", "--json"];
    let json = deploy(&sandbox, &registry).ok().json();
    assert_eq!((&json["complete"], &json["image"]["afi"]), (&json!(true), &json!("afi-00000000000000001")));
    let again = deploy(&sandbox, &registry).ok().json();
    assert_eq!(again["image"], json["image"]);
    let list =
        sandbox.run(&["bitstream", "list", "--registry", "s3://bucket/registry", "--json"]).ok().json();
    assert_eq!(list["bitstreams"][0]["aws"]["agfi"], json["image"]["agfi"]);
    assert_eq!((list["bitstreams"].as_array().unwrap().len(), &list["unreadable"]), (1, &json!([])));
    let run = sandbox.run(&["bitstream", "list", "--registry", "s3://no-such-bucket/registry"]);
    assert_eq!((run.code, run.stderr.contains("NoSuchBucket")), (4, true), "{}", run.stderr);
}
