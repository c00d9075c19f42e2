"""Networks: parameters by name, layers, training, and their ONNX file."""

import sys
import time
from pathlib import Path

import numpy as np

from . import ops
from .ops import Value


class Net:
    """Parameters of a network, made where it first asks for them.

    `forward(net, *inputs)` of a model calls the layers below and returns a value, or a list of them; inputs are values
    [rows, ...]. Layers of the same name share their parameters.
    """

    def __init__(self, forward, seed):
        self.forward = forward
        self.rng = np.random.default_rng(seed)
        self.params = {}
        self.statistics = {}

    def __call__(self, *inputs):
        out = self.forward(self, *(i if isinstance(i, Value) else Value(i) for i in inputs))
        return out if isinstance(out, list) else [out]

    def count(self):
        """Parameters: what is trained, and the mean and variance of batch normalisations."""
        return sum(v.data.size for v in (*self.params.values(), *self.statistics.values()))

    def trained(self):
        return sum(v.data.size for v in self.params.values())

    def weights(self):
        """Parameters but for those of batch normalisations."""
        norms = {name.rsplit(".", 1)[0] for name in self.statistics}
        return sum(v.data.size for name, v in self.params.items() if name.rsplit(".", 1)[0] not in norms)

    def param(self, name, make):
        if name not in self.params:
            self.params[name] = Value(np.asarray(make(), np.float32), name=name)
        return self.params[name]

    def uniform(self, name, shape, fan_in, gain=2.0):
        """A weight of variance `gain / fan_in`."""
        bound = np.sqrt(3 * gain / fan_in)
        return self.param(name, lambda: self.rng.uniform(-bound, bound, shape))

    def zeros(self, name, n):
        return self.param(name, lambda: np.zeros(n))

    def dense(self, name, x, n, bias=True, gain=2.0):
        """[rows, k] to [rows, n]; as a MatMul and an Add where there are more axes."""
        k = x.shape[-1]
        if x.data.ndim == 2:
            weight = self.uniform(f"{name}.weight", (n, k), k, gain)
            return ops.gemm(x, weight, self.zeros(f"{name}.bias", n) if bias else None)
        y = ops.matmul(x, self.uniform(f"{name}.weight", (k, n), k, gain))
        return ops.add(y, self.zeros(f"{name}.bias", n)) if bias else y

    def conv(self, name, x, n, kernel, strides=None, pads=None, group=1, bias=True, gain=2.0):
        """`pads` may be "same": an odd kernel's, strides or not."""
        rank = x.data.ndim - 2
        kernel = (kernel,) * rank if isinstance(kernel, int) else kernel
        strides = (strides,) * rank if isinstance(strides, int) else strides
        pads = tuple(k // 2 for k in kernel) if pads == "same" else pads
        pads = (pads,) * rank if isinstance(pads, int) else pads
        shape = (n, x.shape[1] // group, *kernel)
        weight = self.uniform(f"{name}.weight", shape, np.prod(shape[1:]), gain)
        return ops.conv(x, weight, self.zeros(f"{name}.bias", n) if bias else None, strides, pads, group)

    def conv_transpose(self, name, x, n, kernel, strides, pads, output_padding):
        c = x.shape[1]
        weight = self.uniform(f"{name}.weight", (c, n, *kernel), c * np.prod(kernel) / np.prod(strides))
        return ops.conv_transpose(x, weight, self.zeros(f"{name}.bias", n), strides, pads, output_padding)

    def batch_norm(self, name, x, scale=1.0):
        """`scale` is what the weights start from."""
        c = x.shape[1]
        for statistic, value in (("mean", 0), ("var", 1)):
            key = f"{name}.running_{statistic}"
            if key not in self.statistics:
                self.statistics[key] = Value(np.full(c, value, np.float32), name=key)
        weight = self.param(f"{name}.weight", lambda: np.full(c, scale))
        mean, var = (self.statistics[f"{name}.running_{s}"] for s in ("mean", "var"))
        return ops.batch_norm(x, weight, self.zeros(f"{name}.bias", c), mean, var)

    def prelu(self, name, x):
        shape = (x.shape[1],) + (1,) * (x.data.ndim - 2)
        return ops.prelu(x, self.param(f"{name}.weight", lambda: np.full(shape, 0.25)))

    # Training

    def calibrate(self, *inputs):
        """Takes the statistics of all batch normalisations from one batch, layer by layer: each sees what the ones before
        make of it."""
        with ops.mode(calibrating=True):
            self(*inputs)

    def run(self, *inputs, batch=64):
        """All outputs for all rows."""
        parts = [self(*(i[at : at + batch] for i in inputs)) for at in range(0, len(inputs[0]), batch)]
        return [np.concatenate([part[n].data for part in parts]) for n in range(len(parts[0]))]

    def fit(self, inputs, targets, loss, epochs, rate=1e-3, batch=64, calibrate=200, noise=0.0, log=True):
        """Adam with a rate that falls to nothing along half a cosine. `inputs` and `targets` are lists of arrays;
        `loss(outputs, targets)` gives the loss and the gradients of outputs, or of values before them. The statistics of
        batch normalisations are those of the first `calibrate` rows under the trained weights. `noise`, in units of each
        input's spread over rows, is added to what is trained on."""
        rows = len(inputs[0])
        steps, step = epochs * (rows // batch), 0
        first, second = {}, {}
        start = time.monotonic()
        spreads = [np.float32(noise) * i.std(axis=0) for i in inputs] if noise else []
        for epoch in range(epochs):
            total = 0.0
            order = self.rng.permutation(rows)
            for at in range(0, rows - batch + 1, batch):
                take = order[at : at + batch]
                seen = [i[take] for i in inputs]
                for x, spread in zip(seen, spreads):
                    x += spread * self.rng.standard_normal(x.shape, np.float32)
                with ops.mode(training=True):
                    outputs = self(*seen)
                    value, seeds = loss(outputs, [t[take] for t in targets])
                    ops.backward(seeds)
                total += value
                lr = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
                step += 1
                for name, p in self.params.items():
                    if p.grad is None:
                        continue
                    m = first.setdefault(name, np.zeros_like(p.data))
                    v = second.setdefault(name, np.zeros_like(p.data))
                    m += 0.1 * (p.grad - m)
                    v += 0.001 * (p.grad * p.grad - v)
                    p.data -= np.float32(lr * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)) * m / (np.sqrt(v) + 1e-8)
                    p.grad = None
            if log:
                took = time.monotonic() - start
                print(f"  epoch {epoch + 1}: loss {total / (rows // batch):.4f}, {took:.0f} s", file=sys.stderr)
        if self.statistics:
            self.calibrate(*(i[:calibrate] for i in inputs))


def cross_entropy(outputs, targets):
    """Of a softmax: its gradient goes to the values in front of it, where it is simple and exact."""
    total, seeds = 0.0, []
    for y, label in zip(outputs, targets):
        rows = np.arange(len(label))
        total -= float(np.log(y.data[rows, label] + 1e-12).mean())
        grad = y.data.copy()
        grad[rows, label] -= 1
        seeds.append((y.operands[0], grad / np.float32(len(label))))
    return total, seeds


def squared(outputs, targets):
    """Mean squared error."""
    total, seeds = 0.0, []
    for y, target in zip(outputs, targets):
        difference = y.data - target
        total += float((difference**2).mean())
        seeds.append((y, difference * np.float32(2 / difference.size)))
    return total, seeds
