"""ProtoDUNE's neutrino classifier: what crosses the middle of a patch of wire signals, a track, a shower or neither, and
whether it is an electron from the decay of a stopped muon."""

import numpy as np

from zoo import ops
from zoo.model import Model, main
from zoo.net import cross_entropy


def forward(net, x):
    x = ops.flatten(ops.relu(net.conv("conv", x, 48, 5)))
    x = ops.relu(net.dense("dense1", x, 128))
    x = ops.relu(net.dense("dense2", x, 32))
    return [ops.softmax(net.dense("em_trk_none", x, 3)), ops.sigmoid(net.dense("michel", x, 1))]


def loss(outputs, targets):
    """Cross entropies of both outputs; the second one's gradient, too, goes to what is in front of its sigmoid."""
    total, seeds = cross_entropy(outputs[:1], targets[:1])
    y, label = outputs[1], targets[1][:, None].astype(np.float32)
    total -= float(np.log(np.abs(1 - label - y.data) + 1e-7).mean())
    return total, seeds + [(y.operands[0], (y.data - label) / np.float32(len(label)))]


def patch(rng, kind, michel):
    """Charge on 48 wires in 48 ticks. `kind` 0: shower, 1: track, 2: neither in the middle."""
    image = np.zeros((48, 48))

    def deposit(x, y, charge):
        i, j = int(np.floor(x)), int(np.floor(y))
        for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
            if 0 <= i + di < 48 and 0 <= j + dj < 48:
                image[i + di, j + dj] += charge * abs(1 - di - x + i) * abs(1 - dj - y + j)

    def line(x, y, angle, length, bend=0.0, charge=1.0):
        for _ in range(int(length * 2)):
            x, y, angle = x + 0.5 * np.cos(angle), y + 0.5 * np.sin(angle), angle + bend * rng.normal()
            deposit(x, y, 0.5 * charge * np.exp(0.3 * rng.normal()))
        return x, y, angle

    angle = rng.uniform(0, 2 * np.pi)
    x, y = 24 + 2 * rng.normal(size=2)
    if kind == 2:
        # Something far from the middle, or nothing.
        if rng.random() < 0.7:
            side = rng.uniform(14, 22)
            line(24 - side * np.sin(angle) - 30 * np.cos(angle), 24 + side * np.cos(angle) - 30 * np.sin(angle), angle, 60)
    elif michel:
        # A muon stops in the middle; its electron is short and scatters.
        line(x, y, angle, rng.uniform(15, 40), 0.01)
        line(x, y, angle + rng.uniform(1, 5.3), rng.uniform(6, 14), 0.2, 0.8)
    elif kind == 1:
        line(x - 35 * np.cos(angle), y - 35 * np.sin(angle), angle, 70, 0.02, rng.choice([0.8, 1.6]))
    else:
        start = rng.uniform(4, 14)
        x, y = x - start * np.cos(angle), y - start * np.sin(angle)
        for _ in range(rng.integers(12, 26)):
            along = start * rng.gamma(2, 0.6)
            bx, by = x + along * np.cos(angle), y + along * np.sin(angle)
            line(bx, by, angle + 0.35 * rng.normal(), rng.exponential(4) + 1, 0.15, 0.8)
    for _ in range(rng.poisson(2)):
        deposit(*rng.uniform(0, 48, 2), rng.exponential(1))
    return image


def generate(rng, rows):
    kinds = rng.integers(0, 3, rows)
    michel = (kinds == 0) & (rng.random(rows) < 0.5)
    images = np.stack([patch(rng, kind, m) for kind, m in zip(kinds, michel)])
    images += 0.05 * rng.normal(size=images.shape)
    # Charges are cut at a limit, so that a few large ones do not hide the rest.
    return {"main_input": images[:, None].clip(-0.25, 1.9375)}, [kinds, michel.astype(np.int64)]


MODEL = Model(
    "protodune",
    forward,
    generate,
    outputs={"em_trk_none": (3,), "michel": (1,)},
    parameters=("all", 11_900_420),
    loss=loss,
    rows=3000,
    epochs=4,
    rate=5e-4,
    batch=50,
    test=400,
    calibration=100,
    grain=1 / 32,
    large=True,
)

if __name__ == "__main__":
    main(MODEL)
