//! What hls4ml lets pass without a word: constants and sums that wrap, softmax tables that tell nothing apart. The bits
//! stay hls4ml's; each case is a warning that names the node, what was found and what would help.

use hs_fixed::{Format, Interval, Overflow, Rounding, Type};
use hs_hw::{Codes, Dot, Lut, Op, Softmax, SoftmaxKind, ValueId as HwId, range};
use hs_ir::ValueId;

use super::{
    super::{LayerOptions, Lowerer},
    decimal_codes,
};
use crate::diagnostic::Diagnostic;

/// A softmax whose cells are at least this wide tells apart a handful of differences at most: e^-1 is 0.37.
const WIDE_CELL: f64 = 1.0;
/// Integer bits of a logit that 1,024 cells resolve well: cells of 1/32.
const LOGIT_INT: i32 = 6;

impl Lowerer<'_> {
    pub(super) fn warn(&mut self, message: String, help: String) {
        let d = Diagnostic::warning(message).at_node(self.current()).help(help);
        self.warnings.push(d);
    }

    /// Constants in hls4ml's way; warns where one is outside its type.
    pub(super) fn hls4ml_constants(
        &mut self,
        what: &str,
        values: &[f64],
        ty: Type,
    ) -> Result<Codes, Diagnostic> {
        let codes = decimal_codes(what, values, ty)?;
        let step = ty.format.value(1);
        let off = |(v, c): &(&f64, &i64)| (*v - ty.format.value(i128::from(**c))).abs() > 1.5 * step;
        let mut wrong = values.iter().zip(codes.data.iter()).enumerate().filter(|(_, pair)| off(pair));
        if let Some((i, (v, code))) = wrong.next() {
            let more = match wrong.count() {
                0 => String::new(),
                n => format!(" ({n} more do not fit either)"),
            };
            let became = ty.format.value(i128::from(*code));
            let (lo, hi) = values.iter().fold((0f64, 0f64), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
            let help = holds(lo, hi, ty);
            let key = match what {
                "scale" => "weight",
                "slope" => "param",
                other => other,
            };
            self.warn(
                format!("{what} {i} is {v}, outside {ty}: it becomes {became}{more}"),
                format!("{key} = \"{help}\" would hold every {what}"),
            );
        }
        Ok(codes)
    }

    /// Warns where the sum or the result of the dot product that becomes `v` can wrap, and says whether it did.
    pub(super) fn warn_sum(
        &mut self,
        dot: &Dot,
        outputs: usize,
        x: Interval,
        accum: Type,
        ty: Type,
        v: ValueId,
    ) -> bool {
        let Some(total) = range::dot_sum(dot, outputs, x).map(|s| s.total) else { return false };
        // Each product loses up to a step of the accumulator.
        let lost = dot.weight.len().checked_div(outputs).unwrap_or(0) as i128;
        let drop = u32::try_from(total.frac - accum.format.frac()).unwrap_or(0).min(60);
        let lost = if drop > 0 { lost << drop } else { 0 };
        let sum = Interval::new(total.lo.saturating_sub(lost), total.hi.saturating_add(lost), total.frac);
        self.warn_wrap("accumulator", "accum", sum, accum, v)
            || self.warn_wrap("result", "result", total, ty, v)
    }

    /// Warns where the result of `hw` can wrap, which becomes `v`. Of dot products see [`Self::warn_sum`].
    pub(super) fn warn_result(&mut self, hw: HwId, v: ValueId) {
        let node = self.node(hw);
        let (Op::Affine { act, .. } | Op::Requant(act) | Op::Binary { act, .. }) = &node.op else { return };
        let inputs: Vec<Interval> = node.inputs.iter().map(|i| self.range(*i)).collect();
        let exact = range::exact(node, &inputs).and_then(|e| range::act(act, e));
        let ty = node.ty;
        if let Some(exact) = exact {
            self.warn_wrap("result", "result", exact, ty, v);
        }
    }

    fn warn_wrap(&mut self, what: &str, key: &str, exact: Interval, ty: Type, v: ValueId) -> bool {
        let wraps = matches!(ty.overflow, Overflow::Wrap { .. } | Overflow::WrapSm { .. });
        // How a cast rounds does not matter for whether bits are lost at the top.
        if !wraps || !exact.cast(&Type::new(ty.format, Rounding::Trn, Overflow::Sat)).1 {
            return false;
        }
        let f = ty.format;
        let observed = self.options.ranges.as_ref().and_then(|r| r.get(&self.graph.value(v).name));
        let observed = observed.map(|o| (o.lo, o.hi));
        if observed.is_some_and(|(lo, hi)| lo >= f.value(f.min()) && hi <= f.value(f.max())) {
            return false;
        }
        let scale = |code: i128| code as f64 * 2f64.powi(-exact.frac);
        let (lo, hi) = observed.unwrap_or((scale(exact.lo), scale(exact.hi)));
        let reach = if observed.is_some() { "reach in the data" } else { "can reach" };
        self.warn(
            format!(
                "the {what} {ty} wraps beyond {} to {}, and the values {reach} {lo:.4} to {hi:.4}",
                f.value(f.min()),
                f.value(f.max())
            ),
            format!(
                "{key} = \"{}\" holds every value; `hypersonic profile` shows what your data reach; native arithmetic \
                 never wraps",
                holds(lo, hi, ty)
            ),
        );
        true
    }

    /// How far apart the values of the current node's input lie in the data, where that is known.
    fn observed_spread(&self) -> Option<f64> {
        let name = self.current().input(0).map(|v| self.graph.value(v).name.as_str())?;
        self.options.ranges.as_ref()?.get(name).map(|o| o.hi - o.lo)
    }

    /// Warns where the sums of a legacy softmax over `n` logits, which differ by up to `spread`, wrap in `table`, and
    /// of what the user says of it that is not followed.
    pub(super) fn warn_legacy(
        &mut self,
        layer: &LayerOptions,
        n: usize,
        spread: f64,
        table: Type,
        streamed: bool,
    ) {
        let idle = [("exp_table", layer.exp_table), ("inv_table", layer.inv_table), ("table", layer.table)];
        for (key, given) in idle {
            if let Some(given) = given.filter(|t| t.format != table.format) {
                self.warn(
                    format!(
                        "{key} = \"{given}\" is not followed: hls4ml's legacy softmax has tables of {table}"
                    ),
                    "use softmax = \"stable\" for tables of other types".to_owned(),
                );
            }
        }
        if let Some(size) = layer.table_size.filter(|s| streamed && *s != super::TABLE_SIZE) {
            self.warn(
                format!(
                    "table_size = {size} is not followed: hls4ml's streamed legacy softmax has tables of {}",
                    super::TABLE_SIZE
                ),
                "use io = \"parallel\" or softmax = \"stable\" for tables of another size".to_owned(),
            );
        }
        let observed = self.observed_spread();
        let (spread, of) = observed.map_or((spread, "logits that can differ"), |s| (s, "data that differ"));
        let others = n.saturating_sub(1) as f64;
        let largest = 1.0 + others * spread.min(8.0).exp();
        let bound = table.format.value(table.format.max() + 1);
        if largest >= bound {
            self.warn(
                format!(
                    "the sums of exp(x_j - x_i) wrap from {bound} on in {table}, and with {of} by up to {spread:.4} \
                     they reach {largest:.0}: what should be near 0 can become anything"
                ),
                format!(
                    "use softmax = \"stable\", or logits that differ by less than {:.2}",
                    ((bound - 1.0) / others).ln()
                ),
            );
        }
    }

    /// Warns where `ty` cannot hold the 1 that argmax gives the largest element.
    pub(super) fn warn_argmax(&mut self, ty: Type) {
        let one = ty.format.value(Softmax::one(&ty));
        if one != 1.0 {
            self.warn(
                format!("the 1 of the largest element is outside {ty}: it becomes {one}"),
                format!("result = \"{}\" holds it", holds(0.0, 1.0, ty)),
            );
        }
    }

    /// Warns where a softmax's table has cells so wide that the values of its input, of format `x`, fall into a few.
    pub(super) fn warn_softmax(
        &mut self,
        kind: SoftmaxKind,
        x: Format,
        delta: Format,
        exp: &Lut,
        size: usize,
    ) {
        let step = 2f64.powi(exp.index.shift - delta.frac());
        let observed = self.observed_spread();
        let few = observed.is_some_and(|spread| spread > 0.0 && spread <= 2.0 * step);
        if step < WIDE_CELL && !few {
            return;
        }
        let producer = self
            .current()
            .input(0)
            .and_then(|v| self.graph.nodes.iter().find(|n| n.outputs.contains(&Some(v))))
            .map_or_else(|| "its input".to_owned(), |n| format!("'{}'", n.name.escape_debug()));
        let spread = match observed {
            Some(s) => format!("the data spread over {s:.4}, at most {:.0} cells", (s / step).ceil() + 1.0),
            None => format!("only differences of {step} and more count"),
        };
        let of = match kind {
            SoftmaxKind::Stable => "max - x",
            SoftmaxKind::Latency => "x",
            SoftmaxKind::Legacy => "x_j - x_i",
        };
        let frac = x.frac().clamp(1, 10);
        self.warn(
            format!(
                "the softmax is degenerate: its {} table cells over {of}, of an input {x}, are {step} wide, and {spread}; \
                 with most inputs all results are 1/n",
                exp.entries.len()
            ),
            format!(
                "give {producer} a narrower result, such as \"fixed<{},{LOGIT_INT},RND,SAT>\" (cells of {}), or use \
                 native arithmetic, whose tables cover what the input reaches",
                LOGIT_INT + frac,
                2f64.powi(LOGIT_INT - 1) / size as f64
            ),
        );
    }
}

/// The type with `ty`'s fraction bits and modes that holds `lo` to `hi`.
fn holds(lo: f64, hi: f64, ty: Type) -> Type {
    let f = ty.format;
    let signed = f.is_signed() || lo < 0.0;
    let held = |int: i32| {
        let bound = 2f64.powi(int - i32::from(signed));
        hi < bound && lo >= -bound
    };
    let int = (1.max(f.int())..=128).find(|i| held(*i)).unwrap_or(128);
    let width = u32::try_from(int + f.frac()).unwrap_or(1).max(1);
    Format::new(signed, width, int).map_or(ty, |format| Type::new(format, ty.rounding, ty.overflow))
}

#[cfg(test)]
mod tests {
    use hs_hw::Io;

    use super::*;
    use crate::{
        lower::{Arithmetic, LayerOptions, LowerOptions, ObservedRanges, SoftmaxImplementation, lower},
        onnx::{self, builder::ModelBuilder},
        passes::{PassOptions, normalise_with},
    };

    /// x [8] → 'dense' (weights ±1) → softmax → y [8].
    fn classifier() -> ModelBuilder {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[1, 8]).output("y", &[1, 8]);
        let weight: Vec<f32> = (0..64).map(|i| if i % 3 == 0 { 1.0 } else { -1.0 }).collect();
        m.floats("w", &[8, 8], &weight).floats("b", &[8], &[0.5; 8]);
        m.node("Gemm", &["x", "w", "b"], &["logits"]).name("dense");
        m.node("Softmax", &["logits"], &["y"]).name("softmax").int("axis", 1);
        m
    }

    /// Warnings in hls4ml's arithmetic: node and text.
    fn warnings(m: &ModelBuilder, set: impl FnOnce(&mut LowerOptions)) -> Vec<(String, String)> {
        let mut options = LowerOptions {
            arithmetic: Arithmetic::Hls4ml,
            precision: "ap_fixed<16,6>".parse().ok(),
            ..LowerOptions::default()
        };
        set(&mut options);
        let passes = PassOptions { arithmetic: options.arithmetic, ..PassOptions::default() };
        let graph = normalise_with(onnx::import_bytes(&m.to_bytes(), None).unwrap().0, &passes).unwrap();
        let found = lower(&graph, &options).unwrap().warnings;
        found.into_iter().map(|d| (d.node.clone().unwrap_or_default(), d.to_string())).collect()
    }

    fn of_node(o: &mut LowerOptions, node: &str, set: impl FnOnce(&mut LayerOptions)) {
        set(o.nodes.entry(node.to_owned()).or_default());
    }

    fn ty(text: &str) -> Option<Type> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_degenerate_softmax_is_named_with_its_step_and_a_remedy() {
        // Logits of 37 bits, 17 of them integer, as hls4ml infers them for wide layers: 2^16 over 1,024 cells.
        let wide = |o: &mut LowerOptions| of_node(o, "dense", |l| l.result = ty("fixed<37,17,TRN,WRAP>"));
        let found = warnings(&classifier(), wide);
        assert_eq!(found.len(), 1, "{found:?}");
        let (node, text) = &found[0];
        assert_eq!(node, "softmax");
        for part in ["degenerate", "64 wide", "1/n", "'dense'", "fixed<16,6,RND,SAT>"] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
        // The remedy cures.
        let narrow = |o: &mut LowerOptions| of_node(o, "dense", |l| l.result = ty("fixed<16,6,RND,SAT>"));
        assert_eq!(warnings(&classifier(), narrow), []);
    }

    #[test]
    fn data_that_fall_into_one_cell_are_a_degenerate_softmax_too() {
        let observed = |spread: f64| {
            move |o: &mut LowerOptions| {
                of_node(o, "dense", |l| l.result = ty("fixed<16,6,RND,SAT>"));
                let mut ranges = ObservedRanges::new();
                ranges.insert("logits".to_owned(), (1.0, 1.0 + spread).into());
                o.ranges = Some(ranges);
            }
        };
        let found = warnings(&classifier(), observed(0.05));
        assert!(
            found.iter().any(|(n, t)| n == "softmax" && t.contains("the data spread over 0.05")),
            "{found:?}"
        );
        assert_eq!(warnings(&classifier(), observed(8.0)), []);
    }

    /// The classifier with logits of 16 bits and `softmax`.
    fn with_softmax(
        softmax: SoftmaxImplementation,
        set: impl FnOnce(&mut LowerOptions),
    ) -> Vec<(String, String)> {
        warnings(&classifier(), |o| {
            of_node(o, "dense", |l| l.result = ty("fixed<16,6,RND,SAT>"));
            of_node(o, "softmax", |l| l.softmax = Some(softmax));
            set(o);
        })
    }

    #[test]
    fn a_legacy_softmax_whose_sums_can_wrap_is_named() {
        let legacy = |set: &dyn Fn(&mut LowerOptions)| with_softmax(SoftmaxImplementation::Legacy, set);
        let found = legacy(&|_| {});
        assert_eq!(found.len(), 1, "{found:?}");
        let (node, text) = &found[0];
        assert_eq!(node, "softmax");
        // 1 + 7 exp(8) from differences of up to 64; 7 exp(2.89) is 127.
        for part in ["wrap from 128 on", "by up to 63.99", "reach 20868", "\"stable\"", "less than 2.90"] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
        // Data decide where they are known.
        let observed = |spread: f64| {
            legacy(&|o| {
                let mut ranges = ObservedRanges::new();
                ranges.insert("logits".to_owned(), (-1.0, spread - 1.0).into());
                o.ranges = Some(ranges);
            })
        };
        assert_eq!(observed(2.89), []);
        assert_eq!(observed(2.91).len(), 1);
    }

    #[test]
    fn what_a_legacy_softmax_does_not_follow_is_named() {
        let legacy = |io: Io, set: &dyn Fn(&mut LayerOptions)| {
            let all = with_softmax(SoftmaxImplementation::Legacy, |o| {
                o.io = Some(io);
                of_node(o, "softmax", set);
            });
            all.into_iter().map(|(_, text)| text).filter(|t| t.contains("not followed")).collect::<Vec<_>>()
        };
        let types = |l: &mut LayerOptions| {
            (l.exp_table, l.inv_table) = (ty("fixed<24,9,RND,SAT>"), ty("fixed<18,8,RND,SAT>"));
        };
        let found = legacy(Io::Parallel, &types);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("exp_table = \"fixed<24,9,RND,SAT>\""), "{found:?}");
        let size = |l: &mut LayerOptions| l.table_size = Some(256);
        assert_eq!(legacy(Io::Parallel, &size), [""; 0]);
        let found = legacy(Io::Stream, &size);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("table_size = 256"), "{found:?}");
    }

    #[test]
    fn an_argmax_whose_one_does_not_fit_is_named() {
        let argmax = |result: &'static str| {
            with_softmax(SoftmaxImplementation::Argmax, |o| of_node(o, "softmax", |l| l.result = ty(result)))
        };
        let found = argmax("fixed<16,1,TRN,WRAP>");
        assert_eq!(found.len(), 1, "{found:?}");
        let (node, text) = &found[0];
        assert_eq!(node, "softmax");
        for part in ["the 1 of the largest", "becomes -1", "result = \"fixed<17,2,TRN,WRAP>\""] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
        assert_eq!(argmax("fixed<17,2,TRN,WRAP>"), []);
        assert_eq!(argmax("ufixed<1,1,RND,SAT>"), []);
    }

    #[test]
    fn what_a_legacy_softmax_cannot_index_is_refused() {
        let refused = |result: &str, size: usize| {
            let mut options = LowerOptions {
                arithmetic: Arithmetic::Hls4ml,
                // Wide enough that the logits reach both ends of their type.
                input: ty("fixed<40,30>"),
                ..LowerOptions::default()
            };
            of_node(&mut options, "dense", |l| {
                (l.accum, l.result) = (ty("fixed<56,26,TRN,WRAP>"), ty(result));
            });
            of_node(&mut options, "softmax", |l| {
                l.softmax = Some(SoftmaxImplementation::Legacy);
                l.table_size = Some(size);
            });
            let passes = PassOptions { arithmetic: options.arithmetic, ..PassOptions::default() };
            let graph =
                normalise_with(onnx::import_bytes(&classifier().to_bytes(), None).unwrap().0, &passes)
                    .unwrap();
            lower(&graph, &options).err().map(|e| {
                let error = e.0.into_iter().next().unwrap();
                assert_eq!(error.node.as_deref(), Some("softmax"));
                error.to_string()
            })
        };
        let has = |found: Option<String>, part: &str| {
            let found = found.unwrap_or_else(|| panic!("accepted, not: {part}"));
            assert!(found.contains(part), "{found}");
        };
        has(refused("fixed<16,6,RND,SAT>", 1001), "tables of 1001 entries");
        assert_eq!(refused("fixed<16,6,RND,SAT>", 1000), None);
        // Steps of 2: a quarter of a cell of 8 entries is no multiple of them.
        has(refused("fixed<6,7,RND,SAT>", 8), "tables of 8 entries");
        assert_eq!(refused("fixed<6,7,RND,SAT>", 16), None);
        has(refused("fixed<64,10,RND,SAT>", 1024), "more than 64 bits");
        // 2^25 × 1024 / 16 is 2^31.
        has(refused("fixed<40,25,RND,SAT>", 1024), "32 bits of hls4ml's table index");
        assert_eq!(refused("fixed<40,24,RND,SAT>", 1024), None);
    }

    #[test]
    fn an_accumulator_that_can_wrap_is_named_with_the_type_it_needs() {
        let accum = |text: &'static str| {
            move |o: &mut LowerOptions| {
                of_node(o, "dense", |l| {
                    l.accum = ty(text);
                    l.result = ty("fixed<16,6,RND,SAT>");
                });
            }
        };
        let found = warnings(&classifier(), accum("fixed<16,6,TRN,WRAP>"));
        assert_eq!(found.len(), 1, "{found:?}");
        let (node, text) = &found[0];
        assert_eq!(node, "dense");
        // Eight products of ±32 and a bias of a half: ±256.5, 10 integer bits.
        for part in ["accumulator fixed<16,6,TRN,WRAP> wraps", "accum = \"fixed<20,10,TRN,WRAP>\""] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
        assert_eq!(warnings(&classifier(), accum("fixed<20,10,TRN,WRAP>")), []);
        // One that saturates is the user's choice.
        assert_eq!(warnings(&classifier(), accum("fixed<16,6,TRN,SAT>")), []);
        // Data that never reach the bound are no reason to warn.
        let seen = |hi: f64| {
            move |o: &mut LowerOptions| {
                accum("fixed<16,6,TRN,WRAP>")(o);
                let mut ranges = ObservedRanges::new();
                ranges.insert("logits".to_owned(), (-3.0, hi).into());
                o.ranges = Some(ranges);
            }
        };
        assert_eq!(warnings(&classifier(), seen(12.0)), []);
        assert_eq!(warnings(&classifier(), seen(45.0)).len(), 1);
    }

    #[test]
    fn a_result_that_can_wrap_is_named() {
        let result = |o: &mut LowerOptions| of_node(o, "dense", |l| l.result = ty("fixed<16,6,TRN,WRAP>"));
        let found = warnings(&classifier(), result);
        assert!(
            found.iter().any(|(n, t)| n == "dense" && t.contains("the result fixed<16,6,TRN,WRAP> wraps")),
            "{found:?}"
        );
    }

    #[test]
    fn a_constant_out_of_range_is_named() {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[1, 2]).output("y", &[1, 1]);
        m.floats("w", &[2, 1], &[0.5, 40.25]).floats("b", &[1], &[0.25]);
        m.node("Gemm", &["x", "w", "b"], &["y"]).name("dense");
        let found = warnings(&m, |o| of_node(o, "dense", |l| l.result = ty("fixed<24,12,RND,SAT>")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "dense");
        for part in ["weight 1 is 40.25", "it becomes -23.75", "weight = \"fixed<17,7,TRN,WRAP>\""] {
            assert!(found[0].1.contains(part), "'{part}' is not in: {}", found[0].1);
        }
    }

    #[test]
    fn native_arithmetic_refuses_such_constants_and_never_wraps() {
        let mut m = ModelBuilder::new(17);
        m.input("x", &[1, 2]).output("y", &[1, 1]);
        m.floats("w", &[2, 1], &[0.5, 40.25]).floats("b", &[1], &[0.25]);
        m.node("Gemm", &["x", "w", "b"], &["y"]).name("dense");
        let graph =
            normalise_with(onnx::import_bytes(&m.to_bytes(), None).unwrap().0, &PassOptions::default())
                .unwrap();
        let mut options = LowerOptions { precision: ty("fixed<16,6>"), ..LowerOptions::default() };
        let error = lower(&graph, &options).unwrap_err().0.remove(0);
        assert_eq!(error.node.as_deref(), Some("dense"));
        assert!(error.to_string().contains("40.25"), "{error}");
        options.precision = ty("fixed<16,8>");
        let program = lower(&graph, &options).unwrap().program;
        for node in program.nodes.iter().filter(|n| matches!(n.op, Op::Dot(_))) {
            let Op::Dot(dot) = &node.op else { continue };
            assert!(matches!(dot.accum, hs_hw::Accum::Exact(_)), "{node:?}");
            assert!(
                !matches!(node.ty.overflow, Overflow::Wrap { .. }) || {
                    let inputs: Vec<Interval> =
                        node.inputs.iter().map(|i| program.node(*i).format().interval()).collect();
                    !range::exact(node, &inputs).unwrap().cast(&node.ty).1
                }
            );
        }
    }
}
