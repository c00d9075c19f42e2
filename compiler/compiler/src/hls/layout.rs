//! How the products of a dense or convolution layer are spread over cycles and multipliers.

use hs_hw::{Accum, Dot, Op, Order, Program, ValueId, Window};

/// Most elements of a completely partitioned array.
pub const MAX_PARTITION: usize = 1024;
/// Most copies of an unrolled loop body.
pub const MAX_UNROLL: usize = 4096;
/// Most elements of one constant array; larger ones are loaded.
pub const MAX_CONST_ARRAY: usize = 64 << 10;
/// Most elements of all constant arrays.
pub const MAX_CONST_TOTAL: usize = 256 << 10;

/// turns × steps cycles; in each, every lane adds `depth` terms to its output's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DotLayout {
    /// Terms of an output.
    pub terms: usize,
    /// Outputs of a pixel.
    pub outputs: usize,
    /// Outputs that share a lane.
    pub turns: usize,
    /// Cycles of an output.
    pub steps: usize,
    /// Outputs at once.
    pub lanes: usize,
    /// Terms at once of each.
    pub depth: usize,
}

impl DotLayout {
    /// The layout of a legal reuse factor: one that divides `terms`, or `terms` times a divisor of `outputs`.
    pub fn new(terms: usize, outputs: usize, reuse: usize) -> Option<Self> {
        if reuse == 0 || terms == 0 || outputs == 0 {
            return None;
        }
        if terms.is_multiple_of(reuse) {
            let depth = terms / reuse;
            return Some(Self { terms, outputs, turns: 1, steps: reuse, lanes: outputs, depth });
        }
        let turns = reuse / terms;
        (reuse.is_multiple_of(terms) && outputs.is_multiple_of(turns)).then(|| Self {
            terms,
            outputs,
            turns,
            steps: terms,
            lanes: outputs / turns,
            depth: 1,
        })
    }

    /// Multipliers.
    pub fn multipliers(&self) -> usize {
        self.lanes * self.depth
    }

    /// Products that share a multiplier.
    pub fn reuse(&self) -> usize {
        self.turns * self.steps
    }

    /// Whether synthesis accepts it.
    pub fn fits(&self) -> bool {
        self.multipliers() <= MAX_UNROLL && self.lanes <= MAX_PARTITION && self.depth <= MAX_PARTITION
    }

    /// Legal reuse factors in ascending order.
    pub fn legal(terms: usize, outputs: usize) -> Vec<usize> {
        let mut all = divisors(terms);
        all.extend(divisors(outputs).into_iter().skip(1).filter_map(|d| terms.checked_mul(d)));
        all
    }

    /// Weights (`[out, terms]`) in the order the cycles read them; `term` gives the term at a place of the walk.
    pub fn arrange(&self, weight: &[i64], term: impl Fn(usize) -> usize) -> Vec<i64> {
        let mut arranged = Vec::with_capacity(weight.len());
        let places: Vec<usize> = (0..self.terms).map(term).collect();
        for turn in 0..self.turns {
            for step in 0..self.steps {
                for lane in 0..self.lanes {
                    let row = (lane * self.turns + turn) * self.terms;
                    let at = &places[step * self.depth..(step + 1) * self.depth];
                    arranged.extend(at.iter().map(|t| weight[row + t]));
                }
            }
        }
        arranged
    }
}

/// A dense layer over a flattened tensor that is too long for one beat: in a streamed design it takes the tensor pixel
/// by pixel, and each adds its terms to every sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fold {
    /// Pixels of the tensor.
    pub(crate) pixels: usize,
    /// Channels of a pixel.
    pub(crate) channels: usize,
}

impl Fold {
    /// Of a node, if it is such a layer.
    pub(crate) fn of(program: &Program, id: ValueId) -> Option<Self> {
        let node = program.node(id);
        let Op::Dot(d) = &node.op else { return None };
        // Terms are added in the order they arrive.
        let in_order = matches!(
            d.accum,
            Accum::Exact(_) | Accum::Stepwise { order: Order::Any | Order::Sequential, .. }
        );
        let flat = program.node(node.inputs[0]);
        if node.shape.len() != 1 || d.groups != 1 || !in_order || !matches!(flat.op, Op::Reshape) {
            return None;
        }
        let channels = program.node(flat.inputs[0]).channels();
        let long = flat.shape.len() == 1 && flat.len() > MAX_PARTITION && channels < flat.len();
        long.then(|| Self { pixels: flat.len() / channels, channels })
    }

    /// Whether every reader of a reshaped value is such a layer, so that the value needs no beats of its own.
    pub(crate) fn all_readers(program: &Program, flat: ValueId) -> bool {
        let readers = || program.iter().filter(|(_, n)| n.inputs.contains(&flat));
        readers().next().is_some() && readers().all(|(id, _)| Self::of(program, id).is_some())
    }

    /// Cycles of a pixel in which each lane takes `depth` of its terms, if they are a whole number.
    pub(crate) fn steps(&self, layout: &DotLayout) -> Option<usize> {
        self.channels.is_multiple_of(layout.depth).then(|| self.channels / layout.depth)
    }

    /// Weights (`[out, terms]`) in the order the cycles read them.
    pub(crate) fn arrange(&self, layout: &DotLayout, weight: &[i64]) -> Vec<i64> {
        let mut arranged = Vec::with_capacity(weight.len());
        for pixel in 0..self.pixels {
            for turn in 0..layout.turns {
                for step in 0..self.channels / layout.depth {
                    let first = pixel * self.channels + step * layout.depth;
                    for lane in 0..layout.lanes {
                        let row = (lane * layout.turns + turn) * layout.terms + first;
                        arranged.extend(&weight[row..row + layout.depth]);
                    }
                }
            }
        }
        arranged
    }
}

fn divisors(n: usize) -> Vec<usize> {
    let mut low: Vec<usize> = (1..).take_while(|d| d * d <= n).filter(|d| n.is_multiple_of(*d)).collect();
    let high: Vec<usize> = low.iter().rev().map(|d| n / d).filter(|d| d * d > n).collect();
    low.extend(high);
    low
}

/// Term at place `p` of a strided accumulation: i, i + rf, … of i = 0, 1, …
pub(crate) fn strided(p: usize, terms: usize, rf: usize) -> usize {
    let (whole, longer) = (terms / rf, terms % rf);
    let head = longer * (whole + 1);
    if p < head {
        return p / (whole + 1) + p % (whole + 1) * rf;
    }
    longer + (p - head) / whole + (p - head) % whole * rf
}

/// Whether an order needs all terms of an output at once.
pub(crate) fn is_tree(accum: &Accum) -> bool {
    matches!(accum, Accum::Stepwise { order: Order::Tree, .. })
}

/// Windows over depth, height and width; missing leading axes have one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) window: [Window; 3],
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) channels: usize,
}

impl Geometry {
    /// From a verified node's windows, its input's shape and its own.
    pub(crate) fn new(window: &[Window], from: &[usize], to: &[usize]) -> Self {
        let unit = Window { kernel: 1, stride: 1, dilation: 1, pad_begin: 0, pad_end: 0 };
        let mut g = Self { window: [unit; 3], input: [1; 3], output: [1; 3], channels: from[from.len() - 1] };
        let skip = 3 - window.len();
        for (axis, w) in window.iter().enumerate() {
            g.window[skip + axis] = *w;
            g.input[skip + axis] = from[axis];
            g.output[skip + axis] = to[axis];
        }
        g
    }

    /// Elements of the window's grid.
    pub(crate) fn taps(&self) -> usize {
        self.window.iter().map(|w| w.kernel).product()
    }

    /// Positions of each padded axis.
    pub(crate) fn padded(&self) -> [usize; 3] {
        std::array::from_fn(|a| self.input[a] + self.window[a].pad_begin + self.window[a].pad_end)
    }

    /// Pixels of the ring: the rows of the window, each of its extent.
    pub(crate) fn ring(&self) -> usize {
        self.window[0].kernel * self.window[1].kernel * self.window[2].extent()
    }

    /// Kernel rows that a line buffer feeds, within a plane and from plane to plane.
    pub(crate) fn lines(&self) -> (usize, usize) {
        (self.window[0].kernel * (self.window[1].kernel - 1), self.window[0].kernel - 1)
    }

    /// Pixels between kernel rows: within a plane, from plane to plane.
    pub(crate) fn delays(&self) -> (usize, usize) {
        let [_, h, w] = self.padded();
        let line = self.window[1].dilation * w;
        let plane = self.window[0].dilation * h * w - (self.window[1].kernel - 1) * line;
        (line, plane)
    }

    /// Whether each output is a function of the one pixel at its place.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.window.iter().all(|w| w.kernel == 1 && w.stride == 1 && w.pad_begin == 0 && w.pad_end == 0)
    }

    /// Whether the one window is the whole input.
    pub(crate) fn is_whole(&self) -> bool {
        (0..3).all(|a| {
            let w = &self.window[a];
            w.kernel == self.input[a]
                && (w.dilation == 1 || w.kernel == 1)
                && w.pad_begin == 0
                && w.pad_end == 0
        })
    }

    /// Whether any window reaches into padding.
    pub(crate) fn is_padded(&self) -> bool {
        self.window.iter().any(|w| w.pad_begin > 0 || w.pad_end > 0)
    }
}

/// The windowed input of a dot, or `None` when it is dense over a vector or pointwise.
pub(crate) fn dot_geometry(d: &Dot, from: &[usize], to: &[usize]) -> Geometry {
    Geometry::new(&d.window, from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_reuse_factors_have_layouts() {
        assert_eq!(DotLayout::legal(12, 4), [1, 2, 3, 4, 6, 12, 24, 48]);
        for (terms, outputs) in [(12, 4), (1, 1), (7, 6), (64, 10)] {
            for reuse in DotLayout::legal(terms, outputs) {
                let l = DotLayout::new(terms, outputs, reuse).unwrap();
                assert_eq!(l.reuse(), reuse);
                assert_eq!(l.multipliers() * reuse, terms * outputs);
            }
        }
        assert_eq!(DotLayout::new(12, 4, 5), None);
        assert_eq!(DotLayout::new(12, 4, 36), None);
    }

    #[test]
    fn arranged_weights_are_a_permutation_in_walk_order() {
        let w: Vec<i64> = (0..24).collect();
        let l = DotLayout::new(6, 4, 3).unwrap();
        // Step 0: terms 0 and 1 of each output.
        assert_eq!(l.arrange(&w, |p| p)[..8], [0, 1, 6, 7, 12, 13, 18, 19]);
        let l = DotLayout::new(6, 4, 12).unwrap();
        // Two outputs a lane: turn 0 is outputs 0 and 2.
        assert_eq!(l.arrange(&w, |p| p)[..4], [0, 12, 1, 13]);
    }

    #[test]
    fn strided_places_follow_the_definition() {
        for terms in 1..20 {
            for rf in 1..=terms {
                let expected: Vec<usize> = (0..rf).flat_map(|i| (i..terms).step_by(rf)).collect();
                let got: Vec<usize> = (0..terms).map(|p| strided(p, terms, rf)).collect();
                assert_eq!(got, expected, "{terms} terms, rf {rf}");
            }
        }
    }
}
