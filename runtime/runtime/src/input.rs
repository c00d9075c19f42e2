//! Inputs of a call, which need not be here yet.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{Buffer, BufferError, Datatype, RunError, tensor::elements};

/// Bytes that lie where others may change them, such as in memory that a client shares: they are copied to where they
/// are needed, when they are needed, and only the copy counts.
pub trait Source: Send + Sync + fmt::Debug {
    /// How many.
    fn size(&self) -> usize;

    /// Copies the bytes from `at` on.
    ///
    /// # Errors
    /// Why they cannot be had, for a person to read.
    fn read(&self, at: usize, to: &mut [u8]) -> Result<(), String>;

    /// A copy of the bytes in `range`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn fetch(&self, range: Range<usize>) -> Result<Bytes, String> {
        let mut bytes = vec![0; range.len()];
        self.read(range.start, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// The bytes of a tensor, or where they lie.
#[derive(Debug, Clone)]
pub enum Payload {
    /// They are here.
    Bytes(Bytes),
    /// They are elsewhere.
    Source(Arc<dyn Source>),
}

impl Payload {
    /// The bytes, where they are here.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Source(_) => None,
        }
    }
}

impl<T: Into<Bytes>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// An input of a call. Cloning shares the memory.
#[derive(Debug, Clone)]
pub enum Input {
    /// It is here.
    Buffer(Buffer),
    /// It is elsewhere.
    Remote(Remote),
}

/// A tensor that is elsewhere: row-major, little-endian elements of a fixed size.
#[derive(Debug, Clone)]
pub struct Remote {
    datatype: Datatype,
    shape: Vec<usize>,
    /// Bytes of a row.
    row: usize,
    source: Arc<dyn Source>,
    /// Where it begins.
    at: usize,
}

impl Input {
    /// A tensor of the given shape. Elements of [`Datatype::Bytes`], whose sizes differ, are fetched.
    ///
    /// # Errors
    /// As [`Buffer::new`], and [`BufferError::Source`] for what cannot be fetched.
    pub fn new(datatype: Datatype, shape: Vec<usize>, payload: &Payload) -> Result<Self, BufferError> {
        let here = |bytes| Buffer::new(datatype, &*shape, bytes).map(Self::Buffer);
        match (payload, datatype.size()) {
            (Payload::Bytes(bytes), _) => here(bytes.clone()),
            (Payload::Source(source), None) => {
                here(source.fetch(0..source.size()).map_err(BufferError::Source)?)
            }
            (Payload::Source(source), Some(size)) => {
                let found = source.size();
                let Some((row, expected)) = bytes_of(&shape, size) else {
                    return Err(BufferError::Shape(shape));
                };
                if expected != found {
                    return Err(BufferError::Length { datatype, shape, expected, found });
                }
                Ok(Self::Remote(Remote { datatype, shape, row, source: Arc::clone(source), at: 0 }))
            }
        }
    }

    /// Element type.
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::Buffer(b) => b.datatype(),
            Self::Remote(r) => r.datatype,
        }
    }

    /// Shape, the batch axis included.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Buffer(b) => b.shape(),
            Self::Remote(r) => &r.shape,
        }
    }

    /// Size of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape().first().copied().unwrap_or(1)
    }

    /// The same elements in another shape; `None` where that has not as many.
    pub fn reshaped(self, to: Vec<usize>) -> Option<Self> {
        match self {
            Self::Buffer(b) => Buffer::new(b.datatype(), to, b.into_data()).ok().map(Self::Buffer),
            Self::Remote(r) => {
                let (row, len) = bytes_of(&to, r.datatype.size()?)?;
                (len == r.len()).then_some(Self::Remote(Remote { shape: to, row, ..r }))
            }
        }
    }

    /// Rows `range`, sharing the memory.
    ///
    /// # Panics
    /// As [`Buffer::slice_rows`].
    pub fn slice_rows(&self, range: Range<usize>) -> Self {
        match self {
            Self::Buffer(b) => Self::Buffer(b.slice_rows(range)),
            Self::Remote(r) => {
                assert!(range.end <= self.rows() && !r.shape.is_empty(), "rows {range:?} of {:?}", r.shape);
                let at = r.at + range.start * r.row;
                let mut shape = r.shape.clone();
                shape[0] = range.len();
                Self::Remote(Remote { shape, at, ..r.clone() })
            }
        }
    }

    /// The input, as a buffer: a copy of what lies elsewhere.
    ///
    /// # Errors
    /// [`RunError::Source`], naming `input`.
    pub fn fetch(&self, input: &str) -> Result<Buffer, RunError> {
        match self {
            Self::Buffer(b) => Ok(b.clone()),
            Self::Remote(r) => {
                let bytes = r.source.fetch(r.at..r.at + r.len()).map_err(|message| failed(input, message))?;
                Ok(Buffer::new(r.datatype, &*r.shape, bytes).expect("the length was checked"))
            }
        }
    }

    /// The rows of all parts, one after the other; a single part is shared, the others are copied. `None` when there
    /// are no parts, or they differ in more than their rows.
    ///
    /// # Errors
    /// Why one of them cannot be had.
    pub fn concat_rows(parts: &[Self]) -> Option<Result<Self, String>> {
        let (first, rest) = parts.split_first()?;
        if rest.is_empty() {
            return Some(Ok(first.clone()));
        }
        let (_, row) = first.shape().split_first()?;
        if rest.iter().any(|p| p.datatype() != first.datatype() || p.shape().get(1..) != Some(row)) {
            return None;
        }
        let len = |part: &Self| match part {
            Self::Buffer(b) => b.data().len(),
            Self::Remote(r) => r.len(),
        };
        let mut data = Vec::with_capacity(parts.iter().map(len).sum());
        for part in parts {
            match part {
                Self::Buffer(b) => data.extend_from_slice(b.data()),
                Self::Remote(r) => {
                    let start = data.len();
                    data.resize(start + r.len(), 0);
                    if let Err(e) = r.source.read(r.at, &mut data[start..]) {
                        return Some(Err(e));
                    }
                }
            }
        }
        let mut shape = first.shape().to_vec();
        shape[0] = parts.iter().map(Self::rows).sum();
        let joined = Buffer::new(first.datatype(), shape, data.into()).ok()?;
        Some(Ok(Self::Buffer(joined)))
    }
}

impl From<Buffer> for Input {
    fn from(buffer: Buffer) -> Self {
        Self::Buffer(buffer)
    }
}

impl Remote {
    /// Element type.
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Bytes of all rows.
    fn len(&self) -> usize {
        self.rows() * self.row
    }

    /// Copies the bytes of `rows` to the begin of `to`, which grows where it is too small; they are what is returned.
    ///
    /// # Errors
    /// [`RunError::Source`], naming `input`.
    ///
    /// # Panics
    /// When the rows are not there.
    pub fn read<'a>(
        &self,
        input: &str,
        rows: Range<usize>,
        to: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], RunError> {
        assert!(rows.start <= rows.end && rows.end <= self.rows(), "rows {rows:?} of {:?}", self.shape);
        let len = rows.len() * self.row;
        if to.len() < len {
            to.resize(len, 0);
        }
        let to = &mut to[..len];
        let read = self.source.read(self.at + rows.start * self.row, to);
        read.map_err(|message| failed(input, message))?;
        Ok(to)
    }
}

/// Bytes of a row and of all, where they can be counted.
fn bytes_of(shape: &[usize], size: usize) -> Option<(usize, usize)> {
    let row = elements(shape.get(1..).unwrap_or_default())?.checked_mul(size)?;
    Some((row, row.checked_mul(shape.first().copied().unwrap_or(1))?))
}

fn failed(input: &str, message: String) -> RunError {
    RunError::Source { input: input.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Memory(Vec<u8>, usize);

    impl Source for Memory {
        fn size(&self) -> usize {
            self.1
        }
        fn read(&self, at: usize, to: &mut [u8]) -> Result<(), String> {
            let from = self.0.get(at..at + to.len()).ok_or("it is gone")?;
            to.copy_from_slice(from);
            Ok(())
        }
    }

    fn remote(bytes: impl Into<Vec<u8>>, size: usize) -> Payload {
        Payload::Source(Arc::new(Memory(bytes.into(), size)))
    }

    #[test]
    fn rows_are_read_when_they_are_needed() {
        let bytes: Vec<u8> = (0..24).collect();
        let here = Input::new(Datatype::Uint16, vec![4, 3], &Payload::from(bytes.clone())).unwrap();
        let there = Input::new(Datatype::Uint16, vec![4, 3], &remote(bytes, 24)).unwrap();
        for input in [&here, &there] {
            assert_eq!((input.datatype(), input.shape(), input.rows()), (Datatype::Uint16, &[4, 3][..], 4));
        }
        assert_eq!(there.fetch("x").unwrap(), here.fetch("x").unwrap());
        let part = |input: &Input| input.slice_rows(1..4).slice_rows(1..3).fetch("x").unwrap();
        assert_eq!(part(&there), part(&here));
        let flat = |input: &Input| input.clone().reshaped(vec![2, 6]).unwrap().slice_rows(1..2).fetch("x");
        assert_eq!(flat(&there).unwrap(), flat(&here).unwrap());
        assert!(there.clone().reshaped(vec![5]).is_none() && here.reshaped(vec![5]).is_none());
        let Input::Remote(there) = there.slice_rows(1..3) else { panic!("it is elsewhere") };
        let mut memory = vec![9; 7];
        assert_eq!(there.read("x", 1..2, &mut memory).unwrap(), [12, 13, 14, 15, 16, 17]);
        assert_eq!(there.read("x", 0..2, &mut memory).unwrap(), (6..18).collect::<Vec<u8>>());
        assert_eq!(there.read("x", 2..2, &mut memory).unwrap(), [0; 0]);
    }

    #[test]
    fn what_does_not_fit_or_is_gone_is_an_error() {
        let error = |shape: Vec<usize>, payload: &Payload| {
            Input::new(Datatype::Fp32, shape, payload).unwrap_err().to_string()
        };
        for payload in [Payload::from(vec![0; 8]), remote([0; 8], 8)] {
            assert_eq!(error(vec![3], &payload), "8 bytes, but FP32 of shape [3] has 12");
            assert!(error(vec![usize::MAX / 2, 3], &payload).contains("too many elements"));
            // No rows, of no size.
            let odd = Input::new(Datatype::Fp32, vec![0, usize::MAX, 2], &payload);
            assert!(odd.is_err());
        }
        let gone = Input::new(Datatype::Fp32, vec![2], &remote([0; 7], 8)).unwrap();
        assert_eq!(gone.fetch("x").unwrap_err().to_string(), "input 'x' cannot be read: it is gone");
        let Input::Remote(gone) = gone else { panic!("it is elsewhere") };
        assert!(gone.read("x", 0..1, &mut Vec::new()).is_ok());
        assert!(gone.read("x", 1..2, &mut Vec::new()).is_err());
    }

    #[test]
    fn parts_are_joined() {
        let bytes: Vec<u8> = (0..12).collect();
        let input = |rows, payload: &Payload| Input::new(Datatype::Uint8, vec![rows, 3], payload).unwrap();
        let (here, there) = (input(4, &Payload::from(bytes.clone())), input(4, &remote(bytes.clone(), 12)));
        let parts =
            [here.slice_rows(0..1), there.slice_rows(1..3), there.slice_rows(3..3), here.slice_rows(3..4)];
        let joined = Input::concat_rows(&parts).unwrap().unwrap();
        assert_eq!(joined.fetch("x").unwrap(), here.fetch("x").unwrap());
        let gone = input(2, &remote([0; 5], 6));
        assert_eq!(Input::concat_rows(&[here.clone(), gone.clone()]).unwrap().unwrap_err(), "it is gone");
        assert!(matches!(Input::concat_rows(&[gone]), Some(Ok(Input::Remote(_)))));
        assert!(Input::concat_rows(&[]).is_none());
        let other = Input::new(Datatype::Uint8, vec![2, 6], &remote(bytes, 12)).unwrap();
        assert!(Input::concat_rows(&[here, other]).is_none());
    }

    #[test]
    fn strings_are_fetched() {
        let strings = remote([1, 0, 0, 0, 65], 5);
        let input = Input::new(Datatype::Bytes, vec![1], &strings).unwrap();
        assert!(matches!(&input, Input::Buffer(b) if b.data().ends_with(b"A")));
        assert!(Input::new(Datatype::Bytes, vec![2], &strings).is_err());
        assert_eq!(
            Input::new(Datatype::Bytes, vec![1], &remote([], 5)).unwrap_err(),
            BufferError::Source("it is gone".to_owned())
        );
    }
}
