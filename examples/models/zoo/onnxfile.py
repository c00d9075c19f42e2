"""Values as an ONNX file, as PyTorch's exporter would write it."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from . import ops

OPSET = 17


def write(path, net, inputs, outputs):
    """Writes `net` to `path`. `inputs` maps names to one row each, [1, ...]; `outputs` names the results, in order. The
    number of rows stays open."""
    with ops.mode(recording=True):
        values = [ops.Value(row, name=name) for name, row in inputs.items()]
        results = net(*values)
    assert len(results) == len(outputs), (len(results), outputs)
    names = {id(value): value.name for value in values}
    for value, name in zip(results, outputs):
        names[id(value)] = name
    nodes, initializers, counts = [], [], {}
    for value in ops.order(results):
        if value.op is None:
            if id(value) not in names:
                names[id(value)] = value.name or f"constant_{len(initializers)}"
                initializers.append(numpy_helper.from_array(np.ascontiguousarray(value.data), names[id(value)]))
            continue
        # A node is named after its layer: the parameters that it has.
        layers = [o.name.rsplit(".", 1)[0] for o in value.operands if o is not None and o.name and "." in o.name]
        stem = f"/{layers[0].replace('.', '/')}/{value.op}" if layers else f"/{value.op}"
        counts[stem] = counts.get(stem, 0) + 1
        name = stem if counts[stem] == 1 else f"{stem}_{counts[stem] - 1}"
        result = names.setdefault(id(value), f"{name}_output_0")
        operands = ["" if o is None else names[id(o)] for o in value.operands]
        attributes = {k: list(v) if isinstance(v, tuple) else v for k, v in value.attributes.items()}
        nodes.append(helper.make_node(value.op, operands, [result], name=name, **attributes))
    info = lambda name, array: helper.make_tensor_value_info(
        name, TensorProto.FLOAT, ["batch", *array.shape[1:]]
    )
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [info(name, row) for name, row in inputs.items()],
        [info(name, value.data) for name, value in zip(outputs, results)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="hypersonic-zoo")
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
