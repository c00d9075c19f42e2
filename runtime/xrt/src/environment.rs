//! What XRT reads from the environment, checked before XRT does: where it is not content, it ends the process.

use std::env;
use std::path::{Path, PathBuf};

/// What the calls of XRT reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Cards.
    Hardware,
    /// The vendor's simulation of the hardware.
    HardwareEmulation,
    /// A process that computes what the card would.
    SoftwareEmulation,
    /// Nothing: each call succeeds, and outputs hold no results.
    Noop,
}

impl Mode {
    /// The file of the library that XRT opens for it, its shim.
    pub(crate) fn shim(self) -> &'static str {
        match self {
            Self::Hardware => "libxrt_core.so.2",
            Self::HardwareEmulation => "libxrt_hwemu.so.2",
            Self::SoftwareEmulation => "libxrt_swemu.so.2",
            Self::Noop => "libxrt_noop.so.2",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hardware => "cards",
            Self::HardwareEmulation => "hw_emu",
            Self::SoftwareEmulation => "sw_emu",
            Self::Noop => "noop",
        })
    }
}

/// The environment variables that XRT follows.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `XILINX_XRT`: the folder of the installation; its `lib` has the libraries.
    pub xilinx_xrt: Option<PathBuf>,
    /// `XCL_EMULATION_MODE`: `hw_emu`, `sw_emu` or `noop`; without it, cards.
    pub emulation_mode: Option<String>,
    /// `XILINX_VITIS`: in `sw_emu`, the folder with the device process.
    pub xilinx_vitis: Option<PathBuf>,
}

/// Why XRT cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// XRT does not look for itself.
    #[error(
        "XILINX_XRT is not set: source setup.sh of your XRT, or set it to the folder that XRT is installed in"
    )]
    NotSet,
    /// The folder is not that of an XRT.
    #[error(
        "XILINX_XRT is {root}, which has no lib/{file}; set it to the folder of an installed XRT (for Debian's libxrt1, a folder \
         whose `lib` is a link to /usr/lib/<architecture>)",
        root = root.display()
    )]
    NoLibrary {
        /// `XILINX_XRT`.
        root: PathBuf,
        /// The file that is missing in its `lib`.
        file: &'static str,
    },
    /// XRT ends the process.
    #[error("XCL_EMULATION_MODE is '{0}', not hw_emu, sw_emu or noop; unset it to use cards")]
    UnknownMode(String),
    /// XRT would wait for minutes.
    #[error(
        "XCL_EMULATION_MODE is sw_emu, and XILINX_VITIS ({}) has no device process, \
         data/emulation/unified/cpu_em/generic_pcie/model/genericpciemodel",
        .0.as_deref().map_or("not set".to_owned(), |root| root.display().to_string())
    )]
    NoDeviceProcess(Option<PathBuf>),
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let text = |name| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            xilinx_xrt: text("XILINX_XRT").map(PathBuf::from),
            emulation_mode: text("XCL_EMULATION_MODE").map(|mode| mode.to_string_lossy().into_owned()),
            xilinx_vitis: text("XILINX_VITIS").map(PathBuf::from),
        }
    }

    /// What XRT's calls would reach, if XRT can start here.
    pub fn check(&self) -> Result<Mode, Unavailable> {
        let mode = match self.emulation_mode.as_deref() {
            None => Mode::Hardware,
            Some("hw_emu") => Mode::HardwareEmulation,
            Some("sw_emu") => Mode::SoftwareEmulation,
            Some("noop") => Mode::Noop,
            Some(other) => return Err(Unavailable::UnknownMode(other.to_owned())),
        };
        let root = self.xilinx_xrt.as_deref().ok_or(Unavailable::NotSet)?;
        for file in [hs_xrt_sys::LIBRARY, mode.shim()] {
            if !root.join("lib").join(file).is_file() {
                return Err(Unavailable::NoLibrary { root: root.to_owned(), file });
            }
        }
        if mode == Mode::SoftwareEmulation && !self.xilinx_vitis.as_deref().is_some_and(has_device_process) {
            return Err(Unavailable::NoDeviceProcess(self.xilinx_vitis.clone()));
        }
        Ok(mode)
    }
}

fn has_device_process(vitis: &Path) -> bool {
    // XRT 2.13 looks in the first, later versions in the second before it.
    ["cpu_em", "sw_emu"].iter().any(|folder| {
        let unified = vitis.join("data/emulation/unified").join(folder);
        unified.join("generic_pcie/model/genericpciemodel").is_file()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn installed(files: &[&str]) -> (tempfile::TempDir, Environment) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let environment = Environment { xilinx_xrt: Some(root.path().to_owned()), ..Environment::default() };
        (root, environment)
    }

    fn with(environment: &Environment, mode: &str) -> Environment {
        Environment { emulation_mode: Some(mode.to_owned()), ..environment.clone() }
    }

    #[test]
    fn xrt_is_not_called_without_its_root() {
        assert_eq!(Environment::default().check(), Err(Unavailable::NotSet));
    }

    #[test]
    fn xrt_is_not_called_without_the_shim_of_the_mode() {
        let (root, environment) = installed(&["lib/libxrt_coreutil.so.2", "lib/libxrt_noop.so.2"]);
        assert_eq!(with(&environment, "noop").check(), Ok(Mode::Noop));
        let missing = |file| Err(Unavailable::NoLibrary { root: root.path().to_owned(), file });
        assert_eq!(environment.check(), missing("libxrt_core.so.2"));
        assert_eq!(with(&environment, "hw_emu").check(), missing("libxrt_hwemu.so.2"));
        fs::remove_file(root.path().join("lib/libxrt_coreutil.so.2")).unwrap();
        assert_eq!(with(&environment, "noop").check(), missing("libxrt_coreutil.so.2"));
    }

    #[test]
    fn xrt_is_not_called_in_a_mode_that_it_does_not_know() {
        let (_root, environment) = installed(&["lib/libxrt_coreutil.so.2", "lib/libxrt_core.so.2"]);
        assert_eq!(environment.check(), Ok(Mode::Hardware));
        assert_eq!(with(&environment, "NOOP").check(), Err(Unavailable::UnknownMode("NOOP".to_owned())));
    }

    #[test]
    fn xrt_is_not_called_where_it_would_wait_for_a_device_process() {
        let model = "vitis/data/emulation/unified/cpu_em/generic_pcie/model/genericpciemodel";
        let (root, environment) = installed(&["lib/libxrt_coreutil.so.2", "lib/libxrt_swemu.so.2", model]);
        let mut sw_emu = with(&environment, "sw_emu");
        assert_eq!(sw_emu.check(), Err(Unavailable::NoDeviceProcess(None)));
        sw_emu.xilinx_vitis = Some(root.path().join("vitis"));
        assert_eq!(sw_emu.check(), Ok(Mode::SoftwareEmulation));
    }
}
