//! Node attributes.

use std::collections::BTreeMap;

use crate::Tensor;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A float.
    Float(f32),
    /// A list of floats.
    Floats(Vec<f32>),
    /// Text.
    Str(String),
    /// A list of texts.
    Strs(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
}

impl Attr {
    /// The kind of value, as a person would name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "an integer",
            Self::Ints(_) => "a list of integers",
            Self::Float(_) => "a float",
            Self::Floats(_) => "a list of floats",
            Self::Str(_) => "a string",
            Self::Strs(_) => "a list of strings",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// A node's attributes, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attrs(BTreeMap<String, Attr>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The attribute called `name`.
    pub fn get(&self, name: &str) -> Option<&Attr> {
        self.0.get(name)
    }

    /// Sets `name`, replacing what was there.
    pub fn set(&mut self, name: impl Into<String>, attr: Attr) {
        self.0.insert(name.into(), attr);
    }

    /// Removes `name` and returns it.
    pub fn remove(&mut self, name: &str) -> Option<Attr> {
        self.0.remove(name)
    }

    /// Every attribute, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attr)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>> FromIterator<(K, Attr)> for Attrs {
    fn from_iter<T: IntoIterator<Item = (K, Attr)>>(iter: T) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }
}
