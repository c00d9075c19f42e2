//! Tests in processes of their own: XRT is opened once in a process, and may end it.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Set in the child, to the name of its test.
const CHILD: &str = "HS_XRT_CHILD";

const LIMIT: Duration = Duration::from_secs(60);

/// Makes a test whose body runs in a child process, with XRT's variables as `$environment` sets them: a function from a
/// folder, which the child starts in, to variables.
macro_rules! in_child {
    ($(#[$meta:meta])* fn $name:ident($environment:expr) $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            crate::child::run(concat!(module_path!(), "::", stringify!($name)), $environment, || $body);
        }
    };
}
pub(crate) use in_child;

/// Values of variables, by name.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// The folder of XRT's libraries where `noop` emulation can run.
fn libraries() -> Option<PathBuf> {
    let installed = env::var_os("XILINX_XRT").map(|root| Path::new(&root).join("lib"));
    let usual = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/opt/xilinx/xrt/lib"];
    let mut folders = installed.into_iter().chain(usual.map(PathBuf::from));
    folders.find(|lib| {
        ["coreutil", "core", "noop"].iter().all(|l| lib.join(format!("libxrt_{l}.so.2")).is_file())
    })
}

/// `noop` emulation with the libraries of the installed XRT.
pub(crate) fn noop(folder: &Path) -> Variables {
    let mut variables = cards(folder);
    variables.push(("XCL_EMULATION_MODE", "noop".to_owned()));
    variables
}

/// Cards, with the libraries of the installed XRT.
pub(crate) fn cards(folder: &Path) -> Variables {
    let libraries = libraries().expect("the parent has found them");
    std::os::unix::fs::symlink(libraries, folder.join("lib")).unwrap();
    vec![("XILINX_XRT", folder.display().to_string())]
}

#[expect(clippy::print_stdout, reason = "tells why a test did nothing")]
pub(crate) fn run(test: &str, environment: impl FnOnce(&Path) -> Variables, body: impl FnOnce()) {
    let (_, test) = test.split_once("::").unwrap();
    if env::var(CHILD).is_ok_and(|child| child == test) {
        body();
        // Not by XRT's destructors: see the crate's documentation.
        hs_xrt::leave(0);
    }
    if libraries().is_none() {
        println!("SKIPPED: {test} needs XRT's libraries (Debian: apt-get install libxrt1)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    for variable in ["XILINX_XRT", "XILINX_VITIS", "XCL_EMULATION_MODE", "XRT_INI_PATH"] {
        command.env_remove(variable);
    }
    command.args(["--exact", test, "--nocapture"]).env(CHILD, test).envs(environment(folder.path()));
    let output = folder.path().join("output");
    let file = fs::File::create(&output).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null());
    // XRT's signal handlers may end the group that the process is in.
    let mut child = command.current_dir(folder.path()).process_group(0).spawn().unwrap();
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begin.elapsed() > LIMIT {
            let group = format!("-{}", child.id());
            Command::new("kill").args(["-9", "--", &group]).status().unwrap();
            child.wait().unwrap();
            panic!("{test} did not end:\n{}", fs::read_to_string(&output).unwrap());
        }
        thread::sleep(Duration::from_millis(2));
    };
    let said = fs::read_to_string(&output).unwrap();
    assert!(status.success(), "{test}: {status}\n{said}");
    assert!(said.contains("running 1 test"), "{test} was not run:\n{said}");
}
