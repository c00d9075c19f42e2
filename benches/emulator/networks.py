"""The networks that all contestants run: read from ONNX, batch normalisations folded, written again in the form that each
contestant reads.

A `Network` is a list of steps on one tensor, channels first as in ONNX: what the models of the zoo are made of, not all of
ONNX. `run` is the contestant NumPy.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 8


@dataclass
class Step:
    op: str
    inputs: list  # names of tensors
    output: str
    weight: np.ndarray = None
    bias: np.ndarray = None
    attributes: dict = field(default_factory=dict)


class Unsupported(Exception):
    """A model that is not made of the few operators here, or that a contestant does not run."""


class Network:
    def __init__(self, name, row, steps):
        self.name, self.row, self.steps = name, tuple(row), steps

    @property
    def is_dense(self):
        """Whether it is a chain of dense layers with ReLU between them."""
        return all(step.op in ("Gemm", "Relu") for step in self.steps)

    def without_softmax(self):
        """The same up to the logits."""
        last = self.steps[-1]
        return Network(self.name, self.row, self.steps[:-1] if last.op == "Softmax" else self.steps)

    def onnx(self):
        """The model for ONNX Runtime and our compiler, any number of rows."""
        nodes, constants = [], []

        def constant(value, name):
            constants.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
            return name

        for step in self.steps:
            inputs = list(step.inputs)
            for value, kind in ((step.weight, "weight"), (step.bias, "bias")):
                inputs += [constant(value, f"{step.output}.{kind}")] if value is not None else []
            nodes.append(helper.make_node(step.op, inputs, [step.output], name=f"/{step.output}", **step.attributes))
        return _model(self.name, nodes, constants, ["batch", *self.row], self.steps[-1].output)

    def onnx_for_hls4ml(self):
        """A dense network for hls4ml's ONNX front-end: one row, products and sums apart, every shape declared."""
        if not self.is_dense:
            raise Unsupported("only dense networks are written without qonnx")
        nodes, constants, shapes = [], [], {}
        for step in self.steps:
            if step.op == "Relu":
                shapes[step.output] = shapes[step.inputs[0]]
                nodes.append(helper.make_node("Relu", step.inputs, [step.output], name=step.output))
                continue
            product = f"{step.output}_product"
            for value, name in ((step.weight.T, "weight"), (step.bias, "bias")):
                value = np.ascontiguousarray(value, np.float32)
                constants.append(numpy_helper.from_array(value, f"{step.output}_{name}"))
                shapes[f"{step.output}_{name}"] = list(value.shape)
            shapes[product] = shapes[step.output] = [1, len(step.bias)]
            nodes += [
                helper.make_node("MatMul", [step.inputs[0], f"{step.output}_weight"], [product], name=product),
                helper.make_node("Add", [product, f"{step.output}_bias"], [step.output], name=step.output),
            ]
        last = self.steps[-1].output
        del shapes[last]
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
        outputs = [1, len(self.steps[-1].bias)]
        return _model(self.name, nodes, constants, [1, *self.row], last, infos, outputs)

    def run(self, x):
        """NumPy's result of rows `x`, in single precision."""
        values = {"x": x}
        for step in self.steps:
            values[step.output] = _RUN[step.op](step, *(values[name] for name in step.inputs))
        return values[self.steps[-1].output]


def _model(name, nodes, constants, shape, output, infos=(), out_shape=None):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        name,
        [value("x", TensorProto.FLOAT, shape)],
        [value(output, TensorProto.FLOAT, out_shape)],
        constants,
        value_info=list(infos),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model if out_shape else onnx.shape_inference.infer_shapes(model)


def dense(name, widths, seed):
    """Dense layers with ReLU between them, of random weights."""
    rng = np.random.default_rng(seed)
    steps, tensor = [], "x"
    for i, (n, m) in enumerate(zip(widths, widths[1:])):
        weight = (rng.normal(0, 1, (m, n)) * np.sqrt(2 / n)).astype(np.float32)
        bias = (rng.normal(0, 0.1, m)).astype(np.float32)
        steps.append(Step("Gemm", [tensor], f"dense{i}", weight, bias, {"transB": 1}))
        tensor = f"dense{i}"
        if m != widths[-1] or i + 2 < len(widths):
            steps.append(Step("Relu", [tensor], f"relu{i}"))
            tensor = f"relu{i}"
    return Network(name, widths[:1], steps)


def read(path, name):
    """A model of the zoo, its batch normalisations folded into the layer before, or into the dense layer behind."""
    graph = onnx.load(path).graph
    constants = {c.name: numpy_helper.to_array(c) for c in graph.initializer}
    names, uses = {graph.input[0].name: "x"}, {}
    for node in graph.node:
        for tensor in node.input:
            uses[tensor] = uses.get(tensor, 0) + 1
    steps, made, pending = [], {}, {}
    for i, node in enumerate(graph.node):
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        tensors = [t for t in node.input if t not in constants]
        values = [constants[t].astype(np.float64) for t in node.input if t in constants]
        source = tensors[0]
        if node.op_type == "BatchNormalization":
            gamma, beta, mean, variance = values
            scale = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
            shift = beta - mean * scale
            before = made.get(source)
            if before is not None and before.weight is not None and uses[source] == 1:
                before.weight = before.weight * scale.reshape(-1, *[1] * (before.weight.ndim - 1))
                before.bias = before.bias * scale + shift
                made[node.output[0]] = before
            else:
                pending[node.output[0]] = (scale, shift)
            names[node.output[0]] = names[source]
            continue
        output = f"{node.op_type.lower()}{i}"
        step = Step(node.op_type, [names[t] for t in tensors], output, attributes=attributes)
        if node.op_type in ("Conv", "Gemm"):
            if node.op_type == "Gemm" and not attributes.get("transB"):
                raise Unsupported(f"{path}: '{node.name}' is a Gemm without transB")
            step.weight = values[0]
            step.bias = values[1] if len(values) > 1 else np.zeros(len(values[0]))
        elif node.op_type not in _RUN or values:
            raise Unsupported(f"{path}: '{node.name}' is a {node.op_type}")
        if any(t in pending for t in tensors):
            if node.op_type != "Gemm":
                raise Unsupported(f"{path}: a batch normalisation in front of '{node.name}'")
            scale, shift = pending[source]
            step.bias = step.bias + step.weight @ shift
            step.weight = step.weight * scale
        names[node.output[0]], made[node.output[0]] = output, step
        steps.append(step)
    for step in steps:
        if step.weight is not None:
            step.weight, step.bias = step.weight.astype(np.float32), step.bias.astype(np.float32)
    row = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim[1:]]
    return Network(name, row, steps)


def _windows(x, attributes, fill):
    """Windows of a padded image: [rows, channels, out rows, out columns, kernel rows, kernel columns]."""
    top, left, bottom, right = attributes.get("pads", [0] * 4)
    if any((top, left, bottom, right)):
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, attributes["kernel_shape"], axis=(2, 3))
    down, across = attributes.get("strides", [1, 1])
    return windows[:, :, ::down, ::across]


def _conv(step, x):
    windows, groups = _windows(x, step.attributes, 0), step.attributes.get("group", 1)
    n, channels, height, width, kh, kw = windows.shape
    if groups == 1:
        columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, channels * kh * kw)
        y = columns @ step.weight.reshape(len(step.weight), -1).T + step.bias
        return y.reshape(n, height, width, -1).transpose(0, 3, 1, 2)
    if groups != channels or len(step.weight) != channels:
        raise Unsupported("a grouped convolution that is not depthwise")
    return np.einsum("nchwij,cij->nchw", windows, step.weight[:, 0], optimize=True) + step.bias[:, None, None]


def _softmax(_, x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


_RUN = {
    "Gemm": lambda s, x: x @ s.weight.T + s.bias,
    "Conv": _conv,
    "Relu": lambda _, x: np.maximum(x, 0),
    "Add": lambda _, a, b: a + b,
    "MaxPool": lambda s, x: _windows(x, s.attributes, -np.inf).max(axis=(4, 5)),
    "AveragePool": lambda s, x: _windows(x, s.attributes, 0).mean(axis=(4, 5)),
    "GlobalAveragePool": lambda _, x: x.mean(axis=(2, 3), keepdims=True),
    "Flatten": lambda _, x: x.reshape(len(x), -1),
    "Softmax": _softmax,
}
