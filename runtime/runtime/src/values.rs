//! Numbers as clients send them.

use std::borrow::Cow;

use crate::{Buffer, Datatype, Tensor};

/// The elements of a tensor: their type and their little-endian bytes, of any alignment.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    datatype: Datatype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Values<'a> {
    /// Row-major elements of a type.
    pub fn new(datatype: Datatype, bytes: &'a [u8]) -> Self {
        Self { datatype, bytes: Cow::Borrowed(bytes) }
    }

    /// Their type.
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// Elements `range`, of `N` bytes each.
    pub(crate) fn elements<const N: usize>(&self, range: std::ops::Range<usize>) -> &[[u8; N]] {
        self.bytes[range.start * N..range.end * N].as_chunks().0
    }
}

impl<'a> From<&'a Buffer> for Values<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        Self::new(buffer.datatype(), buffer.data())
    }
}

impl<'a> From<&'a Tensor> for Values<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { datatype: tensor.dtype().into(), bytes: tensor.data().as_le_bytes() }
    }
}
