//! What must fit before a bitstream is loaded.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use hs_hw::{Fingerprint, KERNEL_ABI};
use hs_package::Kernel;
use hs_xclbin::{Design, Difference, Expected, Mode, Uuid, Xclbin, XclbinError};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// What loads a bitstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A card.
    Hw,
    /// The vendor's simulation of the hardware.
    HwEmu,
    /// A process that computes what the card would.
    SwEmu,
}

impl Target {
    fn of(mode: Mode) -> Self {
        match mode {
            Mode::SW_EMU => Self::SwEmu,
            Mode::HW_EMU | Mode::HW_EMU_PR => Self::HwEmu,
            _ => Self::Hw,
        }
    }

    /// As it is written: `hw`, `hw_emu`, `sw_emu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hw => "hw",
            Self::HwEmu => "hw_emu",
            Self::SwEmu => "sw_emu",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is known of a card's shell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shell {
    /// The card, as a person knows it: its PCIe address.
    pub card: String,
    /// Its platform.
    pub platform: Option<String>,
    /// Its interfaces; empty where they are not known.
    pub interfaces: Vec<Uuid>,
}

/// Why a bitstream is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is no xclbin, or one that XRT must not see.
    #[error("{}: {source}", path.display())]
    Xclbin {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: XclbinError,
    },
    /// It is not the file that its manifest describes.
    #[error(
        "{file} has {bytes} bytes and the SHA-256 {found}, its manifest says {expected_bytes} bytes and {expected}: it \
         was changed or is incomplete; register it again"
    )]
    Digest {
        /// The file.
        file: String,
        /// Its size.
        bytes: u64,
        /// Its SHA-256.
        found: Digest,
        /// The manifest's size.
        expected_bytes: u64,
        /// The manifest's SHA-256.
        expected: Digest,
    },
    /// It computes another model.
    #[error(
        "{subject} has the fingerprint {found}, expected {expected}: it is of another model; build the package's own"
    )]
    Fingerprint {
        /// What says it.
        subject: String,
        /// What it says.
        found: Fingerprint,
        /// What would fit.
        expected: Fingerprint,
    },
    /// Its kernel is called in another way.
    #[error(
        "{subject} has version {found} of the kernel ABI, expected {expected}: build the bitstream again"
    )]
    KernelAbi {
        /// What says it.
        subject: String,
        /// What it says.
        found: u32,
        /// What would fit.
        expected: u32,
    },
    /// The package has no kernel, so that no bitstream is its own.
    #[error("the package '{0}' has no kernel: compile the model again")]
    NoKernel(String),
    /// Its kernel is not the package's.
    #[error("{subject} does not fit the package: {}", list(.differences))]
    Kernel {
        /// The file.
        subject: String,
        /// What does not fit, one thing at least.
        differences: Vec<Difference>,
    },
    /// The card has another shell.
    #[error(
        "{subject} is for the shell interface {}, and the card {card} has {}: flash the card with the platform {platform}, or \
         link the kernel for the card's", uuids(.found), uuids(.card_has)
    )]
    Shell {
        /// The bitstream.
        subject: String,
        /// The platform that it was linked for.
        platform: String,
        /// The interfaces that it fits.
        found: Vec<Uuid>,
        /// The card.
        card: String,
        /// The card's interfaces.
        card_has: Vec<Uuid>,
    },
    /// The card has another platform, and the bitstream names no interface.
    #[error(
        "{subject} is for the platform {found}, and the card {card} has {card_has}: flash the card with it, or link the \
         kernel for the card's"
    )]
    Platform {
        /// The bitstream.
        subject: String,
        /// The platform that it was linked for.
        found: String,
        /// The card.
        card: String,
        /// The card's platform.
        card_has: String,
    },
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn uuids(all: &[Uuid]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

impl Shell {
    /// Whether the card takes a bitstream that says this of itself. What is not known of the card cannot refuse: XRT's
    /// driver compares once more.
    pub(crate) fn takes(
        &self,
        subject: String,
        aws: bool,
        interfaces: &[Uuid],
        platform: &str,
    ) -> Result<(), Refusal> {
        // The image that an .awsxclbin names was made for AWS' shell, and AWS loads it into no other.
        if aws {
            return Ok(());
        }
        if !interfaces.is_empty() {
            if self.interfaces.is_empty() || interfaces.iter().any(|i| self.interfaces.contains(i)) {
                return Ok(());
            }
            return Err(Refusal::Shell {
                subject,
                platform: platform.to_owned(),
                found: interfaces.to_owned(),
                card: self.card.clone(),
                card_has: self.interfaces.clone(),
            });
        }
        // Shells of one stage have no interface, and are known by their names.
        let plain = |name: &str| name.replace([':', '.'], "_");
        match &self.platform {
            Some(has) if plain(has) != plain(platform) => Err(Refusal::Platform {
                subject,
                found: platform.to_owned(),
                card: self.card.clone(),
                card_has: has.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A file that XRT can be given.
#[derive(Debug, Clone)]
pub struct Bitstream {
    name: String,
    xclbin: Xclbin,
    design: Design,
    sha256: Digest,
    bytes: u64,
}

impl Bitstream {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let bytes = fs::read(path).map_err(|source| Refusal::Io { path: path.to_owned(), source })?;
        Self::of(path, &bytes)
    }

    /// Checks the bytes of a file; `path` is for messages.
    pub fn of(path: &Path, bytes: &[u8]) -> Result<Self, Refusal> {
        let wrong = |source| Refusal::Xclbin { path: path.to_owned(), source };
        let xclbin = Xclbin::parse(bytes).map_err(wrong)?;
        let design = Design::of(&xclbin).map_err(wrong)?;
        let name = path.display().to_string();
        Ok(Self { name, xclbin, design, sha256: Digest::of(bytes), bytes: bytes.len() as u64 })
    }

    /// The container.
    pub fn xclbin(&self) -> &Xclbin {
        &self.xclbin
    }

    /// Kernels, arguments, compute units, memories.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// SHA-256 of the file.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What loads it.
    pub fn target(&self) -> Target {
        Target::of(self.xclbin.header().mode)
    }

    /// Whether it computes a package's model and can be called as the package says. Where the file does not say of
    /// which package it is, names and layout of its kernel's arguments decide.
    pub fn check_package(&self, package: &hs_package::Manifest) -> Result<(), Refusal> {
        if let Some(user) = &self.design.user {
            let subject = || self.name.clone();
            if user.fingerprint != package.fingerprint {
                let (found, expected) = (user.fingerprint, package.fingerprint);
                return Err(Refusal::Fingerprint { subject: subject(), found, expected });
            }
            if user.kernel_abi != KERNEL_ABI {
                let (found, expected) = (user.kernel_abi, KERNEL_ABI);
                return Err(Refusal::KernelAbi { subject: subject(), found, expected });
            }
        }
        let differences = differences(&self.design, package)?;
        if differences.is_empty() {
            return Ok(());
        }
        Err(Refusal::Kernel { subject: self.name.clone(), differences })
    }

    /// Whether a card with this shell takes it.
    pub fn check_shell(&self, shell: &Shell) -> Result<(), Refusal> {
        let aws = self.xclbin.agfi().is_some();
        shell.takes(self.name.clone(), aws, &self.design.interfaces, &self.design.platform)
    }
}

/// What of a file is not as a package says; nothing: its kernel is the package's.
pub fn differences(design: &Design, package: &hs_package::Manifest) -> Result<Vec<Difference>, Refusal> {
    let kernel = package.kernel.as_ref().ok_or_else(|| Refusal::NoKernel(package.model.clone()))?;
    let expected = Expected {
        kernel: &kernel.name,
        pointers: kernel.inputs.iter().chain(&kernel.outputs).map(String::as_str).collect(),
        rows: &kernel.rows,
        weights: kernel.weights.as_ref().map(|w| w.argument.as_str()),
        fingerprint: package.fingerprint,
    };
    let mut all = design.differences(&expected);
    all.extend(weights_that_do_not_fit(design, kernel));
    Ok(all)
}

/// Memories of weights that are smaller than the weights.
fn weights_that_do_not_fit(design: &Design, kernel: &Kernel) -> Vec<Difference> {
    let Some((weights, found)) = kernel.weights.as_ref().zip(design.kernel(&kernel.name)) else {
        return Vec::new();
    };
    let Some(id) = found.arguments.iter().position(|a| a.name == weights.argument) else { return Vec::new() };
    let small = |bank: &usize| design.memories[*bank].size_kib.saturating_mul(1024) < weights.bytes;
    let mut banks: Vec<usize> =
        found.compute_units.iter().flat_map(|u| u.banks_of(id)).filter(small).collect();
    banks.sort_unstable();
    banks.dedup();
    let difference = |bank: usize| Difference {
        subject: format!("memory '{}' of the weights", design.memories[bank].tag.escape_debug()),
        found: format!("{} KiB", design.memories[bank].size_kib),
        expected: format!("at least the {} bytes of {}", weights.bytes, weights.path),
    };
    banks.into_iter().map(difference).collect()
}
