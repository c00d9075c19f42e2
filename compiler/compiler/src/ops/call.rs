//! A node with what is known of its operands.

use hs_ir::{Attr, DType, Graph, Grid, Node, Tensor, TensorData};

use super::Inferred;
use crate::diagnostic::Diagnostic;

/// An operand.
#[derive(Debug, Clone, Copy)]
pub struct Arg<'a> {
    /// The value's name.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: &'a [usize],
    /// The elements, when known.
    pub tensor: Option<&'a Tensor>,
    /// The grid of a constant that came out of a quantiser.
    pub grid: Option<&'a Grid>,
}

/// A node with what is known of its operands: what operators are parsed from.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its operands; `None` where an optional one is left out.
    pub args: Vec<Option<Arg<'a>>>,
}

impl<'a> Call<'a> {
    /// The call of `node` in `graph`; `None` while the type or shape of an operand is unknown.
    pub fn of(graph: &'a Graph, node: &'a Node) -> Option<Self> {
        let arg = |id: hs_ir::ValueId| {
            let value = graph.value(id);
            Some(Arg {
                name: &value.name,
                dtype: value.dtype?,
                shape: value.shape.as_deref()?,
                tensor: value.constant.as_deref(),
                grid: value.grid.as_deref(),
            })
        };
        let args = node.inputs.iter().map(|id| match id {
            Some(id) => arg(*id).map(Some),
            None => Some(None),
        });
        Some(Self { node, args: args.collect::<Option<_>>()? })
    }

    /// An error about this node.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at_node(self.node)
    }

    /// The operand at `index`, which must be there.
    pub fn arg(&self, index: usize) -> Result<Arg<'a>, Diagnostic> {
        self.optional(index).ok_or_else(|| self.error(format!("lacks its input {index}")))
    }

    /// The operand at `index`, when it is there.
    pub fn optional(&self, index: usize) -> Option<Arg<'a>> {
        self.args.get(index).copied().flatten()
    }

    /// The operand at `index`, which must be there and hold floats.
    pub fn float_arg(&self, index: usize) -> Result<Arg<'a>, Diagnostic> {
        let arg = self.arg(index)?;
        if arg.dtype.is_float() {
            Ok(arg)
        } else {
            Err(self
                .error(format!("its input '{}' has the type {}; floats are expected", arg.name, arg.dtype)))
        }
    }

    /// The elements of an operand that must be a constant.
    pub fn constant(&self, arg: Arg<'a>) -> Result<&'a Tensor, Diagnostic> {
        arg.tensor.ok_or_else(|| {
            self.error(format!(
                "its input '{}' is computed from the model's inputs; a constant is expected",
                arg.name
            ))
            .help("export the model with fixed parameters and shapes; only the batch may vary")
        })
    }

    /// The integers of the operand at `index`, which must be a constant when it is there.
    pub fn constant_ints(&self, index: usize) -> Result<Option<&'a [i64]>, Diagnostic> {
        let Some(arg) = self.optional(index) else { return Ok(None) };
        let ints = self.constant(arg)?.ints();
        ints.map(Some).ok_or_else(|| {
            self.error(format!("its input '{}' has the type {}; integers are expected", arg.name, arg.dtype))
        })
    }

    /// The only element of the operand at `index`, which must be a constant when it is there.
    pub fn constant_scalar(&self, index: usize) -> Result<Option<f64>, Diagnostic> {
        let Some(arg) = self.optional(index) else { return Ok(None) };
        let single = self.constant(arg)?.single();
        single.map(Some).ok_or_else(|| {
            self.error(format!(
                "its input '{}' has the shape {:?}; a scalar is expected",
                arg.name, arg.shape
            ))
        })
    }

    /// The number of operands, left-out ones at the end not counted.
    pub fn len(&self) -> usize {
        self.args.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Whether there are no operands.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses results beyond the first `allowed`.
    pub fn refuse_outputs_from(&self, allowed: usize, what: &str) -> Result<(), Diagnostic> {
        if (allowed..self.node.outputs.len()).any(|i| self.node.output(i).is_some()) {
            return Err(self.error(format!("its output of {what} is not supported")));
        }
        Ok(())
    }

    fn wrong_kind(&self, name: &str, attr: &Attr, expected: &str) -> Diagnostic {
        self.error(format!("its attribute '{name}' is {}; {expected} is expected", attr.kind()))
    }

    /// An integer attribute.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Diagnostic> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(Attr::Int(x)) => Ok(Some(*x)),
            Some(other) => Err(self.wrong_kind(name, other, "an integer")),
        }
    }

    /// An integer attribute that says yes or no.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Diagnostic> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(self.error(format!("its attribute '{name}' is {other}; 0 or 1 is expected"))),
        }
    }

    /// An attribute that is a list of integers.
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Diagnostic> {
        match self.node.attrs.get(name) {
            None => Ok(None),
            Some(Attr::Ints(v)) => Ok(Some(v)),
            Some(other) => Err(self.wrong_kind(name, other, "a list of integers")),
        }
    }

    /// A float attribute.
    pub fn float(&self, name: &str, default: f32) -> Result<f64, Diagnostic> {
        match self.node.attrs.get(name) {
            None => Ok(f64::from(default)),
            Some(Attr::Float(x)) if x.is_finite() => Ok(f64::from(*x)),
            Some(Attr::Float(x)) => Err(self.error(format!("its attribute '{name}' is {x}"))),
            Some(other) => Err(self.wrong_kind(name, other, "a float")),
        }
    }

    /// A string attribute.
    pub fn str(&self, name: &str, default: &'a str) -> Result<&'a str, Diagnostic> {
        match self.node.attrs.get(name) {
            None => Ok(default),
            Some(Attr::Str(s)) => Ok(s),
            Some(other) => Err(self.wrong_kind(name, other, "a string")),
        }
    }

    /// An axis from its possibly negative number, within `0..rank`.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Diagnostic> {
        let wrapped = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        wrapped
            .and_then(|a| usize::try_from(a).ok())
            .filter(|a| *a < rank)
            .ok_or_else(|| self.error(format!("the axis {axis} is outside a tensor of rank {rank}")))
    }

    /// Distinct axes in ascending order.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>, Diagnostic> {
        let mut out = axes.iter().map(|a| self.axis(*a, rank)).collect::<Result<Vec<_>, _>>()?;
        out.sort_unstable();
        if out.windows(2).any(|w| w[0] == w[1]) {
            return Err(self.error(format!("the axes {axes:?} name one twice")));
        }
        Ok(out)
    }

    /// The float elements of a known operand.
    pub fn floats(&self, index: usize) -> Result<std::borrow::Cow<'a, [f32]>, Diagnostic> {
        let arg = self.float_arg(index)?;
        self.constant(arg)?.floats().ok_or_else(|| self.error("floats are expected"))
    }

    /// A result.
    pub fn result(&self, dtype: DType, shape: Vec<usize>, data: TensorData) -> Result<Tensor, Diagnostic> {
        Tensor::new(dtype, shape, data).map_err(|e| self.error(e.to_string()))
    }

    /// The one result of this operator, in `f32`.
    pub fn float_result(&self, shape: Vec<usize>, data: Vec<f32>) -> Result<Vec<Tensor>, Diagnostic> {
        self.result(DType::F32, shape, TensorData::F32(data)).map(|t| vec![t])
    }

    /// The one result of this operator: elements of operand `index` picked by place.
    pub fn gathered(
        &self,
        index: usize,
        shape: Vec<usize>,
        picks: &[usize],
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let tensor = self.constant(self.arg(index)?)?;
        tensor.gathered(shape, picks).map(|t| vec![t]).map_err(|e| self.error(e.to_string()))
    }
}

/// The inference of an operator whose result has its first operand's type and shape.
pub(super) fn same_as_input(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    let x = call.arg(0)?;
    Ok(vec![Inferred::new(x.dtype, x.shape.to_vec())])
}
