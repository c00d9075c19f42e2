//! Constants as numpy computes with them: hls4ml folds in numpy, and what is rounded depends on the element types.

use hs_ir::{DType, Tensor, TensorData};

/// Element type of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Integers.
    Int,
    /// `f32`: each operation on two of these rounds.
    Single,
    /// `f64`.
    Double,
}

/// A single element, or one for each index along an axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    data: Vec<f64>,
    kind: Kind,
}

impl Array {
    /// An integer.
    pub(super) fn int(value: i64) -> Self {
        Self { data: vec![value as f64], kind: Kind::Int }
    }

    /// The elements, each rounded to `f32`.
    pub(super) fn single(data: impl IntoIterator<Item = f64>) -> Self {
        Self { data: data.into_iter().map(|x| f64::from(x as f32)).collect(), kind: Kind::Single }
    }

    /// `n` zeros, as numpy makes them where nothing is said of their type.
    pub(super) fn zeros() -> Self {
        Self { data: vec![0.0], kind: Kind::Double }
    }

    /// The elements of a constant.
    pub(super) fn of(tensor: &Tensor) -> Self {
        let kind = match tensor.data() {
            TensorData::I64(_) => Kind::Int,
            TensorData::F32(_) => Kind::Single,
            TensorData::F64(_) => Kind::Double,
        };
        Self { data: tensor.to_f64(), kind }
    }

    /// Elements.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether every element is `x`.
    pub(super) fn all(&self, x: f64) -> bool {
        self.data.iter().all(|v| *v == x)
    }

    /// The value of every element, if they have one.
    pub(super) fn scalar(&self) -> Option<f64> {
        self.data.first().copied().filter(|x| self.all(*x))
    }

    /// `n` elements; a single one is repeated.
    pub(super) fn spread(self, n: usize) -> Self {
        if self.data.len() == 1 { Self { data: vec![self.data[0]; n], ..self } } else { self }
    }

    /// Each product. A single element broadcasts.
    pub(super) fn times(&self, other: &Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    /// Each sum. A single element broadcasts.
    pub(super) fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// Each group of `each` elements times one of `factors`; a single factor broadcasts.
    pub(super) fn grouped(&self, factors: &Self, each: usize) -> Self {
        let spread = match factors.data[..] {
            [one] => vec![one],
            _ => (0..self.data.len()).map(|i| factors.data[i / each.max(1)]).collect(),
        };
        self.times(&Self { data: spread, kind: factors.kind })
    }

    /// Exact in `f64` for integers and `f32` elements but for the last rounding of a sum.
    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let at = |v: &[f64], i: usize| if v.len() == 1 { v[0] } else { v[i] };
        let n = self.data.len().max(other.data.len());
        let data = (0..n).map(|i| f(at(&self.data, i), at(&other.data, i)));
        match (self.kind, other.kind) {
            (Kind::Single, Kind::Single) => Self::single(data),
            (Kind::Int, Kind::Int) => Self { data: data.collect(), kind: Kind::Int },
            _ => Self { data: data.collect(), kind: Kind::Double },
        }
    }

    /// The constant, of this shape.
    pub(super) fn tensor(&self, shape: Vec<usize>) -> Option<Tensor> {
        let (dtype, data) = match self.kind {
            Kind::Int => (DType::I64, TensorData::I64(self.data.iter().map(|x| *x as i64).collect())),
            Kind::Single => (DType::F32, TensorData::F32(self.data.iter().map(|x| *x as f32).collect())),
            Kind::Double => (DType::F64, TensorData::F64(self.data.clone())),
        };
        Tensor::new(dtype, shape, data).ok()
    }

    /// The constant, of rank 1.
    pub(super) fn vector(&self) -> Option<Tensor> {
        self.tensor(vec![self.data.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_on_two_f32_rounds() {
        let (a, b) = (Array::single([0.1]), Array::single([0.3, 1.0]));
        let exact = f64::from(0.1f32) * f64::from(0.3f32);
        assert_eq!(a.times(&b).data, [f64::from(exact as f32), f64::from(0.1f32)]);
        let wide = a.times(&Array::int(1));
        assert_eq!(wide.data, [f64::from(0.1f32)]);
        assert_eq!(wide.times(&b).data[0], exact);
        assert_eq!(Array::single([1.0, 2.0, 3.0, 4.0]).grouped(&Array::int(2), 2).data, [2.0, 4.0, 6.0, 8.0]);
        let grouped = Array::single([1.0, 2.0, 3.0, 4.0]).grouped(&Array::single([2.0, 10.0]), 2);
        assert_eq!(grouped.data, [2.0, 4.0, 30.0, 40.0]);
    }
}
