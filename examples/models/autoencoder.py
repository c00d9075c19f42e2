"""The autoencoder of MLPerf Tiny for anomalies in the sound of machines: five frames of 128 mel bands, given back."""

import numpy as np

from zoo import fields, net, ops
from zoo.model import Model, main


def forward(net, x):
    for i, n in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128)):
        x = ops.relu(net.batch_norm(f"norm{i}", net.dense(f"dense{i}", x, n)))
    return net.dense("output", x, 640)


BODIES = fields.smooth(np.random.default_rng(12), 3, (128,), 9)


def generate(rng, rows):
    """Levels of bands in units of 10 dB: a resonant body, one of three, and the harmonics of a motor whose speed drifts."""
    body = BODIES[rng.integers(0, 3, rows)][:, None] + 0.2 * fields.smooth(rng, rows, (128,), 4)[:, None]
    pitch = rng.uniform(9, 12, (rows, 1, 1)) * (1 + 0.02 * rng.normal(size=(rows, 1, 1)) * np.arange(5)[:, None])
    band = np.arange(128)
    comb = np.exp(3 * (np.cos(2 * np.pi * band / pitch) - 1)) * np.exp(-band / 90)
    x = body + rng.uniform(1, 2, (rows, 1, 1)) * comb + 0.1 * rng.normal(size=(rows, 5, 128))
    x = x.reshape(rows, 640).astype(np.float32)
    return {"input": x}, [x]


MODEL = Model(
    "autoencoder",
    forward,
    generate,
    outputs={"output": (640,)},
    parameters=("all", 269_992),
    loss=net.squared,
    rows=10000,
    epochs=8,
    rate=2e-3,
    batch=100,
    test=100,
    calibration=100,
    grain=1 / 32,
    large=True,
)

if __name__ == "__main__":
    main(MODEL)
