//! The steps of a build: what each runs, what it needs and what it leaves behind.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hs_package::{HLS, Kernel, Step};

/// The last step of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Until {
    /// C simulation with g++, against the emulator
    Csim,
    /// C to RTL
    Csynth,
    /// RTL simulation against the C++
    Cosim,
    /// Linked for hardware emulation
    HwEmu,
    /// The bitstream
    Hw,
}

/// What runs, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Csim,
    Csynth,
    Cosim,
    Xo,
    HwEmu,
    Hw,
}

/// What a task cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// g++ and the open headers.
    Compiler,
    Hls,
    Vpp,
    Emconfigutil,
    Platform,
}

impl Task {
    /// Those of a build until `until` without the ones in `skip`.
    pub(super) fn until(until: Until, skip: &[Skip]) -> Vec<Self> {
        let wanted = |task: &Self| match task {
            Self::Csim => !(skip.contains(&Skip::Csim) && until > Until::Csim),
            Self::Csynth => until >= Until::Csynth,
            Self::Cosim => until >= Until::Cosim && !(skip.contains(&Skip::Cosim) && until > Until::Cosim),
            Self::Xo => until >= Until::HwEmu,
            Self::HwEmu => until >= Until::HwEmu && !(skip.contains(&Skip::HwEmu) && until > Until::HwEmu),
            Self::Hw => until >= Until::Hw,
        };
        [Self::Csim, Self::Csynth, Self::Cosim, Self::Xo, Self::HwEmu, Self::Hw].into_iter().filter(wanted).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Csim => "csim",
            Self::Csynth => "csynth",
            Self::Cosim => "cosim",
            Self::Xo => "xo",
            Self::HwEmu => "hw_emu",
            Self::Hw => "hw",
        }
    }

    /// The step of the evidence that it gives.
    pub(super) fn step(self) -> Option<Step> {
        match self {
            Self::Csim | Self::Xo => None,
            Self::Csynth => Some(Step::Csynth),
            Self::Cosim => Some(Step::Cosim),
            Self::HwEmu => Some(Step::HwEmu),
            Self::Hw => Some(Step::Hw),
        }
    }

    /// The task whose output it reads.
    pub(super) fn reads(self) -> Option<Self> {
        match self {
            Self::Csim | Self::Csynth => None,
            Self::Cosim | Self::Xo => Some(Self::Csynth),
            Self::HwEmu | Self::Hw => Some(Self::Xo),
        }
    }

    pub(super) fn needs(self) -> &'static [Need] {
        match self {
            Self::Csim => &[Need::Compiler],
            Self::Csynth | Self::Cosim | Self::Xo => &[Need::Hls],
            Self::HwEmu => &[Need::Vpp, Need::Emconfigutil, Need::Platform],
            Self::Hw => &[Need::Vpp, Need::Platform],
        }
    }

    /// What must be there for a later run to find the task done, relative to the build folder.
    pub(super) fn leaves(self, kernel: &str) -> Vec<String> {
        match self {
            Self::Csim => Vec::new(),
            Self::Csynth => vec![project(kernel)],
            Self::Cosim => vec![format!("{}/solution1/sim", project(kernel))],
            Self::Xo => vec![format!("{kernel}.xo")],
            Self::HwEmu => vec![format!("{kernel}.hw_emu.xclbin"), "emconfig.json".to_owned()],
            Self::Hw => vec![format!("{kernel}.hw.xclbin")],
        }
    }

    /// Directory that the reports lie below, relative to the build folder.
    pub(super) fn reports(self, kernel: &str) -> PathBuf {
        match self {
            Self::Csim | Self::Csynth | Self::Cosim | Self::Xo => project(kernel).into(),
            Self::HwEmu | Self::Hw => self.name().into(),
        }
    }
}

/// Directory of the HLS project, below the build folder.
fn project(kernel: &str) -> String {
    format!("project_{kernel}")
}

/// A step that later ones do not need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Skip {
    Csim,
    Cosim,
    HwEmu,
}

/// What the commands depend on.
pub(super) struct Setting<'a> {
    /// The package as its user calls it.
    pub(super) package: &'a Path,
    pub(super) kernel: &'a Kernel,
    /// `vitis_hls` or `vitis-run`.
    pub(super) launcher: &'a str,
    /// Name or path, where there is one.
    pub(super) platform: Option<&'a str>,
    /// Whether the project says where compute units and memories are.
    pub(super) connectivity: bool,
}

impl Setting<'_> {
    /// The commands of a task, each a program and its arguments, to be typed in the build folder. That of C simulation
    /// is ours.
    pub(super) fn commands(&self, task: Task) -> Vec<Vec<String>> {
        let kernel = &self.kernel.name;
        let script = |name: &str| {
            let script = format!("../{HLS}/{name}.tcl");
            let launch: &[&str] = match self.launcher {
                "vitis_hls" => &["vitis_hls", "-f"],
                _ => &["vitis-run", "--mode", "hls", "--tcl"],
            };
            vec![launch.iter().map(|w| (*w).to_owned()).chain([script]).collect()]
        };
        let platform = self.platform.unwrap_or("PLATFORM");
        let link = |target: &str| {
            let mut words = vec!["v++", "--link", "-t", target, "--platform", platform];
            let (link, connectivity) = (format!("../{HLS}/link.cfg"), format!("../{HLS}/connectivity.cfg"));
            words.extend(["--config", &link]);
            if self.connectivity {
                words.extend(["--config", &connectivity]);
            }
            let dirs = ["temp", "logs", "reports"].map(|d| format!("{target}/{d}"));
            words.extend(["--temp_dir", &dirs[0], "--log_dir", &dirs[1], "--report_dir", &dirs[2]]);
            let (xo, xclbin) = (format!("{kernel}.xo"), format!("{kernel}.{target}.xclbin"));
            words.extend([&xo, "-o", &xclbin]);
            words.into_iter().map(str::to_owned).collect()
        };
        match task {
            Task::Csim => vec![
                ["hypersonic", "build", &self.package.display().to_string(), "--until", "csim"]
                    .map(str::to_owned)
                    .into(),
            ],
            Task::Csynth | Task::Cosim | Task::Xo => script(task.name()),
            Task::HwEmu => vec![
                link("hw_emu"),
                ["emconfigutil", "--platform", platform, "--nd", "1", "--od", "."].map(str::to_owned).into(),
            ],
            Task::Hw => vec![link("hw")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_in_order() {
        use Task::*;
        assert_eq!(Task::until(Until::Csim, &[]), [Csim]);
        assert_eq!(Task::until(Until::Cosim, &[]), [Csim, Csynth, Cosim]);
        assert_eq!(Task::until(Until::Hw, &[]), [Csim, Csynth, Cosim, Xo, HwEmu, Hw]);
        assert_eq!(Task::until(Until::Hw, &[Skip::Csim, Skip::Cosim, Skip::HwEmu]), [Csynth, Xo, Hw]);
        // What is asked for is not skipped.
        assert_eq!(Task::until(Until::Cosim, &[Skip::Cosim]), [Csim, Csynth, Cosim]);
        for task in Task::until(Until::Hw, &[]) {
            assert!(task.reads().is_none_or(|before| before < task));
        }
    }
}
