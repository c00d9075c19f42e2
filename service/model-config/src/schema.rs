//! The schema as data, by which both forms are read and written.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use crate::ModelConfig;
use crate::error::Problem;
use crate::generated::descriptor::FILE_DESCRIPTOR_SET;
use crate::nearest::advice;

const SAME: &str = "types and descriptor are generated from one file";

/// The message `inference.ModelConfig`.
pub(crate) fn config() -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| DescriptorPool::decode(&FILE_DESCRIPTOR_SET[..]).expect(SAME));
    pool.get_message_by_name("inference.ModelConfig").expect(SAME)
}

pub(crate) fn to_config(message: &DynamicMessage) -> ModelConfig {
    ModelConfig::decode(&message.encode_to_vec()[..]).expect(SAME)
}

pub(crate) fn from_config(config: &ModelConfig) -> DynamicMessage {
    DynamicMessage::decode(self::config(), &config.encode_to_vec()[..]).expect(SAME)
}

/// The field that `matches`, which a configuration calls `name`.
pub(crate) fn field(
    message: &MessageDescriptor,
    name: &str,
    matches: impl Fn(&FieldDescriptor) -> bool,
) -> Result<FieldDescriptor, Problem> {
    message.fields().find(matches).ok_or_else(|| {
        let fields: Vec<FieldDescriptor> = message.fields().collect();
        let known: Vec<&str> = fields.iter().map(FieldDescriptor::name).collect();
        Problem::UnknownField {
            name: name.to_owned(),
            message: message.name().to_owned(),
            advice: advice(name, &known),
        }
    })
}

/// A message while its fields are read.
pub(crate) struct Builder {
    message: DynamicMessage,
    seen: Vec<FieldDescriptor>,
}

impl Builder {
    pub(crate) fn new(descriptor: MessageDescriptor) -> Self {
        Self { message: DynamicMessage::new(descriptor), seen: Vec::new() }
    }

    /// Says that a value of `field` follows. A field that is neither list nor map comes once.
    pub(crate) fn open(&mut self, field: &FieldDescriptor) -> Result<(), Problem> {
        if field.is_list() || field.is_map() {
            return Ok(());
        }
        let name = || field.name().to_owned();
        if self.seen.contains(field) {
            return Err(Problem::Twice { name: name() });
        }
        let choice = field.containing_oneof();
        if let Some(other) = self.seen.iter().find(|f| choice.is_some() && f.containing_oneof() == choice) {
            return Err(Problem::Exclusive { name: name(), other: other.name().to_owned() });
        }
        self.seen.push(field.clone());
        Ok(())
    }

    /// Sets `field`, or adds to it where it is a list or a map; a map's value is an entry message.
    pub(crate) fn add(&mut self, field: &FieldDescriptor, value: Value) {
        match (self.message.get_field_mut(field), value) {
            (Value::List(list), value) => list.push(value),
            (Value::Map(map), Value::Message(entry)) => {
                let [key, value] = [1, 2].map(|n| entry.get_field_by_number(n).map(|v| v.into_owned()));
                if let (Some(key), Some(value)) = (key.and_then(Value::into_map_key), value) {
                    map.insert(key, value);
                }
            }
            (place, value) => *place = value,
        }
    }

    pub(crate) fn finish(self) -> DynamicMessage {
        self.message
    }
}

/// The value of `kind` that is spelt `name`.
pub(crate) fn enum_value(kind: &EnumDescriptor, name: &str) -> Result<Value, Problem> {
    let value = kind.get_value_by_name(name).ok_or_else(|| unknown_value(kind, name))?;
    Ok(Value::EnumNumber(value.number()))
}

/// The value of `kind` with this number.
pub(crate) fn enum_number(kind: &EnumDescriptor, number: i32) -> Result<Value, Problem> {
    let value = kind.get_value(number).ok_or_else(|| unknown_value(kind, &number.to_string()))?;
    Ok(Value::EnumNumber(value.number()))
}

fn unknown_value(kind: &EnumDescriptor, found: &str) -> Problem {
    let values: Vec<_> = kind.values().collect();
    let known: Vec<&str> = values.iter().map(|v| v.name()).collect();
    Problem::UnknownValue {
        value: found.to_owned(),
        of: kind.name().to_owned(),
        advice: advice(found, &known),
    }
}

/// The integer `value` as a field of `kind`, where it is an integer field and the value fits.
pub(crate) fn integer(kind: &Kind, value: i128) -> Option<Value> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => value.try_into().ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => value.try_into().ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => value.try_into().ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => value.try_into().ok().map(Value::U64),
        Kind::Double
        | Kind::Float
        | Kind::Bool
        | Kind::String
        | Kind::Bytes
        | Kind::Message(_)
        | Kind::Enum(_) => None,
    }
}

/// What a field of `kind` holds, for "expected …".
pub(crate) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => format!("an integer of {} to {}", i32::MIN, i32::MAX),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => format!("an integer of {} to {}", i64::MIN, i64::MAX),
        Kind::Uint32 | Kind::Fixed32 => format!("an integer of 0 to {}", u32::MAX),
        Kind::Uint64 | Kind::Fixed64 => format!("an integer of 0 to {}", u64::MAX),
        Kind::Double | Kind::Float => "a number".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::String | Kind::Bytes => "a string in quotes".to_owned(),
        Kind::Message(message) => format!("a {} in braces", message.name()),
        Kind::Enum(kind) => {
            format!("one of {}", kind.values().map(|v| v.name().to_owned()).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The entries of a map, ordered by key.
pub(crate) fn map_entries(map: &HashMap<MapKey, Value>) -> impl Iterator<Item = (&MapKey, &Value)> {
    map.iter().collect::<BTreeMap<_, _>>().into_iter()
}
