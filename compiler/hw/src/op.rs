//! The closed set of hardware ops. Semantics: `SPEC.md`; in code: [`crate::interp`].

use std::sync::Arc;

use hs_fixed::{Format, FormatError, Type};

/// Constant codes on one grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// Grid and range; at most 64 bits (63 when unsigned).
    pub format: Format,
    /// The codes, row-major.
    pub data: Arc<[i64]>,
}

impl Codes {
    /// Codes on `format`'s grid.
    pub fn new(format: Format, data: impl Into<Arc<[i64]>>) -> Self {
        Self { format, data: data.into() }
    }

    /// Number of codes.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The code for flat element `i` of a tensor with `channels` channels: one code for all, one a channel,
    /// or one an element.
    pub fn broadcast(&self, i: usize, channels: usize) -> i128 {
        let n = self.data.len();
        let at = if n == 1 {
            0
        } else if n == channels {
            i % channels
        } else {
            i
        };
        i128::from(self.data[at])
    }
}

/// One spatial axis of a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Elements of the window, at least 1.
    pub kernel: usize,
    /// Step between outputs, at least 1.
    pub stride: usize,
    /// Step between the window's elements, at least 1.
    pub dilation: usize,
    /// Elements added before the first.
    pub pad_begin: usize,
    /// Elements added after the last.
    pub pad_end: usize,
}

impl Window {
    /// Distance from the window's first to its last element, plus one.
    pub fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// Number of outputs over `input` elements, `None` when the window does not fit.
    pub fn output(&self, input: usize) -> Option<usize> {
        let padded = input.checked_add(self.pad_begin)?.checked_add(self.pad_end)?;
        Some(padded.checked_sub(self.extent())? / self.stride + 1)
    }

    /// Input position of element `k` of output `o`, `None` in the padding.
    pub fn position(&self, o: usize, k: usize, input: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.pad_begin).filter(|p| *p < input)
    }
}

/// Order of a stepwise accumulation; it is visible when the accumulator saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The result does not depend on the order (the accumulator wraps).
    Any,
    /// Terms in order of their index (kernel row, kernel column, channel).
    Sequential,
    /// Outer loop over `i` in `0..rf`, inner over the terms `i, i + rf, …` of each output.
    Strided {
        /// Reuse factor.
        rf: usize,
    },
    /// Blocks of `rf` terms are summed on their own, then the block sums in order.
    Blocked {
        /// Block length.
        rf: usize,
    },
    /// Balanced binary tree; the left part has the largest power of two below n terms.
    Tree,
}

/// How a sum is accumulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accum {
    /// No step loses anything: the format holds every partial sum (the verifier proves it).
    Exact(Format),
    /// Each product is cast to `product`, each partial sum to `ty`; the sum starts as the bias cast to `ty`.
    Stepwise {
        /// Cast of each product on its own; `None`: the exact product is added.
        product: Option<Type>,
        /// Type of the accumulator.
        ty: Type,
        /// Order of the additions.
        order: Order,
    },
}

impl Accum {
    /// Format of the finished sum.
    pub fn format(&self) -> Format {
        match self {
            Self::Exact(f) => *f,
            Self::Stepwise { ty, .. } => ty.format,
        }
    }
}

/// An exact function of the op's exact value, applied before the cast to the node's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    None,
    /// `min(max(x, lo), hi)`; bounds are codes on the exact value's grid. ReLU is `lo = 0`.
    Clamp {
        /// Lower bound.
        lo: Option<i64>,
        /// Upper bound, not below `lo`.
        hi: Option<i64>,
    },
    /// `x` where `x >= 0`, else `x × slope`; one slope, one a channel or one an element.
    Slope(Codes),
}

impl Act {
    /// `max(x, 0)`.
    pub const RELU: Self = Self::Clamp { lo: Some(0), hi: None };

    /// Exact format of the result, for an exact value of format `x`.
    pub fn format(&self, x: Format) -> Result<Format, FormatError> {
        match self {
            Self::None | Self::Clamp { .. } => Ok(x),
            Self::Slope(s) => x.union(x.mul(s.format)?),
        }
    }
}

/// Dense and convolution in one: out\[o\] = Σ weight\[o, k, c\] × in\[window(k), c\] + bias\[o\].
///
/// The input has `window.len()` spatial axes and a channel axis; without spatial axes it is a dense layer
/// over a vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    /// One window a spatial axis; padding counts as zeros.
    pub window: Vec<Window>,
    /// Channel groups; divides input and output channels.
    pub groups: usize,
    /// `[out, kernel…, in / groups]`.
    pub weight: Codes,
    /// `[out]`.
    pub bias: Option<Codes>,
    /// Accumulation.
    pub accum: Accum,
    /// Applied to the finished sum.
    pub act: Act,
}

impl Dot {
    /// Terms of one output's sum for `channels` input channels.
    pub fn terms(&self, channels: usize) -> usize {
        self.window.iter().map(|w| w.kernel).product::<usize>() * (channels / self.groups)
    }
}

/// Elementwise ops of two tensors of the same shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a × b
    Mul,
    /// max(a, b)
    Max,
    /// min(a, b)
    Min,
}

/// How a code becomes a position in a table: R(x × mul / 2^shift) + offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Multiplier of the code; may be negative.
    pub mul: i64,
    /// Dropped bits; negative shifts left.
    pub shift: i32,
    /// R rounds toward zero instead of down.
    pub toward_zero: bool,
    /// Added after the rounding.
    pub offset: i64,
}

/// A function as a table of codes.
#[derive(Debug, Clone, PartialEq)]
pub struct Lut {
    /// Position of an input code; clamped to the table.
    pub index: Index,
    /// Result codes by position; with interpolation the last one only ends the last segment.
    pub entries: Codes,
    /// Linear between neighbours, by the bits that the index drops (needs `shift >= 0`, rounding down). The
    /// exact result has `shift` more fraction bits than the entries.
    pub interpolate: bool,
}

impl Lut {
    /// Format of the exact (uncast) result.
    pub fn format(&self) -> Result<Format, FormatError> {
        let f = self.entries.format;
        let extra = if self.interpolate { self.index.shift.max(0) } else { 0 };
        Format::new(f.is_signed(), f.width() + extra as u32, f.int())
    }
}

/// Division of a pooled sum by the number of its terms.
#[derive(Debug, Clone, PartialEq)]
pub enum Divide {
    /// Exact product with the constant at position count - 1.
    Reciprocal(Codes),
    /// Integer division of the accumulator's code, toward zero.
    TowardZero,
}

/// Average pooling.
#[derive(Debug, Clone, PartialEq)]
pub struct Average {
    /// Padding counts as zeros and in the number of terms.
    pub include_pad: bool,
    /// Accumulation (no products: `product` is `None`).
    pub accum: Accum,
    /// Division.
    pub divide: Divide,
}

/// What a window is reduced to.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolKind {
    /// Largest element; padding is ignored.
    Max,
    /// Mean.
    Average(Average),
}

/// Pooling over the spatial axes, channel by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Reduction.
    pub kind: PoolKind,
    /// One window a spatial axis. Every window covers at least one element.
    pub window: Vec<Window>,
}

/// Softmax over the last axis.
#[derive(Debug, Clone, PartialEq)]
pub enum Softmax {
    /// By tables of the exponential and of 1/x.
    Tables(Box<SoftmaxTables>),
    /// 1 for the first of the largest elements, 0 for the others.
    Argmax,
}

/// What the exponential is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftmaxKind {
    /// `max(x) - x`, cast to `delta`; the table holds exp(-d).
    Stable,
    /// `x` itself, cast to `delta`; the table holds exp(d).
    Latency,
    /// `x_j - x_i` for every pair, cast to `delta`; the table holds exp(d).
    Legacy,
}

impl SoftmaxKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Stable, Self::Latency, Self::Legacy];

    /// Exact format of what the exponential is taken of, for elements of `x`.
    pub fn argument(self, x: Format) -> Result<Format, FormatError> {
        match self {
            Self::Stable | Self::Legacy => x.sub(x),
            Self::Latency => Ok(x),
        }
    }
}

/// Softmax by its expansion, r = inv\[Σ e\], e = exp\[d\]. `Stable` and `Latency`: one sum, y = cast(e × r). `Legacy`:
/// a sum Σ_j exp\[x_j - x_i\] for each element i, y = cast(r).
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxTables {
    /// What is looked up in `exp`.
    pub kind: SoftmaxKind,
    /// Type of d.
    pub delta: Type,
    /// Table of the exponential, read with d.
    pub exp: Lut,
    /// Its result is cast to this type: e.
    pub exp_ty: Type,
    /// Accumulation of Σ e.
    pub sum: Accum,
    /// The sum is cast to this type before the look-up.
    pub inv_in: Type,
    /// Table of 1/x.
    pub inv: Lut,
    /// Its result is cast to this type: r.
    pub inv_ty: Type,
}

impl Softmax {
    /// The code of 1 in `ty`, as [`Softmax::Argmax`] gives it.
    pub fn one(ty: &Type) -> i128 {
        let one = Format::new(false, 1, 1).expect("one bit");
        ty.cast(1, one)
    }
}

impl SoftmaxTables {
    /// Format of the exact (uncast) result.
    pub fn exact_format(&self) -> Result<Format, FormatError> {
        match self.kind {
            SoftmaxKind::Stable | SoftmaxKind::Latency => self.exp_ty.format.mul(self.inv_ty.format),
            SoftmaxKind::Legacy => Ok(self.inv_ty.format),
        }
    }
}

/// A hardware op. Unless stated otherwise it has one input, of the node's shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Model input `index`, no inputs. The tensor's axis i is axis `perm[i]` of the ONNX tensor without its
    /// batch axis; the host transposes and casts floats into the node's type.
    Input {
        /// Position among the model's inputs.
        index: usize,
        /// ONNX name.
        tensor: String,
        /// ONNX shape without the batch axis.
        onnx_shape: Vec<usize>,
        /// Tensor axis → ONNX axis.
        perm: Vec<usize>,
    },
    /// Model output `index`: its input unchanged. Axes as for `Input`; nothing reads it.
    Output {
        /// Position among the model's outputs.
        index: usize,
        /// ONNX name.
        tensor: String,
        /// ONNX shape without the batch axis.
        onnx_shape: Vec<usize>,
        /// Tensor axis → ONNX axis.
        perm: Vec<usize>,
    },
    /// A constant tensor, no inputs; one code an element. Only `Binary` and `Concat` read it.
    Const(Codes),
    /// Dense or convolution.
    Dot(Dot),
    /// x × scale + bias; each one code, one a channel or one an element.
    Affine {
        /// Factor.
        scale: Codes,
        /// Summand.
        bias: Codes,
        /// Applied to the exact value.
        act: Act,
    },
    /// A cast, after an optional exact function.
    Requant(Act),
    /// Two inputs, exact result.
    Binary {
        /// Operation.
        op: BinaryOp,
        /// Applied to the exact value.
        act: Act,
    },
    /// A function of one variable as a table.
    Table(Lut),
    /// Pooling.
    Pool(Pool),
    /// Softmax.
    Softmax(Softmax),
    /// The same elements in the same row-major order under another shape.
    Reshape,
    /// Result axis i is input axis `perm[i]`.
    Permute(Vec<usize>),
    /// The inputs along `axis`, each cast to the node's type.
    Concat {
        /// Axis of the result.
        axis: usize,
    },
    /// Zeros before and after each axis.
    Pad {
        /// Added before, one a axis.
        before: Vec<usize>,
        /// Added after, one a axis.
        after: Vec<usize>,
    },
}

impl Op {
    /// Keyword of the text form.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Output { .. } => "output",
            Self::Const(_) => "const",
            Self::Dot(_) => "dot",
            Self::Affine { .. } => "affine",
            Self::Requant(_) => "requant",
            Self::Binary { .. } => "binary",
            Self::Table(_) => "table",
            Self::Pool(_) => "pool",
            Self::Softmax(_) => "softmax",
            Self::Reshape => "reshape",
            Self::Permute(_) => "permute",
            Self::Concat { .. } => "concat",
            Self::Pad { .. } => "pad",
        }
    }

    /// Whether elements are only moved, so that the result's type is the input's.
    pub fn moves_data(&self) -> bool {
        matches!(self, Self::Output { .. } | Self::Reshape | Self::Permute(_) | Self::Pad { .. })
    }
}

/// Exact format of `x × scale + bias`.
pub(crate) fn affine_format(x: Format, scale: Format, bias: Format) -> Result<Format, FormatError> {
    x.mul(scale)?.add(bias)
}

impl BinaryOp {
    /// Exact format of the result.
    pub fn format(self, a: Format, b: Format) -> Result<Format, FormatError> {
        match self {
            Self::Add => a.add(b),
            Self::Sub => a.sub(b),
            Self::Mul => a.mul(b),
            Self::Max | Self::Min => a.union(b),
        }
    }
}

impl Op {
    /// Format of the exact value that [`Act`] is applied to (`Dot`, `Affine`, `Requant`, `Binary`), given the
    /// inputs' formats; `None` for ops without one.
    pub fn exact_format(&self, inputs: &[Format]) -> Option<Result<Format, FormatError>> {
        Some(match self {
            Self::Dot(d) => Ok(d.accum.format()),
            Self::Affine { scale, bias, .. } => affine_format(inputs[0], scale.format, bias.format),
            Self::Requant(_) => Ok(inputs[0]),
            Self::Binary { op, .. } => op.format(inputs[0], inputs[1]),
            Self::Input { .. }
            | Self::Output { .. }
            | Self::Const(_)
            | Self::Table(_)
            | Self::Pool(_)
            | Self::Softmax(_)
            | Self::Reshape
            | Self::Permute(_)
            | Self::Concat { .. }
            | Self::Pad { .. } => return None,
        })
    }
}
