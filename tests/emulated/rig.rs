//! A folder with a package, its xclbin and a bed; programs run in it.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hs_xrt_emu::bed::{Bed, BedError, Cards, Emconfig, End};

/// Set in a child, to the name of its test.
const CHILD: &str = "HYPERSONIC_TEST_CHILD";
const LIMIT: Duration = Duration::from_secs(120);

/// Names in the folder: a child starts in it.
pub(crate) const PACKAGE: &str = "pkg";
pub(crate) const XCLBIN: &str = "net.xclbin";
pub(crate) const FAULTS: &str = "faults";
pub(crate) const IMAGES: &str = "images";

pub(crate) struct Rig {
    dir: tempfile::TempDir,
    bed: Bed,
}

/// The binary, to be run.
pub(crate) fn hypersonic() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin("hypersonic"))
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr));
}

impl Rig {
    /// One whose package `write` writes, with so many compute units and cards; none, and it is said why, without XRT.
    pub(crate) fn new(write: impl FnOnce(&Path), units: u32, cards: u32) -> Option<Self> {
        let cards = Cards::Of(Emconfig { cards, ..Emconfig::default() });
        let bed = match Bed::new(&assert_cmd::cargo::cargo_bin("hypersonic"), &cards) {
            Err(why @ BedError::NoXrt(_)) => {
                println!("SKIPPED: {why}");
                return None;
            }
            bed => bed.unwrap(),
        };
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(PACKAGE));
        let units = units.to_string();
        let mut build = hypersonic();
        succeed(
            build
                .current_dir(dir.path())
                .args(["build", PACKAGE, "--target", "emu", "--cus", &units, "-o", XCLBIN]),
        );
        Some(Self { dir, bed })
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs a program in the folder; how it ended, and what it said.
    pub(crate) fn run(&self, program: &mut Command) -> (End, String) {
        let output = self.at("output");
        let file = File::create(&output).unwrap();
        program.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        program.current_dir(self.dir.path());
        program.env("HYPERSONIC_EMU_FAULTS", self.at(FAULTS)).env("HYPERSONIC_EMU_IMAGES", self.at(IMAGES));
        let end = self.bed.run(program, Some(LIMIT), &|| false).unwrap();
        (end, String::from_utf8_lossy(&fs::read(output).unwrap()).into_owned())
    }
}

/// In the parent a rig, in which the same test is run again; in the child its body.
pub(crate) fn run(test: &str, rig: impl FnOnce() -> Option<Rig>, body: impl FnOnce()) {
    let Some((end, said)) = run_to_an_end(test, rig, body) else { return };
    assert_eq!(end, End::Exit(0), "{test}:\n{said}");
}

/// The same, for bodies that do not end well; none in the child, and where there is no XRT.
pub(crate) fn run_to_an_end(
    test: &str,
    rig: impl FnOnce() -> Option<Rig>,
    body: impl FnOnce(),
) -> Option<(End, String)> {
    let (_, test) = test.split_once("::").unwrap();
    if env::var(CHILD).is_ok_and(|child| child == test) {
        body();
        // Not by XRT's destructors: see the documentation of `hs-xrt`.
        hs_xrt::leave(0);
    }
    let rig = rig()?;
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(CHILD, test);
    let (end, said) = rig.run(&mut child);
    assert!(said.contains("running 1 test"), "{test} was not run:\n{said}");
    Some((end, said))
}

/// Makes a test whose body runs in a rig, in a process of its own: XRT may end it.
macro_rules! in_rig {
    (fn $name:ident($rig:expr) $body:block) => {
        #[test]
        fn $name() {
            crate::rig::run(concat!(module_path!(), "::", stringify!($name)), || $rig, || $body);
        }
    };
}
pub(crate) use in_rig;
