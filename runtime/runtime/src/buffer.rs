//! Tensors as they travel: little-endian elements in shared memory that nobody copies without need.

use std::fmt;

use bytes::Bytes;

use crate::{Data, Dtype, Element, Tensor, tensor::elements};

macro_rules! datatypes {
    ($($variant:ident $name:literal $size:expr, $dtype:expr;)*) => {
        /// Element type of a [`Buffer`], under the KServe v2 protocol's names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Datatype {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Datatype {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The protocol's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The type of that name; names are in capitals.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// Bytes of an element; `None` for [`Bytes`](Self::Bytes), whose elements differ.
            pub fn size(self) -> Option<usize> {
                match self { $(Self::$variant => $size,)* }
            }

            /// The type of the same elements in a [`Tensor`]; `None` where tensors have none.
            pub fn dtype(self) -> Option<Dtype> {
                match self { $(Self::$variant => $dtype,)* }
            }
        }
    };
}

datatypes! {
    Bool "BOOL" Some(1), Some(Dtype::Bool);
    Uint8 "UINT8" Some(1), Some(Dtype::U8);
    Uint16 "UINT16" Some(2), Some(Dtype::U16);
    Uint32 "UINT32" Some(4), Some(Dtype::U32);
    Uint64 "UINT64" Some(8), Some(Dtype::U64);
    Int8 "INT8" Some(1), Some(Dtype::I8);
    Int16 "INT16" Some(2), Some(Dtype::I16);
    Int32 "INT32" Some(4), Some(Dtype::I32);
    Int64 "INT64" Some(8), Some(Dtype::I64);
    Fp16 "FP16" Some(2), Some(Dtype::F16);
    Bf16 "BF16" Some(2), None;
    Fp32 "FP32" Some(4), Some(Dtype::F32);
    Fp64 "FP64" Some(8), Some(Dtype::F64);
    Bytes "BYTES" None, None;
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Dtype> for Datatype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Bool => Self::Bool,
            Dtype::I8 => Self::Int8,
            Dtype::I16 => Self::Int16,
            Dtype::I32 => Self::Int32,
            Dtype::I64 => Self::Int64,
            Dtype::U8 => Self::Uint8,
            Dtype::U16 => Self::Uint16,
            Dtype::U32 => Self::Uint32,
            Dtype::U64 => Self::Uint64,
            Dtype::F16 => Self::Fp16,
            Dtype::F32 => Self::Fp32,
            Dtype::F64 => Self::Fp64,
        }
    }
}

/// Bytes that are not the elements of a shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// The shape has more elements than memory could hold.
    #[error("shape {0:?} has too many elements")]
    Shape(Vec<usize>),
    /// Not as many bytes as the shape needs.
    #[error("{found} bytes, but {datatype} of shape {shape:?} has {expected}")]
    Length {
        /// Element type.
        datatype: Datatype,
        /// The shape.
        shape: Vec<usize>,
        /// Bytes that it needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A length before an element of [`Datatype::Bytes`] that reaches beyond the end, or an element too few or too
    /// many.
    #[error("{found} whole elements, but shape {shape:?} has {expected}")]
    Elements {
        /// The shape.
        shape: Vec<usize>,
        /// Elements that it has.
        expected: usize,
        /// Elements that the bytes hold.
        found: usize,
    },
    /// Bytes that are elsewhere and cannot be had: why.
    #[error("cannot be read: {0}")]
    Source(String),
}

/// A tensor in shared memory: row-major, little-endian, the batch axis first where there is one. Elements of
/// [`Datatype::Bytes`] are each preceded by their length, 32 bits. Cloning shares the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buffer {
    datatype: Datatype,
    shape: Vec<usize>,
    data: Bytes,
}

impl Buffer {
    /// `data` in the given shape.
    pub fn new(datatype: Datatype, shape: impl Into<Vec<usize>>, data: Bytes) -> Result<Self, BufferError> {
        let shape = shape.into();
        let Some(count) = elements(&shape) else { return Err(BufferError::Shape(shape)) };
        let Some(size) = datatype.size() else {
            let found = byte_strings(&data).map_while(Result::ok).take(count + 1).count();
            let whole = byte_strings(&data).take(count).all(|e| e.is_ok());
            if found != count || !whole {
                return Err(BufferError::Elements { shape, expected: count, found });
            }
            return Ok(Self { datatype, shape, data });
        };
        match count.checked_mul(size) {
            None => Err(BufferError::Shape(shape)),
            Some(expected) if expected != data.len() => {
                Err(BufferError::Length { datatype, shape, expected, found: data.len() })
            }
            Some(_) => Ok(Self { datatype, shape, data }),
        }
    }

    /// Element type.
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// Shape, the batch axis included.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The bytes.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The bytes, taken out.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// Size of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// A copy as a tensor; `None` for element types that tensors have not.
    pub fn to_tensor(&self) -> Option<Tensor> {
        let data = Data::from_le_bytes(self.datatype.dtype()?, &self.data);
        Some(Tensor::new(self.shape.as_slice(), data).expect("the length was checked"))
    }

    /// Rows `range`, sharing the memory.
    ///
    /// # Panics
    /// When the range ends beyond [`rows`](Self::rows) or the buffer is a scalar.
    pub fn slice_rows(&self, range: std::ops::Range<usize>) -> Self {
        assert!(range.end <= self.rows() && !self.shape.is_empty(), "rows {range:?} of {:?}", self.shape);
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        let row: usize = self.shape[1..].iter().product();
        let bytes = match self.datatype.size() {
            Some(size) => range.start * row * size..range.end * row * size,
            None => {
                let offset = |n: usize| byte_strings(&self.data).take(n).flatten().map(|e| e.len() + 4).sum();
                let start: usize = offset(range.start * row);
                start..offset(range.end * row)
            }
        };
        Self { datatype: self.datatype, shape, data: self.data.slice(bytes) }
    }

    /// The rows of all parts, one after the other; a single part is shared, not copied. `None` when there are no
    /// parts, or they differ in more than their rows.
    pub fn concat_rows(parts: &[Self]) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        if rest.is_empty() {
            return Some(first.clone());
        }
        let (_, row) = first.shape.split_first()?;
        if rest.iter().any(|p| p.datatype != first.datatype || p.shape.get(1..) != Some(row)) {
            return None;
        }
        let mut data = Vec::with_capacity(parts.iter().map(|p| p.data.len()).sum());
        parts.iter().for_each(|p| data.extend_from_slice(&p.data));
        let mut shape = first.shape.clone();
        shape[0] = parts.iter().map(|p| p.shape[0]).sum();
        Some(Self { datatype: first.datatype, shape, data: data.into() })
    }
}

/// The elements of a buffer of [`Datatype::Bytes`]; last an error, when what is left is no element.
pub fn byte_strings(data: &[u8]) -> impl Iterator<Item = Result<&[u8], usize>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let element = rest.split_first_chunk::<4>().and_then(|(length, after)| {
            after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        });
        let Some((element, after)) = element else {
            return Some(Err(std::mem::take(&mut rest).len()));
        };
        rest = after;
        Some(Ok(element))
    })
}

impl From<Tensor> for Buffer {
    /// Takes the tensor's memory over.
    fn from(tensor: Tensor) -> Self {
        let (datatype, shape) = (tensor.dtype().into(), tensor.shape().to_vec());
        Self { datatype, shape, data: tensor.into_data().into_le_bytes() }
    }
}

/// Memory of a vector as bytes.
struct Owner<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// The little-endian bytes of a vector, which gives its memory where the machine is little-endian.
pub(crate) fn into_le_bytes<T: Element>(elements: Vec<T>) -> Bytes {
    if cfg!(target_endian = "little") {
        return Bytes::from_owner(Owner(elements));
    }
    let mut bytes = Vec::with_capacity(elements.len() * size_of::<T>());
    elements.into_iter().for_each(|e| e.write_le(&mut bytes));
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(elements: &[&str]) -> Bytes {
        let mut bytes = Vec::new();
        for e in elements {
            bytes.extend((e.len() as u32).to_le_bytes());
            bytes.extend(e.as_bytes());
        }
        bytes.into()
    }

    #[test]
    fn names_are_the_protocols() {
        for d in Datatype::ALL {
            assert_eq!(Datatype::parse(d.name()), Some(*d));
        }
        assert_eq!(Datatype::parse("fp32"), None);
        for d in Dtype::ALL {
            assert_eq!(Datatype::from(*d).dtype(), Some(*d));
            assert_eq!(Datatype::from(*d).size(), Some(d.bytes()));
        }
    }

    #[test]
    fn bytes_must_fill_the_shape() {
        let zeros = Bytes::from_static(&[0; 8]);
        assert!(Buffer::new(Datatype::Fp32, [2, 1], zeros.clone()).is_ok());
        let e = Buffer::new(Datatype::Fp32, [3], zeros.clone()).unwrap_err();
        assert_eq!(e.to_string(), "8 bytes, but FP32 of shape [3] has 12");
        assert!(matches!(
            Buffer::new(Datatype::Fp64, [usize::MAX / 2], zeros).unwrap_err(),
            BufferError::Shape(_)
        ));
    }

    #[test]
    fn byte_strings_are_counted() {
        let data = strings(&["a", "", "xyz"]);
        let buffer = Buffer::new(Datatype::Bytes, [3, 1], data.clone()).unwrap();
        assert_eq!(buffer.slice_rows(1..3).data(), &strings(&["", "xyz"]));
        let joined = Buffer::concat_rows(&[buffer.slice_rows(0..1), buffer.slice_rows(1..3)]).unwrap();
        assert_eq!(joined, buffer);
        for shape in [2, 4] {
            assert!(Buffer::new(Datatype::Bytes, [shape], data.clone()).is_err());
        }
        for cut in [1, 2, 5, data.len() - 1] {
            assert!(Buffer::new(Datatype::Bytes, [3], data.slice(..cut)).is_err(), "{cut}");
        }
        assert!(Buffer::new(Datatype::Bytes, [0], Bytes::new()).is_ok());
        // A length that lies costs nothing.
        let lie = Bytes::from_static(&[255, 255, 255, 255, 1]);
        assert!(Buffer::new(Datatype::Bytes, [1], lie).is_err());
    }

    #[test]
    fn tensors_go_there_and_back() {
        let tensor = Tensor::of([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let buffer = Buffer::from(tensor.clone());
        assert_eq!(buffer.to_tensor().unwrap(), tensor);
        assert_eq!(buffer.slice_rows(1..3).to_tensor().unwrap(), tensor.slice_rows(1..3));
        let parts: Vec<Buffer> = (0..3).map(|i| buffer.slice_rows(i..i + 1)).collect();
        assert_eq!(Buffer::concat_rows(&parts).unwrap(), buffer);
        assert_eq!(Buffer::concat_rows(&[]), None);
    }
}
