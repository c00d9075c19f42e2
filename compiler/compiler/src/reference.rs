//! The float reference: runs a graph operator by operator.

use std::sync::Arc;

use hs_ir::{DType, Graph, Node, Tensor, TensorData, ValueId};

use crate::diagnostic::Diagnostic;
use crate::ops::{self, Arg, Call};

/// Every value of one run.
#[derive(Debug, Clone)]
pub struct Evaluation {
    values: Vec<Option<Arc<Tensor>>>,
}

impl Evaluation {
    /// The elements of `id`.
    pub fn get(&self, id: ValueId) -> Option<&Tensor> {
        self.values.get(id.index())?.as_deref()
    }
}

/// The outputs of `graph` for `inputs`, in the model's order.
pub fn eval(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>, Diagnostic> {
    let run = eval_all(graph, inputs)?;
    let output = |id: &ValueId| {
        let name = &graph.value(*id).name;
        run.get(*id)
            .cloned()
            .ok_or_else(|| Diagnostic::error(format!("nothing computes the output '{name}'")))
    };
    graph.outputs.iter().map(output).collect()
}

/// `tensor`, where it holds floats for integers of type `dtype`, as those integers.
pub(crate) fn typed(tensor: Tensor, dtype: Option<DType>) -> Tensor {
    let Some((dtype, (min, max))) = dtype.and_then(|d| Some((d, d.int_range()?))) else { return tensor };
    if !tensor.dtype().is_float() {
        return tensor;
    }
    let whole = |x: f64| (x.round_ties_even() as i64).clamp(min, max);
    let data = TensorData::I64(tensor.to_f64().into_iter().map(whole).collect());
    Tensor::new(dtype, tensor.shape().to_vec(), data).unwrap_or(tensor)
}

/// Every value of `graph` for `inputs`, in the model's order. Works on imported and on normalised graphs. Shapes follow
/// from those of `inputs`, which must be the declared ones where those are known; floats are taken for integers, too.
pub fn eval_all(graph: &Graph, inputs: &[Tensor]) -> Result<Evaluation, Diagnostic> {
    eval_replacing(graph, inputs, &mut |_| None)
}

/// As [`eval_all`], but wherever `replace` gives a tensor, later nodes read it instead of the value computed. The result
/// holds the values as computed. A replacement has the value's type and shape.
pub fn eval_replacing(
    graph: &Graph,
    inputs: &[Tensor],
    replace: &mut dyn FnMut(ValueId) -> Option<Tensor>,
) -> Result<Evaluation, Diagnostic> {
    if inputs.len() != graph.inputs.len() {
        let (expected, found) = (graph.inputs.len(), inputs.len());
        return Err(Diagnostic::error(format!("the model has {expected} inputs, but {found} were given")));
    }
    let mut values: Vec<Option<Arc<Tensor>>> = graph.values.iter().map(|v| v.constant.clone()).collect();
    for (id, tensor) in graph.inputs.iter().zip(inputs) {
        let declared = graph.value(*id);
        if declared.shape.as_deref().is_some_and(|s| s != tensor.shape()) {
            let (name, shape) = (&declared.name, declared.shape.as_deref().unwrap_or_default());
            let message =
                format!("the input '{name}' has the shape {shape:?}, but {:?} was given", tensor.shape());
            return Err(Diagnostic::error(message));
        }
        values[id.index()] = Some(Arc::new(typed(tensor.clone(), declared.dtype)));
    }
    let mut read = values.clone();
    for id in &graph.inputs {
        if let Some(tensor) = replace(*id) {
            read[id.index()] = Some(Arc::new(typed(tensor, graph.value(*id).dtype)));
        }
    }
    for node in &graph.nodes {
        let results = eval_node(graph, node, &|id| read[id.index()].as_deref())?;
        for (id, tensor) in node.outputs.iter().zip(results) {
            if let Some(id) = id {
                let computed = Arc::new(tensor);
                let replaced = replace(*id).map(|t| Arc::new(typed(t, Some(computed.dtype()))));
                read[id.index()] = Some(replaced.unwrap_or_else(|| Arc::clone(&computed)));
                values[id.index()] = Some(computed);
            }
        }
    }
    Ok(Evaluation { values })
}

/// The results of `node` for operands that `read` gives.
pub(crate) fn eval_node<'a>(
    graph: &'a Graph,
    node: &'a Node,
    read: &dyn Fn(ValueId) -> Option<&'a Tensor>,
) -> Result<Vec<Tensor>, Diagnostic> {
    let op = ops::find(node).ok_or_else(|| ops::unsupported(node))?;
    let mut args = Vec::with_capacity(node.inputs.len());
    for id in &node.inputs {
        args.push(match id {
            None => None,
            Some(id) => {
                let value = graph.value(*id);
                let tensor = read(*id).ok_or_else(|| {
                    Diagnostic::error(format!("nothing computes its input '{}'", value.name)).at_node(node)
                })?;
                Some(Arg {
                    name: &value.name,
                    dtype: tensor.dtype(),
                    shape: tensor.shape(),
                    tensor: Some(tensor),
                    grid: value.grid.as_deref(),
                })
            }
        });
    }
    (op.eval)(&Call { node, args })
}
