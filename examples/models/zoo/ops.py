"""Operators on numpy arrays that can be differentiated and written as ONNX nodes.

A `Value` is the result of an operator, channels first as in ONNX; while `recording`, it keeps its operands and the ONNX node
that it is, so that the graph of values behind a result is what `onnxfile.write` writes, and while `training` also how to
send a gradient back. One definition of a network serves for training and for its ONNX file.
"""

import itertools
from contextlib import contextmanager

import numpy as np

_flags = {"recording": False, "training": False, "calibrating": False}


@contextmanager
def mode(recording=False, training=False, calibrating=False):
    """What values keep inside the block: their ONNX nodes, and the way back of gradients. Batch normalisations take their
    statistics from the batch while training or calibrating."""
    before = dict(_flags)
    _flags.update(recording=recording or training, training=training, calibrating=training or calibrating)
    try:
        yield
    finally:
        _flags.update(before)


class Value:
    """An array, the operands and the ONNX node (`op`, `attributes`) that it comes from, and its gradient.

    `back(gradient)` gives the gradient of each operand, None for those that have none.
    """

    def __init__(self, data, operands=(), op=None, attributes=None, back=None, name=None):
        self.data = data
        self.name = name
        self.op = op
        self.attributes = attributes or {}
        self.operands = operands if _flags["recording"] else ()
        self.back = back if _flags["training"] else None
        self.grad = None

    @property
    def shape(self):
        return self.data.shape


def order(results):
    """The values that `results` depend on, each behind its operands."""
    seen, ordered = set(), []
    stack = [(value, False) for value in reversed(results)]
    while stack:
        value, done = stack.pop()
        if done:
            ordered.append(value)
        elif id(value) not in seen:
            seen.add(id(value))
            stack.append((value, True))
            stack.extend((operand, False) for operand in reversed(value.operands) if operand)
    return ordered


def backward(seeds):
    """Sends gradients, pairs of a value and its gradient, back to all that the values depend on."""
    for value, grad in seeds:
        value.grad = grad
    for value in reversed(order([value for value, _ in seeds])):
        if value.back is None or value.grad is None:
            continue
        for operand, grad in zip(value.operands, value.back(value.grad)):
            if grad is not None:
                operand.grad = grad if operand.grad is None else operand.grad + grad
        if value.op is not None:
            value.grad = None


def constant(array, name=None):
    return Value(np.asarray(array), name=name)


def _unbroadcast(grad, shape):
    """The gradient of an operand of `shape` that was broadcast."""
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    wide = tuple(axis for axis, n in enumerate(shape) if n == 1 and grad.shape[axis] != 1)
    return grad.sum(axis=wide, keepdims=True) if wide else grad


def add(a, b):
    def back(g):
        return _unbroadcast(g, a.shape), _unbroadcast(g, b.shape)

    return Value(a.data + b.data, (a, b), "Add", back=back)


def sub(a, b):
    def back(g):
        return _unbroadcast(g, a.shape), _unbroadcast(-g, b.shape)

    return Value(a.data - b.data, (a, b), "Sub", back=back)


def mul(a, b):
    def back(g):
        return _unbroadcast(g * b.data, a.shape), _unbroadcast(g * a.data, b.shape)

    return Value(a.data * b.data, (a, b), "Mul", back=back)


def matmul(a, b):
    """`a` [..., k] times a matrix `b` [k, m]."""

    def back(g):
        rows = a.data.reshape(-1, a.shape[-1])
        return g @ b.data.T, rows.T @ g.reshape(-1, g.shape[-1])

    return Value(a.data @ b.data, (a, b), "MatMul", back=back)


def gemm(x, weight, bias=None):
    """`x` [n, k] times `weight` [m, k] transposed, plus `bias` [m]."""
    y = x.data @ weight.data.T + (0 if bias is None else bias.data)

    def back(g):
        return (g @ weight.data, g.T @ x.data) + (() if bias is None else (g.sum(axis=0),))

    operands = (x, weight) if bias is None else (x, weight, bias)
    return Value(y, operands, "Gemm", {"transB": 1}, back)


def relu(x):
    return Value(np.maximum(x.data, 0), (x,), "Relu", back=lambda g: (g * (x.data > 0),))


def leaky_relu(x, slope):
    y = np.where(x.data > 0, x.data, np.float32(slope) * x.data)
    back = lambda g: (np.where(x.data > 0, g, np.float32(slope) * g),)
    return Value(y, (x,), "LeakyRelu", {"alpha": slope}, back)


def prelu(x, slope):
    """`slope` has one value a channel: [c, 1, ...]."""

    def back(g):
        below = x.data <= 0
        return np.where(below, slope.data * g, g), _unbroadcast(g * x.data * below, slope.shape)

    return Value(np.where(x.data > 0, x.data, slope.data * x.data), (x, slope), "PRelu", back=back)


def tanh(x):
    y = np.tanh(x.data)
    return Value(y, (x,), "Tanh", back=lambda g: (g * (1 - y * y),))


def sigmoid(x):
    y = 1 / (1 + np.exp(-x.data))
    return Value(y, (x,), "Sigmoid", back=lambda g: (g * y * (1 - y),))


def softmax(x):
    """Along the last axis."""
    e = np.exp(x.data - x.data.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    back = lambda g: (y * (g - (g * y).sum(axis=-1, keepdims=True)),)
    return Value(y, (x,), "Softmax", {"axis": -1}, back)


def batch_norm(x, scale, shift, mean, var, epsilon=1e-5):
    """Over axis 1. Training and calibrating put the batch's mean and variance into `mean` and `var`."""
    axes = (0, *range(2, x.data.ndim))
    per_channel = (1, -1) + (1,) * (x.data.ndim - 2)
    if _flags["calibrating"]:
        mean.data[...], var.data[...] = x.data.mean(axis=axes), x.data.var(axis=axes)
    inverse = (1 / np.sqrt(var.data + epsilon)).astype(np.float32).reshape(per_channel)
    normal = (x.data - mean.data.reshape(per_channel)) * inverse
    gamma = scale.data.reshape(per_channel)

    def back(g):
        gn = g * gamma
        dx = gn - gn.mean(axis=axes, keepdims=True) - normal * (gn * normal).mean(axis=axes, keepdims=True)
        return dx * inverse, (g * normal).sum(axis=axes), g.sum(axis=axes), None, None

    y = normal * gamma + shift.data.reshape(per_channel)
    return Value(y, (x, scale, shift, mean, var), "BatchNormalization", {"epsilon": epsilon, "momentum": 0.9}, back)


class Windows:
    """Windows `kernel` with `strides` and `pads` (the same on both sides unless pairs) over the spatial axes `size`."""

    def __init__(self, size, kernel, strides, pads):
        self.kernel, self.strides = tuple(kernel), tuple(strides)
        self.pads = [p if isinstance(p, tuple) else (p, p) for p in pads]
        self.padded = [n + a + b for n, (a, b) in zip(size, self.pads)]
        self.out = tuple((n - k) // s + 1 for n, k, s in zip(self.padded, self.kernel, self.strides))
        self.inside = tuple(slice(a, a + n) for n, (a, _) in zip(size, self.pads))
        self.taps = list(itertools.product(*(range(k) for k in self.kernel)))

    def attributes(self):
        begins, ends = zip(*self.pads)
        return {"kernel_shape": self.kernel, "strides": self.strides, "pads": begins + ends}

    def pad(self, x, value=0):
        if not any(a or b for a, b in self.pads):
            return x
        y = np.full(x.shape[:2] + tuple(self.padded), value, x.dtype)
        y[(..., *self.inside)] = x
        return y

    def at(self, tap):
        """The index of what `tap` sees of a padded array, one element for each window."""
        return (..., *(slice(t, t + (n - 1) * s + 1, s) for t, n, s in zip(tap, self.out, self.strides)))

    def columns(self, x):
        """`x` [n, c, ...] as [n, c, taps, windows]."""
        if len(self.taps) == 1 and all(s == 1 for s in self.strides) and self.padded == list(x.shape[2:]):
            return x.reshape(*x.shape[:2], 1, -1)
        padded = self.pad(x)
        columns = np.empty(x.shape[:2] + (len(self.taps),) + self.out, x.dtype)
        for i, tap in enumerate(self.taps):
            columns[:, :, i] = padded[self.at(tap)]
        return columns.reshape(*x.shape[:2], len(self.taps), -1)

    def fold(self, columns):
        """The sum over windows of [n, c, taps, windows]: the transpose of `columns`."""
        columns = columns.reshape(*columns.shape[:3], *self.out)
        padded = np.zeros(columns.shape[:2] + tuple(self.padded), columns.dtype)
        for i, tap in enumerate(self.taps):
            padded[self.at(tap)] += columns[:, :, i]
        return padded[(..., *self.inside)]


def conv(x, weight, bias=None, strides=None, pads=None, group=1):
    """`x` [n, c, ...], `weight` [m, c/group, kernel...], over one to three spatial axes."""
    rank = x.data.ndim - 2
    w = Windows(x.shape[2:], weight.shape[2:], strides or (1,) * rank, pads or (0,) * rank)
    n, m = x.shape[0], weight.shape[0]
    grouped = lambda columns: columns.reshape(n, group, -1, columns.shape[-1])
    columns = grouped(w.columns(x.data))
    matrix = weight.data.reshape(group, m // group, -1)
    y = np.matmul(matrix, columns).reshape(n, m, *w.out)
    if bias is not None:
        y += bias.data.reshape(m, *(1,) * rank)

    def back(g):
        g = g.reshape(n, group, m // group, -1)
        dweight = np.zeros(matrix.shape, np.float32)
        for row in range(n):
            dweight += np.matmul(g[row], columns[row].transpose(0, 2, 1))
        dcolumns = np.matmul(matrix.transpose(0, 2, 1), g)
        dx = w.fold(dcolumns.reshape(n, x.shape[1], len(w.taps), -1))
        grads = (dx, dweight.reshape(weight.shape))
        return grads if bias is None else grads + (g.sum(axis=(0, 3)).reshape(-1),)

    operands = (x, weight) if bias is None else (x, weight, bias)
    attributes = {"dilations": (1,) * rank, "group": group, **w.attributes()}
    return Value(y, operands, "Conv", attributes, back)


def conv_transpose(x, weight, bias, strides, pads, output_padding):
    """`x` [n, c, ...], `weight` [c, m, kernel...]: the transpose of `conv` from the larger image to the smaller."""
    kernel = weight.shape[2:]
    size = [
        (i - 1) * s - 2 * p + k + o for i, s, p, k, o in zip(x.shape[2:], strides, pads, kernel, output_padding)
    ]
    w = Windows(size, kernel, strides, pads)
    assert w.out == tuple(x.shape[2:])
    n, (c, m) = x.shape[0], weight.shape[:2]
    matrix = weight.data.reshape(c, -1)
    rows = x.data.reshape(n, c, -1)
    y = w.fold(np.matmul(matrix.T, rows).reshape(n, m, len(w.taps), -1))
    y = y + bias.data.reshape(m, *(1,) * len(kernel))

    def back(g):
        columns = w.columns(g).reshape(n, m * len(w.taps), -1)
        dweight = np.zeros(matrix.shape, np.float32)
        for row in range(n):
            dweight += rows[row] @ columns[row].T
        dx = np.matmul(matrix, columns).reshape(x.shape)
        return dx, dweight.reshape(weight.shape), g.sum(axis=(0, *range(2, g.ndim)))

    attributes = {
        "dilations": (1,) * len(kernel),
        "group": 1,
        "kernel_shape": kernel,
        "strides": strides,
        "pads": tuple(pads) * 2,
        "output_padding": output_padding,
    }
    return Value(y, (x, weight, bias), "ConvTranspose", attributes, back)


def max_pool(x, kernel, strides=None, pads=None):
    rank = len(kernel)
    w = Windows(x.shape[2:], kernel, strides or kernel, pads or (0,) * rank)
    padded = w.pad(x.data, -np.inf)
    y = padded[w.at(w.taps[0])].copy()
    for tap in w.taps[1:]:
        np.maximum(y, padded[w.at(tap)], out=y)

    def back(g):
        dx, left = np.zeros_like(padded), np.ones(y.shape, bool)
        for tap in w.taps:
            here = left & (padded[w.at(tap)] == y)
            dx[w.at(tap)] += g * here
            left &= ~here
        return (dx[(..., *w.inside)],)

    return Value(y, (x,), "MaxPool", w.attributes(), back)


def average_pool(x, kernel, strides=None):
    w = Windows(x.shape[2:], kernel, strides or kernel, (0,) * len(kernel))
    y = sum(x.data[w.at(tap)] for tap in w.taps) / np.float32(len(w.taps))

    def back(g):
        dx = np.zeros_like(x.data)
        for tap in w.taps:
            dx[w.at(tap)] += g / np.float32(len(w.taps))
        return (dx,)

    return Value(y, (x,), "AveragePool", w.attributes(), back)


def global_average_pool(x):
    axes = tuple(range(2, x.data.ndim))
    count = np.float32(np.prod(x.shape[2:]))
    back = lambda g: (np.broadcast_to(g / count, x.shape),)
    return Value(x.data.mean(axis=axes, keepdims=True), (x,), "GlobalAveragePool", back=back)


def reduce_mean(x, axis):
    """Over one axis, which goes away."""
    back = lambda g: (np.broadcast_to(np.expand_dims(g / np.float32(x.shape[axis]), axis), x.shape),)
    return Value(x.data.mean(axis=axis), (x,), "ReduceMean", {"axes": (axis,), "keepdims": 0}, back)


def flatten(x):
    back = lambda g: (g.reshape(x.shape),)
    return Value(x.data.reshape(x.shape[0], -1), (x,), "Flatten", {"axis": 1}, back)


def reshape(x, shape):
    """To `shape` behind the rows."""
    to = constant(np.array([-1, *shape], np.int64))
    back = lambda g: (g.reshape(x.shape), None)
    return Value(x.data.reshape(-1, *shape), (x, to), "Reshape", {}, back)


def transpose(x, perm):
    back = lambda g: (g.transpose(np.argsort(perm)),)
    return Value(x.data.transpose(perm), (x,), "Transpose", {"perm": perm}, back)


def concat(values, axis=1):
    ends = np.cumsum([v.shape[axis] for v in values])[:-1]
    data = np.concatenate([v.data for v in values], axis=axis)
    return Value(data, tuple(values), "Concat", {"axis": axis}, lambda g: np.split(g, ends, axis=axis))


def part(x, axis, start, end):
    """The elements `start..end` along `axis`: a Slice."""
    index = (slice(None),) * axis + (slice(start, end),)

    def back(g):
        dx = np.zeros_like(x.data)
        dx[index] = g
        return (dx, None, None, None)

    bounds = tuple(constant(np.array([n], np.int64)) for n in (start, end, axis))
    return Value(x.data[index], (x, *bounds), "Slice", {}, back)


def upsample(x, factors):
    """Nearest neighbours, by whole `factors` along the spatial axes."""
    y = x.data
    for axis, factor in enumerate(factors):
        y = y.repeat(factor, axis=axis + 2)

    def back(g):
        for axis, factor in enumerate(factors):
            shape = g.shape[: axis + 2] + (g.shape[axis + 2] // factor, factor) + g.shape[axis + 3 :]
            g = g.reshape(shape).sum(axis=axis + 3)
        return g, None, None

    scales = constant(np.array([1, 1, *factors], np.float32))
    attributes = {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    return Value(y, (x, None, scales), "Resize", attributes, back)
