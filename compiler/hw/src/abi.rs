//! The kernel ABI: packed rows and the trailer (SPEC.md, section 7).

use hs_fixed::Format;

use crate::{Fingerprint, KERNEL_ABI, Node};

/// Bytes of a beat of the kernel's memory ports. Buffers are zero-padded to it, and a trailer has this size.
pub const BEAT_BYTES: usize = 64;

/// First bytes of a trailer.
pub const TRAILER_MAGIC: [u8; 8] = *b"hypersnc";

/// How the rows of a model input or output lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// Elements of a row.
    pub elements: usize,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub element_bytes: usize,
    /// Whether elements are sign-extended; else zero-extended.
    pub signed: bool,
    /// Bytes of a row's elements.
    pub row_bytes: usize,
    /// Bytes from one row to the next: `row_bytes` rounded up to 4.
    pub stride: usize,
}

/// A buffer whose size is not that of its rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rows} rows of {stride} bytes take {expected} bytes, and the buffer has {found}")]
pub struct SizeError {
    /// Rows.
    pub rows: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Bytes of such a buffer.
    pub expected: usize,
    /// Bytes given.
    pub found: usize,
}

impl RowLayout {
    /// Rows of `elements` codes of `format`, which is at most 64 bits wide.
    pub fn new(elements: usize, format: Format) -> Self {
        let element_bytes = (format.width() as usize).div_ceil(8).next_power_of_two();
        let row_bytes = elements * element_bytes;
        let stride = row_bytes.next_multiple_of(4);
        Self { elements, element_bytes, signed: format.is_signed(), row_bytes, stride }
    }

    /// Rows of a model input or output.
    pub fn of(node: &Node) -> Self {
        Self::new(node.len(), node.format())
    }

    /// Bytes of `rows` rows, zero padding included.
    pub fn bytes(&self, rows: usize) -> usize {
        (rows * self.stride).next_multiple_of(BEAT_BYTES)
    }

    /// Bytes of an output buffer: `rows` rows and the trailer.
    pub fn output_bytes(&self, rows: usize) -> usize {
        self.bytes(rows) + BEAT_BYTES
    }

    /// Codes (rows × elements, hardware order) as packed rows, zero-padded to a beat. What does not fill a row is left
    /// out.
    pub fn pack(&self, codes: &[i64]) -> Vec<u8> {
        let rows = codes.len().checked_div(self.elements).unwrap_or(0);
        let mut bytes = vec![0; self.bytes(rows)];
        if self.elements > 0 {
            for (row, to) in codes.chunks_exact(self.elements).zip(bytes.chunks_mut(self.stride)) {
                for (code, to) in row.iter().zip(to.chunks_exact_mut(self.element_bytes)) {
                    to.copy_from_slice(&code.to_le_bytes()[..self.element_bytes]);
                }
            }
        }
        bytes
    }

    /// The codes (rows × elements, hardware order) of packed rows: at least `bytes(rows)` bytes, of which what follows
    /// the rows is not read.
    pub fn unpack(&self, bytes: &[u8], rows: usize) -> Result<Vec<i64>, SizeError> {
        let expected = self.bytes(rows);
        if bytes.len() < expected {
            return Err(SizeError { rows, stride: self.stride, expected, found: bytes.len() });
        }
        let unused = 64 - 8 * self.element_bytes as u32;
        let mut codes = Vec::with_capacity(rows * self.elements);
        for row in bytes.chunks(self.stride.max(1)).take(rows) {
            for element in row[..self.row_bytes].chunks_exact(self.element_bytes) {
                let mut all = [0; 8];
                all[..self.element_bytes].copy_from_slice(element);
                let code = u64::from_le_bytes(all) << unused;
                codes.push(if self.signed {
                    code.cast_signed() >> unused
                } else {
                    (code >> unused).cast_signed()
                });
            }
        }
        Ok(codes)
    }
}

/// What a kernel writes after the last row of each output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Rows that the kernel wrote.
    pub rows: u32,
    /// First half of the fingerprint of the Program that the kernel computes.
    pub fingerprint: [u8; 16],
}

/// Why bytes are not the trailer that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrailerError {
    /// Not 64 bytes.
    #[error("a trailer has {BEAT_BYTES} bytes, not {0}")]
    Length(usize),
    /// No trailer at all: the kernel did not reach the end, or it is not one of ours.
    #[error("the output ends without a trailer: the kernel did not finish, or it is not a hypersonic kernel")]
    Magic,
    /// Another version of the ABI.
    #[error(
        "the kernel follows version {0} of the kernel ABI, this program version {KERNEL_ABI}; build the bitstream again"
    )]
    Abi(u32),
    /// Another model.
    #[error(
        "the kernel computes the model with fingerprint {found}…, not {expected}…; load the bitstream of this model"
    )]
    Fingerprint {
        /// First half of the kernel's.
        found: String,
        /// First half of the package's.
        expected: String,
    },
    /// Too few rows, or too many.
    #[error("the kernel wrote {found} rows, not {expected}")]
    Rows {
        /// Rows that the trailer says.
        found: u32,
        /// Rows asked for.
        expected: u32,
    },
}

impl Trailer {
    /// The trailer after `rows` rows of a Program.
    pub fn new(rows: u32, fingerprint: &Fingerprint) -> Self {
        let (half, _) = fingerprint.0.split_first_chunk().expect("32 bytes");
        Self { rows, fingerprint: *half }
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; BEAT_BYTES] {
        let mut bytes = [0; BEAT_BYTES];
        bytes[..8].copy_from_slice(&TRAILER_MAGIC);
        bytes[8..12].copy_from_slice(&KERNEL_ABI.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.rows.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.fingerprint);
        bytes
    }

    /// Reads a trailer of this version of the ABI.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrailerError> {
        let bytes: &[u8; BEAT_BYTES] = bytes.try_into().map_err(|_| TrailerError::Length(bytes.len()))?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..8] != TRAILER_MAGIC {
            return Err(TrailerError::Magic);
        }
        if word(8) != KERNEL_ABI {
            return Err(TrailerError::Abi(word(8)));
        }
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&bytes[16..32]);
        Ok(Self { rows: word(12), fingerprint })
    }

    /// Checks the trailer that follows an output of `self.rows` rows.
    pub fn check(&self, bytes: &[u8]) -> Result<(), TrailerError> {
        let found = Self::parse(bytes)?;
        if found.fingerprint != self.fingerprint {
            let hex = crate::fingerprint::hex;
            let (found, expected) = (hex(&found.fingerprint), hex(&self.fingerprint));
            return Err(TrailerError::Fingerprint { found, expected });
        }
        if found.rows != self.rows {
            return Err(TrailerError::Rows { found: found.rows, expected: self.rows });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_little_endian_at_a_stride_of_four() {
        let l = RowLayout::new(3, Format::new(true, 9, 3).unwrap());
        assert_eq!((l.element_bytes, l.row_bytes, l.stride, l.bytes(2)), (2, 6, 8, 64));
        let packed = l.pack(&[1, -2, 255, 256, 0, -256]);
        assert_eq!(packed[..16], [1, 0, 254, 255, 255, 0, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0]);
        assert_eq!(packed.len(), 64);
        assert_eq!(l.unpack(&packed, 2).unwrap(), [1, -2, 255, 256, 0, -256]);
    }

    #[test]
    fn every_width_comes_back() {
        for width in 1..=64 {
            for signed in [false, true] {
                let Ok(format) = Format::new(signed, width, 1) else { continue };
                let l = RowLayout::new(5, format);
                let (low, high) = if signed {
                    (i64::MIN >> (64 - width), i64::MAX >> (64 - width))
                } else {
                    (0, (u64::MAX >> (64 - width)).cast_signed())
                };
                let codes = [low, high, 0, 1.min(high), low / 2, high / 3, low, high, 0, 0];
                assert_eq!(l.unpack(&l.pack(&codes), 2).unwrap(), codes, "{format:?}");
            }
        }
    }

    #[test]
    fn no_rows_take_no_bytes_but_a_trailer() {
        let l = RowLayout::new(3, Format::new(true, 8, 8).unwrap());
        assert_eq!(
            (l.bytes(0), l.output_bytes(0), l.output_bytes(16), l.output_bytes(17)),
            (0, 64, 128, 192)
        );
        assert_eq!(l.unpack(&[], 0).unwrap(), []);
        assert_eq!(
            l.unpack(&[0; 63], 1).unwrap_err(),
            SizeError { rows: 1, stride: 4, expected: 64, found: 63 }
        );
    }

    #[test]
    fn a_trailer_that_is_not_the_expected_one_is_refused() {
        let expected = Trailer::new(17, &Fingerprint([7; 32]));
        let bytes = expected.to_bytes();
        assert_eq!(bytes[..20], *b"hypersnc\x01\0\0\0\x11\0\0\0\x07\x07\x07\x07");
        assert_eq!((Trailer::parse(&bytes), expected.check(&bytes)), (Ok(expected), Ok(())));
        assert_eq!(expected.check(&[0; 64]), Err(TrailerError::Magic));
        assert_eq!(expected.check(&bytes[..63]), Err(TrailerError::Length(63)));
        let with = |at: usize| {
            let mut b = bytes;
            b[at] ^= 1;
            expected.check(&b).unwrap_err()
        };
        assert_eq!(with(8), TrailerError::Abi(0));
        assert_eq!(with(12), TrailerError::Rows { found: 16, expected: 17 });
        assert!(with(31).to_string().contains("0707070706…, not 0707"), "{}", with(31));
    }
}
