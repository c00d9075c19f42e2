//! Dense layers and convolutions over rows.

use std::ops::Range;

use hs_fixed::{Format, Interval};
use hs_hw::{Node, Window};

use super::{
    Cx,
    close::{Close, Constants, Sums},
    grown,
    input::Input,
    kernel::{Job, Line, MOST_LINES, Multiply, VECTOR, most_lines, pixels, run},
    offsets::Offsets,
    sections::{Carry, Sections, any_word_fits, sections},
    storage::{Storage, Tensor},
};
use crate::{
    Isa,
    dot::{Narrow, PARTS, Product, SPLIT, Stage},
    eltwise::codes_range,
    lane::{Packing, Width},
};

/// A planned [`hs_hw::Dot`] over rows.
#[derive(Debug)]
pub(super) struct Dot {
    input: Input,
    multiply: Multiply,
    /// Place of each output pixel in a prepared row, in bytes.
    pixels: Offsets,
    outputs: usize,
    /// Bytes from a pixel's place to each word of terms.
    words: Offsets,
    tiles: Box<[Tile]>,
    weights: Box<[Line]>,
    sections: Sections,
    close: Close,
}

/// Outputs that are summed together.
#[derive(Debug)]
struct Tile {
    /// The first, and how many.
    output: usize,
    outputs: usize,
    /// Lines of sums, and the first one among all tiles'.
    lines: usize,
    first: usize,
    /// Its weights.
    weights: Range<usize>,
    /// Bytes from a pixel's place to the first input element of its group.
    shift: usize,
    shifts: [usize; MOST_LINES],
}

/// Consecutive terms that are multiplied with consecutive input elements.
struct Terms {
    /// Elements from a pixel's place.
    delta: usize,
    first: usize,
    n: usize,
}

/// Pixels whose sums are kept at a time, about: few enough for the first-level cache.
const TOGETHER: usize = 48;

/// The only part of a weight that is multiplied whole.
const WHOLE: [fn(i64) -> i64; 1] = [|w| w];

/// How terms are multiplied, and the code that zero bits of the input stand for.
fn multiply(
    narrow: &Narrow,
    (x, weights): (Interval, Interval),
    each: bool,
    (isa, least): (Isa, Width),
) -> (Multiply, i32) {
    if let Product::Shifted { half, drop } = narrow.product {
        // Beyond the sign there is nothing to drop.
        return (Multiply::Shifted { half: half as i32, drop: drop.min(31) }, 0);
    }
    let fit = |bits: u32| {
        let end = 1i128 << (bits - 1);
        -end <= weights.lo && weights.hi < end
    };
    let packing = |group| Packing::of(group, x).map(Packing::zero);
    // Wider weights have high parts of 16 bits.
    let short = if narrow.split.is_some() { 15 + SPLIT } else { 16 };
    let quads = isa >= Isa::Avx512Vnni && least <= Width::I8 && narrow.split.is_none();
    if quads
        && fit(8)
        && let Some(zero) = packing(4)
    {
        return (if each { Multiply::EachQuads } else { Multiply::Quads }, zero);
    }
    if least <= Width::I16
        && fit(short)
        && let Some(zero) = packing(2)
    {
        return (if each { Multiply::EachPairs } else { Multiply::Pairs }, zero);
    }
    (if each { Multiply::EachWhole } else { Multiply::Whole }, 0)
}

impl Dot {
    /// The sums of 32 bits that a dot product needs; `None` where they do not do.
    pub(super) fn narrow(
        node: &Node,
        dot: &hs_hw::Dot,
        channels: usize,
        x: (Format, Interval),
        least: Width,
    ) -> Option<Narrow> {
        let narrow = Narrow::new(node, dot, x).filter(|_| least <= Width::I32)?;
        if !narrow.low_fits && !any_word_fits(x.1) {
            return None;
        }
        let shifted = matches!(narrow.product, Product::Shifted { .. });
        (!(shifted && is_depthwise(node, dot, channels))).then_some(narrow)
    }

    /// The step for sums that [`narrow`](Self::narrow) found, followed by `more`. `stored`: storage of the input and
    /// of what is left in the end.
    pub(super) fn plan(
        node: &Node,
        (dot, narrow, more): (&hs_hw::Dot, &Narrow, &[Stage]),
        shape: &[usize],
        range: Interval,
        stored: (Storage, Storage),
        (isa, least): (Isa, Width),
    ) -> Self {
        let (channels, spatial) = shape.split_last().map_or((1, &[][..]), |(c, s)| (*c, s));
        let outputs = node.channels();
        let each = is_depthwise(node, dot, channels);
        let (multiply, zero) = multiply(narrow, (range, codes_range(&dot.weight)), each, (isa, least));
        let output = &node.shape[..node.shape.len() - 1];
        let (input, places) = Input::plan(dot, (spatial, channels), output, stored.0, (multiply, zero));
        let per_term = channels / dot.groups;
        let terms = if each {
            let width = dot.window.last().map_or(1, |w| w.kernel);
            terms_of_each(&places.positions, width, multiply.group())
        } else {
            terms(&places.positions, (channels, per_term))
        };
        let parts: &[fn(i64) -> i64] = if narrow.split.is_some() { &PARTS } else { &WHOLE };
        let words: Vec<Range<usize>> = terms.iter().flat_map(|t| t.of_words(multiply)).collect();
        let words = match narrow.low_fits {
            true => std::iter::once(0..words.len()).collect(),
            false => sections(dot, outputs, range, &words),
        };
        let sections = Sections { starts: vec![Vec::new(); words.len()], words };
        let packed = Packed::default();
        let mut plan =
            Packer { dot, narrow, terms: &terms, parts, multiply, zero, outputs, sections, packed };
        let groups = if each { 1 } else { dot.groups };
        let per_group = outputs / groups;
        let most = most_lines(isa) / parts.len();
        for group in 0..groups {
            let vectors = per_group.div_ceil(VECTOR);
            let tiles = vectors.div_ceil(most);
            let (mut first, end) = (group * per_group, (group + 1) * per_group);
            for tile in 0..tiles {
                let here = (vectors - tile).div_ceil(tiles);
                let next = end.min(first + here * VECTOR);
                let shift = if each { first } else { group * per_term };
                plan.tile(first..next, here, shift);
                first = next;
            }
        }
        let (sections, Packed { weights, init, tiles }) = (plan.sections, plan.packed);
        let bytes = multiply.bytes();
        let lines = |of: &[i32]| tiles.iter().flat_map(|t| t.lines_of(of)).collect();
        let stages = narrow.stages.iter().chain(more).cloned().collect();
        let close = Close::new(init, narrow.split.is_some(), stages, lines, stored.1);
        Self {
            input,
            multiply,
            pixels: Offsets::new(places.pixels.iter().map(|p| p * bytes).collect()),
            outputs,
            words: Offsets::new(terms.iter().flat_map(|t| t.words(multiply)).collect()),
            tiles: tiles.into(),
            weights: weights.into(),
            sections,
            close,
        }
    }

    /// What runs it.
    pub(super) fn describe(&self, isa: Isa) -> String {
        let sections = if self.sections.words.len() > 1 { " and sections" } else { "" };
        format!("{}{}{sections}", self.multiply.describe(isa), self.close.describe())
    }

    /// Bytes of its weights.
    pub(super) fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights)
    }

    /// Bytes of memory for each row, beside its tensors.
    pub(super) fn scratch(&self) -> usize {
        self.input.scratch()
    }

    pub(super) fn run(&self, x: &Tensor, out: &mut Tensor, cx: &mut Cx<'_>) {
        let Cx { isa, rows, temps } = cx;
        let x = self.input.prepare(*isa, x, *rows, &mut temps.prepared);
        let (places, sums) = (&mut temps.places, &mut temps.sums);
        let total = *rows * self.pixels.len();
        // A tile has a fixed number of pixels; those beyond the last are computed and left.
        places.repeat(*isa, &self.pixels, (*rows, self.input.row()), VECTOR);
        let several = self.sections.words.len() > 1;
        // Tiles are independent of each other, in outputs and in pixels: a large row could be split over threads here.
        for tile in &self.tiles {
            let most = if total == 1 { 1 } else { pixels(isa.isa(), self.multiply, tile.lines) };
            let together = TOGETHER / most * most;
            for first in (0..total).step_by(together) {
                let done = together.min(total - first);
                let n = done.next_multiple_of(most);
                let size = n * tile.lines * VECTOR;
                let (mut acc, totals) = grown(sums, 2 * size).split_at_mut(size);
                if several {
                    totals.fill(0);
                }
                for (s, section) in self.sections.words.iter().enumerate() {
                    let begin = tile.weights.start;
                    let weights = begin + section.start * tile.lines..begin + section.end * tile.lines;
                    let job = Job {
                        x: &x[tile.shift..],
                        pixels: places.get(first..first + n),
                        tile: most,
                        words: self.words.get(section.clone()),
                        weights: &self.weights[weights],
                        lines: tile.lines,
                        shifts: tile.shifts,
                        acc: &mut *acc,
                    };
                    run(*isa, self.multiply, job);
                    if several {
                        let starts = &self.sections.starts[s][tile.first..tile.first + tile.lines];
                        isa.run(Carry { acc, totals, starts });
                    }
                }
                if several {
                    acc = totals;
                }
                let sums = Sums {
                    acc: &acc[..done * tile.lines * VECTOR],
                    lines: tile.lines,
                    first: tile.first,
                    outputs: tile.outputs,
                    at: first * self.outputs + tile.output,
                    stride: self.outputs,
                };
                self.close.run(*isa, &sums, out);
            }
        }
    }
}

impl Tile {
    /// Constants of its outputs, a line for each line of sums.
    fn lines_of(&self, constants: &[i32]) -> Vec<Constants> {
        let constants = &constants[self.output..self.output + self.outputs];
        let line = |l: usize| std::array::from_fn(|i| constants.get(l * VECTOR + i).map_or(0, |c| *c));
        (0..self.lines).map(line).collect()
    }
}

/// Whether every output has an input channel of its own.
fn is_depthwise(node: &Node, dot: &hs_hw::Dot, channels: usize) -> bool {
    dot.groups > 1 && dot.groups == channels && node.channels() == channels
}

/// Terms of a row: positions of the kernel that lie side by side are one piece, where a term is all channels.
fn terms(positions: &[usize], (channels, per_term): (usize, usize)) -> Vec<Terms> {
    let mut terms: Vec<Terms> = Vec::new();
    for (position, delta) in positions.iter().enumerate() {
        match terms.last_mut() {
            Some(t) if per_term == channels && t.delta + t.n == *delta => t.n += channels,
            _ => terms.push(Terms { delta: *delta, first: position * per_term, n: per_term }),
        }
    }
    terms
}

/// Terms of a row where each output has its own: as many positions of the last axis, of `width`, as a word holds.
fn terms_of_each(positions: &[usize], width: usize, group: usize) -> Vec<Terms> {
    let words = (0..positions.len()).filter(|p| (p % width).is_multiple_of(group));
    words.map(|p| Terms { delta: positions[p], first: p, n: group.min(width - p % width) }).collect()
}

impl Terms {
    /// The terms of each word.
    fn of_words(&self, multiply: Multiply) -> impl Iterator<Item = Range<usize>> {
        let (first, n, group) = (self.first, self.n, multiply.group());
        (0..n).step_by(group).map(move |term| first + term..first + n.min(term + group))
    }

    /// Bytes from a pixel's place to each word.
    fn words(&self, multiply: Multiply) -> impl Iterator<Item = usize> {
        let (first, bytes) = (self.delta, multiply.bytes());
        (0..self.n).step_by(multiply.group()).map(move |term| (first + term) * bytes)
    }
}

/// Multiplications of a row, padding left out.
pub(super) fn macs(node: &Node, dot: &hs_hw::Dot, shape: &[usize]) -> u64 {
    let covered = |(axis, w): (usize, &Window)| -> u64 {
        let inside = |o| (0..w.kernel).filter(|k| w.position(o, *k, shape[axis]).is_some()).count() as u64;
        (0..node.shape[axis]).map(inside).sum()
    };
    let channels = shape.last().map_or(1, |c| *c);
    let windows: u64 = dot.window.iter().enumerate().map(covered).product();
    windows * (channels / dot.groups * node.channels()) as u64
}

#[derive(Default)]
struct Packed {
    weights: Vec<Line>,
    init: Vec<[i32; VECTOR]>,
    tiles: Vec<Tile>,
}

/// Lays weights out as the kernel reads them.
struct Packer<'a> {
    dot: &'a hs_hw::Dot,
    narrow: &'a Narrow,
    terms: &'a [Terms],
    parts: &'a [fn(i64) -> i64],
    multiply: Multiply,
    zero: i32,
    outputs: usize,
    sections: Sections,
    packed: Packed,
}

impl Packer<'_> {
    /// Adds a tile of outputs in `vectors`, whose first input element is `shift` elements from a pixel's place.
    fn tile(&mut self, outputs: Range<usize>, vectors: usize, shift: usize) {
        let Self { multiply, parts, .. } = *self;
        let (group, bytes) = (multiply.group(), multiply.bytes());
        let (begin, first) = (self.packed.weights.len(), self.packed.init.len());
        let lines = || parts.iter().flat_map(|part| (0..vectors).map(move |v| (*part, v)));
        let output =
            |v: usize, lane: usize| Some(outputs.start + v * VECTOR + lane).filter(|o| *o < outputs.end);
        for t in self.terms {
            for word in (0..t.n).step_by(group) {
                let terms = t.first + word..t.first + t.n.min(word + group);
                for (part, v) in lines() {
                    let word = |lane| output(v, lane).map_or(0, |o| self.word(o, terms.clone(), part));
                    self.packed.weights.push(Line(std::array::from_fn(word)));
                }
            }
        }
        let all = 0..self.dot.weight.len() / self.outputs;
        let several = self.sections.words.len() > 1;
        let of_words: Vec<_> = self.terms.iter().flat_map(|t| t.of_words(multiply)).collect();
        for (i, (part, v)) in lines().enumerate() {
            let line = |add: bool, terms: &[Range<usize>]| {
                let start = |lane| output(v, lane).map_or(0, |o| self.start(o, part, add, terms));
                std::array::from_fn(start)
            };
            let carried = several && i >= vectors;
            let init = if carried { [0; VECTOR] } else { line(true, std::slice::from_ref(&all)) };
            let of_section = |(s, words): (usize, &Range<usize>)| line(s == 0, &of_words[words.clone()]);
            let starts: Vec<Constants> = self.sections.words.iter().enumerate().map(of_section).collect();
            self.packed.init.push(init);
            self.sections.starts.iter_mut().zip(starts).for_each(|(to, start)| to.push(start));
        }
        let mut shifts = [0; MOST_LINES];
        if multiply.is_each() {
            lines().zip(&mut shifts).for_each(|((_, v), shift)| *shift = v * VECTOR * bytes);
        }
        let tile = Tile {
            output: outputs.start,
            outputs: outputs.len(),
            lines: vectors * parts.len(),
            first,
            weights: begin..self.packed.weights.len(),
            shift: shift * bytes,
            shifts,
        };
        self.packed.tiles.push(tile);
    }

    fn weights(&self, output: usize) -> &[i64] {
        let terms = self.dot.weight.len() / self.outputs;
        &self.dot.weight.data[output * terms..(output + 1) * terms]
    }

    /// The parts of weights that share a word.
    fn word(&self, output: usize, terms: Range<usize>, part: fn(i64) -> i64) -> i32 {
        let bits = 32 / self.multiply.group() as u32;
        let low = |w: i64| part(w) as u32 & (u32::MAX >> (32 - bits));
        let weights = &self.weights(output)[terms];
        weights.iter().rev().fold(0u64, |word, w| word << bits | u64::from(low(*w))) as i32
    }

    /// What a sum of some terms starts with, the output's own start included where `add` says so: elements are read
    /// less the input's zero. Right modulo 2^32.
    fn start(&self, output: usize, part: fn(i64) -> i64, add: bool, terms: &[Range<usize>]) -> i32 {
        let weights = terms.iter().flat_map(|terms| &self.weights(output)[terms.clone()]);
        let sum = weights.fold(0i32, |sum, w| sum.wrapping_add(part(*w) as i32));
        let add = if add { part(self.narrow.add[output] as i64) as i32 } else { 0 };
        add.wrapping_add(sum.wrapping_mul(self.zero))
    }
}
