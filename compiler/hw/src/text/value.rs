//! Attribute values: the one generic layer between ops and their text.

use hs_fixed::{Format, Type};

use crate::Codes;

/// A value and the byte offset where it was read (0 when it is to be printed).
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Int(i64),
    Str(String),
    /// A list of integers; the empty list.
    Ints(Vec<i64>),
    /// A list of anything else.
    List(Vec<Value>),
    Record(Record),
    /// A variant of an enum, with its fields.
    Word(String, Option<Record>),
    Format(Format),
    Type(Type),
    Codes(Codes),
}

/// Named fields in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) fields: Vec<(String, Value)>,
    /// Where it was read.
    pub(super) at: usize,
}

/// What was expected at a byte offset; the parser adds what stands there.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) at: usize,
    pub(super) found: Option<String>,
    pub(super) expected: String,
}

impl Mismatch {
    pub(super) fn new(at: usize, expected: impl Into<String>) -> Self {
        Self { at, found: None, expected: expected.into() }
    }

    pub(super) fn found(at: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { at, found: Some(found.into()), expected: expected.into() }
    }
}

impl Value {
    pub(super) fn ints<'a>(list: impl IntoIterator<Item = &'a usize>) -> Kind {
        Kind::Ints(list.into_iter().map(|v| *v as i64).collect())
    }

    pub(super) fn word(name: &str) -> Kind {
        Kind::Word(name.to_owned(), None)
    }

    pub(super) fn int(self) -> Result<i64, Mismatch> {
        match self.kind {
            Kind::Int(i) => Ok(i),
            _ => Err(Mismatch::new(self.at, "an integer")),
        }
    }

    pub(super) fn size(self) -> Result<usize, Mismatch> {
        let at = self.at;
        size(at, self.int()?)
    }

    pub(super) fn sizes(self) -> Result<Vec<usize>, Mismatch> {
        match self.kind {
            Kind::Ints(list) => list.into_iter().map(|v| size(self.at, v)).collect(),
            _ => Err(Mismatch::new(self.at, "a list of integers")),
        }
    }

    pub(super) fn bool(self) -> Result<bool, Mismatch> {
        match self.kind {
            Kind::Word(w, None) if w == "true" => Ok(true),
            Kind::Word(w, None) if w == "false" => Ok(false),
            _ => Err(Mismatch::new(self.at, "true or false")),
        }
    }

    pub(super) fn string(self) -> Result<String, Mismatch> {
        match self.kind {
            Kind::Str(s) => Ok(s),
            _ => Err(Mismatch::new(self.at, "a string")),
        }
    }

    pub(super) fn format(self) -> Result<Format, Mismatch> {
        match self.kind {
            Kind::Format(f) => Ok(f),
            _ => Err(Mismatch::new(self.at, "a format without modes, such as fixed<16,6>")),
        }
    }

    pub(super) fn ty(self) -> Result<Type, Mismatch> {
        match self.kind {
            Kind::Type(t) => Ok(t),
            _ => Err(Mismatch::new(self.at, "a type with both modes, such as fixed<16,6,RND,SAT>")),
        }
    }

    pub(super) fn codes(self) -> Result<Codes, Mismatch> {
        match self.kind {
            Kind::Codes(c) => Ok(c),
            _ => Err(Mismatch::new(self.at, "constants, such as fixed<8,1>[1, -2]")),
        }
    }

    pub(super) fn record(self) -> Result<Record, Mismatch> {
        match self.kind {
            Kind::Record(r) => Ok(r),
            _ => Err(Mismatch::new(self.at, "a record {…}")),
        }
    }

    pub(super) fn list(self) -> Result<Vec<Value>, Mismatch> {
        match self.kind {
            Kind::List(l) => Ok(l),
            Kind::Ints(l) if l.is_empty() => Ok(Vec::new()),
            _ => Err(Mismatch::new(self.at, "a list of records")),
        }
    }

    /// The name and fields of a variant; `all` lists the names that may stand here.
    pub(super) fn variant(self, all: &str) -> Result<(String, Record), Mismatch> {
        match self.kind {
            Kind::Word(name, fields) => {
                Ok((name, fields.unwrap_or(Record { fields: Vec::new(), at: self.at })))
            }
            _ => Err(Mismatch::new(self.at, format!("one of {all}"))),
        }
    }
}

fn size(at: usize, v: i64) -> Result<usize, Mismatch> {
    usize::try_from(v).map_err(|_| Mismatch::found(at, v.to_string(), "an integer that is not negative"))
}

impl Record {
    /// Adds a field.
    pub(super) fn with(mut self, name: &str, kind: Kind) -> Self {
        self.fields.push((name.to_owned(), Value { kind, at: 0 }));
        self
    }

    /// Adds a field where there is a value.
    pub(super) fn with_some(self, name: &str, kind: Option<Kind>) -> Self {
        match kind {
            Some(kind) => self.with(name, kind),
            None => self,
        }
    }

    /// A variant with these fields.
    pub(super) fn named(self, name: &str) -> Kind {
        Kind::Word(name.to_owned(), Some(self))
    }

    /// Removes and returns a field that may be absent.
    pub(super) fn optional(&mut self, name: &str) -> Option<Value> {
        let at = self.fields.iter().position(|(n, _)| n == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Removes and returns a field.
    pub(super) fn take(&mut self, name: &str) -> Result<Value, Mismatch> {
        let at = self.at;
        self.optional(name)
            .ok_or_else(|| Mismatch::found(at, format!("no field '{name}'"), format!("a field '{name}'")))
    }

    /// Refuses fields that nothing took.
    pub(super) fn done(self) -> Result<(), Mismatch> {
        match self.fields.into_iter().next() {
            None => Ok(()),
            Some((name, value)) => {
                Err(Mismatch::found(value.at, format!("field '{name}'"), "no such field here"))
            }
        }
    }
}
