//! Our tensors and ONNX Runtime's.

use bytes::Bytes;
use half::{bf16, f16};
use hs_runtime::{Buffer, Data, Datatype, Dtype, Tensor};
use ort::{
    session::SessionInputValue,
    value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType},
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

/// Element type and axes of a port that is served.
pub(crate) fn datatype(ty: &ValueType) -> Result<(Datatype, Vec<Option<usize>>), String> {
    match ty {
        ValueType::Tensor { ty: TensorElementType::String, .. } => {
            Err("it is a tensor of strings, which are not supported: export the model without its text part"
                .to_owned())
        }
        ValueType::Tensor { ty: TensorElementType::Bfloat16, shape, .. } => {
            Ok((Datatype::Bf16, shape.iter().map(|d| usize::try_from(*d).ok()).collect()))
        }
        other => port(other).map(|(dtype, shape)| (dtype.into(), shape)),
    }
}

/// A buffer as ONNX Runtime takes it: in its own memory, unless that is not aligned for its elements.
pub(crate) fn input(buffer: &Buffer) -> ort::Result<SessionInputValue<'_>> {
    fn typed<T>(buffer: &Buffer) -> ort::Result<SessionInputValue<'_>>
    where
        T: bytemuck::Pod + PrimitiveTensorElementType + std::fmt::Debug + 'static,
    {
        let shape = buffer.shape().to_vec();
        Ok(match bytemuck::try_cast_slice::<u8, T>(buffer.data()) {
            Ok(elements) => TensorRef::from_array_view((shape, elements))?.into(),
            Err(_) => {
                let chunks = buffer.data().chunks_exact(size_of::<T>());
                let elements: Vec<T> = chunks.map(bytemuck::pod_read_unaligned).collect();
                ort::value::Tensor::from_array((shape, elements))?.into()
            }
        })
    }
    match buffer.datatype() {
        Datatype::Uint8 => typed::<u8>(buffer),
        Datatype::Uint16 => typed::<u16>(buffer),
        Datatype::Uint32 => typed::<u32>(buffer),
        Datatype::Uint64 => typed::<u64>(buffer),
        Datatype::Int8 => typed::<i8>(buffer),
        Datatype::Int16 => typed::<i16>(buffer),
        Datatype::Int32 => typed::<i32>(buffer),
        Datatype::Int64 => typed::<i64>(buffer),
        Datatype::Fp16 => typed::<f16>(buffer),
        Datatype::Bf16 => typed::<bf16>(buffer),
        Datatype::Fp32 => typed::<f32>(buffer),
        Datatype::Fp64 => typed::<f64>(buffer),
        Datatype::Bool => {
            // Any byte but 0 is true.
            let elements: Vec<bool> = buffer.data().iter().map(|b| *b != 0).collect();
            Ok(ort::value::Tensor::from_array((buffer.shape().to_vec(), elements))?.into())
        }
        Datatype::Bytes => Err(ort::Error::new("tensors of strings are not supported")),
    }
}

/// A tensor that ONNX Runtime gave, in its own memory.
pub(crate) fn buffer(value: DynValue) -> Result<Buffer, String> {
    let (datatype, shape) = datatype(value.dtype())?;
    let shape = shape.into_iter().map(|d| d.unwrap_or(0)).collect::<Vec<_>>();
    let owner = Owner { value, datatype };
    if owner.elements().is_none() {
        return Err(format!("its memory cannot be read as {datatype}"));
    }
    Buffer::new(datatype, shape, Bytes::from_owner(owner)).map_err(|e| e.to_string())
}

/// Memory of ONNX Runtime.
struct Owner {
    value: DynValue,
    datatype: Datatype,
}

impl Owner {
    fn elements(&self) -> Option<&[u8]> {
        fn typed<T: bytemuck::NoUninit + PrimitiveTensorElementType>(value: &DynValue) -> Option<&[u8]> {
            value.try_extract_tensor::<T>().ok().map(|(_, data)| bytemuck::cast_slice(data))
        }
        let value = &self.value;
        match self.datatype {
            Datatype::Bool => typed::<bool>(value),
            Datatype::Uint8 => typed::<u8>(value),
            Datatype::Uint16 => typed::<u16>(value),
            Datatype::Uint32 => typed::<u32>(value),
            Datatype::Uint64 => typed::<u64>(value),
            Datatype::Int8 => typed::<i8>(value),
            Datatype::Int16 => typed::<i16>(value),
            Datatype::Int32 => typed::<i32>(value),
            Datatype::Int64 => typed::<i64>(value),
            Datatype::Fp16 => typed::<f16>(value),
            Datatype::Bf16 => typed::<bf16>(value),
            Datatype::Fp32 => typed::<f32>(value),
            Datatype::Fp64 => typed::<f64>(value),
            Datatype::Bytes => None,
        }
    }
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        self.elements().unwrap_or_default()
    }
}
