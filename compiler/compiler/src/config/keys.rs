//! The keys of a layer, and to which operators each one means something.

use hs_fixed::Type;
use hs_hw::Strategy;

use crate::lower::{LayerOptions, SoftmaxImplementation};

/// A key that a layer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Weight,
    Bias,
    Accum,
    Result,
    Unbiased,
    SplitBias,
    Table,
    TableSize,
    Param,
    ExpTable,
    InvTable,
    InvInput,
    Softmax,
    Strategy,
    Reuse,
    Override,
}

/// A value, checked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    Type(Type),
    Flag(bool),
    Count(usize),
    Softmax(SoftmaxImplementation),
    Strategy(Strategy),
}

impl Key {
    pub(super) const ALL: [Self; 16] = [
        Self::Weight,
        Self::Bias,
        Self::Accum,
        Self::Result,
        Self::Unbiased,
        Self::SplitBias,
        Self::Table,
        Self::TableSize,
        Self::Param,
        Self::ExpTable,
        Self::InvTable,
        Self::InvInput,
        Self::Softmax,
        Self::Strategy,
        Self::Reuse,
        Self::Override,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
            Self::Accum => "accum",
            Self::Result => "result",
            Self::Unbiased => "unbiased",
            Self::SplitBias => "split_bias",
            Self::Table => "table",
            Self::TableSize => "table_size",
            Self::Param => "param",
            Self::ExpTable => "exp_table",
            Self::InvTable => "inv_table",
            Self::InvInput => "inv_input",
            Self::Softmax => "softmax",
            Self::Strategy => "strategy",
            Self::Reuse => "reuse",
            Self::Override => "override",
        }
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// What the key decides, for people.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Weight => "type of weights or scales",
            Self::Bias => "type of biases",
            Self::Accum => "type of the accumulator, and of each product",
            Self::Result => "type of the result",
            Self::Unbiased => "type of the result before a bias that is a layer of its own",
            Self::SplitBias => "true: the bias is a layer of its own",
            Self::Table => "type of table entries",
            Self::TableSize => "number of table entries",
            Self::Param => "type of the parameter (slope, threshold)",
            Self::ExpTable => "type of the exponential's table",
            Self::InvTable => "type of the reciprocal's table",
            Self::InvInput => "type of what the reciprocal is looked up with",
            Self::Softmax => "\"stable\", \"latency\", \"legacy\" or \"argmax\"",
            Self::Strategy => "\"latency\" or \"resource\"",
            Self::Reuse => "products that share a multiplier",
            Self::Override => "true: the types here win over a quantiser of the model",
        }
    }

    /// Whether native arithmetic leaves nothing to decide: its accumulators and tables are as exact as needed.
    pub(super) fn only_hls4ml(self) -> bool {
        match self {
            Self::Accum
            | Self::Unbiased
            | Self::SplitBias
            | Self::Table
            | Self::TableSize
            | Self::Param
            | Self::ExpTable
            | Self::InvTable
            | Self::InvInput
            | Self::Softmax => true,
            Self::Weight | Self::Bias | Self::Result | Self::Strategy | Self::Reuse | Self::Override => false,
        }
    }

    /// Puts a value of the right kind where it belongs.
    pub(super) fn set(self, layer: &mut LayerOptions, setting: Setting) {
        match (self, setting) {
            (Self::Weight, Setting::Type(t)) => layer.weight = Some(t),
            (Self::Bias, Setting::Type(t)) => layer.bias = Some(t),
            (Self::Accum, Setting::Type(t)) => layer.accum = Some(t),
            (Self::Result, Setting::Type(t)) => layer.result = Some(t),
            (Self::Unbiased, Setting::Type(t)) => layer.unbiased = Some(t),
            (Self::Table, Setting::Type(t)) => layer.table = Some(t),
            (Self::Param, Setting::Type(t)) => layer.param = Some(t),
            (Self::ExpTable, Setting::Type(t)) => layer.exp_table = Some(t),
            (Self::InvTable, Setting::Type(t)) => layer.inv_table = Some(t),
            (Self::InvInput, Setting::Type(t)) => layer.inv_input = Some(t),
            (Self::SplitBias, Setting::Flag(b)) => layer.split_bias = Some(b),
            (Self::Override, Setting::Flag(b)) => layer.overrule = b,
            (Self::TableSize, Setting::Count(n)) => layer.table_size = Some(n),
            (Self::Reuse, Setting::Count(n)) => layer.reuse = Some(n),
            (Self::Softmax, Setting::Softmax(s)) => layer.softmax = Some(s),
            (Self::Strategy, Setting::Strategy(s)) => layer.strategy = Some(s),
            (key, setting) => unreachable!("{key:?} read as {setting:?}"),
        }
    }
}

/// The keys that mean something to an operator; none where it only moves elements.
pub(super) fn keys_of(op: &str) -> &'static [Key] {
    match op {
        "Gemm" | "MatMul" => &[
            Key::Weight,
            Key::Bias,
            Key::Accum,
            Key::Result,
            Key::Unbiased,
            Key::SplitBias,
            Key::Strategy,
            Key::Reuse,
        ],
        "Conv" | "ConvTranspose" => {
            &[Key::Weight, Key::Bias, Key::Accum, Key::Result, Key::Strategy, Key::Reuse]
        }
        "BatchNormalization" | "Add" | "Sub" | "Mul" | "Div" => &[Key::Weight, Key::Bias, Key::Result],
        "LeakyRelu" | "PRelu" | "ThresholdedRelu" => &[Key::Result, Key::Param],
        "Sigmoid" | "Tanh" | "Softplus" | "Softsign" | "Selu" => &[Key::Result, Key::Table, Key::TableSize],
        "Elu" => &[Key::Result, Key::Table, Key::TableSize, Key::Param],
        "Softmax" | "LogSoftmax" => &[
            Key::Result,
            Key::Accum,
            Key::ExpTable,
            Key::InvTable,
            Key::InvInput,
            Key::TableSize,
            Key::Softmax,
        ],
        "AveragePool" | "GlobalAveragePool" | "MaxPool" | "GlobalMaxPool" | "ReduceMean" => {
            &[Key::Accum, Key::Result]
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity" | "Dropout" | "Cast"
        | "CastLike" | "Pad" | "Slice" | "Split" | "Gather" | "Constant" | "Shape" | "Expand" => &[],
        _ => &[Key::Result],
    }
}
