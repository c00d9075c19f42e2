//! Tensors: contiguous, row-major, the batch axis first.

use std::{borrow::Cow, fmt};

use half::f16;

use crate::buffer::into_le_bytes;

/// Data that does not fill its shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Number of elements.
    #[error("shape {shape:?} does not have {len} elements")]
    Length {
        /// The shape.
        shape: Vec<usize>,
        /// Elements given.
        len: usize,
    },
}

/// An element type of tensors.
pub trait Element: bytemuck::NoUninit + fmt::Debug + PartialEq + Send + Sync {
    /// Its tag.
    const DTYPE: Dtype;
    /// Zero.
    const ZERO: Self;
    /// Wraps a vector.
    fn wrap(data: Vec<Self>) -> Data;
    /// The elements, if they are of this type.
    fn of(data: &Data) -> Option<&[Self]>;
    /// The value from little-endian bytes, [`Dtype::bytes`] of them.
    fn read_le(bytes: &[u8]) -> Self;
    /// Appends the little-endian bytes.
    fn write_le(self, out: &mut Vec<u8>);
}

macro_rules! dtypes {
    ($($variant:ident $t:ty, $name:literal, $descr:literal, $zero:expr, $from:expr, $to:expr;)*) => {
        /// Element type of a tensor.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Dtype {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Dtype {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// NumPy's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// NumPy's `descr` of the little-endian type.
            pub fn descr(self) -> &'static str {
                match self { $(Self::$variant => $descr,)* }
            }

            /// Bytes of an element.
            pub fn bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$t>(),)* }
            }
        }

        /// The elements of a tensor.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Data {
            $(#[doc = concat!("`", $name, "`")] $variant(Vec<$t>),)*
        }

        impl Data {
            /// Element type.
            pub fn dtype(&self) -> Dtype {
                match self { $(Self::$variant(_) => Dtype::$variant,)* }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(v) => v.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Elements from their little-endian bytes; a rest shorter than an element is dropped.
            pub fn from_le_bytes(dtype: Dtype, bytes: &[u8]) -> Self {
                match dtype {
                    $(Dtype::$variant => {
                        Self::$variant(bytes.chunks_exact(size_of::<$t>()).map(<$t as Element>::read_le).collect())
                    })*
                }
            }

            /// Appends the little-endian bytes of all elements.
            pub fn to_le_bytes(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(v) => v.iter().for_each(|e| e.write_le(out)),)*
                }
            }

            /// The little-endian bytes of all elements, which are their own memory where the machine is little-endian.
            pub fn as_le_bytes(&self) -> Cow<'_, [u8]> {
                if cfg!(target_endian = "little") {
                    return match self { $(Self::$variant(v) => Cow::Borrowed(bytemuck::cast_slice(v)),)* };
                }
                let mut bytes = Vec::new();
                self.to_le_bytes(&mut bytes);
                Cow::Owned(bytes)
            }

            /// The little-endian bytes of all elements, in their own memory where the machine is little-endian.
            pub fn into_le_bytes(self) -> bytes::Bytes {
                match self { $(Self::$variant(v) => into_le_bytes(v),)* }
            }

            fn range(&self, range: std::ops::Range<usize>) -> Self {
                match self { $(Self::$variant(v) => Self::$variant(v[range].to_vec()),)* }
            }

            /// The same elements, element `i` taken from `order(i)`.
            pub(crate) fn gather(&self, order: impl Iterator<Item = usize>) -> Self {
                match self { $(Self::$variant(v) => Self::$variant(order.map(|i| v[i]).collect()),)* }
            }
        }

        $(impl Element for $t {
            const DTYPE: Dtype = Dtype::$variant;
            const ZERO: Self = $zero;
            fn wrap(data: Vec<Self>) -> Data {
                Data::$variant(data)
            }
            fn of(data: &Data) -> Option<&[Self]> {
                if let Data::$variant(v) = data { Some(v) } else { None }
            }
            fn read_le(bytes: &[u8]) -> Self {
                let mut fixed = [0; size_of::<$t>()];
                fixed.copy_from_slice(bytes);
                $from(fixed)
            }
            fn write_le(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&$to(self));
            }
        })*
    };
}

dtypes! {
    Bool bool, "bool", "|b1", false, |b: [u8; 1]| b[0] != 0, |v: bool| [u8::from(v)];
    I8 i8, "int8", "|i1", 0, i8::from_le_bytes, i8::to_le_bytes;
    I16 i16, "int16", "<i2", 0, i16::from_le_bytes, i16::to_le_bytes;
    I32 i32, "int32", "<i4", 0, i32::from_le_bytes, i32::to_le_bytes;
    I64 i64, "int64", "<i8", 0, i64::from_le_bytes, i64::to_le_bytes;
    U8 u8, "uint8", "|u1", 0, u8::from_le_bytes, u8::to_le_bytes;
    U16 u16, "uint16", "<u2", 0, u16::from_le_bytes, u16::to_le_bytes;
    U32 u32, "uint32", "<u4", 0, u32::from_le_bytes, u32::to_le_bytes;
    U64 u64, "uint64", "<u8", 0, u64::from_le_bytes, u64::to_le_bytes;
    F16 f16, "float16", "<f2", f16::ZERO, f16::from_le_bytes, f16::to_le_bytes;
    F32 f32, "float32", "<f4", 0.0, f32::from_le_bytes, f32::to_le_bytes;
    F64 f64, "float64", "<f8", 0.0, f64::from_le_bytes, f64::to_le_bytes;
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor: contiguous elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// `data` in the given shape.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data) -> Result<Self, TensorError> {
        let shape = shape.into();
        if elements(&shape) != Some(data.len()) {
            return Err(TensorError::Length { shape, len: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// A vector's elements in the given shape.
    pub fn of<T: Element>(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, TensorError> {
        Self::new(shape, T::wrap(data))
    }

    /// Shape, the batch axis included.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, taken out.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// The elements, if they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        T::of(&self.data)
    }

    /// Size of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements of a row.
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Rows `range` as a tensor of its own.
    ///
    /// # Panics
    /// When the range ends beyond [`rows`](Self::rows) or the tensor is a scalar.
    pub fn slice_rows(&self, range: std::ops::Range<usize>) -> Self {
        assert!(!self.shape.is_empty(), "a scalar has no rows");
        let n = self.row_len();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        Self { shape, data: self.data.range(range.start * n..range.end * n) }
    }

    /// The same elements in another shape.
    pub fn reshape(self, shape: impl Into<Vec<usize>>) -> Result<Self, TensorError> {
        Self::new(shape, self.data)
    }

    /// The elements as doubles; 64-bit integers are rounded to nearest.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::Bool(v) => v.iter().map(|e| f64::from(u8::from(*e))).collect(),
            Data::I8(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::I16(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::I32(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::I64(v) => v.iter().map(|e| *e as f64).collect(),
            Data::U8(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::U16(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::U32(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::U64(v) => v.iter().map(|e| *e as f64).collect(),
            Data::F16(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::F32(v) => v.iter().map(|e| f64::from(*e)).collect(),
            Data::F64(v) => v.clone(),
        }
    }
}

/// Number of elements of a shape, where it fits.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_and_data_must_agree() {
        assert!(Tensor::of([2, 3], vec![0f32; 6]).is_ok());
        let e = Tensor::of([2, 3], vec![0f32; 5]).unwrap_err();
        assert_eq!(e.to_string(), "shape [2, 3] does not have 5 elements");
        assert!(Tensor::of([usize::MAX, 2], Vec::<u8>::new()).is_err());
    }

    #[test]
    fn rows_are_the_first_axis() {
        let t = Tensor::of([3, 2], vec![1i16, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(t.slice_rows(1..3), Tensor::of([2, 2], vec![3i16, 4, 5, 6]).unwrap());
        assert_eq!(t.slice_rows(1..1).shape(), [0, 2]);
        assert_eq!((t.rows(), t.row_len()), (3, 2));
    }

    #[test]
    fn bytes_round_trip_for_every_type() {
        for dtype in Dtype::ALL {
            let bytes: Vec<u8> = (0..48).map(|i| if *dtype == Dtype::Bool { i % 2 } else { i * 5 }).collect();
            let data = Data::from_le_bytes(*dtype, &bytes);
            assert_eq!(data.len() * dtype.bytes(), 48);
            let mut back = Vec::new();
            data.to_le_bytes(&mut back);
            assert_eq!(back, bytes, "{dtype}");
        }
    }
}
