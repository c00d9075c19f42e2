"""DeepClean: the noise in a gravitational-wave strain, from 8,192 samples of 21 channels that witness it."""

import numpy as np

from zoo import net, ops
from zoo.model import Model, main

SAMPLES = 8192


def forward(net, x):
    def step(name, x):
        return ops.tanh(net.batch_norm(f"{name}.norm", x))

    x = step("input", net.conv("input.conv", x, 21, 7, pads=3))
    for i, n in enumerate((8, 16, 32, 64)):
        x = step(f"down{i}", net.conv(f"down{i}.conv", x, n, 7, strides=2, pads=3))
    for i, n in enumerate((32, 16, 8, 21)):
        x = step(f"up{i}", net.conv_transpose(f"up{i}.conv", x, n, (7,), (2,), (3,), (1,)))
    return net.conv("output.conv", x, 1, 7, pads=3)


def witnesses(rng, rows, samples):
    """Mains hum with its harmonics and a drifting phase, modulated by slow channels, and bands of noise."""
    t = np.arange(samples) / 4096
    hum = 2 * np.pi * 60 * t + rng.uniform(0, 2 * np.pi, (rows, 1)) + np.cumsum(0.01 * rng.normal(size=(rows, samples)), axis=1)
    slow = [np.sin(2 * np.pi * f * t + rng.uniform(0, 2 * np.pi, (rows, 1))) for f in (0.3, 0.7, 1.1, 1.6, 2.2, 2.9)]
    lines = [np.sin(k * hum + 0.3 * k) for k in (1, 2, 3)]
    bands = []
    for width in range(5, 17):
        white = rng.normal(size=(rows, samples + 16))
        window = np.hanning(width)
        band = np.apply_along_axis(np.convolve, 1, white, window / np.linalg.norm(window), "same")
        bands.append(band[:, :samples])
    x = np.stack([*slow, *lines, *bands], axis=1)
    noise = lines[0] * (1 + 0.5 * slow[0]) + 0.5 * lines[1] * slow[1] + 0.6 * bands[0] + 0.4 * np.tanh(bands[1] * bands[2])
    noise = noise + 0.2 * rng.normal(size=noise.shape)
    return {"witnesses": x + 0.05 * rng.normal(size=x.shape)}, [noise[:, None].astype(np.float32)]




MODEL = Model(
    "deepclean",
    forward,
    lambda rng, rows: witnesses(rng, rows, SAMPLES),
    outputs={"noise": (1, SAMPLES)},
    parameters=("all", 44_309),
    loss=net.squared,
    rows=1000,
    epochs=6,
    rate=4e-3,
    batch=20,
    test=2,
    calibration=1,
    grain=1 / 8,
    train_inputs=lambda rng, rows: witnesses(rng, rows, 512),
)

if __name__ == "__main__":
    main(MODEL)
