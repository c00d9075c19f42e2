//! What a user wrote, looked up as hls4ml looks it up, with a note of what was read.

use std::collections::BTreeSet;

use hs_fixed::{Modes, Type, parse_type};

use super::value::Value;
use crate::diagnostic::Diagnostic;

/// A layer of hls4ml's.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    /// The layer that hls4ml made this one from, whose entries it takes over.
    pub(super) base: Option<(String, &'static str)>,
    /// Its name.
    pub(super) name: String,
    /// Its class, which is what a key of `LayerType` must name.
    pub(super) class: String,
}

/// A type that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    /// `None`: `auto`.
    pub(super) ty: Option<Type>,
    /// Whether it is said of the model as a whole.
    pub(super) of_model: bool,
}

/// A configuration while it is read.
pub(super) struct Store<'a> {
    config: &'a Value,
    /// Paths of entries that decide something.
    used: BTreeSet<String>,
    pub(super) errors: Vec<Diagnostic>,
}

/// The value and the path of an entry.
type Entry<'a> = (&'a Value, String);

/// As hls4ml turns keys into attributes: `TableSize` is `table_size`.
pub(super) fn snake(key: &str) -> String {
    let mut out = String::new();
    for (i, c) in key.chars().enumerate() {
        if c.is_uppercase() && i > 0 && !out.ends_with('_') {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

impl<'a> Store<'a> {
    pub(super) fn new(config: &'a Value) -> Self {
        Self { config, used: BTreeSet::new(), errors: Vec::new() }
    }

    /// Whether an entry was read.
    pub(super) fn is_used(&self, path: &str) -> bool {
        self.used.contains(path)
    }

    fn section(&self, group: &str, name: &str, exact: bool) -> Option<Entry<'a>> {
        let all = self.config.get(group)?.entries();
        let found = all.iter().find(|(k, _)| if exact { k == name } else { k.eq_ignore_ascii_case(name) });
        found.map(|(k, v)| (v, format!("{group}.{k}")))
    }

    fn model(&self) -> Option<Entry<'a>> {
        self.config.get("Model").map(|v| (v, "Model".to_owned()))
    }

    fn entry((section, path): &Entry<'a>, key: &str) -> Option<Entry<'a>> {
        section.get(key).map(|v| (v, format!("{path}.{key}")))
    }

    /// Entry `var` of a `Precision`, which is a mapping or one type for everything.
    fn each(precision: &Entry<'a>, var: &str) -> Option<Entry<'a>> {
        match precision.0 {
            Value::Map(_) => Self::entry(precision, var),
            Value::Null => None,
            _ => (var == "default").then(|| precision.clone()),
        }
    }

    /// `Precision` entries in the order in which hls4ml asks them for a layer: first by name, then by type, then the
    /// model's. The flag tells the model's.
    fn precisions(&self, layer: &Layer) -> Vec<(Vec<Entry<'a>>, bool)> {
        let precision = |s: Option<Entry<'a>>| s.and_then(|s| Self::entry(&s, "Precision"));
        let mut by_name = Vec::new();
        if let Some((name, class)) = &layer.base {
            // The name's replaces the type's as a whole.
            let own = precision(self.section("LayerName", name, true));
            by_name.extend(own.or_else(|| precision(self.section("LayerType", class, true))));
        }
        by_name.extend(precision(self.section("LayerName", &layer.name, false)));
        let by_type = precision(self.section("LayerType", &layer.class, false));
        vec![
            (by_name, false),
            (by_type.into_iter().collect(), false),
            (precision(self.model()).into_iter().collect(), true),
        ]
    }

    /// The type `var` of a layer. An error is noted where nothing is said at all.
    pub(super) fn precision(&mut self, layer: &Layer, var: &str) -> Found {
        for (group, of_model) in self.precisions(layer) {
            for var in [var, "default"] {
                if let Some(found) = group.iter().find_map(|p| Self::each(p, var)) {
                    return Found { ty: self.ty(found), of_model };
                }
            }
        }
        self.errors.push(
            Diagnostic::error(format!("the hls4ml configuration has no type for {var} of '{}'", layer.name))
                .help("set Model.Precision.default"),
        );
        Found { ty: None, of_model: true }
    }

    /// The type `var` of a layer, of which it is not known yet whether hls4ml asks for it.
    pub(super) fn peek(&mut self, layer: &Layer, var: &str) -> Option<Type> {
        let (used, errors) = (self.used.clone(), self.errors.len());
        let found = self.precision(layer, var).ty;
        self.used = used;
        self.errors.truncate(errors);
        found
    }

    fn ty(&mut self, (value, path): Entry<'a>) -> Option<Type> {
        self.used.insert(path.clone());
        let Some(text) = value.text() else {
            self.errors.push(Diagnostic::error(format!("{path} is {value}, not a type")));
            return None;
        };
        if text.eq_ignore_ascii_case("auto") {
            return None;
        }
        match parse_type(text, Modes::TRN_WRAP) {
            Ok(ty) => Some(ty),
            Err(e) => {
                self.errors.push(Diagnostic::error(format!("{path}: {e}")));
                None
            }
        }
    }

    /// `ReuseFactor` or `Strategy` of a layer.
    fn common(&mut self, layer: &Layer, key: &str) -> Option<Entry<'a>> {
        let mut sections = Vec::new();
        if let Some((name, class)) = &layer.base {
            sections.push(self.section("LayerName", name, true));
            sections.push(self.section("LayerType", class, true));
        }
        sections.push(self.section("LayerName", &layer.name, false));
        sections.push(self.section("LayerType", &layer.class, false));
        sections.push(self.model());
        let found = sections
            .into_iter()
            .flatten()
            .filter_map(|s| Self::entry(&s, key))
            .find(|(v, _)| **v != Value::Null)?;
        self.used.insert(found.1.clone());
        Some(found)
    }

    /// `ReuseFactor` of a layer.
    pub(super) fn reuse(&mut self, layer: &Layer) -> Option<usize> {
        let (value, path) = self.common(layer, "ReuseFactor")?;
        match value {
            Value::Int(n) if *n >= 1 => usize::try_from(*n).ok(),
            _ => {
                self.errors.push(Diagnostic::error(format!("{path} is {value}; it must be 1 or more")));
                None
            }
        }
    }

    /// `Strategy` of a layer in lower case, and where it stands.
    pub(super) fn strategy(&mut self, layer: &Layer) -> Option<(String, String)> {
        let (value, path) = self.common(layer, "Strategy")?;
        Some((snake(&value.to_string()), path))
    }

    /// An attribute of a layer that stands beside `Precision`, in either spelling; hls4ml does not ask the model for it.
    pub(super) fn attribute(&mut self, layer: &Layer, key: &str) -> Option<Entry<'a>> {
        let (name, class) = match &layer.base {
            Some((name, class)) => (name.as_str(), *class),
            None => (layer.name.as_str(), layer.class.as_str()),
        };
        let sections = [
            self.section("LayerName", name, true),
            self.section("LayerType", class, true),
            self.section("LayerType", &layer.class, true),
        ];
        let found = sections.into_iter().flatten().find_map(|(section, path)| {
            let (k, v) = section.entries().iter().find(|(k, _)| snake(k) == key)?;
            Some((v, format!("{path}.{k}")))
        })?;
        self.used.insert(found.1.clone());
        Some(found)
    }

    /// A type given as an attribute, as in `exp_table_t`.
    pub(super) fn attribute_type(&mut self, layer: &Layer, key: &str) -> Option<Type> {
        let found = self.attribute(layer, key)?;
        self.ty(found)
    }

    /// The entry `Model.key`, noted as read.
    pub(super) fn of_model(&mut self, path: &[&str]) -> Option<&'a Value> {
        let mut entry = self.model()?;
        for key in path {
            entry = Self::entry(&entry, key)?;
        }
        self.used.insert(entry.1);
        Some(entry.0)
    }

    /// The model's default type, where one is given.
    pub(super) fn default_type(&mut self) -> Option<Type> {
        let precision = self.model().and_then(|m| Self::entry(&m, "Precision"))?;
        let found = Self::each(&precision, "default")?;
        self.ty(found)
    }
}
