//! Every field of the schema, through every form.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use crate::schema::{self, Builder};
use crate::{from_json, parse_pbtxt, to_json, to_pbtxt};

/// A message of this type with all fields set, the `member`-th of each `oneof`; lists and maps hold
/// two values.
fn filled(descriptor: &MessageDescriptor, member: usize, set: &mut BTreeSet<String>) -> DynamicMessage {
    let mut builder = Builder::new(descriptor.clone());
    for field in descriptor.fields() {
        if let Some(choice) = field.containing_oneof()
            && choice.fields().nth(member % choice.fields().len()).as_ref() != Some(&field)
        {
            continue;
        }
        set.insert(field.full_name().to_owned());
        builder.open(&field).unwrap();
        for round in 0..if field.is_list() || field.is_map() { 2 } else { 1 } {
            builder.add(&field, value(&field, member, round, set));
        }
    }
    builder.finish()
}

fn value(field: &FieldDescriptor, member: usize, round: u8, set: &mut BTreeSet<String>) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(round == 0),
        Kind::Int32 => Value::I32(i32::MIN + i32::from(round)),
        Kind::Int64 => Value::I64(i64::MIN + i64::from(round)),
        Kind::Uint32 => Value::U32(u32::MAX - u32::from(round)),
        Kind::Uint64 => Value::U64(u64::MAX - u64::from(round)),
        Kind::Float => Value::F32(0.1 + f32::from(round)),
        Kind::Double => Value::F64(1e-300 + f64::from(round)),
        Kind::String => Value::String(format!("{}\"\\\n{round}", field.name())),
        Kind::Enum(kind) => Value::EnumNumber(kind.values().last().unwrap().number()),
        Kind::Message(message) => {
            let mut inner = filled(&message, member, set);
            if message.is_map_entry() && round == 1 {
                let key = message.map_entry_key_field();
                inner.set_field(&key, value(&key, member, round, set));
            }
            Value::Message(inner)
        }
        kind => panic!("{}: the schema had no {kind:?}", field.full_name()),
    }
}

#[test]
fn every_field_goes_through_every_form() {
    let mut set = BTreeSet::new();
    // The choices of three schedulers and of two strategies in one of them.
    for member in 0..6 {
        let message = filled(&schema::config(), member, &mut set);
        let config = schema::to_config(&message);
        let text = crate::text::print(&message);
        assert_eq!(to_pbtxt(&config), text);
        assert_eq!(parse_pbtxt(&text).unwrap(), config);
        assert_eq!(from_json(&to_json(&config).to_string()).unwrap(), config);
    }
    let pool = schema::config();
    let all: BTreeSet<String> = pool
        .parent_pool()
        .all_messages()
        .flat_map(|m| m.fields().map(|f| f.full_name().to_owned()).collect::<Vec<_>>())
        .collect();
    assert_eq!(all.difference(&set).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(all.len() > 150, "{}", all.len());
}
