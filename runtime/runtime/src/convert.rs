//! The same numbers in another element type.

use half::{bf16, f16};

use crate::{Buffer, Data, Datatype, Element, Tensor};

/// What to do with a number that the other type has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    /// Refuse it.
    Exact,
    /// Round it: to nearest, ties to even, among floats; towards zero to an integer. Numbers beyond the type's
    /// range and NaN where there is none are refused all the same.
    Rounding,
}

/// A conversion that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A number.
    #[error("element {index} is {value}, which is no {to}")]
    Value {
        /// Its place, in row-major order.
        index: usize,
        /// The number.
        value: String,
        /// The type.
        to: Datatype,
        /// Whether [`Conversion::Rounding`] would take it.
        rounds: bool,
    },
    /// The type holds no numbers.
    #[error("{0} holds no numbers")]
    Type(Datatype),
}

/// A number of any element type.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

/// A number in another type, and whether it is still the same; `None` beyond the type's range.
type Converted<T> = Option<(T, bool)>;

trait Target: Sized {
    fn of_number(n: Number) -> Converted<Self>;
}

macro_rules! integers {
    ($($t:ty)*) => {
        $(impl Target for $t {
            fn of_number(n: Number) -> Converted<Self> {
                match n {
                    Number::Int(i) => Some((Self::try_from(i).ok()?, true)),
                    Number::Float(f) => {
                        let whole = f.trunc();
                        // 2^100 is beyond all of them, and NaN is not below it.
                        let small = whole.abs() < 2f64.powi(100);
                        Some((Self::try_from(small.then_some(whole as i128)?).ok()?, whole == f))
                    }
                }
            }
        })*
    };
}

integers!(i8 i16 i32 i64 u8 u16 u32 u64);

macro_rules! floats {
    ($($t:ty, $of:expr;)*) => {
        $(impl Target for $t {
            fn of_number(n: Number) -> Converted<Self> {
                let (wide, same) = match n {
                    // Through f64 an integer may be rounded twice; the cases are those that are not exact anyway.
                    Number::Int(i) => (i as f64, i as f64 as i128 == i),
                    Number::Float(f) => (f, true),
                };
                let narrow: Self = $of(wide);
                let back = f64::from(narrow);
                if back.is_infinite() && wide.is_finite() {
                    return None;
                }
                Some((narrow, same && (back == wide || wide.is_nan())))
            }
        })*
    };
}

floats! {
    f16, f16::from_f64;
    bf16, bf16::from_f64;
    f32, |f: f64| f as f32;
    f64, |f: f64| f;
}

impl Target for bool {
    fn of_number(n: Number) -> Converted<Self> {
        match n {
            Number::Int(i @ 0..=1) => Some((i == 1, true)),
            Number::Float(f) if f == 0.0 || f == 1.0 => Some((f == 1.0, true)),
            _ => None,
        }
    }
}

fn numbers(data: &Data) -> Box<dyn Iterator<Item = Number> + '_> {
    macro_rules! ints {
        ($v:expr) => {
            Box::new($v.iter().map(|e| Number::Int(i128::from(*e))))
        };
    }
    match data {
        Data::Bool(v) => ints!(v),
        Data::I8(v) => ints!(v),
        Data::I16(v) => ints!(v),
        Data::I32(v) => ints!(v),
        Data::I64(v) => ints!(v),
        Data::U8(v) => ints!(v),
        Data::U16(v) => ints!(v),
        Data::U32(v) => ints!(v),
        Data::U64(v) => ints!(v),
        Data::F16(v) => Box::new(v.iter().map(|e| Number::Float(f64::from(*e)))),
        Data::F32(v) => Box::new(v.iter().map(|e| Number::Float(f64::from(*e)))),
        Data::F64(v) => Box::new(v.iter().map(|e| Number::Float(*e))),
    }
}

fn all<T: Target>(tensor: &Tensor, to: Datatype, conversion: Conversion) -> Result<Vec<T>, ConvertError> {
    let one = |(index, number)| match T::of_number(number) {
        Some((value, same)) if same || conversion == Conversion::Rounding => Ok(value),
        other => {
            let value = match number {
                Number::Int(i) => i.to_string(),
                Number::Float(f) => f.to_string(),
            };
            Err(ConvertError::Value { index, value, to, rounds: other.is_some() })
        }
    };
    numbers(tensor.data()).enumerate().map(one).collect()
}

/// The numbers of `tensor` as elements of `to`, in its shape; a tensor that is of that type gives its memory.
pub fn to_buffer(tensor: Tensor, to: Datatype, conversion: Conversion) -> Result<Buffer, ConvertError> {
    if to.dtype() == Some(tensor.dtype()) {
        return Ok(tensor.into());
    }
    macro_rules! elements {
        ($t:ty) => {
            <$t as Element>::wrap(all(&tensor, to, conversion)?)
        };
    }
    let data = match to {
        Datatype::Bool => elements!(bool),
        Datatype::Uint8 => elements!(u8),
        Datatype::Uint16 => elements!(u16),
        Datatype::Uint32 => elements!(u32),
        Datatype::Uint64 => elements!(u64),
        Datatype::Int8 => elements!(i8),
        Datatype::Int16 => elements!(i16),
        Datatype::Int32 => elements!(i32),
        Datatype::Int64 => elements!(i64),
        Datatype::Fp16 => elements!(f16),
        Datatype::Fp32 => elements!(f32),
        Datatype::Fp64 => elements!(f64),
        // Tensors have no such type: the bits travel as an integer's.
        Datatype::Bf16 => {
            Data::U16(all::<bf16>(&tensor, to, conversion)?.into_iter().map(bf16::to_bits).collect())
        }
        Datatype::Bytes => return Err(ConvertError::Type(to)),
    };
    Ok(Buffer::new(to, tensor.shape(), data.into_le_bytes()).expect("as many elements as before"))
}

/// The numbers of `buffer` as a tensor, those of bfloat16 as `float32`, exactly.
pub fn to_tensor(buffer: &Buffer) -> Result<Tensor, ConvertError> {
    if let Some(tensor) = buffer.to_tensor() {
        return Ok(tensor);
    }
    if buffer.datatype() != Datatype::Bf16 {
        return Err(ConvertError::Type(buffer.datatype()));
    }
    let (bits, _) = buffer.data().as_chunks();
    let values = bits.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect();
    Ok(Tensor::of(buffer.shape(), values).expect("the length was checked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(tensor: Tensor, to: Datatype) -> Result<Buffer, ConvertError> {
        to_buffer(tensor, to, Conversion::Exact)
    }

    #[test]
    fn what_fits_goes_there_and_back() {
        let small = Tensor::of([2, 2], vec![0u8, 1, 100, 127]).unwrap();
        for to in Datatype::ALL.iter().copied().filter(|t| ![Datatype::Bool, Datatype::Bytes].contains(t)) {
            let buffer = exact(small.clone(), to).unwrap();
            assert_eq!((buffer.datatype(), buffer.shape()), (to, small.shape()));
            let back = exact(to_tensor(&buffer).unwrap(), Datatype::Uint8).unwrap();
            assert_eq!(back, small.clone().into(), "{to}");
        }
        let bits = Tensor::of([2], vec![1f64, 0.0]).unwrap();
        assert_eq!(exact(bits, Datatype::Bool).unwrap().data(), &[1u8, 0][..]);
        let special = Tensor::of([2], vec![f64::INFINITY, f64::NAN]).unwrap();
        let floats = to_tensor(&exact(special, Datatype::Bf16).unwrap()).unwrap().to_f64();
        assert!(floats[0] == f64::INFINITY && floats[1].is_nan());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let tenth = || Tensor::of([2], vec![0.5, 0.1]).unwrap();
        let error = exact(tenth(), Datatype::Fp32).unwrap_err();
        assert_eq!(error.to_string(), "element 1 is 0.1, which is no FP32");
        assert!(matches!(error, ConvertError::Value { index: 1, rounds: true, .. }));
        let rounded = to_buffer(tenth(), Datatype::Fp32, Conversion::Rounding).unwrap();
        assert_eq!(rounded.to_tensor().unwrap(), Tensor::of([2], vec![0.5f32, 0.1]).unwrap());
        let cut = to_buffer(Tensor::of([2], vec![-1.9, 1.9]).unwrap(), Datatype::Int8, Conversion::Rounding);
        assert_eq!(cut.unwrap().data(), &[255u8, 1][..]);
        let odd = (1i64 << 53) + 1;
        assert!(exact(Tensor::of([1], vec![odd]).unwrap(), Datatype::Fp64).is_err());
        // Beyond the range nothing helps.
        for (tensor, to) in [
            (Tensor::of([1], vec![300i32]).unwrap(), Datatype::Uint8),
            (Tensor::of([1], vec![-1i8]).unwrap(), Datatype::Uint64),
            (Tensor::of([1], vec![2i32]).unwrap(), Datatype::Bool),
            (Tensor::of([1], vec![0.5f32]).unwrap(), Datatype::Bool),
            (Tensor::of([1], vec![1e6]).unwrap(), Datatype::Fp16),
            (Tensor::of([1], vec![1e300]).unwrap(), Datatype::Bf16),
            (Tensor::of([1], vec![1e30]).unwrap(), Datatype::Int64),
            (Tensor::of([1], vec![f64::NAN]).unwrap(), Datatype::Int64),
        ] {
            let error = to_buffer(tensor, to, Conversion::Rounding).unwrap_err();
            assert!(matches!(error, ConvertError::Value { rounds: false, .. }), "{error}");
        }
        assert_eq!(exact(tenth(), Datatype::Bytes).unwrap_err().to_string(), "BYTES holds no numbers");
    }
}
