//! What a profile says.

use std::fmt::Write as _;

use hs_fixed::{Format, Overflow, Rounding, Type};
use serde::Serialize;

use super::{
    Tap, TensorStats,
    stats::{Bin, Count, Distance, Spread},
};

/// Bits of a proposed type beyond the observed range, and below the step that the target asks for: other noise comes on
/// top of the rounding's.
const GUARD: i32 = 1;
/// Decibels that a bit is worth: 20 log10 2.
const BIT: f64 = 6.020_599_913_279_624;
/// How far below what its result type allows a layer may be before something else is to blame.
const SLACK: f64 = 3.0;

/// Operators that are tables in hardware.
const TABLED: [&str; 9] =
    ["Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Softplus", "Softsign", "Elu", "Selu", "Exp"];

/// What is mostly to blame for a layer's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The target is reached.
    Fine,
    /// Values lie outside the result's type.
    Range,
    /// The steps of the result's type are too coarse.
    Resolution,
    /// Weights, biases, the accumulator or a table: the result's type would allow more.
    Inside,
}

/// Smallest and largest value; both 0 where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Extremes {
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Extremes {
    fn of(s: &Spread) -> Self {
        if s.count == 0 { Self { min: 0.0, max: 0.0 } } else { Self { min: s.min, max: s.max } }
    }
}

/// The difference between fixed point and a reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Error {
    /// Largest absolute difference.
    pub max: f64,
    /// Root of the mean square.
    pub rms: f64,
    /// Signal over noise; none where there is no noise, or noise without signal.
    pub sqnr_db: Option<f64>,
    /// Row of the largest difference.
    pub row: Option<usize>,
    /// Element of the largest difference, its ONNX flat index.
    pub element: Option<usize>,
}

impl Error {
    fn of(d: &Distance) -> Self {
        Self {
            max: d.max,
            rms: d.rms(),
            sqnr_db: d.sqnr().filter(|v| v.is_finite()),
            row: d.at.map(|a| a.0),
            element: d.at.map(|a| a.1),
        }
    }
}

/// What was found about one tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerProfile {
    /// ONNX name of the tensor.
    pub tensor: String,
    /// What a configuration calls it: the ONNX node that yields it, or the model's input.
    pub node: String,
    /// Operator of that node, `Input` for an input.
    pub op: String,
    /// Node of the Program.
    pub hardware: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: Type,
    /// Smallest and largest value that the type holds.
    pub holds: Extremes,
    /// Distance of two values of the type.
    pub step: f64,
    /// Values seen.
    pub values: u64,
    /// Of these, infinities and NaN; they count nowhere else.
    pub not_finite: u64,
    /// Of these, zeros.
    pub zeros: u64,
    /// Range of the float values.
    pub range: Extremes,
    /// Mean of the float values.
    pub mean: f64,
    /// Range of the float values by channel (last axis in hardware).
    pub channels: Vec<Extremes>,
    /// Exponents e and numbers of float values of magnitude [2^e, 2^(e+1)).
    pub magnitudes: Vec<(i32, u64)>,
    /// Float values in bins of equal width.
    pub histogram: Vec<Bin>,
    /// Float values that the type does not hold, by more than half a step.
    pub outside: Count,
    /// Fixed-point results at the largest or (signed) smallest value of the type.
    pub at_bounds: Count,
    /// Fixed-point results half the type's range or more from what they should be; only where overflow wraps.
    pub wrapped: Count,
    /// Against the float model.
    pub error: Error,
    /// Against float on the fixed-point values in front of this layer: what the layer itself adds.
    pub own: Error,
    /// What is to blame.
    pub cause: Cause,
    /// A result type that holds the range and reaches the target; none where the layer is fine or its type is not to
    /// blame.
    pub proposal: Option<Type>,
    /// In words: what is wrong and what to do.
    pub advice: Option<String>,
    #[serde(skip)]
    pub(super) worth: f64,
}

impl LayerProfile {
    pub(super) fn new(tap: &Tap, s: &TensorStats, target: f64) -> Self {
        let f = tap.ty.format;
        let step = f.value(1);
        let own = s.own.sqnr();
        let power = s.float.power();
        let allowed = allowed(power, tap.ty, tap.rounds);
        let cause = if s.outside.elements > 0 || s.wrapped.elements > 0 {
            Cause::Range
        } else {
            match own {
                None => Cause::Fine,
                Some(db) if db >= target => Cause::Fine,
                Some(db) if allowed.is_none_or(|a| db >= a - SLACK) => Cause::Resolution,
                Some(_) => Cause::Inside,
            }
        };
        let range = Extremes::of(&s.float);
        let least = match (cause, own) {
            // Each bit halves the step.
            (Cause::Resolution, Some(db)) if db.is_finite() => f.frac() + ((target - db) / BIT).ceil() as i32,
            _ => i32::MIN,
        };
        let proposal = match cause {
            Cause::Range | Cause::Resolution => propose(range, power, f.is_signed(), (target, least)),
            Cause::Fine | Cause::Inside => None,
        }
        .filter(|p| p.format != f);
        let mut layer = Self {
            tensor: tap.tensor.clone(),
            node: tap.name.clone(),
            op: tap.op.clone(),
            hardware: tap.node.clone(),
            ty: tap.ty,
            holds: Extremes { min: f.value(f.min()), max: f.value(f.max()) },
            step,
            values: s.float.count + s.float.not_finite,
            not_finite: s.float.not_finite,
            zeros: s.float.zeros,
            range,
            mean: s.float.mean(),
            channels: s.channels.iter().map(Extremes::of).collect(),
            magnitudes: s.magnitudes.bins(),
            histogram: s.linear.bins(),
            outside: s.outside,
            at_bounds: s.at_bounds,
            wrapped: s.wrapped,
            error: Error::of(&s.error),
            own: Error::of(&s.own),
            cause,
            proposal,
            advice: None,
            worth: own.unwrap_or(f64::INFINITY),
        };
        layer.advice = layer.words(own, allowed, target);
        layer
    }

    fn words(&self, own: Option<f64>, allowed: Option<f64>, target: f64) -> Option<String> {
        let use_it = |p: &Option<Type>| match p {
            Some(ty) => format!("give it the type {ty}"),
            None => "no type of up to 64 bits does better".to_owned(),
        };
        match self.cause {
            Cause::Fine => None,
            Cause::Range => {
                let Extremes { min, max } = self.range;
                let mut text = format!(
                    "{} of {} values lie outside {}, which holds {} to {}; the data reach from {} to {}",
                    self.outside.elements,
                    self.values,
                    self.ty,
                    short(self.holds.min),
                    short(self.holds.max),
                    short(min),
                    short(max)
                );
                if self.wrapped.elements > 0 {
                    let _ = write!(text, "; {} results wrapped", self.wrapped.elements);
                }
                let held = self.outside.elements == 0;
                let remedy = if held && self.wrapped.elements > 0 {
                    "the values fit, so it is the accumulator that wraps: give it more integer bits"
                        .to_owned()
                } else {
                    use_it(&self.proposal)
                };
                Some(format!("{text}: {remedy}"))
            }
            Cause::Resolution => Some(format!(
                "its steps of {} leave {} dB, {target} dB are wanted: {}",
                short(self.step),
                own.map_or_else(|| "-".to_owned(), |v| format!("{v:.1}")),
                use_it(&self.proposal)
            )),
            Cause::Inside => {
                let (own, allowed) = (own?, allowed?);
                let remedy = if TABLED.contains(&self.op.as_str()) {
                    "its table costs the rest; an input type with fewer integer bits, or a larger table, has finer cells"
                        .to_owned()
                } else {
                    let bits = ((target - own) / BIT).ceil().max(1.0);
                    let bits = match bits {
                        1.0 => "about one more bit".to_owned(),
                        n if n.is_finite() => format!("about {n:.0} more bits"),
                        _ => "more bits".to_owned(),
                    };
                    format!("weights, biases or accumulator cost the rest; give them {bits}")
                };
                Some(format!("{own:.1} dB where its result type would allow {allowed:.1} dB: {remedy}"))
            }
        }
    }
}

/// A whole model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// Name of the model.
    pub model: String,
    /// Rows seen.
    pub rows: usize,
    /// Signal-to-noise ratio in dB that each layer should reach on its own.
    pub target_db: f64,
    /// Tensors in the order of the graph.
    pub layers: Vec<LayerProfile>,
    /// Tensors that are too wide to be watched.
    pub skipped: Vec<String>,
    /// Index of the layer with the lowest ratio of its own; none where fixed point is exact.
    pub worst: Option<usize>,
    /// The proposals as a configuration file.
    pub configuration: Option<String>,
}

impl Profile {
    pub(super) fn new(
        model: &str,
        rows: usize,
        target: f64,
        layers: Vec<LayerProfile>,
        skipped: Vec<String>,
    ) -> Self {
        let flawed = layers.iter().enumerate().filter(|(_, l)| l.worth < f64::INFINITY);
        let worst = flawed.min_by(|a, b| a.1.worth.total_cmp(&b.1.worth)).map(|(i, _)| i);
        let mut configuration = String::new();
        for layer in &layers {
            if let Some(ty) = layer.proposal {
                let _ = write!(configuration, "[node.{}]\nresult = \"{ty}\"\n\n", quoted(&layer.node));
            }
        }
        let configuration = Some(configuration.trim_end().to_owned()).filter(|c| !c.is_empty());
        Self { model: model.to_owned(), rows, target_db: target, layers, skipped, worst, configuration }
    }

    /// The layer that adds most of the error.
    pub fn worst_layer(&self) -> Option<&LayerProfile> {
        self.layers.get(self.worst?)
    }

    /// Which layer to look at and what to do, as a sentence.
    pub fn verdict(&self) -> String {
        match self.worst_layer() {
            None => "fixed point and float agree everywhere".to_owned(),
            Some(l) => {
                let db = l.own.sqnr_db.map_or_else(|| "no signal left".to_owned(), |v| format!("{v:.1} dB"));
                let advice = match &l.advice {
                    Some(text) => format!(": {text}"),
                    None => format!(", at or above the target of {} dB", self.target_db),
                };
                format!(
                    "the worst layer is '{}' ({}) with {db} of its own{advice}",
                    l.node.escape_debug(),
                    l.op
                )
            }
        }
    }
}

/// Ratio in dB of signal to the rounding noise of a type, for values spread evenly between its steps; none without
/// signal. `rounds`: half a step is added elsewhere, so that truncation rounds.
fn allowed(power: f64, ty: Type, rounds: bool) -> Option<f64> {
    let step = ty.format.value(1);
    // Truncation errs by up to a whole step on one side.
    let noise = match ty.rounding {
        Rounding::Trn | Rounding::TrnZero if !rounds => step * step / 3.0,
        Rounding::Trn
        | Rounding::TrnZero
        | Rounding::Rnd
        | Rounding::RndZero
        | Rounding::RndMinInf
        | Rounding::RndInf
        | Rounding::RndConv => step * step / 12.0,
    };
    (power > 0.0).then(|| 10.0 * (power / noise).log10())
}

/// The narrowest type, rounding and saturating, that holds `range` and whose rounding noise is `target` dB below a signal
/// of mean square `power`, with a guard bit at both ends and at least `least` fraction bits. None without a signal and
/// beyond 64 bits.
fn propose(range: Extremes, power: f64, signed: bool, (target, least): (f64, i32)) -> Option<Type> {
    let signed = signed || range.min < 0.0;
    let holds = |i: i32| {
        let bound = 2f64.powi(i - i32::from(signed));
        range.max < bound && range.min >= -bound
    };
    let int = (-64..=64).find(|i| holds(*i))? + GUARD;
    let step = (12.0 * power / 10f64.powf(target / 10.0)).sqrt();
    let frac = if step > 0.0 { ((-step.log2()).ceil() as i32 + GUARD).max(least) } else { return None };
    // At least two bits.
    let frac = frac.max(2 - int);
    let width = u32::try_from(int + frac).ok().filter(|w| *w <= 63 + u32::from(signed))?;
    Some(Type::new(Format::new(signed, width, int).ok()?, Rounding::Rnd, Overflow::Sat))
}

/// A number for people: four significant digits.
pub fn short(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 {
        "0".to_owned()
    } else if (0.01..10_000.0).contains(&size) {
        let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        let text = format!("{v:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{v:.2e}")
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_hold_the_range_and_reach_the_target() {
        let of = |min, max, power, target| propose(Extremes { min, max }, power, false, (target, i32::MIN));
        // ±3.5 needs fixed<_,3> and 40 dB below 1 is a step of 0.0346, 5 fraction bits; a guard bit at both ends.
        assert_eq!(of(-3.5, 2.0, 1.0, 40.0).unwrap().to_string(), "fixed<10,4,RND,SAT>");
        assert_eq!(of(-4.0, 2.0, 1.0, 40.0).unwrap().to_string(), "fixed<10,4,RND,SAT>");
        assert_eq!(of(0.0, 4.0, 1.0, 40.0).unwrap().to_string(), "ufixed<10,4,RND,SAT>");
        assert_eq!(of(0.0, 0.0, 0.0, 40.0), None);
        assert_eq!(of(0.0, 1.0, 1.0, 900.0), None);
        for (power, target) in [(0.3, 35.0), (1e6, 12.0), (1e-9, 60.0)] {
            let high = 3.0 * f64::sqrt(power);
            let ty = of(-high, high, power, target).unwrap();
            let f = ty.format;
            assert!(f.value(f.max()) >= high && allowed(power, ty, false).unwrap() >= target, "{ty}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 1.0, -31.96875, 1234.5, 123_456.0, 0.25, 0.012_345, 1e-9];
        let text: Vec<String> = all.iter().map(|v| short(*v)).collect();
        assert_eq!(text, ["0", "1", "-31.97", "1234", "1.23e5", "0.25", "0.01235", "1.00e-9"]);
    }
}
