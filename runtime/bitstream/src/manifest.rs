//! What is said of a bitstream, in TOML.

use std::{fmt, str::FromStr};

use hs_hw::{Fingerprint, KERNEL_ABI};
use hs_xclbin::{Agfi, Uuid};
use serde::{Deserialize, Serialize};

use crate::{Bitstream, Digest, Refusal, Shell, Target, Timestamp};

/// What `format` must say.
const FORMAT: &str = "hypersonic-bitstream";
/// The version that is written, and the only one that is read.
const FORMAT_VERSION: u32 = 1;
/// Bytes of the longest manifest that is read.
pub(crate) const MOST_BYTES: u64 = 1 << 16;
/// Bytes of the longest name.
const LONGEST_NAME: usize = 100;

/// A bitstream and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: String,
    format_version: u32,
    /// Its name in the registry: the manifest is `NAME.toml`.
    pub name: FileName,
    /// What loads it.
    pub target: Target,
    /// The platform that it was linked for.
    pub platform: String,
    /// The shell's interfaces that it fits; empty where the file does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Uuid>,
    /// The bits that its kernel computes.
    pub fingerprint: Fingerprint,
    /// Version of the kernel ABI that it follows.
    pub kernel_abi: u32,
    /// Clock of its kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<u16>,
    /// The program or person that made it.
    pub creator: String,
    /// When it was registered.
    pub created: Timestamp,
    /// The bitstream.
    pub file: File,
    /// Golden vectors of its model, as `hypersonic golden write` writes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<File>,
    /// The AWS image that an `.awsxclbin` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsImage>,
    /// Its kernels.
    #[serde(rename = "kernel")]
    pub kernels: Vec<KernelEntry>,
}

/// A file of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, beside the manifest.
    pub name: FileName,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// An FPGA image of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsImage {
    /// Its global id, which loads it.
    pub agfi: Agfi,
    /// Its id in its region, `afi-…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub afi: Option<String>,
    /// The region that it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelEntry {
    /// Its function.
    pub name: String,
    /// Names of its compute units, in the order in which XRT numbers them.
    pub compute_units: Vec<String>,
}

/// Who made a bitstream, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The program or person.
    pub creator: String,
    /// The time.
    pub created: Timestamp,
    /// Of an `.awsxclbin`: the image's id in its region, and the region.
    pub image: (Option<String>, Option<String>),
}

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than a manifest can be.
    #[error("it has {0} bytes, and a manifest has at most {MOST_BYTES}")]
    Size(u64),
    /// Not UTF-8.
    #[error("it is no text")]
    Text,
    /// Not TOML, or not with these fields.
    #[error("{0}")]
    Toml(String),
    /// Another kind of TOML.
    #[error("its `format` is {0}, expected \"{FORMAT}\": it is no manifest of a bitstream")]
    Format(String),
    /// Another version of the format.
    #[error(
        "its `format_version` is {0}, and this program reads {FORMAT_VERSION}: register the bitstream again, or use the \
         hypersonic that wrote it"
    )]
    Version(String),
    /// A field that says what cannot be.
    #[error("`{field}` is {found}, expected {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: String,
    },
}

impl Manifest {
    /// Of a bitstream of the model with `fingerprint`.
    pub fn new(name: FileName, bitstream: &Bitstream, fingerprint: Fingerprint, origin: Origin) -> Self {
        let design = bitstream.design();
        let unit = |k: &hs_xclbin::Kernel| k.compute_units.iter().map(|u| u.name.clone()).collect();
        let kernel = |k: &hs_xclbin::Kernel| KernelEntry { name: k.name.clone(), compute_units: unit(k) };
        let (afi, region) = origin.image;
        let aws = bitstream.xclbin().agfi().map(|agfi| AwsImage { agfi, afi, region });
        let extension = if aws.is_some() { "awsxclbin" } else { "xclbin" };
        let file = name.of_file(bitstream.sha256(), extension);
        let clock = design.clocks.iter().find(|c| c.kind == hs_xclbin::ClockKind::DATA);
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            name,
            target: bitstream.target(),
            platform: design.platform.clone(),
            interfaces: design.interfaces.clone(),
            fingerprint,
            kernel_abi: design.user.as_ref().map_or(KERNEL_ABI, |u| u.kernel_abi),
            clock_mhz: clock.map(|c| c.mhz),
            creator: origin.creator,
            created: origin.created,
            file: File { name: file, bytes: bitstream.bytes(), sha256: bitstream.sha256() },
            golden: None,
            aws,
            kernels: design.kernels.iter().map(kernel).collect(),
        }
    }

    /// With golden vectors, a file of this SHA-256 and size.
    #[must_use]
    pub fn with_golden(self, sha256: Digest, bytes: u64) -> Self {
        let name = self.name.of_file(sha256, "npz");
        Self { golden: Some(File { name, bytes, sha256 }), ..self }
    }

    /// Reads what [`Manifest::to_toml`] writes.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() as u64 > MOST_BYTES {
            return Err(ManifestError::Size(text.len() as u64));
        }
        let wrong = |e: toml::de::Error| ManifestError::Toml(e.to_string().trim_end().to_owned());
        let table: toml::Table = text.parse().map_err(wrong)?;
        let said = |key: &str| table.get(key).map_or("missing".to_owned(), ToString::to_string);
        if table.get("format").and_then(toml::Value::as_str) != Some(FORMAT) {
            return Err(ManifestError::Format(said("format")));
        }
        let version = table.get("format_version").and_then(toml::Value::as_integer);
        if version != Some(i64::from(FORMAT_VERSION)) {
            return Err(ManifestError::Version(said("format_version")));
        }
        let manifest: Self = toml::from_str(text).map_err(wrong)?;
        if let Some(afi) = manifest.aws.as_ref().and_then(|aws| aws.afi.as_ref())
            && !is_afi(afi)
        {
            let found = format!("\"{}\"", afi.escape_debug());
            return Err(ManifestError::Field { field: "aws.afi", found, expected: "afi-…".to_owned() });
        }
        if manifest.kernels.is_empty() {
            return Err(ManifestError::Field {
                field: "kernel",
                found: "empty".to_owned(),
                expected: "one at least".to_owned(),
            });
        }
        Ok(manifest)
    }

    /// TOML. The same manifest gives the same bytes.
    pub fn to_toml(&self) -> Result<String, ManifestError> {
        toml::to_string(self).map_err(|e| ManifestError::Toml(e.to_string()))
    }

    /// The name of the manifest's file.
    pub fn file_name(&self) -> String {
        format!("{}.toml", self.name)
    }

    /// Whether a card with this shell takes the bitstream, going by the manifest alone.
    pub fn check_shell(&self, shell: &Shell) -> Result<(), Refusal> {
        let subject = format!("the bitstream '{}'", self.name);
        shell.takes(subject, self.aws.is_some(), &self.interfaces, &self.platform)
    }

    /// Whether a bitstream is the one that the manifest describes.
    pub fn check(&self, bitstream: &Bitstream) -> Result<(), Refusal> {
        if (self.file.sha256, self.file.bytes) != (bitstream.sha256(), bitstream.bytes()) {
            return Err(Refusal::Digest {
                file: self.file.name.to_string(),
                bytes: bitstream.bytes(),
                found: bitstream.sha256(),
                expected_bytes: self.file.bytes,
                expected: self.file.sha256,
            });
        }
        let subject = || format!("the manifest '{}'", self.file_name());
        if let Some(user) = &bitstream.design().user {
            if user.fingerprint != self.fingerprint {
                let (found, expected) = (self.fingerprint, user.fingerprint);
                return Err(Refusal::Fingerprint { subject: subject(), found, expected });
            }
            if user.kernel_abi != self.kernel_abi {
                let (found, expected) = (self.kernel_abi, user.kernel_abi);
                return Err(Refusal::KernelAbi { subject: subject(), found, expected });
            }
        }
        Ok(())
    }

    /// Whether the bitstream is for a package, going by the manifest alone.
    pub fn check_package(&self, package: &hs_package::Manifest) -> Result<(), Refusal> {
        let subject = || format!("the manifest '{}'", self.file_name());
        if self.fingerprint != package.fingerprint {
            let (found, expected) = (self.fingerprint, package.fingerprint);
            return Err(Refusal::Fingerprint { subject: subject(), found, expected });
        }
        if self.kernel_abi != KERNEL_ABI {
            let (found, expected) = (self.kernel_abi, KERNEL_ABI);
            return Err(Refusal::KernelAbi { subject: subject(), found, expected });
        }
        Ok(())
    }
}

/// Whether a text is an id of an AWS FPGA image in its region: `afi-` and hexadecimal digits.
pub fn is_afi(text: &str) -> bool {
    let id = text.strip_prefix("afi-").unwrap_or_default();
    (8..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A name of a file, and no path: it leads out of no folder, and no program takes it for an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// Text that is no such name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is not a name of 1 to {LONGEST_NAME} letters, digits and the characters . _ + -, with a letter, a digit or _ first",
    .0.escape_debug()
)]
pub struct ParseFileNameError(String);

impl FileName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of a file of the bitstream with this name. It holds a digest, so that what one manifest names is never
    /// overwritten for another.
    fn of_file(&self, sha256: Digest, extension: &str) -> Self {
        let most = LONGEST_NAME - "-0123456789ab.awsxclbin".len();
        let start = &self.0[..self.0.len().min(most)];
        Self(format!("{start}-{}.{extension}", sha256.short()))
    }
}

impl FromStr for FileName {
    type Err = ParseFileNameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let first = s.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let all = s.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
        if first && all && s.len() <= LONGEST_NAME {
            Ok(Self(s.to_owned()))
        } else {
            Err(ParseFileNameError(s.chars().take(LONGEST_NAME).collect()))
        }
    }
}

impl TryFrom<String> for FileName {
    type Error = ParseFileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
