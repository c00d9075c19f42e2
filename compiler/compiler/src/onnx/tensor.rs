//! From protobuf tensors to tensors of the IR, trusting nothing.

use half::{bf16, f16};
use hs_ir::{DType, Tensor, TensorData};

use super::external::Folder;
use super::proto::TensorProto;
use crate::ops;

/// Most elements a tensor of a model may have.
pub(super) const MAX_ELEMENTS: usize = 1 << 31;

/// The element type that ONNX numbers `code`.
pub(crate) fn dtype(code: i32) -> Result<DType, String> {
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        16 => DType::BF16,
        21 => DType::U4,
        22 => DType::I4,
        other => return Err(format!("the element type {} is not supported", type_name(other))),
    })
}

fn type_name(code: i32) -> String {
    match code {
        8 => "string".to_owned(),
        14 => "complex64".to_owned(),
        15 => "complex128".to_owned(),
        17..=20 => "float8".to_owned(),
        23 => "float4".to_owned(),
        other => format!("number {other}"),
    }
}

/// The tensor, half precision widened to single. The error says what is wrong with it.
pub(super) fn decode(proto: &TensorProto, folder: Option<&Folder>) -> Result<Tensor, String> {
    let dtype = dtype(proto.data_type)?;
    let (shape, count) = shape(&proto.dims)?;
    let size = count.checked_mul(width(dtype)).ok_or("its size overflows")?.div_ceil(8);
    let data = if proto.data_location == 1 {
        let folder = folder.ok_or(
            "its data is in another file, but the model was not read from a folder; pass the model's path",
        )?;
        from_bytes(dtype, &folder.read(&proto.external_data, size)?, count)?
    } else if proto.raw_data.is_empty() {
        from_fields(dtype, proto, count)?
    } else if proto.raw_data.len() == size {
        from_bytes(dtype, &proto.raw_data, count)?
    } else {
        let found = proto.raw_data.len();
        return Err(format!("the shape {shape:?} of {dtype} needs {size} bytes, but there are {found}"));
    };
    let stored = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    Tensor::new(stored, shape, data).map_err(|e| e.to_string())
}

pub(super) fn shape(dims: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let shape: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    let shape = shape.ok_or_else(|| format!("its shape {dims:?} has a negative dimension"))?;
    match hs_ir::element_count(&shape) {
        Some(count) if ops::within(&shape, MAX_ELEMENTS) => Ok((shape, count)),
        _ => Err(format!("its shape {dims:?} has more than {MAX_ELEMENTS} elements")),
    }
}

/// Bits an element takes.
fn width(dtype: DType) -> usize {
    match dtype {
        DType::I4 | DType::U4 => 4,
        DType::I8 | DType::U8 | DType::Bool => 8,
        DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 16,
        DType::F32 | DType::I32 | DType::U32 => 32,
        DType::F64 | DType::I64 | DType::U64 => 64,
    }
}

/// `count` elements from little-endian bytes, as many as hold them.
fn from_bytes(dtype: DType, bytes: &[u8], count: usize) -> Result<TensorData, String> {
    fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
    }
    Ok(match dtype {
        DType::F32 => TensorData::F32(each(bytes, f32::from_le_bytes)),
        DType::F16 => TensorData::F32(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        DType::BF16 => TensorData::F32(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        DType::F64 => TensorData::F64(each(bytes, f64::from_le_bytes)),
        DType::I4 | DType::U4 => halves(dtype, bytes.iter().copied(), count),
        DType::I8 => TensorData::I64(each(bytes, |b| i64::from(i8::from_le_bytes(b)))),
        DType::U8 => TensorData::I64(each(bytes, |b| i64::from(u8::from_le_bytes(b)))),
        DType::Bool => TensorData::I64(each(bytes, |b: [u8; 1]| i64::from(b[0] != 0))),
        DType::I16 => TensorData::I64(each(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        DType::U16 => TensorData::I64(each(bytes, |b| i64::from(u16::from_le_bytes(b)))),
        DType::I32 => TensorData::I64(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        DType::U32 => TensorData::I64(each(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        DType::I64 => TensorData::I64(each(bytes, i64::from_le_bytes)),
        DType::U64 => TensorData::I64(unsigned(each(bytes, u64::from_le_bytes))?),
    })
}

/// Elements from the typed fields; their number is checked against the shape by the caller.
fn from_fields(dtype: DType, proto: &TensorProto, count: usize) -> Result<TensorData, String> {
    let bits = || proto.int32_data.iter().map(|x| *x as u16);
    Ok(match dtype {
        DType::F32 => TensorData::F32(proto.float_data.clone()),
        DType::F16 => TensorData::F32(bits().map(|b| f16::from_bits(b).to_f32()).collect()),
        DType::BF16 => TensorData::F32(bits().map(|b| bf16::from_bits(b).to_f32()).collect()),
        DType::F64 => TensorData::F64(proto.double_data.clone()),
        DType::I64 => TensorData::I64(proto.int64_data.clone()),
        DType::U32 | DType::U64 => TensorData::I64(unsigned(proto.uint64_data.clone())?),
        DType::Bool => TensorData::I64(proto.int32_data.iter().map(|x| i64::from(*x != 0)).collect()),
        DType::I4 | DType::U4 => halves(dtype, proto.int32_data.iter().map(|x| *x as u8), count),
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I32 => {
            TensorData::I64(proto.int32_data.iter().map(|x| i64::from(*x)).collect())
        }
    })
}

/// Integers of 4 bits, two a byte, the lower half first.
fn halves(dtype: DType, bytes: impl Iterator<Item = u8>, count: usize) -> TensorData {
    let signed =
        |half: u8| if dtype == DType::I4 && half > 7 { i64::from(half) - 16 } else { i64::from(half) };
    TensorData::I64(bytes.flat_map(|b| [signed(b & 15), signed(b >> 4)]).take(count).collect())
}

fn unsigned(values: Vec<u64>) -> Result<Vec<i64>, String> {
    values
        .into_iter()
        .map(|x| i64::try_from(x).map_err(|_| format!("the element {x} is larger than {}", i64::MAX)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bits_an_element() {
        let of = |dtype| from_bytes(dtype, &[0x8f, 0x07], 3).unwrap();
        assert_eq!(of(DType::I4), TensorData::I64(vec![-1, -8, 7]));
        assert_eq!(of(DType::U4), TensorData::I64(vec![15, 8, 7]));
    }
}
