//! What decides the types of a Program, and its rules of arithmetic.

use std::collections::BTreeMap;

use hs_fixed::Type;
use hs_hw::{Io, Strategy};

use super::ObservedRanges;

/// The rules by which a graph becomes a Program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// Exact accumulators, one cast a value, constants rounded to nearest.
    #[default]
    Native,
    /// hls4ml's C++, bit for bit: a cast a product, constants through decimal text, its tables.
    Hls4ml,
}

/// How hls4ml computes a softmax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SoftmaxImplementation {
    /// exp(x - max) over Σ exp(x - max).
    #[default]
    Stable,
    /// exp(x) over Σ exp(x).
    Latency,
    /// 1 over Σ exp(x_j - x_i).
    Legacy,
    /// 1 for the first largest element, 0 elsewhere.
    Argmax,
}

/// What a user says of a layer, of all layers of an op type, or of the model; `None`: nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayerOptions {
    /// Weights and scales.
    pub weight: Option<Type>,
    /// Biases.
    pub bias: Option<Type>,
    /// Accumulators.
    pub accum: Option<Type>,
    /// The layer's result.
    pub result: Option<Type>,
    /// hls4ml arithmetic, a bias that is a layer of its own: the result before the bias is added. With it
    /// `split_bias` is meant.
    pub unbiased: Option<Type>,
    /// hls4ml arithmetic: the bias is a layer of its own.
    pub split_bias: Option<bool>,
    /// Entries of a table.
    pub table: Option<Type>,
    /// Number of entries of a table.
    pub table_size: Option<usize>,
    /// Slopes, thresholds and other parameters of activations.
    pub param: Option<Type>,
    /// Softmax: entries of the exponential's table.
    pub exp_table: Option<Type>,
    /// Softmax: entries of the reciprocal's table.
    pub inv_table: Option<Type>,
    /// Softmax: what the reciprocal is looked up with.
    pub inv_input: Option<Type>,
    /// Softmax: how it is computed.
    pub softmax: Option<SoftmaxImplementation>,
    /// Layout of multiplications; under hls4ml arithmetic it orders saturating sums.
    pub strategy: Option<Strategy>,
    /// Products that share a multiplier.
    pub reuse: Option<usize>,
    /// The user's type wins over a quantiser of the model.
    pub overrule: bool,
}

impl LayerOptions {
    /// hls4ml arithmetic: whether the product has a type of its own, so that the bias is a layer of its own.
    pub fn is_split(&self) -> bool {
        self.split_bias == Some(true) || self.unbiased.is_some()
    }

    /// What this says, and `weaker` where it says nothing.
    pub fn or(&self, weaker: &Self) -> Self {
        Self {
            weight: self.weight.or(weaker.weight),
            bias: self.bias.or(weaker.bias),
            accum: self.accum.or(weaker.accum),
            result: self.result.or(weaker.result),
            unbiased: self.unbiased.or(weaker.unbiased),
            split_bias: self.split_bias.or(weaker.split_bias),
            table: self.table.or(weaker.table),
            table_size: self.table_size.or(weaker.table_size),
            param: self.param.or(weaker.param),
            exp_table: self.exp_table.or(weaker.exp_table),
            inv_table: self.inv_table.or(weaker.inv_table),
            inv_input: self.inv_input.or(weaker.inv_input),
            softmax: self.softmax.or(weaker.softmax),
            strategy: self.strategy.or(weaker.strategy),
            reuse: self.reuse.or(weaker.reuse),
            overrule: self.overrule || weaker.overrule,
        }
    }
}

/// Everything that decides a Program.
#[derive(Debug, Clone, Default)]
pub struct LowerOptions {
    /// Rules.
    pub arithmetic: Arithmetic,
    /// Type of input, weight, bias and result; omitted: 16 bits.
    pub precision: Option<Type>,
    /// With ranges, integer bits are fitted to them, see [`super::Observed::integer_bits`]; the width stays that of
    /// `precision`, but for an input whose channels are scaled one by one: it gets what the scalings need, unless `input`
    /// is stated.
    pub ranges: Option<ObservedRanges>,
    /// Transport between layers; under hls4ml arithmetic pooling depends on it.
    pub io: Option<Io>,
    /// The grids of weights are not the model's: they were fitted to each output channel.
    pub per_channel: bool,
    /// Type of every model input that `nodes` says nothing of.
    pub input: Option<Type>,
    /// Of all layers.
    pub model: LayerOptions,
    /// By op type, as the model spells it.
    pub types: BTreeMap<String, LayerOptions>,
    /// By the name of a node or an input.
    pub nodes: BTreeMap<String, LayerOptions>,
    /// Op type of each of the model's nodes, before passes renamed any.
    pub ops: BTreeMap<String, String>,
}

impl LowerOptions {
    /// What the user says of the node `name`, stemming from `sources`, of op type `op`: by name, then by type, then
    /// for the model.
    pub fn layer(&self, name: &str, sources: &[String], op: &str) -> LayerOptions {
        self.by_name(name, sources).or(&self.by_type(sources, op)).or(&self.model)
    }

    /// What the user says of the bias of the node `of`, which is the layer `name` of its own.
    pub fn bias_layer(&self, name: &str, of: &str) -> LayerOptions {
        match self.nodes.get(name) {
            Some(own) => own.or(&self.model),
            None => {
                let of = self.layer(of, &[of.to_owned()], "Dense");
                LayerOptions { bias: of.bias, result: of.result, ..LayerOptions::default() }
            }
        }
    }

    /// What the user says of this very node. Of the nodes that it stands for, the first that says something counts.
    pub fn by_name(&self, name: &str, sources: &[String]) -> LayerOptions {
        let named = std::iter::once(name).chain(sources.iter().map(String::as_str).filter(|s| *s != name));
        named.filter_map(|n| self.nodes.get(n)).fold(LayerOptions::default(), |found, own| found.or(own))
    }

    /// What the user says of the op types that a node stands for; a result's type is that of the last of them.
    pub fn by_type(&self, sources: &[String], op: &str) -> LayerOptions {
        let own: Vec<&str> = sources.iter().filter_map(|s| self.ops.get(s)).map(String::as_str).collect();
        // The internal name counts only for nodes that stand for nothing in the model.
        let names = if own.is_empty() { vec![op] } else { own };
        let all: Vec<_> = names.into_iter().filter_map(|op| self.types.get(op)).collect();
        let mut found = all.iter().fold(LayerOptions::default(), |found, one| found.or(one));
        if let Some(last) = all.iter().rev().find_map(|o| o.result) {
            found.result = Some(last);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> LayerOptions {
        LayerOptions { result: text.parse().ok(), ..LayerOptions::default() }
    }

    #[test]
    fn names_before_types_before_the_model() {
        let mut o = LowerOptions { model: result("fixed<4,4>"), ..LowerOptions::default() };
        let sources = ["Conv_0".to_owned(), "BN_0".to_owned()];
        let width = |o: &LowerOptions| o.layer("Conv_0", &sources, "Conv").result.map(|t| t.format.width());
        assert_eq!(width(&o), Some(4));
        o.ops =
            [("Conv_0", "Conv"), ("BN_0", "BatchNormalization")].map(|(a, b)| (a.into(), b.into())).into();
        o.types.insert("Conv".into(), result("fixed<5,5>"));
        assert_eq!(width(&o), Some(5));
        o.types.insert("BatchNormalization".into(), result("fixed<6,6>"));
        assert_eq!(width(&o), Some(6));
        o.nodes.insert("BN_0".into(), result("fixed<7,7>"));
        assert_eq!(width(&o), Some(7));
        o.nodes.insert("Conv_0".into(), result("fixed<8,8>"));
        assert_eq!(width(&o), Some(8));
    }
}
