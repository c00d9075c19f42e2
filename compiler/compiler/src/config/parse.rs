//! Our TOML, read with every mistake found: unknown keys, nodes and types, impossible values, words without effect.

use std::collections::{BTreeMap, BTreeSet};

use ::toml::de::{DeTable, DeValue};
use hs_fixed::{Modes, Type, parse_type};
use hs_hw::{Io, Strategy};
use hs_ir::Graph;

use super::{
    Config,
    keys::{Key, Setting, keys_of},
    nearest::{advice, nearest},
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics},
    lower::{Arithmetic, LayerOptions, SoftmaxImplementation},
};

/// Bits that a tensor's element may have.
const WIDEST: u32 = 64;
/// Keys of `[model]` beside those of a layer.
const MODEL_KEYS: [&str; 7] =
    ["arithmetic", "precision", "input", "per_channel", "io", "clock_mhz", "platform"];
/// Tables of a file.
const TABLES: [&str; 3] = ["model", "type", "node"];

/// Reads a configuration file for `graph`, the model as imported. All mistakes are reported together, each with its
/// line.
pub fn parse(text: &str, graph: &Graph) -> Result<Config, Diagnostics> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let all = errors.iter().map(|e| {
            let line = e.span().map_or(1, |s| line_of(text, s.start));
            Diagnostic::error(format!("configuration, line {line}: not TOML: {}", e.message()))
        });
        return Err(Diagnostics(all.collect()));
    }
    let mut reader = Reader { text, graph, config: Config::of(graph), errors: Vec::new() };
    reader.file(root.get_ref());
    if reader.errors.is_empty() { Ok(reader.config) } else { Err(Diagnostics(reader.errors)) }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

/// Name and place of a key, and its value.
type Entry<'a, 'i> = (&'a str, usize, &'a DeValue<'i>);

/// What a table of keys is about.
struct Scope<'a> {
    /// `[node.x]` and the like.
    header: String,
    /// The keys that mean something here.
    keys: &'a [Key],
    /// Why others do not.
    what: String,
}

struct Reader<'a> {
    text: &'a str,
    graph: &'a Graph,
    config: Config,
    errors: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn file(&mut self, root: &DeTable<'_>) {
        let entries = self.entries(root);
        for (name, line, _) in &entries {
            if !TABLES.contains(name) {
                let help = match nearest(name, TABLES) {
                    Some(near) => format!("did you mean [{near}]?"),
                    None => {
                        "a configuration has the tables [model], [type.OP] and [node.\"NAME\"]".to_owned()
                    }
                };
                self.error(*line, format!("unknown table or key '{name}'"), help);
            }
        }
        let find = |name: &str| entries.iter().find(|(n, ..)| *n == name).copied();
        // The model's table first: omitted modes of types depend on the arithmetic.
        if let Some(entry) = find("model") {
            self.model(entry);
        }
        if let Some(entry) = find("type") {
            self.types(entry);
        }
        if let Some(entry) = find("node") {
            self.nodes(entry);
        }
        self.pin();
    }

    fn model(&mut self, entry: Entry<'_, '_>) {
        let Some(mut entries) = self.table(entry, "[model]") else { return };
        // Stable: `arithmetic` before everything that depends on it.
        entries.sort_by_key(|(name, ..)| *name != "arithmetic");
        let own: Vec<Key> =
            Key::ALL.into_iter().filter(|k| !matches!(k, Key::Override | Key::Unbiased)).collect();
        let mut layer = LayerOptions::default();
        for entry in entries {
            match entry.0 {
                "arithmetic" => {
                    let choices = [("native", Arithmetic::Native), ("hls4ml", Arithmetic::Hls4ml)];
                    if let Some(a) = self.choice(entry, &choices) {
                        self.config.arithmetic = a;
                    }
                }
                "precision" => self.config.precision = self.type_of(entry),
                "input" => self.config.input = self.type_of(entry),
                "per_channel" => self.config.per_channel = self.flag(entry).unwrap_or(false),
                "io" => {
                    self.config.io = self.choice(entry, &[("parallel", Io::Parallel), ("stream", Io::Stream)])
                }
                "clock_mhz" => self.config.clock_mhz = self.clock(entry),
                "platform" => self.config.platform = self.word(entry).map(str::to_owned),
                _ => {
                    let known = MODEL_KEYS.into_iter().chain(own.iter().map(|k| k.name()));
                    let scope = Scope { header: "[model]".into(), keys: &own, what: "the model".into() };
                    self.key(entry, &scope, &mut layer, known);
                }
            }
        }
        self.config.model = layer;
    }

    fn types(&mut self, entry: Entry<'_, '_>) {
        let Some(types) = self.table(entry, "[type]") else { return };
        let graph = self.graph;
        let present: BTreeSet<&str> = graph.nodes.iter().map(|n| n.op.as_str()).collect();
        for (op, line, value) in types {
            if !present.contains(op) {
                let help = advice(op, present.iter().copied());
                self.error(line, format!("[type.{op}]: the model has no node of this type"), help);
                continue;
            }
            let header = format!("[type.{op}]");
            let Some(entries) = self.table((op, line, value), &header) else { continue };
            let scope = Scope { header, keys: keys_of(op), what: format!("a {op}") };
            let layer = self.layer(&entries, &scope);
            if layer != LayerOptions::default() {
                self.config.types.insert(op.to_owned(), layer);
            }
        }
    }

    fn nodes(&mut self, entry: Entry<'_, '_>) {
        let Some(nodes) = self.table(entry, "[node]") else { return };
        let graph = self.graph;
        let inputs: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
        let ops: BTreeMap<&str, &str> =
            graph.nodes.iter().map(|n| (n.name.as_str(), n.op.as_str())).collect();
        for (name, line, value) in nodes {
            let header = format!("[node.\"{name}\"]");
            let op = ops.get(name).copied();
            if op.is_none() && !inputs.contains(&name) {
                let help = match graph.find(name).and_then(|v| producer(graph, v)) {
                    Some(node) => format!("'{name}' is a tensor; the node that computes it is '{node}'"),
                    None => advice(name, ops.keys().copied().chain(inputs.iter().copied())),
                };
                self.error(line, format!("{header}: the model has no such node or input"), help);
                continue;
            }
            let Some(entries) = self.table((name, line, value), &header) else { continue };
            let layer = match op {
                Some(op) => {
                    let keys: Vec<Key> = keys_of(op).iter().copied().chain([Key::Override]).collect();
                    let what = format!("a {op}");
                    self.layer(&entries, &Scope { header, keys: &keys, what })
                }
                None => self.input(&entries, header),
            };
            if layer != LayerOptions::default() {
                self.config.nodes.insert(name.to_owned(), layer);
            }
        }
    }

    /// The table of a model input: `input` and `result` both are its type.
    fn input(&mut self, entries: &[Entry<'_, '_>], header: String) -> LayerOptions {
        let scope = Scope { header, keys: &[Key::Result, Key::Override], what: "an input".into() };
        let mut layer = LayerOptions::default();
        for entry in entries {
            match entry.0 {
                "input" | "result" => layer.result = self.type_of(*entry),
                _ => self.key(*entry, &scope, &mut layer, ["input", "result", "override"].into_iter()),
            }
        }
        layer
    }

    fn layer(&mut self, entries: &[Entry<'_, '_>], scope: &Scope<'_>) -> LayerOptions {
        let mut layer = LayerOptions::default();
        for entry in entries {
            let known: Vec<&str> = scope.keys.iter().map(|k| k.name()).collect();
            self.key(*entry, scope, &mut layer, known.into_iter());
        }
        layer
    }

    /// One key of a layer.
    fn key<'k>(
        &mut self,
        entry: Entry<'_, '_>,
        scope: &Scope<'_>,
        layer: &mut LayerOptions,
        known: impl Iterator<Item = &'k str>,
    ) {
        let (name, line, _) = entry;
        let known: Vec<&str> = known.collect();
        let header = &scope.header;
        let found = Key::find(name);
        if let Some(key) = found.filter(|k| scope.keys.contains(k)) {
            if key.only_hls4ml() && self.config.arithmetic == Arithmetic::Native {
                let help = "native arithmetic sizes accumulators and tables so that nothing is lost: drop the key, \
                            or set arithmetic = \"hls4ml\" in [model]";
                self.error(line, format!("{header}: '{name}' has no effect under native arithmetic"), help);
            } else if let Some(setting) = self.setting(entry, key) {
                key.set(layer, setting);
            }
            return;
        }
        if name == "input" {
            let help = match self.source_of(header) {
                Some(node) => format!("write result in [node.\"{node}\"], which computes what it reads"),
                None => "[model] and the model's inputs have an input type".to_owned(),
            };
            self.error(
                line,
                format!("{header}: a tensor has one type, that of the node that computes it"),
                help,
            );
        } else if found.is_some() {
            let help = if known.is_empty() {
                "it only moves elements; set the types of the nodes around it".to_owned()
            } else {
                format!("it takes: {}", known.join(", "))
            };
            self.error(line, format!("{header}: '{name}' means nothing to {}", scope.what), help);
        } else {
            let help = advice(name, known.iter().copied());
            self.error(line, format!("{header}: unknown key '{name}'"), help);
        }
    }

    /// The node or input whose result the node of a `[node."…"]` header reads first.
    fn source_of(&self, header: &str) -> Option<&str> {
        let name = header.strip_prefix("[node.\"")?.strip_suffix("\"]")?;
        let node = self.graph.nodes.iter().find(|n| n.name == name)?;
        let v = node.input(0)?;
        let input = self.graph.inputs.contains(&v).then(|| self.graph.value(v).name.as_str());
        input.or_else(|| producer(self.graph, v))
    }

    fn setting(&mut self, entry: Entry<'_, '_>, key: Key) -> Option<Setting> {
        match key {
            Key::Weight
            | Key::Bias
            | Key::Accum
            | Key::Result
            | Key::Unbiased
            | Key::Table
            | Key::Param
            | Key::ExpTable
            | Key::InvTable
            | Key::InvInput => self.type_of(entry).map(Setting::Type),
            Key::SplitBias | Key::Override => {
                let found = entry.2.as_bool().map(Setting::Flag);
                if found.is_none() {
                    self.expected(entry, "true or false");
                }
                found
            }
            Key::TableSize => self.count(entry, 2, 1 << 20).map(Setting::Count),
            Key::Reuse => self.count(entry, 1, 1 << 24).map(Setting::Count),
            Key::Softmax => {
                let choices = [
                    ("stable", SoftmaxImplementation::Stable),
                    ("latency", SoftmaxImplementation::Latency),
                    ("legacy", SoftmaxImplementation::Legacy),
                    ("argmax", SoftmaxImplementation::Argmax),
                ];
                self.choice(entry, &choices).map(Setting::Softmax)
            }
            Key::Strategy => {
                let choices = [("latency", Strategy::Latency), ("resource", Strategy::Resource)];
                self.choice(entry, &choices).map(Setting::Strategy)
            }
        }
    }

    fn type_of(&mut self, entry: Entry<'_, '_>) -> Option<Type> {
        let modes = match self.config.arithmetic {
            Arithmetic::Native => Modes::RND_SAT,
            Arithmetic::Hls4ml => Modes::TRN_WRAP,
        };
        let Some(text) = entry.2.as_str() else {
            self.expected(entry, "a type such as \"fixed<16,6>\"");
            return None;
        };
        match parse_type(text, modes) {
            Ok(ty) if ty.format.width() > WIDEST => {
                let message = format!("'{}': {text} has more than {WIDEST} bits", entry.0);
                self.error(
                    entry.1,
                    message,
                    "accumulators of native arithmetic are as wide as they need to be",
                );
                None
            }
            Ok(ty) => Some(ty),
            Err(e) => {
                self.errors
                    .push(Diagnostic::error(format!("configuration, line {}: '{}': {e}", entry.1, entry.0)));
                None
            }
        }
    }

    fn choice<T: Copy>(&mut self, entry: Entry<'_, '_>, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
        let Some(word) = entry.2.as_str() else {
            self.expected(entry, &format!("one of \"{}\"", names.join("\", \"")));
            return None;
        };
        let found = choices.iter().find(|(n, _)| *n == word).map(|(_, v)| *v);
        if found.is_none() {
            let help = advice(word, names.iter().copied());
            self.error(entry.1, format!("'{}' cannot be \"{word}\"", entry.0), help);
        }
        found
    }

    fn count(&mut self, entry: Entry<'_, '_>, least: usize, most: usize) -> Option<usize> {
        let found = entry.2.as_integer().and_then(|i| usize::from_str_radix(i.as_str(), i.radix()).ok());
        let found = found.filter(|n| (least..=most).contains(n));
        if found.is_none() {
            self.expected(entry, &format!("a whole number from {least} to {most}"));
        }
        found
    }

    fn flag(&mut self, entry: Entry<'_, '_>) -> Option<bool> {
        let found = entry.2.as_bool();
        if found.is_none() {
            self.expected(entry, "true or false");
        }
        found
    }

    fn clock(&mut self, entry: Entry<'_, '_>) -> Option<f64> {
        let text = entry.2.as_float().map(|f| f.as_str()).or(entry.2.as_integer().map(|i| i.as_str()));
        let found = text.and_then(|t| t.parse::<f64>().ok()).filter(|f| (1.0..=2000.0).contains(f));
        if found.is_none() {
            self.expected(entry, "a clock from 1 to 2000 MHz");
        }
        found
    }

    fn word<'v>(&mut self, entry: Entry<'v, '_>) -> Option<&'v str> {
        let found = entry.2.as_str().filter(|s| !s.trim().is_empty());
        if found.is_none() {
            self.expected(entry, "a name in quotes");
        }
        found
    }

    fn expected(&mut self, (name, line, value): Entry<'_, '_>, what: &str) {
        let found = match value {
            DeValue::String(s) => format!("\"{s}\""),
            DeValue::Integer(i) => i.as_str().to_owned(),
            DeValue::Float(f) => f.as_str().to_owned(),
            DeValue::Boolean(b) => b.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => format!("a {}", value.type_str()),
        };
        self.error(line, format!("'{name}' is {found}"), format!("write {what}"));
    }

    fn error(&mut self, line: usize, message: impl AsRef<str>, help: impl Into<String>) {
        let message = format!("configuration, line {line}: {}", message.as_ref());
        self.errors.push(Diagnostic::error(message).help(help));
    }

    /// The keys of a table in the order of the file.
    fn entries<'v, 'i>(&self, table: &'v DeTable<'i>) -> Vec<Entry<'v, 'i>> {
        let mut all: Vec<_> = table
            .iter()
            .map(|(k, v)| {
                (k.span().start, (k.get_ref().as_ref(), line_of(self.text, k.span().start), v.get_ref()))
            })
            .collect();
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, entry)| entry).collect()
    }

    fn table<'v, 'i>(&mut self, entry: Entry<'v, 'i>, header: &str) -> Option<Vec<Entry<'v, 'i>>> {
        match entry.2.as_table() {
            Some(table) => Some(self.entries(table)),
            None => {
                self.expected(entry, &format!("a table, {header}"));
                None
            }
        }
    }

    /// What single nodes are given keeps the passes from folding it away.
    fn pin(&mut self) {
        for (name, layer) in &self.config.nodes {
            if layer.result.is_some() {
                self.config.unfused.insert(name.clone());
            }
            let product =
                matches!(self.config.ops.get(name).map(String::as_str), Some("Conv" | "Gemm" | "MatMul"));
            if layer.weight.is_some() && !product {
                self.config.apart.insert(name.clone());
            }
        }
    }
}

/// Name of the node that computes `v`.
fn producer(graph: &Graph, v: hs_ir::ValueId) -> Option<&str> {
    graph.nodes.iter().find(|n| n.outputs.contains(&Some(v))).map(|n| n.name.as_str())
}
