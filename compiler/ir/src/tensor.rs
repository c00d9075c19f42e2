//! Constant tensors.

use std::borrow::Cow;

use crate::DType;

/// A tensor that cannot exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The dimensions multiply to more than `usize` holds.
    #[error("the shape {0:?} has more elements than can be counted")]
    TooLarge(Vec<usize>),
    /// Data and shape disagree.
    #[error("the shape {shape:?} needs {expected} elements, but there are {found}")]
    Length {
        /// The shape asked for.
        shape: Vec<usize>,
        /// Its number of elements.
        expected: usize,
        /// The number of elements given.
        found: usize,
    },
    /// Float data for an integer type, or the reverse.
    #[error("{0} elements cannot be held as {1}")]
    Storage(DType, &'static str),
    /// An integer outside its type's range.
    #[error("{value} at position {index} is outside the range of {dtype}")]
    Range {
        /// The element type.
        dtype: DType,
        /// The value.
        value: i64,
        /// Its place in row-major order.
        index: usize,
    },
}

/// The elements of a [`Tensor`], in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// `f16`, `bf16` and `f32` elements.
    F32(Vec<f32>),
    /// `f64` elements.
    F64(Vec<f64>),
    /// Integers of every width, and truth values as 0 and 1.
    I64(Vec<i64>),
}

impl TensorData {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn storage(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
            Self::I64(_) => "i64",
        }
    }
}

/// A dense tensor: an element type, a shape and the elements in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: TensorData,
}

/// The number of elements of a shape, or `None` when its dimensions other than 0 multiply to more than `usize` holds. So
/// where this is known, no product of some of the dimensions overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
    Some(if shape.contains(&0) { 0 } else { count })
}

impl Tensor {
    /// A tensor of `shape` with `data`: as many elements as the shape says, stored as `dtype` asks, integers in range.
    pub fn new(dtype: DType, shape: Vec<usize>, data: TensorData) -> Result<Self, TensorError> {
        let expected = element_count(&shape).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if data.len() != expected {
            return Err(TensorError::Length { shape, expected, found: data.len() });
        }
        match (&data, dtype.int_range()) {
            (TensorData::F64(_), None) if dtype == DType::F64 => {}
            (TensorData::F32(_), None) if dtype != DType::F64 => {}
            (TensorData::I64(v), Some((min, max))) => {
                if let Some(index) = v.iter().position(|x| *x < min || *x > max) {
                    return Err(TensorError::Range { dtype, value: v[index], index });
                }
            }
            _ => return Err(TensorError::Storage(dtype, data.storage())),
        }
        Ok(Self { dtype, shape, data })
    }

    /// An `f32` tensor.
    pub fn from_f32(shape: Vec<usize>, data: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(DType::F32, shape, TensorData::F32(data))
    }

    /// An `i64` tensor.
    pub fn from_i64(shape: Vec<usize>, data: Vec<i64>) -> Result<Self, TensorError> {
        Self::new(DType::I64, shape, TensorData::I64(data))
    }

    /// An `f32` tensor of rank 1.
    pub fn vec_f32(data: Vec<f32>) -> Self {
        Self { dtype: DType::F32, shape: vec![data.len()], data: TensorData::F32(data) }
    }

    /// An `i64` tensor of rank 1.
    pub fn vec_i64(data: Vec<i64>) -> Self {
        Self { dtype: DType::I64, shape: vec![data.len()], data: TensorData::I64(data) }
    }

    /// An `f32` tensor of rank 0.
    pub fn scalar_f32(value: f32) -> Self {
        Self { dtype: DType::F32, shape: Vec::new(), data: TensorData::F32(vec![value]) }
    }

    /// An `i64` tensor of rank 0.
    pub fn scalar_i64(value: i64) -> Self {
        Self { dtype: DType::I64, shape: Vec::new(), data: TensorData::I64(vec![value]) }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements as `f32`, rounded when they are `f64`; `None` for integers.
    pub fn floats(&self) -> Option<Cow<'_, [f32]>> {
        match &self.data {
            TensorData::F32(v) => Some(Cow::Borrowed(v)),
            TensorData::F64(v) => Some(Cow::Owned(v.iter().map(|x| *x as f32).collect())),
            TensorData::I64(_) => None,
        }
    }

    /// The elements as integers; `None` for floats.
    pub fn ints(&self) -> Option<&[i64]> {
        match &self.data {
            TensorData::I64(v) => Some(v),
            TensorData::F32(_) | TensorData::F64(_) => None,
        }
    }

    /// Every element as `f64`, integers too (rounded beyond 2^53).
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            TensorData::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::F64(v) => v.clone(),
            TensorData::I64(v) => v.iter().map(|x| *x as f64).collect(),
        }
    }

    /// The only element as `f64`, whatever the rank; `None` when there is not exactly one.
    pub fn single(&self) -> Option<f64> {
        if self.len() != 1 {
            return None;
        }
        Some(match &self.data {
            TensorData::F32(v) => f64::from(v[0]),
            TensorData::F64(v) => v[0],
            TensorData::I64(v) => v[0] as f64,
        })
    }

    /// The same elements under another shape of as many elements.
    pub fn reshaped(self, shape: Vec<usize>) -> Result<Self, TensorError> {
        let expected = element_count(&shape).ok_or_else(|| TensorError::TooLarge(shape.clone()))?;
        if expected != self.len() {
            return Err(TensorError::Length { shape, expected, found: self.len() });
        }
        Ok(Self { shape, ..self })
    }

    /// The elements picked by `indices` (row-major, in bounds), under a new shape of as many elements.
    ///
    /// # Panics
    /// When an index is out of bounds.
    pub fn gathered(&self, shape: Vec<usize>, indices: &[usize]) -> Result<Self, TensorError> {
        let data = match &self.data {
            TensorData::F32(v) => TensorData::F32(indices.iter().map(|&i| v[i]).collect()),
            TensorData::F64(v) => TensorData::F64(indices.iter().map(|&i| v[i]).collect()),
            TensorData::I64(v) => TensorData::I64(indices.iter().map(|&i| v[i]).collect()),
        };
        Self::new(self.dtype, shape, data)
    }

    /// The place (row-major) and value of the first NaN or infinity.
    pub fn first_non_finite(&self) -> Option<(usize, f64)> {
        match &self.data {
            TensorData::F32(v) => v.iter().position(|x| !x.is_finite()).map(|i| (i, f64::from(v[i]))),
            TensorData::F64(v) => v.iter().position(|x| !x.is_finite()).map(|i| (i, v[i])),
            TensorData::I64(_) => None,
        }
    }
}
