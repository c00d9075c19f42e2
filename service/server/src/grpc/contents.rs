//! Tensors that come as typed elements instead of bytes.

use bytes::Bytes;
use hs_proto::InferTensorContents;
use hs_runtime::Datatype;

/// The little-endian bytes of typed elements.
///
/// # Errors
/// Elements in a list that is not the datatype's, or that do not fit it; types without a list.
pub(super) fn bytes(datatype: Datatype, contents: &InferTensorContents) -> Result<Bytes, String> {
    let InferTensorContents {
        bool_contents,
        int_contents,
        int64_contents,
        uint_contents,
        uint64_contents,
        fp32_contents,
        fp64_contents,
        bytes_contents,
    } = contents;
    let expected = match datatype {
        Datatype::Bool => "bool_contents",
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => "int_contents",
        Datatype::Int64 => "int64_contents",
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => "uint_contents",
        Datatype::Uint64 => "uint64_contents",
        Datatype::Fp32 => "fp32_contents",
        Datatype::Fp64 => "fp64_contents",
        Datatype::Bytes => "bytes_contents",
        Datatype::Fp16 | Datatype::Bf16 => return Err("it can only be sent in raw_input_contents".to_owned()),
    };
    let lists = [
        ("bool_contents", bool_contents.len()),
        ("int_contents", int_contents.len()),
        ("int64_contents", int64_contents.len()),
        ("uint_contents", uint_contents.len()),
        ("uint64_contents", uint64_contents.len()),
        ("fp32_contents", fp32_contents.len()),
        ("fp64_contents", fp64_contents.len()),
        ("bytes_contents", bytes_contents.len()),
    ];
    if let Some((found, _)) = lists.iter().find(|(name, length)| *length > 0 && *name != expected) {
        return Err(format!("unexpected explicit tensor data in {found}, expected it in {expected}"));
    }
    Ok(match datatype {
        Datatype::Bool => bool_contents.iter().map(|v| u8::from(*v)).collect(),
        Datatype::Int8 => narrow(int_contents, i8::to_le_bytes)?,
        Datatype::Int16 => narrow(int_contents, i16::to_le_bytes)?,
        Datatype::Int32 => le(int_contents, i32::to_le_bytes),
        Datatype::Int64 => le(int64_contents, i64::to_le_bytes),
        Datatype::Uint8 => narrow(uint_contents, u8::to_le_bytes)?,
        Datatype::Uint16 => narrow(uint_contents, u16::to_le_bytes)?,
        Datatype::Uint32 => le(uint_contents, u32::to_le_bytes),
        Datatype::Uint64 => le(uint64_contents, u64::to_le_bytes),
        Datatype::Fp32 => le(fp32_contents, f32::to_le_bytes),
        Datatype::Fp64 => le(fp64_contents, f64::to_le_bytes),
        Datatype::Bytes => {
            let mut out = Vec::with_capacity(bytes_contents.iter().map(|e| e.len() + 4).sum());
            for element in bytes_contents {
                let length = u32::try_from(element.len()).map_err(|_| "an element is too long".to_owned())?;
                out.extend(length.to_le_bytes());
                out.extend_from_slice(element);
            }
            out.into()
        }
        Datatype::Fp16 | Datatype::Bf16 => Bytes::new(),
    })
}

fn le<T: Copy, const N: usize>(elements: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    elements.iter().flat_map(|e| bytes(*e)).collect()
}

fn narrow<W: Copy + std::fmt::Display, T: TryFrom<W>, const N: usize>(
    elements: &[W],
    bytes: impl Fn(T) -> [u8; N],
) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(elements.len() * N);
    for element in elements {
        let value = T::try_from(*element).map_err(|_| format!("element {element} does not fit"))?;
        out.extend(bytes(value));
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_list_and_its_bytes() {
        let none = InferTensorContents::default();
        let all = InferTensorContents {
            bool_contents: vec![true, false],
            int_contents: vec![-2, 5],
            int64_contents: vec![-2, 5],
            uint_contents: vec![2, 5],
            uint64_contents: vec![2, 5],
            fp32_contents: vec![1.5, -2.0],
            fp64_contents: vec![1.5, -2.0],
            bytes_contents: vec![Bytes::from_static(b"ab"), Bytes::new()],
        };
        let only = |list: &str| {
            let mut c = none.clone();
            match list {
                "bool" => c.bool_contents = all.bool_contents.clone(),
                "int" => c.int_contents = all.int_contents.clone(),
                "int64" => c.int64_contents = all.int64_contents.clone(),
                "uint" => c.uint_contents = all.uint_contents.clone(),
                "uint64" => c.uint64_contents = all.uint64_contents.clone(),
                "fp32" => c.fp32_contents = all.fp32_contents.clone(),
                "fp64" => c.fp64_contents = all.fp64_contents.clone(),
                _ => c.bytes_contents = all.bytes_contents.clone(),
            }
            c
        };
        let cases: [(Datatype, &str, &[u8]); 12] = [
            (Datatype::Bool, "bool", &[1, 0]),
            (Datatype::Int8, "int", &[254, 5]),
            (Datatype::Int16, "int", &[254, 255, 5, 0]),
            (Datatype::Int32, "int", &[254, 255, 255, 255, 5, 0, 0, 0]),
            (Datatype::Int64, "int64", &[254, 255, 255, 255, 255, 255, 255, 255, 5, 0, 0, 0, 0, 0, 0, 0]),
            (Datatype::Uint8, "uint", &[2, 5]),
            (Datatype::Uint16, "uint", &[2, 0, 5, 0]),
            (Datatype::Uint32, "uint", &[2, 0, 0, 0, 5, 0, 0, 0]),
            (Datatype::Uint64, "uint64", &[2, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]),
            (Datatype::Fp32, "fp32", &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]),
            (Datatype::Fp64, "fp64", &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
            (Datatype::Bytes, "bytes", &[2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]),
        ];
        for (datatype, list, expected) in cases {
            assert_eq!(bytes(datatype, &only(list)).unwrap(), expected, "{datatype}");
            assert_eq!(bytes(datatype, &none).unwrap(), b"".as_slice(), "{datatype}");
            let other = if list == "fp32" { "int" } else { "fp32" };
            let error = bytes(datatype, &only(other)).unwrap_err();
            assert!(
                error.contains(&format!("in {other}_contents, expected it in {list}_contents")),
                "{error}"
            );
        }
        for datatype in [Datatype::Fp16, Datatype::Bf16] {
            assert!(bytes(datatype, &none).unwrap_err().contains("raw_input_contents"));
        }
    }

    #[test]
    fn elements_that_do_not_fit_are_refused() {
        let int = |v| InferTensorContents { int_contents: vec![0, v], ..Default::default() };
        let uint = |v| InferTensorContents { uint_contents: vec![v], ..Default::default() };
        assert_eq!(bytes(Datatype::Int8, &int(-128)).unwrap(), b"\x00\x80".as_slice());
        assert_eq!(bytes(Datatype::Int8, &int(128)).unwrap_err(), "element 128 does not fit");
        assert!(bytes(Datatype::Int16, &int(-32_769)).is_err());
        assert!(bytes(Datatype::Uint8, &uint(256)).is_err());
        assert!(bytes(Datatype::Uint16, &uint(65_536)).is_err());
    }
}
