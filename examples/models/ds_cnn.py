"""DS-CNN of MLPerf Tiny, on made-up keywords: ten fixed words, other words, and silence, as ten coefficients of a spectrum in
49 frames."""

import numpy as np

from zoo import fields, ops
from zoo.model import Model, main


def forward(net, x):
    def step(name, x):
        return ops.relu(net.batch_norm(f"{name}.norm", x))

    # Padded at the end as TensorFlow does, to 25 x 5.
    x = step("stem", net.conv("stem.conv", x, 64, (10, 4), strides=(2, 2), pads=((4, 5), (1, 1))))
    for i in range(4):
        x = step(f"depthwise{i}", net.conv(f"depthwise{i}.conv", x, 64, 3, pads="same", group=64))
        x = step(f"pointwise{i}", net.conv(f"pointwise{i}.conv", x, 64, 1))
    x = ops.flatten(ops.average_pool(x, (25, 5)))
    return ops.softmax(net.dense("dense", x, 12))


WORDS = fields.smooth(np.random.default_rng(11), 10, (80, 10), 7)


def generate(rng, rows):
    labels = rng.integers(0, 12, rows)
    words = np.concatenate([WORDS, np.zeros((1, 80, 10))])[np.minimum(labels, 10)]
    words[labels == 11] = fields.smooth(rng, (labels == 11).sum(), (80, 10), 7)
    # Said faster or slower, earlier or later, louder or softer, by different voices, in noise.
    speed, start = rng.uniform(1.0, 1.4, (rows, 1)), rng.uniform(0, 12, (rows, 1))
    frames = (start + speed * np.arange(49)).clip(0, 79).astype(int)
    x = np.take_along_axis(words, frames[:, :, None], axis=1) * rng.uniform(0.5, 1.1, (rows, 1, 1))
    x = x + 0.45 * fields.smooth(rng, rows, (49, 10), 3) + 0.5 * rng.normal(size=x.shape)
    return {"input": x[:, None]}, [labels]


MODEL = Model(
    "ds_cnn",
    forward,
    generate,
    outputs={"probabilities": (12,)},
    parameters=("all", 24_908),
    rows=1500,
    epochs=4,
    rate=3e-3,
    test=200,
    calibration=50,
    grain=1 / 16,
)

if __name__ == "__main__":
    main(MODEL)
