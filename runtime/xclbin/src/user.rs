//! USER_METADATA: which package a file was built from, in JSON.

use hs_hw::{Fingerprint, KERNEL_ABI};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{SectionKind, Within, XclbinError, cursor::Cursor};

const KEY: &str = "hypersonic";

/// Which package a file was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMetadata {
    /// Name of the model.
    pub package: String,
    /// The bits that the kernel computes.
    pub fingerprint: Fingerprint,
    /// Version of the kernel ABI that it follows.
    pub kernel_abi: u32,
}

impl UserMetadata {
    /// Of a package of this version of the ABI.
    pub fn new(package: &str, fingerprint: Fingerprint) -> Self {
        Self { package: package.to_owned(), fingerprint, kernel_abi: KERNEL_ABI }
    }

    /// Reads the section; none where it is not ours, which anyone may fill.
    pub fn read(data: &[u8]) -> Result<Option<Self>, XclbinError> {
        let Ok(mut all) = serde_json::from_slice::<Value>(data) else { return Ok(None) };
        let Some(ours) = all.get_mut(KEY).map(Value::take) else { return Ok(None) };
        let c = Cursor::new(data, Within::Section(SectionKind::USER_METADATA));
        let expected = "package, fingerprint and kernel_abi";
        serde_json::from_value(ours)
            .map(Some)
            .map_err(|e| c.wrong(0, format_args!("the entry '{KEY}'"), format_args!("wrong ({e})"), expected))
    }

    /// The section.
    pub fn write(&self) -> Vec<u8> {
        let mut text = json!({ KEY: self }).to_string();
        text.push('\n');
        text.into_bytes()
    }
}
