//! The identity of a Program's bits.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{KERNEL_ABI, Program, text};

/// SHA-256 over the kernel ABI version and the canonical text of a Program.
///
/// The bits and the interface enter: ops, types, shapes, constants, and the ONNX names, shapes and axes of
/// inputs and outputs. Names of nodes and of the model do not, nor does the Schedule: a card that serves one
/// Program serves every other with the same fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

/// Text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a fingerprint of 64 lower-case hexadecimal digits")]
pub struct ParseFingerprintError(String);

impl Program {
    /// Identity of the bits; see [`Fingerprint`].
    pub fn fingerprint(&self) -> Fingerprint {
        let mut sha = Sha256::new();
        sha.update(format!("hypersonic kernel abi {KERNEL_ABI}\n"));
        sha.update(text::canonical(self));
        Fingerprint(sha.finalize().into())
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from(b"0123456789abcdef"[usize::from(n)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

impl fmt::Display for Fingerprint {
    /// 64 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || ParseFingerprintError(s.chars().take(80).collect());
        let digit = |b: &u8| match b {
            b'0'..=b'9' => Ok(b - b'0'),
            b'a'..=b'f' => Ok(b - b'a' + 10),
            _ => Err(bad()),
        };
        if s.len() != 64 {
            return Err(bad());
        }
        let mut out = [0; 32];
        for (to, pair) in out.iter_mut().zip(s.as_bytes().chunks_exact(2)) {
            *to = digit(&pair[0])? << 4 | digit(&pair[1])?;
        }
        Ok(Self(out))
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
