//! A bed: where programs that use XRT find cards that are not there.
//!
//! It is a private folder that looks to XRT like its own installation and like the vendor's tools. Programs get to it by
//! variables alone ([`Bed::variables`]): nothing on the machine is changed, and beds do not see each other.

mod emconfig;
mod libraries;
mod processes;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

pub use emconfig::Emconfig;
pub use processes::End;

/// The name under which XRT starts the process in the place of a card.
pub const DEVICE_PROCESS: &str = "genericpciemodel";

/// XRT puts its sockets into `/tmp/$USER`, whatever `TMPDIR` says.
const SOCKETS: &str = "/tmp";
/// The variable whose value no other bed has.
const ROOT: &str = "XILINX_XRT";

/// Why there is no bed.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// XRT is not installed.
    #[error(
        "there is no {} in {}; install XRT (Debian, Ubuntu: apt-get install libxrt1), or set XILINX_XRT to the folder \
         of an installed one",
        libraries::SHIM,
        .0.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoXrt(Vec<PathBuf>),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("'{program}' cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        source: io::Error,
    },
}

/// The cards of a bed.
#[derive(Debug, Clone)]
pub enum Cards {
    /// As described here.
    Of(Emconfig),
    /// As an `emconfig.json` describes them.
    File(PathBuf),
}

/// What became of the library of the software emulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shim {
    /// It is used as it is.
    Sound,
    /// It has an error of Debian's XRT 2.13 that makes it write to freed memory; the bed has a repaired copy.
    Repaired,
    /// It seems to have that error at so many places, and is used as it is.
    Unknown(usize),
}

/// A place where programs that use XRT run without a card. Everything of it ends, and is removed, when it is dropped.
#[derive(Debug)]
pub struct Bed {
    folder: TempDir,
    variables: Vec<(&'static str, OsString)>,
    shim: Shim,
}

impl Bed {
    /// Makes one. `device_process` is the executable that XRT starts in the place of a card, under the name
    /// [`DEVICE_PROCESS`].
    pub fn new(device_process: &Path, cards: &Cards) -> Result<Self, BedError> {
        let folders = libraries::folders();
        let Some(installed) = folders.iter().find(|f| f.join(libraries::SHIM).is_file()) else {
            return Err(BedError::NoXrt(folders));
        };
        let device_process = fs::canonicalize(device_process).map_err(io_at(device_process))?;
        let folder = tempfile::Builder::new()
            .prefix("hsbed")
            .rand_bytes(8)
            .tempdir_in(SOCKETS)
            .map_err(io_at(Path::new(SOCKETS)))?;
        let root = folder.path();
        let lib = root.join("xrt/lib");
        let shim = install(installed, &lib)?;
        // XRT 2.13 looks in the first, later versions in the second before it.
        for unified in ["cpu_em", "sw_emu"] {
            let model = root.join(format!("vitis/data/emulation/unified/{unified}/generic_pcie/model"));
            create(&model)?;
            link(&device_process, &model.join(DEVICE_PROCESS))?;
        }
        for empty in ["run", "vendors"] {
            create(&root.join(empty))?;
        }
        let vendor = format!("{}\n", lib.join("libxilinxopencl.so.2").display());
        write(&root.join("vendors/xilinx.icd"), vendor.as_bytes())?;
        write(&root.join("xrt.ini"), b"[Runtime]\nruntime_log=console\n")?;
        let cards = match cards {
            Cards::Of(emconfig) => emconfig.to_json().into_bytes(),
            Cards::File(path) => fs::read(path).map_err(io_at(path))?,
        };
        write(&root.join("emconfig.json"), &cards)?;

        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let mut search = OsString::from(&lib);
        if let Some(before) = set("LD_LIBRARY_PATH") {
            search.push(":");
            search.push(before);
        }
        let variables = vec![
            (ROOT, root.join("xrt").into()),
            ("XILINX_VITIS", root.join("vitis").into()),
            ("XCL_EMULATION_MODE", "sw_emu".into()),
            ("EMCONFIG_PATH", root.into()),
            ("SDACCEL_EM_RUN_DIR", root.join("run").into()),
            ("OCL_ICD_VENDORS", root.join("vendors").into()),
            ("XRT_INI_PATH", set("XRT_INI_PATH").unwrap_or_else(|| root.join("xrt.ini").into())),
            ("LD_LIBRARY_PATH", search),
            // Sockets lie in the bed: the last part of its path is the name.
            ("USER", root.file_name().unwrap_or_default().into()),
        ];
        Ok(Self { folder, variables, shim })
    }

    /// The variables that a program needs to find the bed's cards. XRT may end the process group of such a program: give it
    /// one of its own, or use [`Bed::run`].
    pub fn variables(&self) -> &[(&'static str, OsString)] {
        &self.variables
    }

    /// The folder. It is removed with all that is in it.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What became of XRT's library.
    pub fn shim(&self) -> Shim {
        self.shim
    }

    /// Runs a program with the bed's variables in a process group of its own until it ends, `limit` has passed, or `stop`
    /// says so; it is then asked to end, and killed after ten seconds. What it started ends with it. It ends, too, when the
    /// thread that calls this does.
    pub fn run(
        &self,
        command: &mut Command,
        limit: Option<Duration>,
        stop: &dyn Fn() -> bool,
    ) -> Result<End, BedError> {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let end = processes::run(command, limit, stop).map_err(|source| BedError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        });
        self.end_processes();
        end
    }

    /// Ends every process that has the bed's variables, in whatever group: cards, and what programs left behind.
    pub fn end_processes(&self) {
        processes::kill_all(ROOT, &self.path().join("xrt").to_string_lossy());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.end_processes();
    }
}

/// Links to XRT's libraries, and the repaired one where that is needed.
fn install(installed: &Path, lib: &Path) -> Result<Shim, BedError> {
    create(lib)?;
    let mut shim = Shim::Sound;
    for entry in fs::read_dir(installed).map_err(io_at(installed))? {
        let name = entry.map_err(io_at(installed))?.file_name();
        let Some(file) = name.to_str().filter(|file| libraries::is_ours(file)) else { continue };
        let (from, to) = (installed.join(file), lib.join(file));
        if file == libraries::SHIM {
            let mut code = fs::read(&from).map_err(io_at(&from))?;
            shim = match libraries::repair(&mut code) {
                0 => Shim::Sound,
                1 => Shim::Repaired,
                places => Shim::Unknown(places),
            };
            if shim == Shim::Repaired {
                write(&to, &code)?;
                continue;
            }
        }
        link(&from, &to)?;
    }
    Ok(shim)
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BedError {
    let path = path.to_owned();
    move |source| BedError::Io { path, source }
}

fn create(folder: &Path) -> Result<(), BedError> {
    fs::create_dir_all(folder).map_err(io_at(folder))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), BedError> {
    fs::write(path, bytes).map_err(io_at(path))
}

fn link(to: &Path, at: &Path) -> Result<(), BedError> {
    symlink(to, at).map_err(io_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_xrt_it_is_said_what_to_install() {
        let said = BedError::NoXrt(vec!["/a/lib".into(), "/b".into()]).to_string();
        assert!(said.starts_with("there is no libxrt_swemu.so.2 in /a/lib, /b; install XRT"), "{said}");
        assert!(said.contains("apt-get install libxrt1"), "{said}");
    }

    #[test]
    fn libraries_of_xrt_are_linked_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (installed, lib) = (dir.path().join("installed"), dir.path().join("lib"));
        create(&installed).unwrap();
        for file in ["libxrt_coreutil.so.2", "libxilinxopencl.so.2", "libxrt_core.so.2.13.0", "libm.so.2"] {
            write(&installed.join(file), b"").unwrap();
        }
        write(&installed.join(libraries::SHIM), b"sound").unwrap();
        assert_eq!(install(&installed, &lib).unwrap(), Shim::Sound);
        let mut names: Vec<_> = fs::read_dir(&lib).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["libxilinxopencl.so.2", "libxrt_coreutil.so.2", "libxrt_swemu.so.2"]);
        assert_eq!(fs::read_link(lib.join(libraries::SHIM)).unwrap(), installed.join(libraries::SHIM));

        let broken = libraries::tests::broken();
        write(&installed.join(libraries::SHIM), &broken).unwrap();
        let again = dir.path().join("again");
        assert_eq!(install(&installed, &again).unwrap(), Shim::Repaired);
        assert!(fs::read_link(again.join(libraries::SHIM)).is_err(), "a copy");
        assert!(fs::read(again.join(libraries::SHIM)).unwrap() != broken);
        assert!(fs::read(installed.join(libraries::SHIM)).unwrap() == broken);
    }
}
