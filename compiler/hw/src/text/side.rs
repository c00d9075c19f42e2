//! Constants in a byte string beside the text.

use hs_fixed::Format;

use crate::Codes;

/// A constant that cannot be stored in its format's bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} is not a code of {format}")]
pub struct SideError {
    /// The code.
    pub code: i64,
    /// The constant's format.
    pub format: Format,
}

/// Bytes a code of `format` takes: 1, 2, 4 or 8.
pub(super) fn code_bytes(format: Format) -> usize {
    (format.width() as usize).div_ceil(8).next_power_of_two().min(8)
}

/// Appends constants; the first bad code is kept for [`Writer::finish`].
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    error: Option<SideError>,
}

impl Writer {
    /// Appends a constant and returns its offset.
    pub(super) fn push(&mut self, codes: &Codes) -> usize {
        let offset = self.bytes.len();
        let n = code_bytes(codes.format);
        for code in codes.data.iter() {
            if !codes.format.contains(i128::from(*code)) && self.error.is_none() {
                self.error = Some(SideError { code: *code, format: codes.format });
            }
            self.bytes.extend_from_slice(&code.to_le_bytes()[..n]);
        }
        offset
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, SideError> {
        match self.error {
            None => Ok(self.bytes),
            Some(e) => Err(e),
        }
    }
}

/// Hands out constants in order.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes not handed out yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The constant at `offset`, or what is wrong with the reference.
    pub(super) fn codes(&mut self, format: Format, offset: usize, count: usize) -> Result<Codes, String> {
        if offset != self.at {
            return Err(format!("offset {} (constants follow each other)", self.at));
        }
        let n = code_bytes(format);
        let size = count.checked_mul(n).filter(|s| *s <= self.left());
        let size = size.ok_or_else(|| {
            format!("at most {} codes of {n} bytes, as {} bytes are left", self.left() / n, self.left())
        })?;
        let chunk = &self.bytes[self.at..self.at + size];
        self.at += size;
        let decode = |c: &[u8]| {
            let fill = if format.is_signed() && c[n - 1] & 0x80 != 0 { 0xff } else { 0 };
            let mut wide = [fill; 8];
            wide[..n].copy_from_slice(c);
            i64::from_le_bytes(wide)
        };
        Ok(Codes::new(format, chunk.chunks_exact(n).map(decode).collect::<Vec<_>>()))
    }
}
