"""DeepTau without a split: is a jet a hadronic tau decay, an electron, a muon, or of quarks and gluons? Cells of an inner and
an outer grid go through towers of dense layers, then through convolutions to one cell each; a dense head joins them with the
numbers of the whole."""

import numpy as np

from zoo import ops
from zoo.model import Model, main

FEATURES = {"egamma": 86, "muon": 64, "hadrons": 38}
GRIDS = {"inner": 11, "outer": 21}


def step(net, name, x, n, kernel=None):
    y = net.dense(f"{name}.dense", x, n) if kernel is None else net.conv(f"{name}.conv", x, n, kernel)
    return net.prelu(f"{name}.prelu", net.batch_norm(f"{name}.norm", y))


def forward(net, tau, *cells):
    joined = []
    for grid, size in GRIDS.items():
        towers = []
        for kind, x in zip(FEATURES, cells[:3]):
            for i, n in enumerate({"egamma": (128, 106, 64), "muon": (128, 64), "hadrons": (72, 64)}[kind]):
                x = step(net, f"{grid}.{kind}{i}", x, n, 1)
            towers.append(x)
        cells = cells[3:]
        x = ops.concat(towers)
        for i, n in enumerate((331, 217, 64)):
            x = step(net, f"{grid}.join{i}", x, n, 1)
        for i in range(size // 2):
            x = step(net, f"{grid}.window{i}", x, 64, 3)
        joined.append(ops.flatten(x))
    for i, n in enumerate((83, 64, 62, 57)):
        tau = step(net, f"tau{i}", tau, n)
    x = ops.concat([tau, *joined])
    for i in range(4):
        x = step(net, f"head{i}", x, 200)
    return ops.softmax(net.dense("output", x, 4))


KINDS = ["electron", "muon", "tau", "jet"]


def generate(rng, rows):
    """Cells hold an object of each sort at most; features of the momentum they share, and of what kind of jet it is, all
    with much noise."""
    kinds = rng.integers(0, 4, rows)
    recipe = np.random.default_rng(13)
    loads = {"egamma": [4, 0.5, 2.5, 5], "muon": [0.2, 3, 0.2, 0.4], "hadrons": [0.7, 0.5, 2.5, 9]}
    inputs = {"tau": 0.25 * recipe.normal(size=(4, 47))[kinds] + rng.normal(size=(rows, 47))}
    for grid, size in GRIDS.items():
        width = {"inner": 1.8, "outer": 5.0}[grid]
        for kind, n in FEATURES.items():
            cells = np.zeros((rows, n, size, size), np.float32)
            patterns = recipe.normal(size=(4, n)) * 0.3
            count = rng.poisson(np.array(loads[kind])[kinds])
            for row in range(rows):
                at = np.round(rng.normal(size=(count[row], 2)) * width + size // 2).astype(int).clip(0, size - 1)
                what = patterns[kinds[row]] + 0.8 * rng.normal(size=(count[row], n))
                what[:, 0] = rng.exponential(1, count[row])
                cells[row, :, at[:, 0], at[:, 1]] = what
            inputs[f"{grid}_{kind}"] = cells
    return inputs, [kinds]


MODEL = Model(
    "deeptau",
    forward,
    generate,
    outputs={"classes": (4,)},
    parameters=("all", 1_163_201),
    rows=600,
    epochs=3,
    rate=2e-3,
    batch=20,
    test=100,
    calibration=8,
    grain=1 / 16,
    large=True,
)

if __name__ == "__main__":
    main(MODEL)
