//! UUIDs as the format uses them: 16 bytes, in the order in which they are printed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

/// Text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a UUID of 32 hexadecimal digits", .0.escape_debug())]
pub struct ParseUuidError(String);

impl Uuid {
    /// Whether all bits are zero, which says that there is none.
    pub fn is_nil(self) -> bool {
        self == Self::default()
    }

    /// A UUID of version 8 out of a digest: the same for the same bits.
    pub(crate) fn of_digest(digest: [u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// 32 lower-case hexadecimal digits.
    pub(crate) fn digits(self) -> String {
        self.to_string().replace('-', "")
    }
}

impl fmt::Display for Uuid {
    /// Lower-case hexadecimal digits in groups of 8, 4, 4, 4 and 12.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

impl FromStr for Uuid {
    type Err = ParseUuidError;

    /// 32 hexadecimal digits, with or without the four hyphens.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let bad = || ParseUuidError(s.chars().take(80).collect());
        let groups: Vec<usize> = s.split('-').take(6).map(str::len).collect();
        if !(groups == [32] || groups == [8, 4, 4, 4, 12]) {
            return Err(bad());
        }
        let mut digits = s.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            for _ in 0..2 {
                let digit = digits.next().flatten().ok_or_else(bad)?;
                *byte = *byte << 4 | digit as u8;
            }
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_one_is_written() {
        let text = "862c7020-a250-293e-3203-6f19956669e5";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!((uuid.to_string(), uuid.digits()), (text.to_owned(), text.replace('-', "")));
        assert_eq!(text.replace('-', "").to_uppercase().parse(), Ok(uuid));
        for bad in ["", "862c", &text[1..], &format!("{text}0"), &text.replace('c', "g"), &"é".repeat(16)] {
            assert!(bad.parse::<Uuid>().is_err(), "{bad}");
        }
    }
}
