//! A Program and its Schedule with everything named, ready to be written down.

use std::collections::BTreeMap;

use hs_fixed::Format;
use hs_hw::{
    Accum, Codes, Divide, Dot, Io, Op, Order, PoolKind, Program, Schedule, Softmax, SoftmaxKind, Strategy,
    ValueId,
};

use super::EmitError;
use super::layout::{
    DotLayout, Fold, Geometry, MAX_CONST_ARRAY, MAX_CONST_TOTAL, MAX_PARTITION, MAX_UNROLL, dot_geometry,
    is_tree, strided,
};
use super::names;
use super::network::{Channel, Network, Role};

/// A constant array of the project.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    /// Prefix and identifier part: `w_conv1`.
    pub(crate) name: String,
    /// Node it belongs to.
    pub(crate) node: ValueId,
    pub(crate) format: Format,
    pub(crate) data: Vec<i64>,
    /// Handed to the top function instead of compiled in.
    pub(crate) loaded: bool,
}

impl Array {
    /// Bytes of a code in a weight file and in simulation: 1, 2, 4 or 8.
    pub(crate) fn bytes(&self) -> usize {
        match self.format.width() + u32::from(!self.format.is_signed()) {
            0..=8 => 1,
            9..=16 => 2,
            17..=32 => 4,
            _ => 8,
        }
    }
}

/// Everything that emission reads.
pub(crate) struct Design<'a> {
    pub(crate) program: &'a Program,
    pub(crate) schedule: &'a Schedule,
    pub(crate) network: Network,
    /// Name of the top function.
    pub(crate) top: String,
    /// Identifier part of each node.
    pub(crate) ids: Vec<String>,
    /// Constant arrays by name.
    pub(crate) arrays: BTreeMap<String, Array>,
}

impl<'a> Design<'a> {
    /// Names everything and checks that it can be built.
    pub(crate) fn new(
        program: &'a Program,
        schedule: &'a Schedule,
        name: &str,
    ) -> Result<Self, Vec<EmitError>> {
        if let Err(errors) = program.verify() {
            return Err(errors.into_iter().map(EmitError::Verify).collect());
        }
        if schedule.layers.len() != program.nodes.len() {
            return Err(vec![EmitError::Schedule(format!(
                "it has {} layers for {} nodes",
                schedule.layers.len(),
                program.nodes.len()
            ))]);
        }
        let (top, ids) = names::project(program, name);
        let network = Network::new(program, schedule.io);
        let mut design = Self { program, schedule, network, top, ids, arrays: BTreeMap::new() };
        let mut errors = Vec::new();
        for (id, _) in program.iter() {
            if let Err(message) = design.check(id) {
                errors.push(design.error(id, message));
            }
        }
        for channel in &design.network.channels {
            if schedule.io == Io::Stream && design.is_fifo(channel) && design.depth(channel).is_none() {
                let from = &program.node(channel.value).name;
                errors.push(EmitError::Schedule(format!("it has no depth for a FIFO from '{from}'")));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        design.collect_arrays();
        design.place_arrays()?;
        Ok(design)
    }

    fn error(&self, id: ValueId, message: String) -> EmitError {
        EmitError::Node { node: self.program.node(id).name.clone(), message }
    }

    /// The identifier part of a node.
    pub(crate) fn id(&self, value: ValueId) -> &str {
        &self.ids[value.index()]
    }

    /// Whether a process computes the node.
    pub(crate) fn is_built(&self, id: ValueId) -> bool {
        self.network.processes.iter().any(|p| p.role == Role::Node(id))
    }

    /// Whether one pipeline computes the rows of a parallel design.
    pub(crate) fn is_one_pipeline(&self) -> bool {
        crate::schedule::one_pipeline(self.program, &self.schedule.layers)
    }

    pub(crate) fn is_fifo(&self, channel: &Channel) -> bool {
        channel.place == super::network::Place::Local
    }

    /// Depth of a channel's FIFO.
    pub(crate) fn depth(&self, channel: &Channel) -> Option<usize> {
        self.schedule.depth(channel.value.0, channel.to.map(|(id, slot)| (id.0, slot)))
    }

    /// Name of the type of a value: that of the node that last computed its elements.
    pub(crate) fn type_name(&self, value: ValueId) -> String {
        format!("t_{}", self.id(self.computed(value)))
    }

    /// The node that computed a value's elements, before any move.
    pub(crate) fn computed(&self, value: ValueId) -> ValueId {
        let node = self.program.node(value);
        if node.op.moves_data() { self.computed(node.inputs[0]) } else { value }
    }

    /// Layout of a dot's products.
    pub(crate) fn dot_layout(&self, id: ValueId, d: &Dot) -> Option<DotLayout> {
        let node = self.program.node(id);
        let terms = d.terms(self.program.node(node.inputs[0]).channels());
        let reuse = if is_tree(&d.accum) { 1 } else { self.schedule.layers[id.index()].reuse };
        DotLayout::new(terms, node.channels(), reuse)
    }

    /// How a dense layer takes a tensor that is too long for one beat.
    pub(crate) fn fold(&self, id: ValueId) -> Option<Fold> {
        let flat = self.program.node(id).inputs.first()?;
        let is_folded = self.schedule.io == Io::Stream && Fold::all_readers(self.program, *flat);
        is_folded.then(|| Fold::of(self.program, id)).flatten()
    }

    /// Whether a dot gathers its inputs from several pixels, or, in a parallel design, from a pixel of many.
    pub(crate) fn is_windowed(&self, id: ValueId) -> bool {
        let vector = self.program.node(id).shape.len() == 1;
        let pointwise = self.geometry(id).is_some_and(|g| g.is_pointwise());
        !(vector || (pointwise && self.schedule.io == Io::Stream))
    }

    /// The windows of a dot or pool.
    pub(crate) fn geometry(&self, id: ValueId) -> Option<Geometry> {
        let node = self.program.node(id);
        let from = node.inputs.first().map(|i| self.program.node(*i).shape.as_slice())?;
        match &node.op {
            Op::Dot(d) => Some(dot_geometry(d, from, &node.shape)),
            Op::Pool(p) => Some(Geometry::new(&p.window, from, &node.shape)),
            Op::Input { .. }
            | Op::Output { .. }
            | Op::Const(_)
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Softmax(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Pad { .. } => None,
        }
    }

    /// What this design cannot build, in one sentence with a remedy.
    fn check(&self, id: ValueId) -> Result<(), String> {
        let node = self.program.node(id);
        let stream = self.schedule.io == Io::Stream;
        let channels = node.channels();
        if stream
            && channels > MAX_UNROLL
            && self.network.carrier[id.index()] == id
            && !matches!(node.op, Op::Const(_))
        {
            return Err(format!("a beat of {channels} elements is beyond {MAX_UNROLL}; use io_parallel"));
        }
        match &node.op {
            Op::Dot(d) => self.check_dot(id, d),
            Op::Pool(p) => {
                let g = self.geometry(id).expect("a pool has a geometry");
                let running = stream && self.runs(id);
                if !running && g.taps() * channels > MAX_UNROLL {
                    return Err(format!(
                        "a window of {} elements × {channels} channels is beyond {MAX_UNROLL} comparisons at once; \
                         use a smaller window",
                        g.taps()
                    ));
                }
                if !running && matches!(p.kind, PoolKind::Average(_)) && g.taps() > MAX_PARTITION {
                    return Err(format!("a window of {} elements is beyond {MAX_PARTITION}", g.taps()));
                }
                if running { Ok(()) } else { self.check_window(&g) }
            }
            Op::Softmax(_) if channels > MAX_PARTITION => Err(format!(
                "a softmax over {channels} elements is beyond {MAX_PARTITION}; take it out of the model"
            )),
            Op::Softmax(Softmax::Tables(s))
                if s.kind == SoftmaxKind::Legacy && channels * channels > MAX_UNROLL =>
            {
                Err(format!(
                    "a legacy softmax over {channels} elements takes {} exponentials at once, beyond {MAX_UNROLL}; \
                     use softmax = \"stable\"",
                    channels * channels
                ))
            }
            Op::Input { .. }
            | Op::Output { .. }
            | Op::Const(_)
            | Op::Affine { .. }
            | Op::Requant(_)
            | Op::Binary { .. }
            | Op::Table(_)
            | Op::Softmax(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Concat { .. }
            | Op::Pad { .. } => Ok(()),
        }
    }

    fn check_dot(&self, id: ValueId, d: &Dot) -> Result<(), String> {
        let node = self.program.node(id);
        let layer = self.schedule.layers[id.index()];
        let channels = self.program.node(node.inputs[0]).channels();
        if self.schedule.io == Io::Parallel && channels > MAX_UNROLL {
            return Err(format!(
                "a vector of {channels} elements is beyond {MAX_UNROLL} at once; use io_stream"
            ));
        }
        let terms = d.terms(channels);
        let Some(layout) = self.dot_layout(id, d) else {
            return Err(format!(
                "reuse {} is not legal for {terms} terms × {} outputs",
                layer.reuse,
                node.channels()
            ));
        };
        if layer.strategy == Strategy::Latency && layer.reuse != 1 {
            return Err(format!("the latency strategy has reuse 1, not {}", layer.reuse));
        }
        if let Some(fold) = self.fold(id)
            && fold.steps(&layout).is_none()
        {
            return Err(format!(
                "reuse {} is not legal for {} pixels of {} channels × {} outputs",
                layer.reuse,
                fold.pixels,
                fold.channels,
                node.channels()
            ));
        }
        if is_tree(&d.accum) {
            if terms > MAX_PARTITION {
                return Err(format!("a tree over {terms} terms is beyond {MAX_PARTITION}"));
            }
        } else if !layout.fits() {
            return Err(format!(
                "{} multipliers for {} outputs of {} terms at once are beyond what can be unrolled ({MAX_UNROLL}) or \
                 partitioned ({MAX_PARTITION}); use the resource strategy with a larger reuse factor",
                layout.multipliers(),
                layout.lanes,
                layout.depth
            ));
        }
        let g = self.geometry(id).expect("a dot has a geometry");
        if self.schedule.io == Io::Stream && !g.is_pointwise() {
            return self.check_window(&g);
        }
        Ok(())
    }

    fn check_window(&self, g: &Geometry) -> Result<(), String> {
        let (lines, planes) = g.lines();
        let registers = lines.max(planes) * g.channels;
        if self.schedule.io == Io::Stream && registers > MAX_PARTITION {
            return Err(format!(
                "line buffers of {} rows × {} channels are beyond {MAX_PARTITION} shift registers; split the channels",
                lines + planes,
                g.channels
            ));
        }
        Ok(())
    }

    /// Whether a stream pool keeps one running value a channel instead of a window.
    pub(crate) fn runs(&self, id: ValueId) -> bool {
        let node = self.program.node(id);
        let Op::Pool(p) = &node.op else { return false };
        let in_order = match &p.kind {
            PoolKind::Max => true,
            PoolKind::Average(a) => match a.accum {
                Accum::Exact(_) => true,
                Accum::Stepwise { order, .. } => matches!(order, Order::Any | Order::Sequential),
            },
        };
        in_order && self.geometry(id).is_some_and(|g| g.is_whole())
    }

    fn add(&mut self, prefix: &str, node: ValueId, codes: &Codes, data: Vec<i64>) {
        let name = format!("{prefix}_{}", self.id(node));
        let array = Array { name: name.clone(), node, format: codes.format, data, loaded: false };
        self.arrays.insert(name, array);
    }

    fn collect_arrays(&mut self) {
        let program = self.program;
        let read_consts: Vec<ValueId> = self
            .network
            .processes
            .iter()
            .flat_map(|p| p.reads.iter())
            .filter_map(|a| if let super::network::Arg::Const(c) = a { Some(*c) } else { None })
            .collect();
        for (id, node) in program.iter() {
            if let (Op::Const(c), true) = (&node.op, read_consts.contains(&id)) {
                self.add("k", id, c, c.data.to_vec());
            }
            if !self.is_built(id) {
                continue;
            }
            let slope = |design: &mut Self, act: &hs_hw::Act| {
                if let hs_hw::Act::Slope(s) = act {
                    design.add("a", id, s, s.data.to_vec());
                }
            };
            match &node.op {
                Op::Dot(d) => {
                    let layout = self.dot_layout(id, d).expect("checked");
                    let weights = if is_tree(&d.accum) {
                        d.weight.data.to_vec()
                    } else if let Some(fold) = self.fold(id) {
                        fold.arrange(&layout, &d.weight.data)
                    } else {
                        layout.arrange(&d.weight.data, |p| match d.accum {
                            Accum::Stepwise { order: Order::Strided { rf }, .. } => {
                                strided(p, layout.terms, rf)
                            }
                            Accum::Stepwise { .. } | Accum::Exact(_) => p,
                        })
                    };
                    self.add("w", id, &d.weight, weights);
                    if let Some(b) = &d.bias {
                        self.add("b", id, b, b.data.to_vec());
                    }
                    slope(self, &d.act);
                }
                Op::Affine { scale, bias, act } => {
                    self.add("s", id, scale, scale.data.to_vec());
                    self.add("b", id, bias, bias.data.to_vec());
                    slope(self, act);
                }
                Op::Requant(act) | Op::Binary { act, .. } => slope(self, act),
                Op::Table(lut) => self.add("e", id, &lut.entries, lut.entries.data.to_vec()),
                Op::Pool(p) => {
                    if let PoolKind::Average(a) = &p.kind
                        && let Divide::Reciprocal(r) = &a.divide
                    {
                        self.add("r", id, r, r.data.to_vec());
                    }
                }
                Op::Softmax(Softmax::Tables(s)) => {
                    self.add("e", id, &s.exp.entries, s.exp.entries.data.to_vec());
                    self.add("v", id, &s.inv.entries, s.inv.entries.data.to_vec());
                }
                Op::Input { .. }
                | Op::Output { .. }
                | Op::Const(_)
                | Op::Softmax(Softmax::Argmax)
                | Op::Reshape
                | Op::Permute(_)
                | Op::Concat { .. }
                | Op::Pad { .. } => {}
            }
        }
    }

    /// Decides which weights are loaded: those too large for a constant, then the largest until the rest fits.
    fn place_arrays(&mut self) -> Result<(), Vec<EmitError>> {
        let mut weights: Vec<(usize, String)> = self
            .arrays
            .values()
            .filter(|a| a.name.starts_with("w_"))
            .map(|a| (a.data.len(), a.name.clone()))
            .collect();
        weights.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let mut total: usize = self.arrays.values().map(|a| a.data.len()).sum();
        for (len, name) in weights {
            if len > MAX_CONST_ARRAY || total > MAX_CONST_TOTAL {
                total -= len;
                if let Some(array) = self.arrays.get_mut(&name) {
                    array.loaded = true;
                }
            }
        }
        let too_large = |a: &&Array| !a.loaded && (a.data.len() > MAX_CONST_ARRAY || total > MAX_CONST_TOTAL);
        let errors: Vec<EmitError> = self
            .arrays
            .values()
            .filter(too_large)
            .map(|a| {
                self.error(
                    a.node,
                    format!(
                        "{} constants beside the weights are more than a project can hold ({MAX_CONST_ARRAY} an \
                         array, {MAX_CONST_TOTAL} in all); use one constant a channel",
                        a.data.len()
                    ),
                )
            })
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
