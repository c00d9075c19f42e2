//! The JSON form.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::{Map, Number, Value as Json};

use crate::error::{ConfigError, Problem};
use crate::schema::{self, Builder, map_entries};

/// Reads `text` as a message of this type. serde_json bounds the depth.
pub(crate) fn read(text: &str, descriptor: MessageDescriptor) -> Result<DynamicMessage, ConfigError> {
    let json: Json = serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let problem = message.split(" at line ").next().unwrap_or(&message).to_owned();
        ConfigError::At { line: error.line(), column: error.column(), problem: Problem::Json(problem) }
    })?;
    Reader { path: "config".to_owned() }.message(&json, descriptor)
}

struct Reader {
    /// The place that is being read.
    path: String,
}

impl Reader {
    /// Reads one step further down.
    fn at<T>(
        &mut self,
        step: &str,
        read: impl FnOnce(&mut Self) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let length = self.path.len();
        self.path.push_str(step);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    fn error(&self, problem: Problem) -> ConfigError {
        ConfigError::In { path: self.path.clone(), problem }
    }

    fn unexpected(&self, json: &Json, expected: impl Into<String>) -> ConfigError {
        let found = match json {
            Json::Object(_) => "an object".to_owned(),
            Json::Array(_) => "a list".to_owned(),
            Json::String(text) if text.len() > 40 => "a long string".to_owned(),
            Json::String(_) | Json::Number(_) | Json::Bool(_) | Json::Null => json.to_string(),
        };
        self.error(Problem::unexpected(found, expected))
    }

    fn message(&mut self, json: &Json, descriptor: MessageDescriptor) -> Result<DynamicMessage, ConfigError> {
        let Json::Object(object) = json else { return Err(self.unexpected(json, "an object")) };
        let mut builder = Builder::new(descriptor.clone());
        for (name, value) in object {
            let named = |f: &FieldDescriptor| f.name() == name || f.json_name() == name;
            let field = schema::field(&descriptor, name, named).map_err(|p| self.error(p))?;
            if value.is_null() {
                continue;
            }
            builder.open(&field).map_err(|p| self.error(p))?;
            self.at(&format!(".{}", field.name()), |r| r.field(value, &field, &mut builder))?;
        }
        Ok(builder.finish())
    }

    fn field(
        &mut self,
        json: &Json,
        field: &FieldDescriptor,
        builder: &mut Builder,
    ) -> Result<(), ConfigError> {
        match (json, field.kind()) {
            (Json::Object(object), Kind::Message(entry)) if field.is_map() => {
                for (key, value) in object {
                    let value = self.at(&format!("[{key:?}]"), |r| r.entry(key, value, &entry))?;
                    builder.add(field, value);
                }
            }
            (Json::Array(list), kind) if field.is_list() => {
                for (index, item) in list.iter().enumerate() {
                    builder.add(field, self.at(&format!("[{index}]"), |r| r.value(item, &kind))?);
                }
            }
            _ if field.is_map() => return Err(self.unexpected(json, "an object")),
            _ if field.is_list() => return Err(self.unexpected(json, "a list")),
            (_, kind) => builder.add(field, self.value(json, &kind)?),
        }
        Ok(())
    }

    /// An entry of a map, as the message that stands for it.
    fn entry(&mut self, key: &str, value: &Json, entry: &MessageDescriptor) -> Result<Value, ConfigError> {
        let (key_field, value_field) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let mut builder = Builder::new(entry.clone());
        builder.add(&key_field, self.value(&Json::String(key.to_owned()), &key_field.kind())?);
        builder.add(&value_field, self.value(value, &value_field.kind())?);
        Ok(Value::Message(builder.finish()))
    }

    fn value(&mut self, json: &Json, kind: &Kind) -> Result<Value, ConfigError> {
        let value = match (kind, json) {
            (Kind::Message(descriptor), _) => Some(Value::Message(self.message(json, descriptor.clone())?)),
            (Kind::Enum(of), Json::String(name)) => {
                Some(schema::enum_value(of, name).map_err(|p| self.error(p))?)
            }
            (Kind::Enum(of), _) => match integer(json).and_then(|v| i32::try_from(v).ok()) {
                Some(number) => Some(schema::enum_number(of, number).map_err(|p| self.error(p))?),
                None => None,
            },
            (Kind::Bool, Json::Bool(v)) => Some(Value::Bool(*v)),
            (Kind::String, Json::String(v)) => Some(Value::String(v.clone())),
            (Kind::Float | Kind::Double, _) => float(json, kind),
            (_, _) => integer(json).and_then(|v| schema::integer(kind, v)),
        };
        value.ok_or_else(|| self.unexpected(json, schema::expected(kind)))
    }
}

/// An integer, which may stand in quotes or be spelt as a whole float.
fn integer(json: &Json) -> Option<i128> {
    // Up to here every whole number is a float, and only one.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match json {
        Json::Number(number) => number.as_i128().or_else(|| {
            let whole = number.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < EXACT)?;
            #[allow(clippy::cast_possible_truncation)]
            Some(whole as i128)
        }),
        Json::String(text) => text.parse().ok(),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn float(json: &Json, kind: &Kind) -> Option<Value> {
    let value: f64 = match json {
        Json::Number(number) => number.as_f64()?,
        Json::String(text) => text.parse().ok()?,
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    #[allow(clippy::cast_possible_truncation)]
    let narrow = value as f32;
    match kind {
        Kind::Float if narrow.is_infinite() && value.is_finite() => None,
        Kind::Float => Some(Value::F32(narrow)),
        _ => Some(Value::F64(value)),
    }
}

/// All fields but unset messages and unset members of a `oneof`.
pub(crate) fn write(message: &DynamicMessage) -> Json {
    let mut object = Map::new();
    for field in message.descriptor().fields() {
        if field.supports_presence() && !message.has_field(&field) {
            continue;
        }
        let json = match message.get_field(&field).as_ref() {
            Value::List(list) => list.iter().map(|v| value(v, &field.kind())).collect(),
            Value::Map(map) => {
                let Kind::Message(entry) = field.kind() else { continue };
                let kind = entry.map_entry_value_field().kind();
                map_entries(map).map(|(k, v)| (key(k), value(v, &kind))).collect()
            }
            one => value(one, &field.kind()),
        };
        object.insert(field.name().to_owned(), json);
    }
    Json::Object(object)
}

fn key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(v) => v.to_string(),
        MapKey::I32(v) => v.to_string(),
        MapKey::I64(v) => v.to_string(),
        MapKey::U32(v) => v.to_string(),
        MapKey::U64(v) => v.to_string(),
        MapKey::String(v) => v.clone(),
    }
}

fn value(value: &Value, kind: &Kind) -> Json {
    match value {
        Value::Bool(v) => Json::Bool(*v),
        Value::I32(v) => Json::from(*v),
        Value::I64(v) => Json::from(*v),
        Value::U32(v) => Json::from(*v),
        Value::U64(v) => Json::from(*v),
        // The decimal of the narrow number, 0.1 and not 0.10000000149.
        Value::F32(v) => v.to_string().parse().map_or(Json::Null, number),
        Value::F64(v) => number(*v),
        Value::String(v) => Json::String(v.clone()),
        Value::EnumNumber(v) => match kind {
            Kind::Enum(of) => {
                of.get_value(*v).map_or_else(|| Json::from(*v), |value| Json::from(value.name()))
            }
            _ => Json::from(*v),
        },
        Value::Message(message) => write(message),
        Value::Bytes(_) | Value::List(_) | Value::Map(_) => Json::Null,
    }
}

/// Protobuf's JSON spells in quotes what is not a number.
fn number(v: f64) -> Json {
    let name = if v.is_nan() {
        "NaN"
    } else if v > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    Number::from_f64(v).map_or_else(|| Json::from(name), Json::Number)
}
