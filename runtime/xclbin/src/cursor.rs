//! Reading bytes in order, with the place of what does not fit.

use std::fmt::Display;

use crate::{Within, XclbinError};

/// Bytes and how far they were read.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    within: Within,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], within: Within) -> Self {
        Self { bytes, at: 0, within }
    }

    /// From byte `at` on; beyond the end, nothing is left.
    pub(crate) fn from(&self, at: usize) -> Self {
        Self { at: at.min(self.bytes.len()), ..self.clone() }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What is wrong with the value at byte `at`.
    pub(crate) fn wrong(
        &self,
        at: usize,
        what: impl Display,
        found: impl Display,
        expected: impl Display,
    ) -> XclbinError {
        XclbinError::Value {
            within: self.within,
            offset: at as u64,
            what: what.to_string(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Fails if fewer than `count` records of `size` bytes are left.
    pub(crate) fn expect(&self, count: u64, size: u64, what: impl Display) -> Result<(), XclbinError> {
        let (expected, found) = (count.saturating_mul(size), self.left() as u64);
        if found < expected {
            let (within, offset, what) = (self.within, self.at as u64, what.to_string());
            return Err(XclbinError::Truncated { within, offset, what, expected, found });
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, n: usize, what: impl Display) -> Result<&'a [u8], XclbinError> {
        self.expect(n as u64, 1, what)?;
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: impl Display) -> Result<[u8; N], XclbinError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self, what: impl Display) -> Result<u8, XclbinError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, what: impl Display) -> Result<u16, XclbinError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: impl Display) -> Result<u32, XclbinError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: impl Display) -> Result<u64, XclbinError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A signed number that counts or points, and so is not negative.
    pub(crate) fn index(&mut self, what: impl Display) -> Result<u32, XclbinError> {
        let at = self.at;
        let value = i32::from_le_bytes(self.array(&what)?);
        u32::try_from(value).map_err(|_| self.wrong(at, what, value, "a number that is not negative"))
    }

    /// UTF-8 in a field of `N` bytes, up to its first zero byte, which must be there.
    pub(crate) fn text<const N: usize>(&mut self, what: impl Display) -> Result<String, XclbinError> {
        let at = self.at;
        let field: [u8; N] = self.array(&what)?;
        let end = field.iter().position(|b| *b == 0);
        let text = end.and_then(|end| std::str::from_utf8(&field[..end]).ok());
        text.map(str::to_owned).ok_or_else(|| {
            self.wrong(
                at,
                what,
                format!("\"{}\"", field.escape_ascii()),
                "text in UTF-8 that a zero byte ends",
            )
        })
    }
}

/// A field of `N` bytes with a text and zeros.
pub(crate) fn field<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], XclbinError> {
    if text.len() >= N || text.contains('\0') {
        return Err(XclbinError::Name { what, name: text.to_owned(), most: N - 1 });
    }
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text.as_bytes());
    Ok(field)
}
