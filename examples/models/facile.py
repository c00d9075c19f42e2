"""FACILE, as it runs on FPGAs: the energy of a cell of a hadron calorimeter from eight charges and where the cell is."""

import numpy as np

from zoo import hcal, net, ops
from zoo.model import Model, main


def forward(net, x):
    for i, n in enumerate((31, 11, 3)):
        x = net.batch_norm(f"norm{i}", x)
        x = ops.relu(net.dense(f"dense{i}", x, n))
    return net.dense("energy", x, 1)


def generate(rng, rows):
    energy, charge, ieta, depth, gain = hcal.cells(rng, rows)
    iphi = rng.integers(1, 73, rows) / 72
    x = np.concatenate([charge, hcal.one_hot(depth, 7), np.stack([ieta / 30, iphi, gain], axis=1)], axis=1)
    return {"input": x}, [energy]


MODEL = Model(
    "facile",
    forward,
    generate,
    outputs={"energy": (1,)},
    parameters=("weights", 981),
    loss=net.squared,
    rows=20000,
    epochs=15,
    rate=5e-3,
    batch=100,
    test=1000,
    calibration=200,
)

if __name__ == "__main__":
    main(MODEL)
