//! The processes of a design and the channels between them, for both io types.
//!
//! A channel is a FIFO of beats (stream) or an array (parallel). Each has one writer and one reader: a value with
//! several readers goes through a clone process.

use hs_hw::{Io, Op, Program, ValueId};

use super::layout::{Fold, MAX_PARTITION};

/// What feeds a process' input slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arg {
    /// A channel, by index.
    Channel(usize),
    /// A constant tensor.
    Const(ValueId),
}

/// Where a channel lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Inside the design.
    Local,
    /// Argument of the top function: model input.
    Input(ValueId),
    /// Argument of the top function: model output.
    Output(ValueId),
}

/// One writer, one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channel {
    /// The value it carries.
    pub(crate) value: ValueId,
    /// Reader and slot; `None`: the value's clone process.
    pub(crate) to: Option<(ValueId, usize)>,
    pub(crate) place: Place,
    /// Number among the value's channels after a clone; `None`: straight from the producer.
    pub(crate) branch: Option<usize>,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A node of the Program.
    Node(ValueId),
    /// Copies a value to its readers.
    Clone(ValueId),
    /// Copies a model input to the model output that it is.
    Forward(ValueId),
    /// Takes a model input that nothing reads.
    Drain(ValueId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) role: Role,
    pub(crate) reads: Vec<Arg>,
    pub(crate) writes: Vec<usize>,
}

impl Process {
    /// The channels among the arguments, in slot order.
    pub(crate) fn read_channels(&self) -> Vec<usize> {
        self.reads.iter().filter_map(|a| if let Arg::Channel(c) = a { Some(*c) } else { None }).collect()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// In topological order.
    pub(crate) processes: Vec<Process>,
    pub(crate) channels: Vec<Channel>,
    /// For each node the value whose channel carries its result: itself, unless it changes nothing but the shape.
    pub(crate) carrier: Vec<ValueId>,
}

impl Network {
    /// The network of a verified Program.
    pub(crate) fn new(program: &Program, io: Io) -> Self {
        let carrier = carriers(program, io);
        let live = live(program);
        let readers = readers(program, &carrier, &live);
        let mut net = Self { processes: Vec::new(), channels: Vec::new(), carrier };
        // The channel that feeds each (reader, slot), filled as producers are met.
        let mut feeds: Vec<Vec<Option<Arg>>> =
            program.nodes.iter().map(|n| vec![None; n.inputs.len()]).collect();
        for (id, node) in program.iter() {
            let is_input = matches!(node.op, Op::Input { .. });
            if net.carrier[id.index()] != id || !(live[id.index()] || is_input) {
                continue;
            }
            if matches!(node.op, Op::Const(_)) {
                for (reader, slot) in &readers[id.index()] {
                    feeds[reader.index()][*slot] = Some(Arg::Const(id));
                }
                continue;
            }
            let reads: Vec<Arg> = feeds[id.index()].iter().copied().flatten().collect();
            net.connect(program, id, reads, &readers[id.index()], &mut feeds);
        }
        net
    }

    fn push(
        &mut self,
        value: ValueId,
        to: Option<(ValueId, usize)>,
        place: Place,
        branch: Option<usize>,
    ) -> usize {
        self.channels.push(Channel { value, to, place, branch });
        self.channels.len() - 1
    }

    /// Adds the process of `id` (inputs have none), and its clone where it has several readers.
    fn connect(
        &mut self,
        program: &Program,
        id: ValueId,
        reads: Vec<Arg>,
        readers: &[(ValueId, usize)],
        feeds: &mut [Vec<Option<Arg>>],
    ) {
        let node = program.node(id);
        let is_input = matches!(node.op, Op::Input { .. });
        let outside = |reader: ValueId| matches!(program.node(reader).op, Op::Output { .. });
        let source = if is_input { Place::Input(id) } else { Place::Local };
        let produce = |net: &mut Self, channel: usize| {
            if !is_input {
                net.processes.push(Process {
                    role: Role::Node(id),
                    reads: reads.clone(),
                    writes: vec![channel],
                });
            }
        };
        match readers {
            [] => {
                let channel = self.push(id, None, source, None);
                let reads = vec![Arg::Channel(channel)];
                self.processes.push(Process { role: Role::Drain(id), reads, writes: Vec::new() });
            }
            [(reader, slot)] if outside(*reader) => {
                let to = Some((*reader, *slot));
                if is_input {
                    let from = self.push(id, None, source, None);
                    let writes = vec![self.push(id, to, Place::Output(*reader), Some(0))];
                    let reads = vec![Arg::Channel(from)];
                    self.processes.push(Process { role: Role::Forward(*reader), reads, writes });
                } else {
                    let channel = self.push(id, to, Place::Output(*reader), None);
                    produce(self, channel);
                }
            }
            [(reader, slot)] => {
                let channel = self.push(id, Some((*reader, *slot)), source, None);
                produce(self, channel);
                feeds[reader.index()][*slot] = Some(Arg::Channel(channel));
            }
            _ => {
                let trunk = self.push(id, None, source, None);
                produce(self, trunk);
                let mut writes = Vec::new();
                for (branch, (reader, slot)) in readers.iter().enumerate() {
                    let place = if outside(*reader) { Place::Output(*reader) } else { Place::Local };
                    let channel = self.push(id, Some((*reader, *slot)), place, Some(branch));
                    if place == Place::Local {
                        feeds[reader.index()][*slot] = Some(Arg::Channel(channel));
                    }
                    writes.push(channel);
                }
                self.processes.push(Process {
                    role: Role::Clone(id),
                    reads: vec![Arg::Channel(trunk)],
                    writes,
                });
            }
        }
    }
}

/// Whether a node's result is its input's channel unchanged.
fn is_alias(program: &Program, id: ValueId, io: Io) -> bool {
    let node = program.node(id);
    let same_beats = |from: ValueId| io == Io::Parallel || program.node(from).channels() == node.channels();
    match &node.op {
        Op::Output { .. } => true,
        Op::Reshape => {
            same_beats(node.inputs[0])
                || (io == Io::Stream && node.len() > MAX_PARTITION && Fold::all_readers(program, id))
        }
        Op::Permute(perm) => {
            let from = program.node(node.inputs[0]);
            let moved: Vec<usize> = perm.iter().copied().filter(|p| from.shape[*p] != 1).collect();
            moved.is_sorted() && same_beats(node.inputs[0])
        }
        Op::Pad { before, after } => before.iter().chain(after).all(|n| *n == 0),
        Op::Input { .. }
        | Op::Const(_)
        | Op::Dot(_)
        | Op::Affine { .. }
        | Op::Requant(_)
        | Op::Binary { .. }
        | Op::Table(_)
        | Op::Pool(_)
        | Op::Softmax(_)
        | Op::Concat { .. } => false,
    }
}

fn carriers(program: &Program, io: Io) -> Vec<ValueId> {
    let mut carrier: Vec<ValueId> = Vec::with_capacity(program.nodes.len());
    for (id, node) in program.iter() {
        carrier.push(if is_alias(program, id, io) { carrier[node.inputs[0].index()] } else { id });
    }
    carrier
}

/// Nodes that an output depends on.
fn live(program: &Program) -> Vec<bool> {
    let mut live = vec![false; program.nodes.len()];
    for (id, node) in program.iter().collect::<Vec<_>>().into_iter().rev() {
        if matches!(node.op, Op::Output { .. }) {
            live[id.index()] = true;
        }
        if live[id.index()] {
            for input in &node.inputs {
                live[input.index()] = true;
            }
        }
    }
    live
}

/// For each carrier its live readers that are processes or model outputs, in order.
fn readers(program: &Program, carrier: &[ValueId], live: &[bool]) -> Vec<Vec<(ValueId, usize)>> {
    let mut readers = vec![Vec::new(); program.nodes.len()];
    for (id, node) in program.iter() {
        let reads = carrier[id.index()] == id || matches!(node.op, Op::Output { .. });
        if reads && live[id.index()] {
            for (slot, input) in node.inputs.iter().enumerate() {
                readers[carrier[input.index()].index()].push((id, slot));
            }
        }
    }
    readers
}
