//! Who decides a type, strongest first: the user's word about the node, the model's quantisers, the user's word about
//! the op type and the model, `precision`, the default. Observed ranges fit the integer bits of all but the first two.

use hs_fixed::{Format, Interval, Modes, Overflow, Rounding, Type};
use hs_ir::{DType, ValueId};

use super::{
    LayerOptions, Lowerer,
    constants::{self, Choice},
    observed::integer_bits,
    too_wide,
};
use crate::{
    diagnostic::Diagnostic,
    ops::{self, Call, INTERNAL_DOMAIN, affine::Affine, clip::Clip},
    passes::rescale::INTEGER,
};

/// Bits of everything when nothing is said.
pub const DEFAULT_WIDTH: u32 = 16;
/// Integer bits of inputs and results when nothing is said.
pub const DEFAULT_INT: i32 = 6;
/// Bits of constants that a model with quantisers leaves in float: the wider operand of a DSP, less a sign.
const UNQUANTISED_WIDTH: u32 = 26;
/// Widest exact result that is kept when the model brings its own quantisers.
pub(super) const WIDEST_EXACT: u32 = 48;

/// Bits of a model input that is scaled, by a quantiser or channel by channel, and of the scales of channels: as many as a
/// float has.
pub(super) const SCALED_WIDTH: u32 = 32;

/// Fraction bits of a tabulated function's result where only the model's quantisers, none of them behind it, decide types.
pub(super) const FUNCTION_FRAC: i32 = 14;

/// Fraction bits of a tabulated function's result beyond the steps of the quantiser behind it.
const STEP_GUARD: i32 = 12;

/// Most fraction bits of a tabulated function's result.
const MAX_FUNCTION_FRAC: i32 = 28;

/// Most bits of an input of integers.
const INTEGER_WIDTH: u32 = 32;

/// Which of a node's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A weight or a scale.
    Weight,
    /// A bias.
    Bias,
    /// A tensor that is one of two operands.
    Operand,
}

impl Part {
    fn of(self, layer: &LayerOptions) -> Option<Type> {
        match self {
            Self::Weight => layer.weight,
            Self::Bias => layer.bias,
            Self::Operand => layer.weight.or(layer.bias),
        }
    }
}

impl<'a> Lowerer<'a> {
    /// What the user says of the very node `node`.
    fn own(&self, node: &hs_ir::Node) -> LayerOptions {
        self.options.by_name(&node.name, &node.sources)
    }

    /// What the user says of the node being lowered itself.
    pub(crate) fn own_layer(&self) -> LayerOptions {
        self.own(self.current())
    }

    pub(crate) fn producer(&self, v: ValueId) -> Option<&'a hs_ir::Node> {
        self.producers[v.index()].map(|i| &self.graph.nodes[i])
    }

    fn width(&self) -> u32 {
        self.options.precision.map_or(DEFAULT_WIDTH, |p| p.format.width())
    }

    /// Where the grid of a constant comes from: the user's word about this node, the quantiser it carries, the user's
    /// word about its op type or the model, or the values themselves. With observed ranges only the width of what is
    /// said of more than this node counts.
    pub fn constant_choice(&self, v: Option<ValueId>, part: Part) -> Result<Choice<'a>, Diagnostic> {
        let own = self.own_layer();
        let grid = v.and_then(|v| self.graph.value(v).grid.as_deref());
        match (part.of(&own), grid) {
            (Some(ty), Some(grid)) if !own.overrule => {
                let format = constants::grid_format(grid)?;
                if ty.format != format {
                    return Err(contradicts(&format!("{ty}"), &format!("{format}")));
                }
                return Ok(Choice::Grid(grid));
            }
            (Some(ty), _) => return Ok(Choice::Given(ty)),
            (None, Some(grid)) => return Ok(Choice::Grid(grid)),
            (None, None) => {}
        }
        let node = self.current();
        let by_type = part.of(&self.options.by_type(&node.sources, &node.op));
        let said = by_type.or(part.of(&self.options.model));
        Ok(match said.or(self.options.precision) {
            Some(ty) if self.options.ranges.is_none() => Choice::Given(ty),
            // A bias of which nothing is said costs an adder only, and the largest one must not round the others away.
            Some(ty) if part == Part::Bias && said.is_none() => {
                Choice::Fit(ty.format.width().max(DEFAULT_WIDTH))
            }
            Some(ty) => Choice::Fit(ty.format.width()),
            None if self.quantised => Choice::Fit(UNQUANTISED_WIDTH),
            None => Choice::Fit(self.width()),
        })
    }

    /// Choice for constants that the model does not state as such (slopes, folded scales).
    pub fn derived_choice(&self) -> Choice<'a> {
        let least = if self.quantised { UNQUANTISED_WIDTH + 8 } else { DEFAULT_WIDTH };
        Choice::Fit(self.width().max(least))
    }

    /// Type of the model input `v`.
    pub(crate) fn input_type(&self, v: ValueId) -> Result<Type, Diagnostic> {
        if let Some(ty) = self.options.nodes.get(&self.graph.value(v).name).and_then(|o| o.result) {
            return Ok(ty);
        }
        if let Some(range) = self.graph.value(v).dtype.and_then(DType::int_range)
            && self.options.input.is_none()
        {
            return self.integer_type(v, range);
        }
        if self.hls4ml() {
            return self.options.input.map_or_else(|| self.hls4ml_default(), Ok);
        }
        if self.options.input.is_none()
            && self.options.precision.is_none()
            && let Some(ty) = self.quantised_as(v)
        {
            return Ok(ty);
        }
        let declared = self.declared(v, true, self.options.input)?;
        match self.places_of_channels(v) {
            Some(frac) if self.options.input.is_none() && frac > declared.format.frac() => {
                let int = declared.format.int();
                let width = (i64::from(int) + i64::from(frac)).clamp(1, i64::from(SCALED_WIDTH)) as u32;
                match Format::new(declared.format.is_signed(), width.max(declared.format.width()), int) {
                    Ok(format) => Ok(Type { format, ..declared }),
                    Err(_) => Ok(declared),
                }
            }
            _ => Ok(declared),
        }
    }

    /// Fraction bits that the model input `v` needs where a scaling takes its channels to one range: those that the scaling's
    /// result has, and those that the largest scale takes away. Only calibration tells that range.
    fn places_of_channels(&self, v: ValueId) -> Option<i32> {
        let observed = self.options.ranges.as_ref()?;
        let read = |index: &usize| {
            let node = &self.graph.nodes[*index];
            let out = node.output(0)?;
            if node.domain.is_empty()
                && ["Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"].contains(&node.op.as_str())
            {
                return self.places_of_channels(out);
            }
            let known = node.domain == INTERNAL_DOMAIN
                && node.op == "Affine"
                && observed.contains_key(&self.graph.value(out).name);
            let affine = Affine::parse(&Call::of(self.graph, node)?).ok().filter(|_| known)?;
            let scale = affine.scale.filter(|scale| scale.len() > 1)?;
            let result = self.declared(out, true, None).ok()?;
            Some(result.format.frac() + integer_bits(scale.iter().fold(0.0, |m, s| m.max(s.abs()))))
        };
        self.uses[v.index()].iter().filter_map(read).max()
    }

    /// The type of an input of integers from `min` to `max`: as many bits as they have, or as what reads it has rows to look
    /// up, or at most [`INTEGER_WIDTH`].
    fn integer_type(&self, v: ValueId, (min, max): (i64, i64)) -> Result<Type, Diagnostic> {
        let table = |node: &hs_ir::Node| {
            let axis = ops::gather::looked_up(&Call::of(self.graph, node)?)?;
            (node.input(1) == Some(v)).then_some(axis as i64)
        };
        let tables: Option<Vec<i64>> =
            self.uses[v.index()].iter().map(|at| table(&self.graph.nodes[*at])).collect();
        let (lo, hi) = match tables.and_then(|rows| rows.into_iter().max()) {
            Some(rows) if !self.is_output[v.index()] => (0, rows - 1),
            Some(_) | None => {
                let half = 1i64 << (INTEGER_WIDTH - 1);
                (min.max(-half), if min < 0 { max.min(half - 1) } else { max.min(2 * half - 1) })
            }
        };
        let format = Format::holding(i128::from(lo), i128::from(hi.max(1)), 0);
        let format = format.map_err(|_| too_wide("an integer input"))?;
        Ok(Type::new(format, Rounding::RndConv, Overflow::Sat))
    }

    /// The type of a value that only quantisers of the model read, all of them alike: what they cast into, or where that is
    /// no fixed-point type, [`SCALED_WIDTH`] bits over their range.
    fn quantised_as(&self, v: ValueId) -> Option<Type> {
        let mut found = None;
        if self.is_output[v.index()] {
            return None;
        }
        for index in &self.uses[v.index()] {
            let node = &self.graph.nodes[*index];
            let out = node.output(0)?;
            let ty = match (node.domain.as_str(), node.op.as_str()) {
                (INTERNAL_DOMAIN, "Affine") => self.scaled_for(node, out)?,
                ("", "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose") => {
                    self.quantised_as(out)?
                }
                _ if node.op == "Quant" && node.input(0) == Some(v) => self.quantiser_type(v, node).ok()?,
                _ => return None,
            };
            if *found.get_or_insert(ty) != ty {
                return None;
            }
        }
        found
    }

    /// The type of what the scaling `node` reads, when a quantiser to integers is all that reads its result `out`.
    fn scaled_for(&self, node: &hs_ir::Node, out: ValueId) -> Option<Type> {
        let affine = Affine::parse(&Call::of(self.graph, node)?).ok()?;
        let (mut lo, mut hi) = (f64::NEG_INFINITY, f64::INFINITY);
        let (_, mut reader) = self.only_reader(out)?;
        if reader.is("Clip") {
            let clip = Clip::parse(&Call::of(self.graph, reader)?).ok()?;
            (lo, hi) = (clip.min.unwrap_or(lo), clip.max.unwrap_or(hi));
            (_, reader) = self.only_reader(reader.output(0)?)?;
        }
        if reader.op != "Quant" {
            return None;
        }
        let format = ops::quant::cast_type(self.graph, reader).ok()?.format;
        let (lo, hi) = (lo.max(format.value(format.min())), hi.min(format.value(format.max())));
        // One step more at each end, so that what saturates here saturates there.
        let real = |q: f64, c: usize| (q - affine.bias_at(c)) / affine.scale_at(c);
        let ends = (0..affine.channels.max(1)).flat_map(|c| [real(lo - 1.0, c), real(hi + 1.0, c)]);
        let (min, max) = ends.fold((0f64, 0f64), |(a, b), x| (a.min(x), b.max(x)));
        let signed = min < 0.0;
        let int = integer_bits(max.max(-min)) + i32::from(signed);
        let format = Format::new(signed, SCALED_WIDTH, int).ok()?;
        Some(Type::new(format, Rounding::RndConv, Overflow::Sat))
    }

    /// The type of a quantiser of the model at `v`, or what the user puts in its place.
    pub(crate) fn quantiser_type(&self, v: ValueId, quantiser: &hs_ir::Node) -> Result<Type, Diagnostic> {
        let ty = ops::quant::cast_type(self.graph, quantiser)?;
        let before = match self.producer(v) {
            Some(node) => self.own(node),
            None => self.options.nodes.get(&self.graph.value(v).name).cloned().unwrap_or_default(),
        };
        let own = before.or(&self.own(quantiser));
        match own.result {
            Some(said) if own.overrule => Ok(said),
            Some(said) if said != ty => {
                Err(contradicts(&said.to_string(), &ty.to_string()).at_node(quantiser))
            }
            _ => Ok(ty),
        }
    }

    /// What the user says of the result `v` itself or of its op type.
    pub(crate) fn stated_result(&self, v: ValueId) -> Option<Type> {
        let node = self.producer(v)?;
        self.own(node).result.or_else(|| self.options.by_type(&node.sources, &node.op).result)
    }

    /// Type of the value `v` whose exact values lie in `exact`.
    pub(crate) fn result_type(&self, v: ValueId, exact: Interval) -> Result<Type, Diagnostic> {
        let node = self.producer(v);
        if let Some(ty) = node.and_then(|n| self.own(n).result) {
            return Ok(ty);
        }
        if node.is_some_and(|n| self.is_integer_layer(n)) {
            return as_exact(exact);
        }
        // An activation may be fused into the node being lowered; it comes last.
        let said = [node, Some(self.current())]
            .into_iter()
            .flatten()
            .find_map(|n| self.options.by_type(&n.sources, &n.op).result)
            .or(self.options.model.result);
        let observed =
            self.options.ranges.as_ref().is_some_and(|r| r.contains_key(&self.graph.value(v).name));
        let free = said.is_none() && self.options.precision.is_none();
        if self.quantised && free && (!observed || self.feeds_quantiser(v)) {
            // The model's quantisers decide what is dropped; between them nothing is, up to a width that hides it.
            if let Ok(ty) = as_exact(exact) {
                return Ok(ty);
            }
        }
        self.declared(v, exact.lo < 0, said)
    }

    /// Whether `node` multiplies integers for the scaling behind it.
    fn is_integer_layer(&self, node: &hs_ir::Node) -> bool {
        let grid = node.input(1).and_then(|w| self.graph.value(w).grid.as_deref());
        node.name.ends_with(INTEGER) && grid.is_some_and(|g| g.scale == [1.0])
    }

    /// Bits of constants that a quantiser behind `v` decides about: more than it has, so that few results fall between steps.
    pub(super) fn constant_bits(&self, v: ValueId) -> u32 {
        let mut at = v;
        while let Some((_, node)) = self.only_reader(at) {
            match (node.domain.as_str(), node.op.as_str(), node.output(0)) {
                ("", "Add" | "Clip" | "Relu", Some(out)) => at = out,
                (_, "Quant", _) => {
                    let ty = ops::quant::cast_type(self.graph, node);
                    return ty.map_or(0, |ty| ty.format.width() + UNQUANTISED_WIDTH - 8);
                }
                _ => break,
            }
        }
        0
    }

    /// Fraction bits of the result `v` of a tabulated function: such that its rounding is lost in that of the quantiser behind.
    pub(crate) fn function_frac(&self, v: ValueId) -> i32 {
        self.steps_behind(v, 0)
            .map_or(FUNCTION_FRAC, |frac| (frac + STEP_GUARD).clamp(FUNCTION_FRAC, MAX_FUNCTION_FRAC))
    }

    /// Fraction bits of the steps of the quantisers that read `v` times 2^`up`, through scalings and moves.
    fn steps_behind(&self, v: ValueId, up: i32) -> Option<i32> {
        let read = |index: &usize| {
            let node = &self.graph.nodes[*index];
            if node.op == "Quant" {
                return Some(ops::quant::cast_type(self.graph, node).ok()?.format.frac() + up);
            }
            let out = node.output(0)?;
            match (node.domain.as_str(), node.op.as_str()) {
                (INTERNAL_DOMAIN, "Affine") => {
                    let affine = Affine::parse(&Call::of(self.graph, node)?).ok()?;
                    let scales = (0..affine.channels.max(1)).map(|c| affine.scale_at(c).abs());
                    self.steps_behind(out, up + integer_bits(scales.fold(0.0, f64::max)))
                }
                // The other operand is taken for small.
                ("", "Mul") => self.steps_behind(out, up + 3),
                (
                    "",
                    "Add" | "AveragePool" | "Clip" | "Concat" | "Flatten" | "GlobalAveragePool"
                    | "GlobalMaxPool" | "MaxPool" | "Pad" | "ReduceMax" | "ReduceMean" | "Relu" | "Reshape"
                    | "Slice" | "Squeeze" | "Sub" | "Transpose" | "Unsqueeze",
                ) => self.steps_behind(out, up),
                _ => None,
            }
        };
        self.uses[v.index()].iter().filter_map(read).max()
    }

    /// Whether a quantiser of the model comes behind `v`.
    fn feeds_quantiser(&self, v: ValueId) -> bool {
        let mut behind = vec![false; self.graph.values.len()];
        behind[v.index()] = true;
        self.graph.nodes.iter().any(|node| {
            let reads = node.inputs.iter().flatten().any(|x| behind[x.index()]);
            for y in node.outputs.iter().flatten().filter(|_| reads) {
                behind[y.index()] = true;
            }
            reads && node.op == "Quant"
        })
    }

    /// The type that `said` or else `precision` states for `v`; integer bits from observed ranges where there are some.
    fn declared(&self, v: ValueId, signed: bool, said: Option<Type>) -> Result<Type, Diagnostic> {
        let given = said.or(self.options.precision);
        let modes = given.map_or(Modes::RND_SAT, |p| Modes { rounding: p.rounding, overflow: p.overflow });
        let width = given.map_or(DEFAULT_WIDTH, |p| p.format.width());
        let name = &self.graph.value(v).name;
        let observed = self.options.ranges.as_ref().and_then(|r| r.get(name));
        let (signed, int) = match (observed, given.map(|p| p.format)) {
            (Some(seen), _) => {
                let signed = signed && seen.lo < 0.0;
                let saturates = matches!(modes.overflow, Overflow::Sat | Overflow::SatSym);
                let int = seen.integer_bits(width - u32::from(signed), saturates);
                (signed, int + i32::from(signed))
            }
            (None, Some(f)) => (signed && f.is_signed(), f.int()),
            (None, None) => (signed, DEFAULT_INT),
        };
        let format = Format::new(signed, width, int)
            .map_err(|e| Diagnostic::error(format!("the type of '{name}': {e}")))?;
        Ok(Type::new(format, modes.rounding, modes.overflow))
    }
}

/// A type in which nothing of `exact` is dropped, up to a width that hides it.
fn as_exact(exact: Interval) -> Result<Type, Diagnostic> {
    let f = exact.format().map_err(|_| too_wide("the result"))?;
    let f = Format::new(f.is_signed(), f.width().min(WIDEST_EXACT), f.int());
    Ok(Type::new(f.map_err(|_| too_wide("the result"))?, Rounding::Rnd, Overflow::Sat))
}

/// The user's type for something that a quantiser of the model types otherwise.
fn contradicts(said: &str, quantiser: &str) -> Diagnostic {
    Diagnostic::error(format!("the configuration says {said}, a quantiser of the model {quantiser}"))
        .help("drop the type from the configuration, or set override = true beside it")
}

/// A type into which a cast loses nothing and that needs no logic.
pub(crate) fn plain(format: Format) -> Type {
    Type::new(format, Rounding::Trn, Overflow::WRAP)
}
