//! Writes the text form.

use std::fmt::Write as _;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value};

use crate::schema::map_entries;

/// The fields that are set, in the schema's order, maps ordered by key.
pub(crate) fn print(message: &DynamicMessage) -> String {
    let mut out = String::new();
    fields(message, 0, &mut out);
    out
}

fn fields(message: &DynamicMessage, depth: usize, out: &mut String) {
    for field in message.descriptor().fields().filter(|f| message.has_field(f)) {
        match message.get_field(&field).as_ref() {
            Value::List(list) if !matches!(field.kind(), Kind::Message(_)) => {
                let items: Vec<String> = list.iter().map(|v| scalar(&field, v)).collect();
                line(depth, &format!("{}: [ {} ]", field.name(), items.join(", ")), out);
            }
            Value::List(list) => list.iter().for_each(|v| one(&field, v, depth, out)),
            Value::Map(map) => {
                let Kind::Message(entry) = field.kind() else { continue };
                for (key, value) in map_entries(map) {
                    line(depth, &format!("{} {{", field.name()), out);
                    one(&entry.map_entry_key_field(), &key.clone().into(), depth + 1, out);
                    one(&entry.map_entry_value_field(), value, depth + 1, out);
                    line(depth, "}", out);
                }
            }
            value => one(&field, value, depth, out),
        }
    }
}

fn one(field: &FieldDescriptor, value: &Value, depth: usize, out: &mut String) {
    if let Value::Message(message) = value {
        line(depth, &format!("{} {{", field.name()), out);
        fields(message, depth + 1, out);
        line(depth, "}", out);
    } else {
        line(depth, &format!("{}: {}", field.name(), scalar(field, value)), out);
    }
}

fn line(depth: usize, text: &str, out: &mut String) {
    let _ = writeln!(out, "{:1$}{text}", "", 2 * depth);
}

fn scalar(field: &FieldDescriptor, value: &Value) -> String {
    match value {
        Value::Bool(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        Value::U32(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        // Rust's shortest decimal that reads back as the same number; it spells "inf" and "NaN" as the text form does.
        Value::F32(v) => format!("{v:?}"),
        Value::F64(v) => format!("{v:?}"),
        Value::String(v) => quoted(v.as_bytes()),
        Value::Bytes(v) => quoted(v),
        Value::EnumNumber(v) => match field.kind() {
            Kind::Enum(kind) => {
                kind.get_value(*v).map_or_else(|| v.to_string(), |value| value.name().to_owned())
            }
            _ => v.to_string(),
        },
        Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}

/// The bytes in quotes: text as it is, all else escaped.
fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_ascii_control() => {
                    let _ = write!(out, "\\{:03o}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
    out.push('"');
    out
}
