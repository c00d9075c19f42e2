//! Bitstreams in registries: folders, S3 by a stand-in for the `aws` program, and by the real one.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::{Run, bitstream::Bed, listing};

/// A folder in which the binary runs, with `aws` in front of its PATH, and nothing of the user's.
pub(crate) struct Sandbox {
    pub(crate) bed: Bed,
    pub(crate) env: Vec<(&'static str, OsString)>,
}

impl Sandbox {
    /// With the stand-in.
    pub(crate) fn new() -> Self {
        let bed = Bed::new();
        bed.write();
        let fake = bed.path().join("fake");
        fs::create_dir(&fake).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/aws");
        let mut path = vec![program];
        // The stand-in's interpreter: that of the tests, where there is one, starts sooner than many a system's.
        let python = std::env::var_os("HYPERSONIC_PYTHON").map(PathBuf::from);
        path.extend(python.and_then(|p| Some(p.parent()?.to_owned())));
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        let path = std::env::join_paths(path).unwrap();
        let env = vec![("PATH", path), ("FAKE_AWS", fake.into()), ("HOME", bed.path().join("home").into())];
        Self { bed, env }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.bed.path().to_owned()
    }

    /// Runs the binary; none where a signal ended it.
    pub(crate) fn try_run(&self, args: &[&str]) -> Option<Run> {
        let mut command = Command::cargo_bin("hypersonic").unwrap();
        for name in ["HYPERSONIC_REGISTRY", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
            command.env_remove(name);
        }
        let out =
            command.current_dir(self.path()).envs(self.env.iter().cloned()).args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Some(Run { code: out.status.code()?, stdout: text(out.stdout), stderr: text(out.stderr) })
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.try_run(args).expect("no signal")
    }

    /// The calls of `aws`.
    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.path().join("fake/calls")).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    pub(crate) fn fake(&self, file: &str, text: &str) {
        fs::write(self.path().join("fake").join(file), text).unwrap();
    }
}

fn names(list: &Value) -> Vec<&str> {
    list["bitstreams"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect()
}

#[test]
fn register_and_list_in_the_users_folder() {
    let sandbox = Sandbox::new();
    let empty = sandbox.run(&["bitstream", "list"]).ok().stdout;
    assert!(empty.contains("no bitstreams") && empty.contains("bitstream register"), "{empty}");
    let run = sandbox.run(&["bitstream", "register", "f.xclbin", "--package", "pkg", "--json"]).ok().json();
    let folder = sandbox.path().join("home/.local/share/hypersonic/bitstreams");
    assert_eq!(run["registry"], json!(folder.to_str().unwrap()));
    let manifest = &run["manifest"];
    let fingerprint = sandbox.bed.builder.user.as_ref().unwrap().fingerprint.to_string();
    assert_eq!((&manifest["name"], &manifest["fingerprint"]), (&json!("f"), &json!(fingerprint)));
    assert_eq!(manifest["kernel"][0]["compute_units"], json!(["one", "two"]));
    let (file, golden) =
        (manifest["file"]["name"].as_str().unwrap(), manifest["golden"]["name"].as_str().unwrap());
    let mut expected = [file, golden, "f.toml"];
    expected.sort_unstable();
    assert_eq!(listing(&folder), expected);
    assert_eq!(fs::read(folder.join(file)).unwrap(), fs::read(sandbox.path().join("f.xclbin")).unwrap());
    // The golden vectors are the model's.
    let golden = folder.join(golden);
    let verified = sandbox.run(&["golden", "verify", "pkg", golden.to_str().unwrap(), "--json"]).ok().json();
    assert_eq!(verified["rows"], json!(64), "{verified}");

    // Again: the same file, and nothing changes.
    let again = sandbox.run(&["bitstream", "register", "f.xclbin", "--package", "pkg", "--json"]).ok().json();
    assert_eq!(again["manifest"]["golden"], manifest["golden"]);
    assert_eq!(listing(&folder).len(), 3);
    let text = sandbox.run(&["bitstream", "list", "--package", "pkg"]).ok().stdout;
    assert!(
        text.contains("xilinx_u55c_gen3x16_xdma_3_202210_1") && text.contains(&fingerprint[..16]),
        "{text}"
    );
    assert_eq!(sandbox.calls(), Vec::<Vec<String>>::new());
}

#[test]
fn register_refuses_what_does_not_fit() {
    let mut sandbox = Sandbox::new();
    let register = |sandbox: &Sandbox, more: &[&str]| {
        let args = ["bitstream", "register", "f.xclbin", "--package", "pkg", "--registry", "reg"];
        sandbox.run(&[&args[..], more].concat())
    };
    let refused = |run: &Run, code: i32, words: &[&str]| {
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
        assert!(words.iter().all(|w| run.stderr.contains(w)), "{words:?}: {}", run.stderr);
    };
    let good = sandbox.bed.builder.clone();
    sandbox.bed.builder.user.as_mut().unwrap().fingerprint.0[0] ^= 1;
    sandbox.bed.write();
    refused(&register(&sandbox, &[]), 3, &["f.xclbin has the fingerprint", "another model"]);
    sandbox.bed.builder = good.clone();
    sandbox.bed.builder.kernels[0].name = "other_kernel".to_owned();
    sandbox.bed.write();
    refused(&register(&sandbox, &[]), 3, &["does not fit the package", "other_kernel"]);
    fs::write(sandbox.path().join("f.xclbin"), "nonsense").unwrap();
    refused(&register(&sandbox, &[]), 3, &["f.xclbin", "no xclbin"]);
    sandbox.bed.builder = good;
    sandbox.bed.write();
    refused(&register(&sandbox, &["--afi", "afi-0123456789abcdef0"]), 2, &["names no AWS image"]);
    refused(&register(&sandbox, &["--name", "../up"]), 2, &["../up", "not a name of"]);
    let golden = sandbox.path().join("golden.npz");
    let other = Bed::new();
    let args = ["golden", "write", "m.onnx", "--precision", "fixed<8,4>", "--rows", "2", "-o"];
    fs::copy(crate::MLP.onnx(), other.path().join("m.onnx")).unwrap();
    let args: Vec<OsString> = args.iter().map(OsString::from).chain([golden.into_os_string()]).collect();
    crate::hypersonic(other.path(), &args).ok();
    refused(&register(&sandbox, &["--golden", "golden.npz"]), 3, &["golden.npz", "fingerprint"]);
    assert!(!sandbox.path().join("reg").exists(), "nothing was registered");

    // Another bitstream of the same name must be meant.
    register(&sandbox, &[]).ok();
    sandbox.bed.builder.clock_mhz = 200;
    sandbox.bed.write();
    refused(&register(&sandbox, &[]), 3, &["'f' already", "--replace"]);
    register(&sandbox, &["--replace"]).ok();
    let list = sandbox.run(&["bitstream", "list", "--registry", "reg", "--json"]).ok().json();
    assert_eq!(list["bitstreams"][0]["clock_mhz"], json!(200));
}

#[test]
fn list_warns_of_what_it_cannot_read() {
    let sandbox = Sandbox::new();
    sandbox.run(&["bitstream", "register", "f.xclbin", "--package", "pkg", "--registry", "reg"]).ok();
    let folder = sandbox.path().join("reg");
    let good = fs::read_to_string(folder.join("f.toml")).unwrap();
    fs::write(folder.join("bad.toml"), good.replacen("name = \"f-", "name = \"../f-", 1)).unwrap();
    let run = sandbox.run(&["bitstream", "list", "--registry", "reg"]).ok();
    assert!(run.stderr.contains("reg/bad.toml") && run.stderr.contains("../f-"), "{}", run.stderr);
    let json = sandbox.run(&["bitstream", "list", "--registry", "reg", "--json"]).ok().json();
    assert_eq!((names(&json), json["unreadable"][0]["file"].as_str()), (vec!["f"], Some("bad.toml")));
    // A kernel of another package is not of this one.
    crate::run!(&sandbox.path(), "compile", crate::CNN.onnx(), "-o", "cnn", "--precision", "fixed<12,4>")
        .ok();
    let json =
        sandbox.run(&["bitstream", "list", "--registry", "reg", "--package", "cnn", "--json"]).ok().json();
    assert_eq!(names(&json), [""; 0]);
    let run = sandbox.run(&["bitstream", "list", "--registry", "https://example.org/x"]);
    assert_eq!((run.code, run.stderr.contains("s3://BUCKET/PREFIX")), (2, true), "{}", run.stderr);
}

#[test]
fn a_registry_in_s3_is_reached_without_a_shell() {
    let mut sandbox = Sandbox::new();
    sandbox.env.push(("HYPERSONIC_REGISTRY", "s3://bucket/some/where".into()));
    assert_eq!(names(&sandbox.run(&["bitstream", "list", "--json"]).ok().json()), [""; 0]);
    let args = ["bitstream", "register", "f.xclbin", "--package", "pkg", "--json"];
    let run = sandbox.run(&args).ok().json();
    assert_eq!(run["registry"], json!("s3://bucket/some/where"));
    let bucket = sandbox.path().join("fake/s3/bucket/some/where");
    assert_eq!(listing(&bucket).len(), 3);
    fs::write(bucket.join("bad.toml"), "nonsense").unwrap();
    fs::write(bucket.join("huge.toml"), vec![b' '; 1 << 17]).unwrap();
    fs::write(bucket.join("x;touch pwned.toml"), "").unwrap();
    let json = sandbox.run(&["bitstream", "list", "--json"]).ok().json();
    assert_eq!((names(&json), json["unreadable"].as_array().unwrap().len()), (vec!["f"], 3), "{json}");
    assert!(!sandbox.path().join("pwned.toml").exists());
    // The manifest goes last.
    let targets: Vec<String> = sandbox
        .calls()
        .iter()
        .filter(|c| c[..2] == ["s3", "cp"])
        .map(|c| c.last().unwrap().clone())
        .collect();
    assert_eq!(targets[2], "s3://bucket/some/where/f.toml", "{targets:?}");
    sandbox.run(&args).ok();

    // Without the program, or where it fails, that is said.
    sandbox.env[0].1 = sandbox.path().into();
    let run = sandbox.run(&["bitstream", "list"]);
    assert_eq!((run.code, run.stderr.contains("install the AWS CLI")), (4, true), "{}", run.stderr);
}
