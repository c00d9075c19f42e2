//! Builds small ONNX models in memory, for tests and examples.
//!
//! ```
//! use hs_compiler::onnx::{builder::ModelBuilder, import_bytes};
//!
//! let mut model = ModelBuilder::new(17);
//! model.input("x", &[-1, 2]);
//! model.floats("w", &[1, 2], &[0.5, -1.0]);
//! model.node("Gemm", &["x", "w"], &["y"]).name("fc").int("transB", 1);
//! model.output("y", &[-1, 1]);
//! let (graph, _warnings) = import_bytes(&model.to_bytes(), None).unwrap();
//! assert_eq!(graph.nodes[0].name, "fc");
//! ```

use prost::Message;

use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};

/// ONNX's number for `f32`.
const FLOAT: i32 = 1;
/// ONNX's number for `i64`.
const INT64: i32 = 7;

/// A model under construction.
#[derive(Debug, Clone)]
pub struct ModelBuilder {
    /// The message so far; change what the methods do not reach.
    pub model: ModelProto,
}

/// The node last added.
#[derive(Debug)]
pub struct NodeBuilder<'a>(&'a mut NodeProto);

impl ModelBuilder {
    /// An empty model of an opset.
    pub fn new(opset: i64) -> Self {
        let graph = GraphProto { name: "graph".to_owned(), ..Default::default() };
        let import = OperatorSetIdProto { domain: String::new(), version: opset };
        Self {
            model: ModelProto {
                ir_version: 8,
                graph: Some(graph),
                opset_import: vec![import],
                ..Default::default()
            },
        }
    }

    /// The graph, to change what the methods do not reach.
    pub fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.get_or_insert_with(GraphProto::default)
    }

    /// Adds a float input; a dimension of -1 is symbolic, named after its axis.
    pub fn input(&mut self, name: &str, dims: &[i64]) -> &mut Self {
        let info = value_info(name, FLOAT, dims);
        self.graph().input.push(info);
        self
    }

    /// Adds a float output; a dimension of -1 is symbolic, named after its axis.
    pub fn output(&mut self, name: &str, dims: &[i64]) -> &mut Self {
        let info = value_info(name, FLOAT, dims);
        self.graph().output.push(info);
        self
    }

    /// Adds a float initialiser; nothing checks that there are as many elements as the shape says.
    pub fn floats(&mut self, name: &str, dims: &[i64], data: &[f32]) -> &mut Self {
        let tensor = TensorProto { name: name.to_owned(), ..float_tensor(dims, data) };
        self.graph().initializer.push(tensor);
        self
    }

    /// Adds an `i64` initialiser of rank 1.
    pub fn ints(&mut self, name: &str, data: &[i64]) -> &mut Self {
        let tensor = TensorProto {
            name: name.to_owned(),
            dims: vec![data.len() as i64],
            data_type: INT64,
            int64_data: data.to_vec(),
            ..Default::default()
        };
        self.graph().initializer.push(tensor);
        self
    }

    /// Adds a node without a name. An empty operand or result is one left out.
    pub fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str]) -> NodeBuilder<'_> {
        let owned = |names: &[&str]| names.iter().map(|s| (*s).to_owned()).collect();
        let nodes = &mut self.graph().node;
        nodes.push(NodeProto {
            op_type: op.to_owned(),
            input: owned(inputs),
            output: owned(outputs),
            ..Default::default()
        });
        let last = nodes.len() - 1;
        NodeBuilder(&mut nodes[last])
    }

    /// The model's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

impl NodeBuilder<'_> {
    /// Names the node.
    pub fn name(self, name: &str) -> Self {
        self.0.name = name.to_owned();
        self
    }

    /// Puts the operator in another domain than ONNX's own.
    pub fn domain(self, domain: &str) -> Self {
        self.0.domain = domain.to_owned();
        self
    }

    fn attr(self, name: &str, attr: AttributeProto) -> Self {
        self.0.attribute.push(AttributeProto { name: name.to_owned(), ..attr });
        self
    }

    /// Sets an integer attribute.
    pub fn int(self, name: &str, i: i64) -> Self {
        self.attr(name, AttributeProto { i, r#type: 2, ..Default::default() })
    }

    /// Sets an attribute that is a list of integers.
    pub fn ints(self, name: &str, ints: &[i64]) -> Self {
        self.attr(name, AttributeProto { ints: ints.to_vec(), r#type: 7, ..Default::default() })
    }

    /// Sets a float attribute.
    pub fn float(self, name: &str, f: f32) -> Self {
        self.attr(name, AttributeProto { f, r#type: 1, ..Default::default() })
    }

    /// Sets a string attribute.
    pub fn str(self, name: &str, s: &str) -> Self {
        self.attr(name, AttributeProto { s: s.as_bytes().to_vec(), r#type: 3, ..Default::default() })
    }

    /// Sets an attribute that is a float tensor.
    pub fn tensor(self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        let t = Some(float_tensor(dims, data));
        self.attr(name, AttributeProto { t, r#type: 4, ..Default::default() })
    }
}

fn float_tensor(dims: &[i64], data: &[f32]) -> TensorProto {
    TensorProto {
        dims: dims.to_vec(),
        data_type: FLOAT,
        raw_data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn value_info(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().enumerate().map(|(axis, d)| Dimension {
        value: Some(match d {
            -1 => dimension::Value::DimParam(format!("dim_{axis}")),
            n => dimension::Value::DimValue(*n),
        }),
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor_type = Some(type_proto::Tensor { elem_type, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
