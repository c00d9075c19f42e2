//! Resources of each process, from the operators and arrays that its C++ has.

use hs_fixed::{Format, Overflow, Type};
use hs_hw::{
    Accum, Act, Average, BinaryOp, Codes, Divide, Dot, Io, Lut, Node, Op, Pool, PoolKind, Softmax,
    SoftmaxKind, SoftmaxTables, ValueId,
};

use super::cost::{
    Resources, adder, bram18, cast, delay, is_wire, memory, multiplier, multiplier_by, mux, pick,
    signed_bits, table, uram,
};
use crate::hls::design::Design;
use crate::hls::layout::{DotLayout, Geometry, MAX_PARTITION, is_tree};
use crate::hls::moves::{self, Move};
use crate::hls::words::{Storage, WordLayout};

/// How a design computes, as far as it decides how many operators there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A pixel a cycle and process.
    Stream,
    /// Tensors in arrays; a process' loop does a pixel a cycle.
    Arrays,
    /// One pipeline: every loop unrolled.
    Unrolled,
}

impl Style {
    pub(super) fn of(design: &Design<'_>) -> Self {
        match design.schedule.io {
            Io::Stream => Self::Stream,
            Io::Parallel if crate::schedule::one_pipeline(design.program, &design.schedule.layers) => {
                Self::Unrolled
            }
            Io::Parallel => Self::Arrays,
        }
    }

    /// Copies of what computes one pixel.
    fn copies(self, pixels: usize) -> u64 {
        match self {
            Self::Stream | Self::Arrays => 1,
            Self::Unrolled => pixels as u64,
        }
    }
}

fn bits(format: Format) -> u64 {
    u64::from(format.width())
}

fn saturates(ty: &Type) -> bool {
    ty.overflow != Overflow::WRAP
}

/// What is done with an exact value of `from` bits before it is stored with `to` bits.
fn finish(act: &Act, from: u64, to: u64) -> Resources {
    let act = match act {
        Act::None => Resources::default(),
        Act::Clamp { lo, hi } => pick(from) * (u64::from(lo.is_some()) + u64::from(hi.is_some())),
        Act::Slope(s) => multiplier(from, signed_bits(s.format)) + pick(from),
    };
    act + cast(from, to)
}

/// Resources of the node's process.
pub(super) fn node(design: &Design<'_>, id: ValueId, style: Style) -> Resources {
    let n = design.program.node(id);
    let channels = n.channels() as u64;
    let to = bits(n.format());
    // Pixels are computed one after the other, or all at once.
    let copies = style.copies(n.pixels());
    let exact = || exact_bits(design, n);
    match &n.op {
        Op::Dot(d) => match design.dot_layout(id, d) {
            Some(layout) => dot(design, id, d, layout, style),
            None => Resources::default(),
        },
        Op::Affine { scale, bias, act } => {
            let from = signed_bits(design.program.node(n.inputs[0]).format());
            let product = broadcast_products(scale, n, from, copies);
            let rest = adder(exact()) + finish(act, exact(), to);
            product + rest * (channels * copies) + elements(scale, n) + elements(bias, n)
        }
        Op::Requant(act) => finish(act, exact(), to) * (channels * copies),
        Op::Binary { op, act } => {
            let input = |slot: usize| signed_bits(design.program.node(n.inputs[slot]).format());
            let computed = match op {
                BinaryOp::Add | BinaryOp::Sub => adder(exact()),
                BinaryOp::Mul => multiplier(input(0), input(1)),
                BinaryOp::Max | BinaryOp::Min => pick(exact()),
            };
            (computed + finish(act, exact(), to)) * (channels * copies)
        }
        Op::Table(lut) => {
            let from = signed_bits(design.program.node(n.inputs[0]).format());
            look_ups(lut, from, to, channels * copies)
        }
        Op::Pool(p) => pool(design, id, p, style),
        Op::Softmax(Softmax::Argmax) => {
            let from = signed_bits(design.program.node(n.inputs[0]).format());
            pick(from) * (2 * channels * copies)
        }
        Op::Softmax(Softmax::Tables(s)) => softmax(design, n, s) * copies,
        Op::Reshape | Op::Permute(_) | Op::Pad { .. } => moved(design, id, style),
        Op::Concat { .. } => {
            let casts: Resources = match style {
                // One element after the other.
                Style::Arrays => cast(to, to) * n.inputs.len() as u64,
                Style::Stream | Style::Unrolled => cast(to, to) * (channels * copies),
            };
            casts
        }
        Op::Input { .. } | Op::Output { .. } | Op::Const(_) => Resources::default(),
    }
}

fn exact_bits(design: &Design<'_>, node: &Node) -> u64 {
    let inputs = design.program.input_formats(node);
    node.op.exact_format(&inputs).and_then(Result::ok).map_or(0, bits)
}

/// Products with a constant that is broadcast: by the value where it is known, else as a variable.
fn broadcast_products(codes: &Codes, node: &Node, from: u64, copies: u64) -> Resources {
    let channels = node.channels();
    let width = signed_bits(codes.format);
    let per_pixel: Resources = if codes.len() == 1 || codes.len() == channels {
        (0..channels).map(|c| multiplier_by(from, width, codes.broadcast(c, channels) as i64)).sum()
    } else {
        multiplier(from, width) * channels as u64
    };
    per_pixel * copies
}

/// The table of constants that has one an element, read a pixel at a time.
fn elements(codes: &Codes, node: &Node) -> Resources {
    if codes.len() <= node.channels() || node.pixels() == 1 {
        return Resources::default();
    }
    memory(node.pixels() as u64, node.channels() as u64 * bits(codes.format))
}

/// `n` look-ups at once in a table read with `from` bits, cast to `to` bits.
fn look_ups(lut: &Lut, from: u64, to: u64, n: u64) -> Resources {
    let entry = bits(lut.entries.format);
    let mul = u64::from(64 - lut.index.mul.unsigned_abs().leading_zeros()) + 1;
    let index = multiplier_by(from, mul, lut.index.mul) + adder(from + mul) + pick(from + mul);
    let down = u64::from(lut.index.shift.max(0).unsigned_abs());
    let (reads, between, exact) = if lut.interpolate {
        (2, multiplier(entry + 1, down + 2) + adder(entry + down), entry + down)
    } else {
        (1, Resources::default(), entry)
    };
    (index + between + cast(exact, to)) * n + table(lut.entries.len() as u64, entry, reads * n)
}

/// One addition of a sum.
fn addition(accum: &Accum) -> Resources {
    match accum {
        Accum::Exact(f) => adder(bits(*f)),
        Accum::Stepwise { ty, .. } => {
            let width = bits(ty.format);
            // Saturation needs the carry, then a choice.
            adder(width) + if saturates(ty) { pick(width) } else { Resources::default() }
        }
    }
}

/// A dense or convolution layer as `layout` has it.
pub(super) fn dot(design: &Design<'_>, id: ValueId, d: &Dot, layout: DotLayout, style: Style) -> Resources {
    let n = design.program.node(id);
    let from = design.program.node(n.inputs[0]);
    let (x, w) = (signed_bits(from.format()), signed_bits(d.weight.format));
    let (sum, to) = (bits(d.accum.format()), bits(n.format()));
    let tree = is_tree(&d.accum);
    let loaded = design.arrays.get(&format!("w_{}", design.id(id))).is_some_and(|a| a.loaded);
    let copies = style.copies(n.pixels());
    let product = match &d.accum {
        Accum::Stepwise { product: Some(p), .. } => cast(x + w, bits(p.format)),
        Accum::Stepwise { product: None, .. } | Accum::Exact(_) => Resources::default(),
    };
    let fold = design.fold(id);
    let mut r;
    if layout.reuse() == 1 && !tree && !loaded && fold.is_none() {
        // Each product has a constant of its own; a product with 0 is not there at all.
        let used = d.weight.data.iter().filter(|c| **c != 0).count() as u64;
        let real = d.weight.data.iter().filter(|c| !is_wire(**c)).count() as u64;
        r = multiplier(x, w) * real + (addition(&d.accum) + product) * used;
        r += finish(&d.act, sum, to) * layout.outputs as u64;
    } else {
        let (lanes, products) =
            if tree { (1, layout.terms as u64) } else { (layout.lanes as u64, layout.multipliers() as u64) };
        r = (multiplier(x, w) + addition(&d.accum) + product) * products;
        r += finish(&d.act, sum, to) * lanes;
        r += weights(design, id, d, layout);
        // Each step takes other inputs: a choice for each term at once, for each group.
        let steps = match &fold {
            Some(fold) => (fold.channels / layout.depth.max(1)) as u64,
            None if tree => 1,
            None => layout.steps as u64,
        };
        let terms = layout.depth as u64 * (d.groups as u64).min(lanes);
        r += mux(steps, bits(from.format())) * terms;
        if fold.is_some() {
            // Sums wait for the next pixel.
            r += memory(layout.turns as u64, sum) * lanes;
        }
        if let Some(b) = &d.bias
            && layout.turns > 1
        {
            r += memory(layout.turns as u64, bits(b.format)) * lanes;
        }
    }
    r = r * copies;
    if let Some(g) = design.geometry(id)
        && design.is_windowed(id)
    {
        r += window(&g, bits(from.format()), style);
    }
    r
}

/// The weights of a layer whose multipliers share them: a word a step. Constants are never in UltraRAM, which has no
/// initial contents (UG573); weights that are loaded lie where the kernel binds them.
fn weights(design: &Design<'_>, id: ValueId, d: &Dot, layout: DotLayout) -> Resources {
    if let Some(array) = design.arrays.get(&format!("w_{}", design.id(id))).filter(|a| a.loaded) {
        let layout = WordLayout::of(design, array);
        let (words, width) = (layout.words as u64, layout.codes as u64 * bits(d.weight.format));
        return match layout.storage() {
            Storage::Lutram => {
                Resources { lut: width * words.div_ceil(64), ff: width, ..Resources::default() }
            }
            Storage::Bram => Resources { bram18: bram18(words, width), ff: width, ..Resources::default() },
            Storage::Uram => Resources { uram: uram(words, width), ff: width, ..Resources::default() },
        };
    }
    let (words, at_once) = if is_tree(&d.accum) {
        (layout.outputs, layout.terms)
    } else {
        (layout.reuse(), layout.multipliers())
    };
    memory(words as u64, at_once as u64 * bits(d.weight.format))
}

/// Line buffers and the window, or the choice of the window's elements from a whole tensor.
pub(super) fn window(g: &Geometry, width: u64, style: Style) -> Resources {
    let channels = g.channels as u64;
    let n_x = g.taps() as u64 * channels;
    match style {
        Style::Unrolled => Resources::default(),
        Style::Arrays => {
            let pixels: usize = g.output.iter().product();
            mux(pixels as u64, width) * n_x + Resources::ff(n_x * width)
        }
        Style::Stream => {
            let (lines, planes) = g.lines();
            let (line, plane) = g.delays();
            let ring = g.ring() as u64 * channels;
            let held = if ring <= MAX_PARTITION as u64 {
                Resources::ff(ring * width)
            } else {
                memory(g.ring() as u64, width) * channels
            };
            held + delay(line as u64, width) * (lines as u64 * channels)
                + delay(plane as u64, width) * (planes as u64 * channels)
                + Resources::ff(n_x * width)
        }
    }
}

fn pool(design: &Design<'_>, id: ValueId, p: &Pool, style: Style) -> Resources {
    let n = design.program.node(id);
    let Some(g) = design.geometry(id) else { return Resources::default() };
    let from = design.program.node(n.inputs[0]).format();
    let (x, to) = (bits(from), bits(n.format()));
    let running = style == Style::Stream && design.runs(id);
    let taps = if running { 1 } else { g.taps() as u64 - 1 };
    let channel = match &p.kind {
        PoolKind::Max => pick(x) * taps + cast(x, to),
        PoolKind::Average(a) => addition(&a.accum) * taps + division(a, g.is_padded(), to),
    };
    let state = if running { Resources::default() } else { window(&g, x, style) };
    channel * (g.channels as u64 * style.copies(n.pixels())) + state
}

/// The division of a pooled sum.
fn division(a: &Average, padded: bool, to: u64) -> Resources {
    let sum = bits(a.accum.format());
    match &a.divide {
        Divide::Reciprocal(r) => {
            let width = signed_bits(r.format);
            let product = match r.data.last() {
                Some(whole) if !padded => multiplier_by(sum + 1, width, *whole),
                Some(_) | None => multiplier(sum + 1, width),
            };
            product + cast(sum + width, to)
        }
        // A pipelined divider: a subtraction a bit.
        Divide::TowardZero => Resources::logic(sum * sum, 2 * sum * sum) + cast(sum, to),
    }
}

fn softmax(design: &Design<'_>, n: &Node, s: &SoftmaxTables) -> Resources {
    let channels = n.channels() as u64;
    let x = signed_bits(design.program.node(n.inputs[0]).format());
    let (delta, e, r) = (bits(s.delta.format), bits(s.exp_ty.format), bits(s.inv_ty.format));
    let to = bits(n.format());
    let (exponentials, sums) = match s.kind {
        SoftmaxKind::Stable | SoftmaxKind::Latency => (channels, 1),
        SoftmaxKind::Legacy => (channels * channels, channels),
    };
    let largest = match s.kind {
        SoftmaxKind::Stable => pick(x) * channels.saturating_sub(1),
        SoftmaxKind::Latency | SoftmaxKind::Legacy => Resources::default(),
    };
    let scale = match s.kind {
        SoftmaxKind::Stable | SoftmaxKind::Latency => (multiplier(e + 1, r + 1) + cast(e + r, to)) * channels,
        SoftmaxKind::Legacy => cast(r, to) * channels,
    };
    let inverses = cast(bits(s.sum.format()), bits(s.inv_in.format)) * sums
        + look_ups(&s.inv, bits(s.inv_in.format), r, sums);
    largest
        + (adder(x + 1) + cast(x + 1, delta)) * exponentials
        + look_ups(&s.exp, delta, e, exponentials)
        + addition(&s.sum) * exponentials
        + inverses
        + scale
}

fn moved(design: &Design<'_>, id: ValueId, style: Style) -> Resources {
    let n = design.program.node(id);
    let from = design.program.node(n.inputs[0]);
    let width = bits(n.format());
    match style {
        Style::Unrolled => Resources::default(),
        // One element after the other, from any place to any place.
        Style::Arrays => mux(from.len() as u64, width) + Resources::lut(n.len() as u64),
        Style::Stream => match moves::kind(design, id) {
            Move::Widen(_) => Resources::ff(n.channels() as u64 * width),
            Move::Narrow(r) => {
                let (wide, narrow) = (from.channels() as u64 * width, n.channels() as u64 * width);
                Resources::ff(wide) + mux(r as u64, narrow)
            }
            Move::Rearrange => memory(from.len() as u64, width) + mux(n.channels() as u64, width),
            Move::Pad => Resources::logic(n.channels() as u64 * width, n.channels() as u64 * width),
        },
    }
}
