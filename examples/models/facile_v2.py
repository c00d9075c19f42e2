"""FACILE v2, as it runs on GPUs: the same task, with depth and eta spread out to one-hot inputs."""

import numpy as np

from zoo import hcal, net, ops
from zoo.model import Model, main


def forward(net, x):
    x = net.batch_norm("norm", x)
    for i, n in enumerate((200, 100, 50, 20, 10, 5)):
        x = ops.relu(net.dense(f"dense{i}", x, n))
    return net.dense("energy", x, 1)


def generate(rng, rows):
    energy, charge, ieta, depth, gain = hcal.cells(rng, rows)
    iphi = rng.integers(1, 73, rows) / 72
    place = [hcal.one_hot(depth, 7), hcal.one_hot(ieta - 1, 30)]
    return {"input": np.concatenate([np.stack([iphi, gain], axis=1), charge, *place], axis=1)}, [energy]


MODEL = Model(
    "facile_v2",
    forward,
    generate,
    outputs={"energy": (1,)},
    parameters=("all", 36041 + 188),
    loss=net.squared,
    rows=20000,
    epochs=8,
    batch=100,
    test=1000,
    calibration=500,
)

if __name__ == "__main__":
    main(MODEL)
