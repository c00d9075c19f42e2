//! When each process of a streamed design reads and writes: the loops of the C++ kernels, without their arithmetic.

use hs_hw::{Op, Program, ValueId};

use crate::hls::layout::{Fold, Geometry};
use crate::hls::network::{Arg, Network, Process, Role};

/// Channels of a process that a step touches, by position among its reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    None,
    One(usize),
    All,
}

/// One iteration of a process' innermost loop: reads, then writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) reads: Ports,
    pub(crate) writes: Ports,
}

/// The steps of one row.
#[derive(Debug, Clone)]
pub(crate) enum Traffic {
    /// Reads and writes everything once a beat.
    Beats(usize),
    /// Reads where the padded position lies on the input, writes where a window ends.
    Window(Geometry),
    /// Reads `reads` beats, then writes `writes`.
    Frame { reads: usize, writes: usize },
    /// One write after every `ratio`-th read.
    Widen { ratio: usize, writes: usize },
    /// `ratio` writes after each read.
    Narrow { ratio: usize, reads: usize },
    /// Writes every beat, reads where it lies on the input.
    Pad { shape: Vec<usize>, from: Vec<usize>, before: Vec<usize> },
    /// `outer` times: for each part its beats, from a channel or a constant.
    Concat { outer: usize, parts: Vec<(Option<usize>, usize)> },
}

impl Traffic {
    /// Traffic of a process of `net`.
    pub(crate) fn of(program: &Program, net: &Network, process: &Process) -> Self {
        let beats = |id: ValueId| Self::Beats(program.node(id).pixels());
        let id = match process.role {
            Role::Node(id) => id,
            Role::Clone(v) | Role::Drain(v) => return beats(v),
            Role::Forward(v) => return beats(net.carrier[v.index()]),
        };
        let node = program.node(id);
        let from = || program.node(node.inputs[0]);
        match &node.op {
            Op::Dot(d) => {
                // The reshaped value has a channel of its own unless the layer takes its pixels.
                let flat = node.inputs[0];
                if let Some(fold) = Fold::of(program, id)
                    && net.carrier[flat.index()] != flat
                {
                    return Self::Widen { ratio: fold.pixels, writes: 1 };
                }
                let g = Geometry::new(&d.window, &from().shape, &node.shape);
                if g.is_pointwise() { beats(id) } else { Self::Window(g) }
            }
            Op::Pool(p) => {
                let g = Geometry::new(&p.window, &from().shape, &node.shape);
                // Where a whole tensor is pooled, running values and windows read and write alike.
                if g.is_whole() { Self::Widen { ratio: g.taps(), writes: 1 } } else { Self::Window(g) }
            }
            Op::Permute(_) => Self::Frame { reads: from().pixels(), writes: node.pixels() },
            Op::Reshape => {
                let (a, b) = (from().channels(), node.channels());
                if b % a == 0 {
                    Self::Widen { ratio: b / a, writes: node.pixels() }
                } else if a % b == 0 {
                    Self::Narrow { ratio: a / b, reads: from().pixels() }
                } else {
                    Self::Frame { reads: from().pixels(), writes: node.pixels() }
                }
            }
            Op::Pad { before, .. } => {
                let last = node.shape.len() - 1;
                Self::Pad {
                    shape: node.shape[..last].to_vec(),
                    from: from().shape[..last].to_vec(),
                    before: before[..last].to_vec(),
                }
            }
            Op::Concat { axis } if *axis + 1 < node.shape.len() => {
                let inner: usize = node.shape[*axis + 1..node.shape.len() - 1].iter().product();
                let mut port = 0;
                let part = |(slot, arg): (usize, &Arg)| {
                    let beats = program.node(node.inputs[slot]).shape[*axis] * inner;
                    let channel = match arg {
                        Arg::Const(_) => None,
                        Arg::Channel(_) => {
                            port += 1;
                            Some(port - 1)
                        }
                    };
                    (channel, beats)
                };
                let parts = process.reads.iter().enumerate().map(part).collect();
                Self::Concat { outer: node.shape[..*axis].iter().product(), parts }
            }
            Op::Concat { .. }
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Softmax(_)
            | Op::Input { .. }
            | Op::Output { .. }
            | Op::Const(_) => beats(id),
        }
    }

    /// Steps of a row.
    pub(crate) fn steps(&self) -> usize {
        match self {
            Self::Beats(n) => *n,
            Self::Window(g) => g.padded().iter().product(),
            Self::Frame { reads, writes } => reads + writes,
            Self::Widen { ratio, writes } => ratio * writes,
            Self::Narrow { ratio, reads } => ratio * reads,
            Self::Pad { shape, .. } => shape.iter().product(),
            Self::Concat { outer, parts } => outer * parts.iter().map(|(_, n)| n).sum::<usize>(),
        }
    }

    /// Step `i` of a row.
    pub(crate) fn step(&self, i: usize) -> Step {
        let only = |on: bool| if on { Ports::All } else { Ports::None };
        match self {
            Self::Beats(_) => Step { reads: Ports::All, writes: Ports::All },
            Self::Window(g) => {
                let [_, h, w] = g.padded();
                let at = [i / (h * w), i / w % h, i % w];
                let inside =
                    (0..3).all(|a| (0..g.input[a]).contains(&at[a].wrapping_sub(g.window[a].pad_begin)));
                let ends = (0..3).all(|a| {
                    let (extent, stride) = (g.window[a].extent(), g.window[a].stride);
                    at[a] + 1 >= extent && (at[a] + 1 - extent).is_multiple_of(stride)
                });
                Step { reads: only(inside), writes: only(ends) }
            }
            Self::Frame { reads, .. } => Step { reads: only(i < *reads), writes: only(i >= *reads) },
            Self::Widen { ratio, .. } => Step { reads: Ports::All, writes: only(i % ratio == ratio - 1) },
            Self::Narrow { ratio, .. } => Step { reads: only(i.is_multiple_of(*ratio)), writes: Ports::All },
            Self::Pad { shape, from, before } => {
                let mut rest = i;
                let inside = (0..shape.len()).rev().all(|axis| {
                    let at = rest % shape[axis];
                    rest /= shape[axis];
                    (0..from[axis]).contains(&at.wrapping_sub(before[axis]))
                });
                Step { reads: only(inside), writes: Ports::All }
            }
            Self::Concat { parts, .. } => {
                let mut at = i % parts.iter().map(|(_, n)| n).sum::<usize>();
                for (channel, beats) in parts {
                    if at < *beats {
                        return Step { reads: channel.map_or(Ports::None, Ports::One), writes: Ports::All };
                    }
                    at -= beats;
                }
                unreachable!("the position is below the sum")
            }
        }
    }
}
