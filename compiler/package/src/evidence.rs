//! What the vendor's tools said of a package: `evidence.json`.
//!
//! It comes after the package, so it is none of the manifest's files; it names the fingerprint and the HLS project
//! that it belongs to instead, and is refused beside any other.

use std::{fs, path::Path};

use hs_hw::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::{FileEntry, HLS, Manifest, Package, PackageError, error::io, open::read_file, sha256};

/// Name of the file.
pub(crate) const EVIDENCE: &str = "evidence.json";
const FORMAT: &str = "hypersonic-evidence";
/// Version of the file's format.
pub const EVIDENCE_VERSION: u32 = 1;
/// Largest file that is read, in bytes.
const MAX_EVIDENCE: u64 = 16 << 20;

/// What each step of a build reported, in the order of the steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    format: String,
    format_version: u32,
    /// The Program that was built.
    pub fingerprint: Fingerprint,
    /// The HLS project that was built: [`Package::project_digest`].
    pub project_sha256: String,
    /// At most one entry a step.
    pub steps: Vec<StepEvidence>,
}

/// A step whose tool writes reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// C to RTL: the tool's estimates of one compute unit.
    Csynth,
    /// RTL simulated against the C++: cycles that were counted.
    Cosim,
    /// Linked for hardware emulation: estimates.
    HwEmu,
    /// Placed and routed: what the bitstream has.
    Hw,
}

impl Step {
    /// As in the file and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csynth => "csynth",
            Self::Cosim => "cosim",
            Self::HwEmu => "hw_emu",
            Self::Hw => "hw",
        }
    }
}

/// One run of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepEvidence {
    /// Which.
    pub step: Step,
    /// When it ended, RFC 3339 in UTC.
    pub date: String,
    /// What ran.
    pub tools: Vec<Tool>,
    /// Part that was built for.
    pub part: String,
    /// Vitis platform, where the step has one.
    pub platform: Option<String>,
    /// What the reports say.
    pub figures: Figures,
    /// What they should say and do not, in words.
    pub missing: Vec<String>,
    /// The reports: path below the package, size and digest at that time.
    pub reports: Vec<FileEntry>,
}

/// A program and its version, as it gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Name of the command.
    pub name: String,
    /// Version, such as `2023.2`.
    pub version: String,
}

/// Figures of a report; what it does not say is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Figures {
    /// Whether RTL and C++ agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// From the start of a call to its end, in clock cycles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_cycles: Option<Cycles>,
    /// From the start of a call to that of the next, in clock cycles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_cycles: Option<Cycles>,
    /// Period asked for, in ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_clock_ns: Option<f64>,
    /// Period that synthesis expects, in ns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_clock_ns: Option<f64>,
    /// Clock that the linked kernel runs at, in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_clock_mhz: Option<f64>,
    /// Worst setup slack after routing, in ns; negative: timing is not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_slack_ns: Option<f64>,
    /// Of one compute unit (`csynth`) or of all of them (`hw_emu`, `hw`), the platform's shell left out.
    pub resources: Resources,
    /// The functions that synthesis made modules of, in the report's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Module>,
}

/// A least and a greatest number of clock cycles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycles {
    /// Least.
    pub min: u64,
    /// Greatest.
    pub max: u64,
}

/// Resources in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// Look-up tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lut: Option<u64>,
    /// Flip-flops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ff: Option<u64>,
    /// DSP slices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsp: Option<u64>,
    /// Block RAMs of 18 Kib; one of 36 Kib counts twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bram18: Option<u64>,
    /// UltraRAMs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uram: Option<u64>,
}

/// A module of the synthesised kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Module {
    /// Its name in the RTL.
    pub name: String,
    /// The ONNX node that it computes, where the name tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Greatest initiation interval of its pipelined loops, in clock cycles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_interval: Option<u64>,
    /// What it takes, the modules inside it included.
    pub resources: Resources,
}

impl Evidence {
    /// Nothing yet, about `package`.
    pub fn of(package: &Package) -> Self {
        Self {
            format: FORMAT.to_owned(),
            format_version: EVIDENCE_VERSION,
            fingerprint: package.manifest().fingerprint,
            project_sha256: package.project_digest(),
            steps: Vec::new(),
        }
    }

    /// The entry of a step.
    pub fn step(&self, step: Step) -> Option<&StepEvidence> {
        self.steps.iter().find(|s| s.step == step)
    }

    /// Adds an entry, in place of an earlier one of the same step.
    pub fn record(&mut self, entry: StepEvidence) {
        self.steps.retain(|s| s.step != entry.step);
        self.steps.push(entry);
        self.steps.sort_by_key(|s| s.step);
    }

    /// Why it is not about `package`.
    fn foreign(&self, package: &Package) -> Option<String> {
        let (found, expected) = (self.fingerprint, package.manifest().fingerprint);
        if found != expected {
            return Some(format!(
                "it is about the model with fingerprint {found}, the package has {expected}"
            ));
        }
        (self.project_sha256 != package.project_digest())
            .then(|| "it is about another HLS project of the same model".to_owned())
    }
}

impl Package {
    /// Identity of the HLS project, of its layout and target too: SHA-256 over paths and digests of its files as the
    /// manifest lists them.
    pub fn project_digest(&self) -> String {
        project_digest(self.manifest())
    }

    /// What the vendor's tools said of this package; `None` when nothing was built. An error when the file is about
    /// another package.
    pub fn evidence(&self) -> Result<Option<Evidence>, PackageError> {
        let at = self.dir().join(EVIDENCE);
        let bad = |message: String| PackageError::Evidence { path: at.clone(), message };
        if fs::symlink_metadata(&at).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let bytes = read_file(&at, MAX_EVIDENCE)?;
        let head: Head = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if head.format != FORMAT {
            return Err(bad(format!("its format is '{}', not {FORMAT}", head.format.escape_debug())));
        }
        if head.format_version != EVIDENCE_VERSION {
            return Err(bad(format!(
                "it has version {}, this hypersonic reads {EVIDENCE_VERSION}",
                head.format_version
            )));
        }
        let evidence: Evidence = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        match evidence.foreign(self) {
            Some(why) => Err(bad(why)),
            None => Ok(Some(evidence)),
        }
    }

    /// Writes `evidence.json`, whole or not at all. An error when `evidence` is about another package.
    pub fn write_evidence(&self, evidence: &Evidence) -> Result<(), PackageError> {
        let at = self.dir().join(EVIDENCE);
        let bad = |message: String| PackageError::Evidence { path: at.clone(), message };
        if let Some(why) = evidence.foreign(self) {
            return Err(bad(why));
        }
        let mut json = serde_json::to_vec_pretty(evidence).map_err(|e| bad(e.to_string()))?;
        json.push(b'\n');
        let new = self.dir().join(format!(".{EVIDENCE}.{}", std::process::id()));
        let written = fs::write(&new, json).and_then(|()| fs::rename(&new, &at));
        if written.is_err() {
            // Nothing can be done about a failure here.
            let _ = fs::remove_file(&new);
        }
        written.map_err(io("write", at))
    }

    /// The entry of a file that a tool wrote below the package: `path` relative to it.
    pub fn describe_file(&self, path: &Path) -> Result<FileEntry, PackageError> {
        let at = self.dir().join(path);
        let bytes = read_file(&at, u64::MAX - 1)?;
        let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy()).collect();
        Ok(FileEntry { path: parts.join("/"), bytes: bytes.len() as u64, sha256: sha256(&bytes) })
    }
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Head {
    format: String,
    format_version: u32,
}

fn project_digest(manifest: &Manifest) -> String {
    let prefix = format!("{HLS}/");
    let lines: String = manifest
        .files
        .iter()
        .filter(|f| f.path.starts_with(&prefix))
        .map(|f| format!("{} {}\n", f.sha256, f.path))
        .collect();
    sha256(lines.as_bytes())
}
