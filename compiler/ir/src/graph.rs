//! Values, nodes and the graph.

use std::sync::Arc;

use crate::{Attrs, DType, Tensor};

/// The place of a [`Value`] in [`Graph::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(u32);

impl ValueId {
    /// The id of the value at `index`.
    ///
    /// # Panics
    /// Beyond 2^32 values.
    pub fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer than 2^32 values"))
    }

    /// The index into [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The grid that a quantiser of the model put a constant on: each element is `(q - zero_point) * scale` for an integer
/// `q` of `bits` bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// One step for the tensor, or one for each index along `axis`.
    pub scale: Vec<f64>,
    /// The axis that `scale` runs along; `None` when there is a single one.
    pub axis: Option<usize>,
    /// The integer that stands for 0.
    pub zero_point: f64,
    /// Width of `q` in bits.
    pub bits: u32,
    /// Whether `q` can be negative.
    pub signed: bool,
    /// Whether the most negative (signed) or the largest (unsigned) `q` is left out.
    pub narrow: bool,
}

/// A tensor in the graph: an input, a constant or the result of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The model's own name; unique in the graph.
    pub name: String,
    /// Element type, once known.
    pub dtype: Option<DType>,
    /// Dimensions, once known.
    pub shape: Option<Vec<usize>>,
    /// The elements, when they are known at compile time.
    pub constant: Option<Arc<Tensor>>,
    /// The grid of a constant that came out of a quantiser.
    pub grid: Option<Arc<Grid>>,
}

impl Value {
    /// A value of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), dtype: None, shape: None, constant: None, grid: None }
    }

    /// A value of known type and shape.
    pub fn typed(name: impl Into<String>, dtype: DType, shape: Vec<usize>) -> Self {
        Self { dtype: Some(dtype), shape: Some(shape), ..Self::named(name) }
    }

    /// A constant.
    pub fn constant(name: impl Into<String>, tensor: impl Into<Arc<Tensor>>) -> Self {
        let tensor = tensor.into();
        Self {
            dtype: Some(tensor.dtype()),
            shape: Some(tensor.shape().to_vec()),
            constant: Some(tensor),
            ..Self::named(name)
        }
    }
}

/// One operator application.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The model's own name, or one such as `Gemm_0`; unique in the graph.
    pub name: String,
    /// The operator's domain; empty for ONNX's own.
    pub domain: String,
    /// The operator.
    pub op: String,
    /// Attributes.
    pub attrs: Attrs,
    /// Operands; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; `None` where an optional one is left out.
    pub outputs: Vec<Option<ValueId>>,
    /// Names of the model's nodes that this one stands for, itself included.
    pub sources: Vec<String>,
}

impl Node {
    /// The operand at `index`, when present.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The result at `index`, when present.
    pub fn output(&self, index: usize) -> Option<ValueId> {
        self.outputs.get(index).copied().flatten()
    }

    /// Whether this is ONNX's own operator `op`.
    pub fn is(&self, op: &str) -> bool {
        self.domain.is_empty() && self.op == op
    }

    /// The operator with its domain, as `domain::Op`; ONNX's own without.
    pub fn qualified_op(&self) -> String {
        if self.domain.is_empty() { self.op.clone() } else { format!("{}::{}", self.domain, self.op) }
    }
}

/// A model: nodes in topological order over a list of values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Every value. Some may be unused until [`Graph::compact`].
    pub values: Vec<Value>,
    /// Nodes, each after the ones whose results it reads.
    pub nodes: Vec<Node>,
    /// The model's inputs, in its order.
    pub inputs: Vec<ValueId>,
    /// The model's outputs, in its order.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a value, whose name must be new.
    pub fn add_value(&mut self, value: Value) -> ValueId {
        let id = ValueId::new(self.values.len());
        self.values.push(value);
        id
    }

    /// The value `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The value `id`, to change it.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.index()]
    }

    /// The elements of `id`, when it is a constant.
    pub fn constant(&self, id: ValueId) -> Option<&Arc<Tensor>> {
        self.value(id).constant.as_ref()
    }

    /// The shape of `id`, when known.
    pub fn shape(&self, id: ValueId) -> Option<&[usize]> {
        self.value(id).shape.as_deref()
    }

    /// The value called `name` (a search of the list).
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId::new)
    }
}
