//! Tensors as JSON arrays.

use std::fmt::Display;

use hs_runtime::{Datatype, byte_strings};
use serde_json::{Serializer, value::RawValue};

/// The elements of a JSON array, nested or flat, as little-endian bytes; strings each after their length.
///
/// # Errors
/// What is wrong, naming the element: no array, not `count` elements, an element that the type cannot hold.
pub(super) fn read(datatype: Datatype, count: usize, data: &RawValue) -> Result<Vec<u8>, String> {
    let text = data.get();
    if !text.starts_with('[') {
        return Err(format!("'data' is {}, expected an array", shown(text)));
    }
    let elements = Elements(text);
    match datatype {
        Datatype::Bool => numbers(elements, count, |t| match t {
            "true" => Ok([1]),
            "false" => Ok([0]),
            other => Err(format!("is {}, expected true or false", shown(other))),
        }),
        Datatype::Uint8 => numbers(elements, count, |t| whole(t, u8::MIN, u8::MAX).map(u8::to_le_bytes)),
        Datatype::Uint16 => numbers(elements, count, |t| whole(t, u16::MIN, u16::MAX).map(u16::to_le_bytes)),
        Datatype::Uint32 => numbers(elements, count, |t| whole(t, u32::MIN, u32::MAX).map(u32::to_le_bytes)),
        Datatype::Uint64 => numbers(elements, count, |t| whole(t, u64::MIN, u64::MAX).map(u64::to_le_bytes)),
        Datatype::Int8 => numbers(elements, count, |t| whole(t, i8::MIN, i8::MAX).map(i8::to_le_bytes)),
        Datatype::Int16 => numbers(elements, count, |t| whole(t, i16::MIN, i16::MAX).map(i16::to_le_bytes)),
        Datatype::Int32 => numbers(elements, count, |t| whole(t, i32::MIN, i32::MAX).map(i32::to_le_bytes)),
        Datatype::Int64 => numbers(elements, count, |t| whole(t, i64::MIN, i64::MAX).map(i64::to_le_bytes)),
        Datatype::Fp32 => {
            numbers(elements, count, |t| real(t, f32::MAX, f32::is_finite).map(f32::to_le_bytes))
        }
        Datatype::Fp64 => {
            numbers(elements, count, |t| real(t, f64::MAX, f64::is_finite).map(f64::to_le_bytes))
        }
        Datatype::Bytes => strings(elements, count),
        Datatype::Fp16 | Datatype::Bf16 => {
            Err(format!("{datatype} has no form in JSON; send it as binary data, with 'binary_data_size'"))
        }
    }
}

fn numbers<const N: usize>(
    elements: Elements<'_>,
    count: usize,
    parse: impl Fn(&str) -> Result<[u8; N], String>,
) -> Result<Vec<u8>, String> {
    // Every element takes two bytes of text or more, so that a shape alone reserves nothing.
    let mut out = Vec::with_capacity(count.min(elements.0.len() / 2) * N);
    let mut found = 0;
    for token in elements {
        match parse(token) {
            Ok(bytes) => out.extend_from_slice(&bytes),
            Err(e) => return Err(format!("element {found} {e}")),
        }
        found += 1;
    }
    counted(found, count)?;
    Ok(out)
}

fn strings(elements: Elements<'_>, count: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut found = 0;
    for token in elements {
        let inside = token.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
        let Some(inside) = inside else {
            return Err(format!("element {found} is {}, expected a string", shown(token)));
        };
        let start = out.len();
        out.extend([0; 4]);
        if inside.contains('\\') {
            let text = serde_json::from_str::<String>(token).map_err(|e| format!("element {found}: {e}"))?;
            out.extend_from_slice(text.as_bytes());
        } else {
            out.extend_from_slice(inside.as_bytes());
        }
        let length = u32::try_from(out.len() - start - 4)
            .map_err(|_| format!("element {found} is longer than a string can be"))?;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        found += 1;
    }
    counted(found, count)?;
    Ok(out)
}

fn counted(found: usize, count: usize) -> Result<(), String> {
    if found == count { Ok(()) } else { Err(format!("'data' has {found} elements, the shape has {count}")) }
}

fn whole<T>(token: &str, least: T, most: T) -> Result<T, String>
where
    T: std::str::FromStr + Display + Default,
{
    token.parse().or_else(|_| {
        let digits = token.strip_prefix('-').unwrap_or(token);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("is {}, expected a whole number", shown(token)));
        }
        if digits.bytes().all(|b| b == b'0') {
            return Ok(T::default());
        }
        Err(format!("is {}, out of the range {least} to {most}", shown(token)))
    })
}

fn real<T>(token: &str, most: T, finite: impl Fn(T) -> bool) -> Result<T, String>
where
    T: std::str::FromStr + std::fmt::LowerExp + Copy,
{
    // Rust's parser rounds once, from any number of digits; but it also knows words.
    let number = token.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    match token.parse::<T>() {
        Ok(value) if number && finite(value) => Ok(value),
        Ok(_) if number => Err(format!("is {}, out of the range -{most:e} to {most:e}", shown(token))),
        _ => Err(format!("is {}, expected a number", shown(token))),
    }
}

/// A piece of text for a message, cut where it is long.
fn shown(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// The scalars of a JSON array, whatever the nesting. The text must be JSON.
struct Elements<'a>(&'a str);

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let between = |b: &u8| matches!(b, b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n');
        let start = bytes.iter().position(|b| !between(b))?;
        let length = if bytes[start] == b'"' {
            let mut escaped = false;
            let inside = bytes[start + 1..].iter().position(|b| {
                let end = *b == b'"' && !escaped;
                escaped = *b == b'\\' && !escaped;
                end
            });
            inside.map_or(bytes.len() - start, |inside| inside + 2)
        } else {
            bytes[start..].iter().position(between).unwrap_or(bytes.len() - start)
        };
        let (token, rest) = self.0[start..].split_at(length);
        self.0 = rest;
        Some(token)
    }
}

/// Writes the elements of a tensor as a flat JSON array; floats with as few digits as give the same float back.
///
/// # Errors
/// What JSON cannot say, naming the element: FP16 and BF16, floats that are not finite, strings that are not UTF-8.
pub(super) fn write(datatype: Datatype, data: &[u8], to: &mut Vec<u8>) -> Result<(), String> {
    macro_rules! numbers {
        ($($variant:ident $type:ty),*) => {
            match datatype {
                $(Datatype::$variant => {
                    let (values, _) = data.as_chunks::<{ size_of::<$type>() }>();
                    array(values.iter().map(|v| <$type>::from_le_bytes(*v)), to)
                })*
                Datatype::Bool => array(data.iter().map(|b| *b != 0), to),
                Datatype::Fp32 => {
                    let (values, _) = data.as_chunks::<4>();
                    finite(values.iter().map(|v| f32::from_le_bytes(*v).is_finite()))?;
                    array(values.iter().map(|v| f32::from_le_bytes(*v)), to)
                }
                Datatype::Fp64 => {
                    let (values, _) = data.as_chunks::<8>();
                    finite(values.iter().map(|v| f64::from_le_bytes(*v).is_finite()))?;
                    array(values.iter().map(|v| f64::from_le_bytes(*v)), to)
                }
                Datatype::Bytes => {
                    let mut texts = Vec::new();
                    for (at, element) in byte_strings(data).enumerate() {
                        let text = element.ok().and_then(|e| std::str::from_utf8(e).ok());
                        texts.push(text.ok_or_else(|| format!("element {at} is not UTF-8, as text in JSON must be"))?);
                    }
                    array(texts.into_iter(), to)
                }
                Datatype::Fp16 | Datatype::Bf16 => return Err(format!("{datatype} has no form in JSON")),
            }
        };
    }
    numbers!(Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64, Int8 i8, Int16 i16, Int32 i32, Int64 i64)
        .map_err(|e| e.to_string())
}

fn array<T: serde::Serialize>(values: impl Iterator<Item = T>, to: &mut Vec<u8>) -> serde_json::Result<()> {
    serde::Serializer::collect_seq(&mut Serializer::new(to), values)
}

fn finite(mut values: impl Iterator<Item = bool>) -> Result<(), String> {
    match values.position(|finite| !finite) {
        None => Ok(()),
        Some(at) => Err(format!("element {at} is not finite, as numbers in JSON must be")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(datatype: Datatype, count: usize, text: &str) -> Result<Vec<u8>, String> {
        read(datatype, count, serde_json::from_str(text).unwrap())
    }

    fn write_text(datatype: Datatype, data: &[u8]) -> Result<String, String> {
        let mut to = Vec::new();
        write(datatype, data, &mut to).map(|()| String::from_utf8(to).unwrap())
    }

    #[test]
    fn every_type_there_and_back() {
        use Datatype::*;
        for (datatype, text, bytes) in [
            (Bool, "[true,false]", &[1, 0][..]),
            (Uint8, "[0,255]", &[0, 255]),
            (Uint16, "[65535]", &[255, 255]),
            (Uint32, "[4294967295]", &[255; 4]),
            (
                Uint64,
                "[18446744073709551615,1]",
                &[255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0],
            ),
            (Int8, "[-128,127]", &[128, 127]),
            (Int16, "[-2]", &[254, 255]),
            (Int32, "[-2147483648]", &[0, 0, 0, 128]),
            (Int64, "[-9223372036854775808]", &[0, 0, 0, 0, 0, 0, 0, 128]),
            (Fp32, "[1.5,-0.0]", &[0, 0, 192, 63, 0, 0, 0, 128]),
            (Fp64, "[0.1]", &0.1f64.to_le_bytes()),
            (Bytes, r#"["a","","é\n\"]"]"#, b"\x01\0\0\0a\0\0\0\0\x05\0\0\0\xc3\xa9\n\"]"),
        ] {
            let count = serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap().len();
            assert_eq!(read_text(datatype, count, text).as_deref(), Ok(bytes), "{datatype}");
            assert_eq!(write_text(datatype, bytes).as_deref(), Ok(text), "{datatype}");
        }
    }

    #[test]
    fn nested_or_flat() {
        for text in ["[1,2,3,4]", "[[1,2],[3,4]]", " [ [[1 ],[\t2]],\n[],[[3,[4]]]] "] {
            assert_eq!(read_text(Datatype::Int8, 4, text).unwrap(), [1, 2, 3, 4], "{text}");
        }
        assert!(read_text(Datatype::Fp32, 0, "[[],[]]").unwrap().is_empty());
        let deep = format!("{}7{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(read_text(Datatype::Int8, 1, &deep).unwrap(), [7]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        use Datatype::*;
        for (datatype, count, text, why) in [
            (
                Int32,
                2,
                "[1,9999999999]",
                "element 1 is 9999999999, out of the range -2147483648 to 2147483647",
            ),
            (Uint8, 1, "[-1]", "element 0 is -1, out of the range 0 to 255"),
            (Uint8, 1, "[256]", "element 0 is 256, out of the range 0 to 255"),
            (
                Uint64,
                1,
                "[18446744073709551616]",
                "element 0 is 18446744073709551616, out of the range 0 to 18446744073709551615",
            ),
            (Int8, 1, "[1.5]", "element 0 is 1.5, expected a whole number"),
            (Int8, 1, "[1e1]", "element 0 is 1e1, expected a whole number"),
            (Int8, 1, "[true]", "element 0 is true, expected a whole number"),
            (Int8, 1, "[null]", "element 0 is null, expected a whole number"),
            (Int8, 1, r#"["1"]"#, r#"element 0 is "1", expected a whole number"#),
            (Bool, 2, "[true,1]", "element 1 is 1, expected true or false"),
            (Fp32, 1, "[1e39]", "element 0 is 1e39, out of the range -3.4028235e38 to 3.4028235e38"),
            (Fp64, 1, "[-1e309]", "element 0 is -1e309, out of the range"),
            (Fp64, 1, r#"["1.0"]"#, r#"element 0 is "1.0", expected a number"#),
            (Fp32, 1, "[{\"a\":[1]}]", "element 0 is {\"a\":, expected a number"),
            (Fp32, 1, "[null]", "element 0 is null, expected a number"),
            (Bytes, 1, "[1]", "element 0 is 1, expected a string"),
            (Fp32, 3, "[1,2]", "'data' has 2 elements, the shape has 3"),
            (Fp32, 1, "[[1],[2]]", "'data' has 2 elements, the shape has 1"),
            (Bytes, 2, r#"["]"]"#, "'data' has 1 elements, the shape has 2"),
            (Fp32, usize::MAX, "[]", "'data' has 0 elements"),
            (Fp32, 1, "1", "'data' is 1, expected an array"),
            (Bytes, 1, r#""[1]""#, "expected an array"),
            (Fp16, 1, "[1]", "FP16 has no form in JSON"),
            (Bf16, 1, "[1]", "BF16 has no form in JSON"),
        ] {
            let e = read_text(datatype, count, text).unwrap_err();
            assert!(e.contains(why), "{datatype} {text}: {e}");
        }
    }

    #[test]
    fn zeros_have_signs_and_digits() {
        assert_eq!(read_text(Datatype::Uint8, 1, "[-0]").unwrap(), [0]);
        assert_eq!(read_text(Datatype::Fp32, 1, "[-0]").unwrap(), (-0f32).to_le_bytes());
    }

    #[test]
    fn floats_are_rounded_once() {
        // Through a double it would become 1 + 2^-23 down to 1.
        let text = "[1.00000005960464477540]";
        assert_eq!(read_text(Datatype::Fp32, 1, text).unwrap(), (1.0 + f32::EPSILON).to_le_bytes());
    }

    #[test]
    fn what_json_cannot_say() {
        let floats = [1.0f32, f32::NAN].map(f32::to_le_bytes).concat();
        assert_eq!(
            write_text(Datatype::Fp32, &floats).unwrap_err(),
            "element 1 is not finite, as numbers in JSON must be"
        );
        let floats = f64::INFINITY.to_le_bytes();
        assert!(write_text(Datatype::Fp64, &floats).unwrap_err().starts_with("element 0 is not finite"));
        assert!(
            write_text(Datatype::Bytes, b"\x01\0\0\0\xff").unwrap_err().starts_with("element 0 is not UTF-8")
        );
        assert_eq!(write_text(Datatype::Fp16, &[0, 0]).unwrap_err(), "FP16 has no form in JSON");
    }

    proptest! {
        #[test]
        fn floats_come_back_to_the_bit(values in proptest::collection::vec(any::<f32>(), 0..20)) {
            let values: Vec<f32> = values.into_iter().filter(|v| v.is_finite()).collect();
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let text = write_text(Datatype::Fp32, &bytes).unwrap();
            prop_assert_eq!(read_text(Datatype::Fp32, values.len(), &text).unwrap(), bytes);
        }

        #[test]
        fn strings_come_back(texts in proptest::collection::vec(".{0,5}", 0..5)) {
            let text = serde_json::to_string(&texts).unwrap();
            let bytes = read_text(Datatype::Bytes, texts.len(), &text).unwrap();
            prop_assert_eq!(write_text(Datatype::Bytes, &bytes).unwrap(), text);
        }

        #[test]
        fn any_array_is_safe(text in r#"\[([\[\], \]]|-?[0-9]{1,3}(\.[0-9])?|true|null|"[a\\"]{0,3}"|\{\}){0,12}\]"#) {
            if let Ok(data) = serde_json::from_str::<&RawValue>(&text) {
                for datatype in Datatype::ALL {
                    let _ = read(*datatype, 3, data);
                }
            }
        }
    }
}
