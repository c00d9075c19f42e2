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
