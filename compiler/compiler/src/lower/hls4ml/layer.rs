//! Dense, convolution, batch normalisation, merges, pooling.

use hs_fixed::{Format, Interval, Overflow, Type};
use hs_hw::{
    Accum, Act, Average, BinaryOp, Codes, Divide, Dot, Io, Op, Order, Pool, PoolKind, Strategy,
    ValueId as HwId, Window, range,
};
use hs_ir::ValueId;

use super::{
    super::{
        LayerOptions, Lowerer, constants,
        dot::FloatDot,
        elementwise::FloatAffine,
        layout::{Val, channels_last},
        pool::FloatPool,
        types::plain,
    },
    infer, one_bit,
};
use crate::diagnostic::Diagnostic;

impl Lowerer<'_> {
    /// Type of a weight: the model's quantiser, the user's word, the default.
    fn hls4ml_constant_type(&self, v: Option<ValueId>, given: Option<Type>) -> Result<Type, Diagnostic> {
        if let Some(grid) = v.and_then(|v| self.graph.value(v).grid.as_deref()) {
            let format = constants::grid_format(grid)?;
            let overflow = if grid.narrow { Overflow::SatSym } else { Overflow::Sat };
            return Ok(Type::new(format, hs_fixed::Rounding::RndConv, overflow));
        }
        given.map_or_else(|| self.hls4ml_default(), Ok)
    }

    /// A dot product in hls4ml's accumulation.
    pub(crate) fn hls4ml_dot(
        &mut self,
        dot: FloatDot<'_>,
        v: ValueId,
        like: impl FnOnce(HwId) -> Val,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let outputs = dot.shape.last().copied().unwrap_or(1);
        let weight_ty = self.hls4ml_constant_type(dot.weight_value, layer.weight)?;
        let bias_ty = self.hls4ml_constant_type(dot.bias_value, layer.bias)?;
        let weight = self.hls4ml_constants("weight", &dot.weight, weight_ty)?;
        let bias = dot.bias.as_ref().map(|b| self.hls4ml_constants("bias", b, bias_ty)).transpose()?;
        let x = self.node(dot.input).format();
        let terms = weight.len() / outputs.max(1);
        let default = if self.reads_signs() { Some(self.hls4ml_default()?) } else { None };
        let auto = || default.map_or_else(|| infer::dot(x, weight_ty.format, bias_ty.format, terms), Ok);
        let accum_ty = layer.accum.map_or_else(auto, Ok)?;
        let given = if layer.is_split() { layer.unbiased.or(layer.result) } else { layer.result };
        let (given, out) = self.hls4ml_result(given, v)?;
        let ty = given.map_or_else(auto, Ok)?;
        self.check_reuse(&dot, &layer, terms)?;
        let order = order(&accum_ty, layer.strategy, layer.reuse, terms, outputs);
        let stepwise = Accum::Stepwise { product: Some(accum_ty), ty: accum_ty, order };
        let mut op =
            Dot { window: dot.window, groups: dot.groups, weight, bias, accum: stepwise, act: Act::None };
        if let Some(exact) = exact_accum(&op, outputs, self.range(dot.input), accum_ty, x) {
            op.accum = exact;
        } else if let (true, Some(Strategy::Resource), Some(rf @ 2..)) =
            (op.groups > 1, layer.strategy, layer.reuse)
            && self.options.io == Some(Io::Stream)
            && accum_ty.overflow != Overflow::WRAP
        {
            return Err(Diagnostic::error(format!(
                "the order in which hls4ml's streamed depthwise convolution adds with reuse factor {rf} is not supported, and \
                 the accumulator {accum_ty} shows it"
            ))
            .help("use the strategy 'latency', or an accumulator that cannot overflow, or that wraps"));
        }
        self.warn_sum(&op, outputs, self.range(dot.input), accum_ty, ty, v);
        let hw = self.push(dot.name, Op::Dot(op), vec![dot.input], dot.shape, ty)?;
        self.bind(out, like(hw));
        Ok(())
    }

    /// Refuses what hls4ml's parallel kernel of the resource strategy does not compute.
    fn check_reuse(&self, dot: &FloatDot<'_>, layer: &LayerOptions, terms: usize) -> Result<(), Diagnostic> {
        if layer.strategy != Some(Strategy::Resource) {
            return Ok(());
        }
        let outputs = dot.shape.last().copied().unwrap_or(1);
        let rf = infer::reuse(terms, outputs, layer.reuse.unwrap_or(1));
        let stream = self.options.io == Some(Io::Stream);
        let kernel: usize = dot.window.iter().map(|w| w.kernel).product();
        if rf > terms && kernel > 1 && !stream {
            return Err(Diagnostic::error(format!(
                "reuse factor {rf} is more than the {terms} products of a sum, with which hls4ml's parallel convolution reads \
                 beyond its data"
            ))
            .help(format!("set reuse to {terms} or less")));
        }
        Ok(())
    }

    /// Whether the current node reads signs. hls4ml does not take their type for a fixed-point one and infers nothing.
    fn reads_signs(&self) -> bool {
        let mut value = self.current().input(0);
        while let Some(node) = value.and_then(|v| self.producer(v)) {
            match node.op.as_str() {
                "BipolarQuant" => return true,
                "Flatten" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" => value = node.input(0),
                _ => return false,
            }
        }
        false
    }

    /// x × scale + bias as a batch normalisation or one of hls4ml's scale layers.
    pub(crate) fn hls4ml_affine(
        &mut self,
        name: &str,
        input: &Val,
        constants: &FloatAffine<'_>,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let scale = match constants.scale {
            Some(t) => {
                let ty = self.hls4ml_factor_type(constants.scale_value, layer.weight)?;
                self.hls4ml_constants("scale", &self.spread(t, input)?, ty)?
            }
            None => Codes::new(one_bit()?, vec![1]),
        };
        let bias = match constants.bias {
            Some(t) => {
                let ty = self.hls4ml_constant_type(constants.bias_value, layer.bias)?;
                self.hls4ml_constants("bias", &self.spread(t, input)?, ty)?
            }
            None => Codes::new(one_bit()?, vec![0]),
        };
        let x = self.node(input.hw).format();
        let auto = || infer::affine(x, scale.format, bias.format);
        let (given, out) = self.hls4ml_result(layer.result, v)?;
        let ty = given.map_or_else(auto, Ok)?;
        let op = Op::Affine { scale, bias, act: Act::None };
        let like = input.clone();
        self.hls4ml_push(name, op, vec![input.hw], ty, out, |hw| like.with(hw))
    }

    /// Type of a scale: like that of any constant, but for the -1 of a difference, an integer of two bits.
    fn hls4ml_factor_type(&self, v: Option<ValueId>, given: Option<Type>) -> Result<Type, Diagnostic> {
        if v.and_then(|v| self.graph.constant(v)).is_some_and(|t| t.ints() == Some(&[-1])) {
            return Type::trn_wrap(true, 2, 2).map_err(|e| Diagnostic::error(e.to_string()));
        }
        self.hls4ml_constant_type(v, given)
    }

    /// An elementwise op of two tensors.
    pub(crate) fn hls4ml_binary(
        &mut self,
        name: &str,
        op: BinaryOp,
        (a, b): (HwId, HwId),
        like: &Val,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let (fa, fb) = (self.node(a).format(), self.node(b).format());
        let ty = layer.result.map_or_else(|| infer::binary(op, fa, fb), Ok)?;
        let like = like.clone();
        self.hls4ml_push(name, Op::Binary { op, act: Act::None }, vec![a, b], ty, v, |hw| like.with(hw))
    }

    /// Half of `sum`, the exact sum of `a` and `b`.
    pub(crate) fn hls4ml_mean(
        &mut self,
        name: &str,
        sum: HwId,
        (a, b): (HwId, HwId),
        like: &Val,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let (fa, fb) = (self.node(a).format(), self.node(b).format());
        let ty = layer.result.map_or_else(|| infer::binary(BinaryOp::Add, fa, fb), Ok)?;
        let half = Format::new(false, 1, 0).map_err(|e| Diagnostic::error(e.to_string()))?;
        let (scale, bias) = (Codes::new(half, vec![1]), Codes::new(one_bit()?, vec![0]));
        let like = like.clone();
        let op = Op::Affine { scale, bias, act: Act::None };
        self.hls4ml_push(name, op, vec![sum], ty, v, |hw| like.with(hw))
    }

    /// Type of a concatenation.
    pub(crate) fn hls4ml_concat_type(&self, parts: &[HwId]) -> Result<Type, Diagnostic> {
        let types: Vec<Type> = parts.iter().map(|p| self.hls4ml_type_of(*p)).collect();
        self.layer().result.map_or_else(|| infer::concat(&types), Ok)
    }

    /// A pool. In streams hls4ml casts to the accumulator's type first.
    pub(crate) fn hls4ml_pool(
        &mut self,
        name: &str,
        input: &Val,
        pool: FloatPool,
        v: ValueId,
    ) -> Result<(), Diagnostic> {
        let layer = self.layer();
        let stream = self.options.io == Some(Io::Stream);
        let order = channels_last(input.shape.len());
        let mut hw = self.demand(input, &order)?;
        let from = self.hls4ml_type_of(hw);
        let x = from.format;
        let n: usize = pool.window.iter().map(|w| w.kernel).product();
        // hls4ml infers nothing of a global pool.
        let global = ["Global", "Reduce"].iter().any(|kind| self.current().op.starts_with(kind));
        let default = if global { Some(self.hls4ml_default()?) } else { None };
        let accum = layer.accum.or(default);
        let ty = layer.result.or(default).unwrap_or(from);
        let shape: Vec<usize> = order.iter().map(|a| pool.shape[*a]).collect();
        let Some(include_pad) = pool.average else {
            let accum = accum.filter(|a| a.format != x);
            if let Some(accum) = accum.filter(|_| stream) {
                hw = self.hls4ml_cast(&format!("{name}/accum"), hw, accum)?;
            }
            let padded = self.hls4ml_padding(name, x, &pool.window, hw, &shape)?;
            let op = Op::Pool(Pool { kind: PoolKind::Max, window: pool.window });
            // In parallel the largest is cast, in streams every element.
            let after = if stream { None } else { accum };
            let most = match (padded, after) {
                (None, None) => self.push(name, op, vec![hw], shape, ty)?,
                (padded, after) => {
                    let plain = plain(self.node(hw).format());
                    let mut id = self.push(&format!("{name}/max"), op, vec![hw], shape, plain)?;
                    if let Some(padding) = padded {
                        let op = Op::Binary { op: BinaryOp::Max, act: Act::None };
                        let shape = self.node(id).shape.clone();
                        id = self.push(&format!("{name}/padded"), op, vec![id, padding], shape, plain)?;
                    }
                    if let Some(accum) = after {
                        id = self.hls4ml_cast(&format!("{name}/accum"), id, accum)?;
                    }
                    self.hls4ml_cast(name, id, ty)?
                }
            };
            self.bind(v, Val::plain(most, pool.shape, order));
            return Ok(());
        };
        if include_pad {
            self.warn(
                "hls4ml ignores count_include_pad: each mean is over the elements without the padding"
                    .to_owned(),
                "set count_include_pad to 0 in the model; native arithmetic follows it".to_owned(),
            );
        }
        let accum_ty = accum.map_or_else(|| infer::average(x, n), Ok)?;
        let steps = if !stream || global { Order::Sequential } else { Order::Tree };
        let accum = Accum::Stepwise { product: None, ty: accum_ty, order: steps };
        let kind = PoolKind::Average(Average { include_pad: false, accum, divide: Divide::TowardZero });
        let op = Op::Pool(Pool { kind, window: pool.window });
        let id = self.push(name, op, vec![hw], shape, ty)?;
        self.bind(v, Val::plain(id, pool.shape, order));
        Ok(())
    }

    /// What hls4ml takes padding for in a maximum over unsigned values: a code of which only the highest bit is set, and
    /// so no smallest one. The constant has 0 where a window holds no padding.
    fn hls4ml_padding(
        &mut self,
        name: &str,
        x: Format,
        window: &[Window],
        input: HwId,
        shape: &[usize],
    ) -> Result<Option<HwId>, Diagnostic> {
        if x.is_signed() || window.iter().all(|w| w.pad_begin == 0 && w.pad_end == 0) {
            return Ok(None);
        }
        self.warn(
            format!("hls4ml takes the padding of unsigned values for {}", x.value(1i128 << (x.width() - 1))),
            "give what is in front a signed result, or use native arithmetic, where padding never is the largest".to_owned(),
        );
        let sizes = self.node(input).shape.clone();
        let touches = |place: &[usize]| {
            place.iter().zip(window).zip(&sizes).any(|((at, w), size)| {
                at * w.stride < w.pad_begin || at * w.stride + w.extent() > size + w.pad_begin
            })
        };
        let code = 1i64.checked_shl(x.width() - 1).ok_or_else(|| super::super::too_wide("the padding"))?;
        let steps = crate::ops::strides(shape);
        let count: usize = shape.iter().product();
        let at = |i: usize| {
            let place: Vec<usize> = shape.iter().zip(&steps).map(|(n, step)| i / step % n).collect();
            if touches(&place[..window.len()]) { code } else { 0 }
        };
        let data: Vec<i64> = (0..count).map(at).collect();
        let op = Op::Const(Codes::new(x, data));
        self.push(&format!("{name}/padding"), op, vec![], shape.to_vec(), plain(x)).map(Some)
    }

    /// The type of a value with its modes, which layouts hand on in hls4ml.
    pub(super) fn hls4ml_type_of(&self, mut hw: HwId) -> Type {
        while self.node(hw).op.moves_data() {
            hw = self.node(hw).inputs[0];
        }
        self.node(hw).ty
    }
}

/// Order of the additions; with an accumulator that wraps it is free, since products come on its grid.
fn order(
    accum: &Type,
    strategy: Option<Strategy>,
    reuse: Option<usize>,
    terms: usize,
    outputs: usize,
) -> Order {
    if accum.overflow == Overflow::WRAP {
        return Order::Any;
    }
    match strategy {
        None | Some(Strategy::Latency) => Order::Sequential,
        Some(Strategy::Resource) => match infer::reuse(terms, outputs, reuse.unwrap_or(1)) {
            rf if rf > 1 && rf <= terms => Order::Strided { rf },
            _ => Order::Sequential,
        },
    }
}

/// The same sum without steps, where no step loses anything.
fn exact_accum(dot: &Dot, outputs: usize, x: Interval, ty: Type, x_format: Format) -> Option<Accum> {
    let product = x_format.mul(dot.weight.format).ok()?;
    let fine = dot.bias.as_ref().map_or(product.frac(), |b| b.format.frac().max(product.frac()));
    let sums = range::dot_sum(dot, outputs, x)?;
    let keeps = ty.overflow != Overflow::SatSym || !ty.format.is_signed();
    (keeps && ty.format.frac() >= fine && sums.partial.fits(ty.format) && sums.product.fits(ty.format))
        .then_some(Accum::Exact(ty.format))
}
