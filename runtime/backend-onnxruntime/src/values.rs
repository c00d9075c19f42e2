//! Our tensors and ONNX Runtime's.

use half::f16;
use hs_runtime::{Data, Dtype, Tensor};
use ort::{
    session::SessionInputValue,
    value::{DynValue, TensorElementType, ValueType},
};

/// Element type and axes of a tensor-typed port; `None` in the shape: any size.
pub(crate) fn port(ty: &ValueType) -> Result<(Dtype, Vec<Option<usize>>), String> {
    let ValueType::Tensor { ty, shape, .. } = ty else {
        return Err(format!("{ty} is no tensor"));
    };
    let dtype = dtype(*ty).ok_or_else(|| format!("elements of {ty} are not supported"))?;
    Ok((dtype, shape.iter().map(|d| usize::try_from(*d).ok()).collect()))
}

fn dtype(ty: TensorElementType) -> Option<Dtype> {
    Some(match ty {
        TensorElementType::Bool => Dtype::Bool,
        TensorElementType::Int8 => Dtype::I8,
        TensorElementType::Int16 => Dtype::I16,
        TensorElementType::Int32 => Dtype::I32,
        TensorElementType::Int64 => Dtype::I64,
        TensorElementType::Uint8 => Dtype::U8,
        TensorElementType::Uint16 => Dtype::U16,
        TensorElementType::Uint32 => Dtype::U32,
        TensorElementType::Uint64 => Dtype::U64,
        TensorElementType::Float16 => Dtype::F16,
        TensorElementType::Float32 => Dtype::F32,
        TensorElementType::Float64 => Dtype::F64,
        _ => return None,
    })
}

/// The tensor with elements of `to`: floats and integers become any float type, anything else stays what it is.
/// `None` when `to` is neither its type nor a float.
pub(crate) fn convert(tensor: &Tensor, to: Dtype) -> Option<Tensor> {
    if tensor.dtype() == to {
        return Some(tensor.clone());
    }
    let data = match to {
        Dtype::F64 => Data::F64(tensor.to_f64()),
        Dtype::F32 => Data::F32(tensor.to_f64().into_iter().map(|v| v as f32).collect()),
        Dtype::F16 => Data::F16(tensor.to_f64().into_iter().map(f16::from_f64).collect()),
        _ => return None,
    };
    Tensor::new(tensor.shape(), data).ok()
}

/// A tensor as ONNX Runtime takes it.
pub(crate) fn value(tensor: Tensor) -> ort::Result<SessionInputValue<'static>> {
    let shape = tensor.shape().to_vec();
    macro_rules! of {
        ($($variant:ident),*) => {
            match tensor.into_data() {
                $(Data::$variant(v) => ort::value::Tensor::from_array((shape, v))?.into(),)*
            }
        };
    }
    Ok(of!(Bool, I8, I16, I32, I64, U8, U16, U32, U64, F16, F32, F64))
}

/// A tensor that ONNX Runtime gave.
pub(crate) fn tensor(value: &DynValue) -> Result<Tensor, String> {
    let (dtype, _) = port(value.dtype())?;
    macro_rules! of {
        ($($variant:ident $t:ty),*) => {
            match dtype {
                $(Dtype::$variant => {
                    let (shape, data) = value.try_extract_tensor::<$t>().map_err(|e| e.to_string())?;
                    let shape: Vec<usize> = shape.iter().map(|d| usize::try_from(*d).unwrap_or(0)).collect();
                    Tensor::of(shape, data.to_vec()).map_err(|e| e.to_string())
                })*
            }
        };
    }
    of!(Bool bool, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64, F16 f16, F32 f32, F64 f64)
}
