"""A three-dimensional CNN for IceCube: what kind of event lit up the modules of the detector. Inception blocks with separable
convolutions, then residual ones. The features are those of random weights with calibrated batch normalisations; only the
head is trained."""

import itertools

import numpy as np

from zoo import ops
from zoo.model import Model, main


def step(net, name, x, n, kernel, act=True, scale=1.0):
    pads = tuple(k // 2 for k in kernel)
    y = net.batch_norm(f"{name}.norm", net.conv(f"{name}.conv", x, n, kernel, pads=pads, bias=False), scale)
    return ops.relu(y) if act else y


def separable(net, name, x, n, kernel):
    for axis in range(3):
        x = step(net, f"{name}.{'xyz'[axis]}", x, n, tuple(kernel if a == axis else 1 for a in range(3)))
    return x


def features(net, x):
    for i in range(5):
        name = f"inception{i}"
        pooled = ops.max_pool(x, (3, 3, 3), (1, 1, 1), (1, 1, 1))
        branches = [separable(net, f"{name}.three", x, 24, 3), separable(net, f"{name}.five", x, 24, 5)]
        x = ops.concat([*branches, step(net, f"{name}.pool", pooled, 24, (1, 1, 1))])
    x = ops.average_pool(x, (2, 2, 2))
    for i in range(48):
        name = f"residual{i}"
        one = step(net, f"{name}.one", x, 32, (1, 1, 1))
        three = separable(net, f"{name}.three", step(net, f"{name}.three", x, 32, (1, 1, 1)), 32, 3)
        five = step(net, f"{name}.five.z", step(net, f"{name}.five", x, 32, (1, 1, 1)), 32, (1, 1, 5))
        # Small corrections, as blocks are where training starts, and not noise upon noise.
        y = step(net, f"{name}.join", ops.concat([one, three, five]), 72, (1, 1, 1), act=False, scale=0.1)
        x = ops.relu(ops.add(x, y))
    x = step(net, "wide", x, 4096, (1, 1, 1))
    return ops.flatten(ops.global_average_pool(x))


def head(net, x):
    return ops.softmax(net.dense("head", x, 5))


def forward(net, x):
    return head(net, features(net, x))


def generate(rng, rows):
    """16 summaries of the light in each of 10 x 10 x 60 modules: charge in eight time windows (compressed), and its early and
    late shares. Kinds: cascade, through-going, starting and stopping track, two cascades."""
    kinds = rng.integers(0, 5, rows)
    modules = np.array(list(itertools.product(range(10), range(10), range(60))), float) * [1.0, 1.0, 0.25]
    images = np.zeros((rows, 16, 6000))
    for row, kind in enumerate(kinds):
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        vertex = rng.uniform([2, 2, 3], [7, 7, 12])
        steps = {0: [0.0], 1: np.arange(-12, 12, 0.4), 2: np.arange(0, 12, 0.4), 3: np.arange(-12, 0, 0.4), 4: [0.0, 5.0]}[kind]
        size = {0: 200, 1: 10, 2: 10, 3: 10, 4: 100}[kind] * rng.uniform(0.8, 1.25)
        for along in steps:
            big = 15 if kind == 2 and along == 0 else 1
            distance = np.linalg.norm(modules - vertex - way * along, axis=1) + 0.3
            light = big * size * np.exp(-distance / 2.5) / distance
            time = (along + 12 + distance) / 3
            for window in range(8):
                images[row, window] += light * np.exp(-0.5 * (time - window) ** 2)
    images[:, :8] = np.log1p(rng.poisson(images[:, :8].clip(0, 1e4)))
    total = images[:, :8].sum(axis=1, keepdims=True)
    images[:, 8:] = images[:, :8].cumsum(axis=1) / (total + 1)
    return {"input": images.reshape(rows, 16, 10, 10, 60)}, [kinds]


MODEL = Model(
    "icecube",
    forward,
    generate,
    outputs={"classes": (5,)},
    parameters=("all", 1_855_397),
    rows=200,
    epochs=150,
    rate=1e-2,
    batch=50,
    test=100,
    calibration=32,
    grain=1 / 16,
    large=True,
    features=features,
    head=head,
    noise=0.5,
    statistics=16,
)

if __name__ == "__main__":
    main(MODEL)
