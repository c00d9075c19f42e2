//! `examples/ci/verify-models`, as a repository of models would run it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{Fixture, MLP, run, served::Server};

/// A directory with a model, as the script wants it.
fn model_dir(root: &Path, fixture: &Fixture, options: &str) -> PathBuf {
    let dir = root.join("models/digits");
    fs::create_dir_all(&dir).unwrap();
    fs::copy(fixture.onnx(), dir.join("model.onnx")).unwrap();
    fs::copy(fixture.x(), dir.join("X.npy")).unwrap();
    fs::copy(fixture.labels(), dir.join("labels.npy")).unwrap();
    fs::write(dir.join("options"), format!("{options}\n")).unwrap();
    dir
}

fn script(root: &Path, args: &[&str]) -> (i32, String) {
    script_with(root, args, "")
}

/// `server`: its URL, or nothing.
fn script_with(root: &Path, args: &[&str], server: &str) -> (i32, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci/verify-models");
    let Output { status, stdout, stderr } = Command::new("bash")
        .arg(script)
        .args(args)
        .current_dir(root)
        .env("HYPERSONIC", assert_cmd::cargo::cargo_bin("hypersonic"))
        .env_remove("MAX_LOSS")
        .env_remove("CSIM")
        .env("SERVER", server)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().unwrap(), text)
}

#[test]
fn a_repository_of_models() {
    let root = tempfile::tempdir().unwrap();
    let dir = model_dir(root.path(), &MLP, "--precision fixed<16,6>");
    let (code, text) = script(root.path(), &["models/digits"]);
    assert_eq!(code, 1, "no golden vectors yet: {text}");
    let (code, text) = script(root.path(), &["--update", "models/digits"]);
    assert_eq!(code, 0, "{text}");
    assert!(dir.join("golden.npz").is_file());
    let (code, text) = script(root.path(), &["models/digits/"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("all models verified") && text.contains("all equal"), "{text}");

    // A server of the same model, by the directory's name.
    let fill = |repository: &Path| {
        fs::create_dir(repository.join("digits")).unwrap();
        run!(repository, "compile", MLP.onnx(), "-o", "digits/1", "--precision", "fixed<16,6>").ok();
    };
    let server = Server::new(fill, &[], "");
    let [_, url] = server.urls();
    let (code, text) = script_with(root.path(), &["models/digits"], url);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("served values"), "{text}");
    drop(server);

    // Other types are other bits.
    fs::write(dir.join("options"), "--precision fixed<15,6>\n").unwrap();
    let (code, text) = script(root.path(), &["models/digits"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("golden write") && text.contains("FAILED: models/digits"), "{text}");

    // Agreed bits, but useless ones.
    fs::write(dir.join("options"), "--precision fixed<4,2>\n").unwrap();
    let (code, text) = script(root.path(), &["--update", "models/digits"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("accuracy falls"), "{text}");
    assert_eq!(script(root.path(), &[]).0, 2);
}
