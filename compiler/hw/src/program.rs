//! Programs: nodes in topological order, one value each.

use hs_fixed::{Format, Type};

use crate::Op;

/// The value that the node at this index yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The index of the node.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation and the tensor it yields.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name of the ONNX node it stems from; any text, unique in the Program.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Values it reads; each precedes the node.
    pub inputs: Vec<ValueId>,
    /// Shape of the result: no batch axis, channels last.
    pub shape: Vec<usize>,
    /// The op's exact result is cast into this type; its format is that of the tensor. Ops that only move
    /// data have the type of their input.
    pub ty: Type,
}

impl Node {
    /// Number of elements of the result.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the result has no elements (the verifier refuses such nodes).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of the last axis: the channels.
    pub fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Elements of all axes but the last: the pixels (beats of a stream).
    pub fn pixels(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, s)| s.iter().product())
    }

    /// Grid of the result.
    pub fn format(&self) -> Format {
        self.ty.format
    }
}

/// A model as hardware: the bits. Structure: `Input` and `Output` nodes carry consecutive indices.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Name of the model; any text.
    pub name: String,
    /// Operations in topological order.
    pub nodes: Vec<Node>,
}

impl Program {
    /// The node that yields `id`.
    pub fn node(&self, id: ValueId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Ids and nodes in order.
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (ValueId(i as u32), n))
    }

    /// The `Input` nodes in model order.
    pub fn inputs(&self) -> Vec<ValueId> {
        let mut found: Vec<_> = self
            .iter()
            .filter_map(|(id, n)| if let Op::Input { index, .. } = n.op { Some((index, id)) } else { None })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// The `Output` nodes in model order.
    pub fn outputs(&self) -> Vec<ValueId> {
        let mut found: Vec<_> = self
            .iter()
            .filter_map(|(id, n)| if let Op::Output { index, .. } = n.op { Some((index, id)) } else { None })
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// For each value, the nodes that read it and in which slot, in order.
    pub fn uses(&self) -> Vec<Vec<(ValueId, usize)>> {
        let mut uses = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for (slot, input) in node.inputs.iter().enumerate() {
                uses[input.index()].push((id, slot));
            }
        }
        uses
    }

    /// Formats of a node's inputs.
    pub fn input_formats(&self, node: &Node) -> Vec<Format> {
        node.inputs.iter().map(|i| self.node(*i).format()).collect()
    }
}
