//! What the BITSTREAM of an emulated card's xclbin holds: a Program and the names of its kernel.
//!
//! ```text
//! 0   8  hypersem
//! 8   4  version, 1 (numbers are little-endian)
//! 12  4  bytes of the header
//! 16  8  bytes of the Program's text
//! 24  8  bytes of its constants
//! 32     the header, JSON; the text; the constants
//! ```

use std::sync::Arc;

use hs_hw::{Program, text};
use hs_package::{Kernel, Package, PackageError};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"hypersem";
const VERSION: u32 = 1;
const FIXED: usize = 32;

/// A kernel without hardware.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its names.
    pub(super) kernel: Kernel,
    /// SHA-256 of the weights that it reads from memory.
    pub(super) weights_sha256: Option<String>,
    /// The bits.
    pub(super) program: Arc<Program>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kernel: Kernel,
    weights_sha256: Option<String>,
}

impl Image {
    /// That of a package; none where it has no kernel.
    pub(crate) fn of(package: &Package) -> Option<Self> {
        let kernel = package.manifest().kernel.clone()?;
        let weights = kernel.weights.as_ref().and_then(|w| package.manifest().file(&w.path));
        let weights_sha256 = weights.map(|file| file.sha256.clone());
        Some(Self { kernel, weights_sha256, program: Arc::new(package.program().clone()) })
    }

    /// Reads the package in a folder.
    pub(super) fn open(folder: &std::path::Path) -> Result<Option<Self>, PackageError> {
        Ok(Self::of(&Package::open(folder)?))
    }

    /// Its bytes: the same for the same package.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let header = Header { kernel: self.kernel.clone(), weights_sha256: self.weights_sha256.clone() };
        let header = serde_json::to_vec(&header).map_err(|e| e.to_string())?;
        let (text, constants) = text::print_with_side(&self.program).map_err(|e| e.to_string())?;
        let length = u32::try_from(header.len()).map_err(|e| e.to_string())?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend((constants.len() as u64).to_le_bytes());
        bytes.extend(header);
        bytes.extend(text.into_bytes());
        bytes.extend(constants);
        Ok(bytes)
    }

    /// Reads and checks what `to_bytes` gives.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let advice = "`hypersonic build PACKAGE --target emu` writes one for emulated cards";
        let Some((fixed, rest)) =
            bytes.split_first_chunk::<FIXED>().filter(|(fixed, _)| fixed.starts_with(MAGIC))
        else {
            return Err(format!("its BITSTREAM is not one of ours; {advice}"));
        };
        let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if word(8) != VERSION {
            return Err(format!("its BITSTREAM is of version {}, expected {VERSION}; {advice}", word(8)));
        }
        let damaged = |what: &str| format!("its BITSTREAM is damaged: {what}; {advice}");
        let part = |rest: &mut &[u8], length: u64| -> Option<Vec<u8>> {
            let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            *rest = after;
            Some(part.to_vec())
        };
        let mut rest = rest;
        let mut parts =
            [u64::from(word(12)), long(16), long(24)].map(|length| part(&mut rest, length)).into_iter();
        let mut next = || parts.next().flatten().ok_or_else(|| damaged("it is cut off"));
        let (header, text, constants) = (next()?, next()?, next()?);
        if !rest.is_empty() {
            return Err(damaged("there is more behind its end"));
        }
        let Header { kernel, weights_sha256 } =
            serde_json::from_slice(&header).map_err(|e| damaged(&format!("its header: {e}")))?;
        let text = String::from_utf8(text).map_err(|_| damaged("its Program is not UTF-8"))?;
        let program = text::parse_with_side(&text, &constants).map_err(|e| damaged(&e.to_string()))?;
        program.verify().map_err(|errors| {
            damaged(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        if kernel.weights.is_some() != weights_sha256.is_some() {
            return Err(damaged("weights and their digest do not go together"));
        }
        if kernel.inputs.len() != program.inputs().len() || kernel.outputs.len() != program.outputs().len() {
            return Err(damaged("the kernel's arguments are not the Program's inputs and outputs"));
        }
        Ok(Self { kernel, weights_sha256, program: Arc::new(program) })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use hs_hw::testing::{Config, random_program};

    use super::*;

    /// Of some Program.
    pub(crate) fn image(weights: Option<&[u8]>) -> Image {
        let program = random_program(3, &Config::default());
        let arguments = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}_{i}")).collect();
        let kernel = Kernel {
            name: "net_kernel".to_owned(),
            inputs: arguments("x", program.inputs().len()),
            outputs: arguments("y", program.outputs().len()),
            rows: "rows".to_owned(),
            weights: weights.map(|bytes| hs_package::KernelWeights {
                argument: "weights".to_owned(),
                path: "hls/weights.bin".to_owned(),
                bytes: bytes.len() as u64,
            }),
            part: "xcu55c".to_owned(),
            platform: None,
            clock_mhz: 250,
            compute_units: 1,
        };
        let weights_sha256 = weights.map(hs_package::sha256);
        Image { kernel, weights_sha256, program: Arc::new(program) }
    }

    #[test]
    fn images_come_back() {
        for weights in [None, Some(&b"weights"[..])] {
            let image = image(weights);
            let bytes = image.to_bytes().unwrap();
            let back = Image::parse(&bytes).unwrap();
            assert_eq!((&back.kernel, &back.weights_sha256), (&image.kernel, &image.weights_sha256));
            assert_eq!(back.program.fingerprint(), image.program.fingerprint());
            assert_eq!(back.to_bytes().unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let good = image(None).to_bytes().unwrap();
        let refused = |bytes: &[u8]| Image::parse(bytes).unwrap_err();
        assert!(refused(b"agfi-0123456789abcdef0").contains("not one of ours; `hypersonic build"));
        for length in 0..good.len() {
            refused(&good[..length]);
        }
        assert!(refused(&[&good[..], b"x"].concat()).contains("more behind its end"));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            refused(&bytes)
        };
        assert!(with(8, 2).contains("version 2, expected 1"));
        assert!(with(23, 0xff).contains("cut off"));
        assert!(with(31, 0xff).contains("cut off"));
        assert!(with(32, b'x').contains("its header"));
        let mut other = image(None);
        other.kernel.inputs.push("more".to_owned());
        assert!(refused(&other.to_bytes().unwrap()).contains("not the Program's inputs"));
        let mut other = image(None);
        other.weights_sha256 = Some(String::new());
        assert!(refused(&other.to_bytes().unwrap()).contains("do not go together"));
    }
}
