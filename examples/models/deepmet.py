"""DeepMET: the missing transverse momentum of an event as a weighted sum over 4,500 candidates, each with eight numbers and
three categories (charge, kind, vertex) spread out to one-hot inputs, which makes their embeddings products with tables."""

import numpy as np

from zoo import hcal, net, ops
from zoo.model import Model, main

CANDIDATES = 4500
CATEGORIES = (3, 11, 4)


def forward(net, x, categories):
    """`x` [rows, candidates, 8], px and py first; `categories` [rows, candidates, 18]."""
    parts, at = [x], 0
    for i, n in enumerate(CATEGORIES):
        parts.append(net.dense(f"embedding{i}", ops.part(categories, 2, at, at + n), 8, bias=False))
        at += n
    y = ops.concat(parts, axis=2)
    for i, n in enumerate((64, 32, 16)):
        channels_first = ops.transpose(net.dense(f"dense{i}", y, n), (0, 2, 1))
        y = ops.tanh(ops.transpose(net.batch_norm(f"norm{i}", channels_first), (0, 2, 1)))
    y = net.dense("weights", y, 3, gain=0.01)
    # Biases add up over all candidates: small steps of theirs are large ones of the sum, and rounding one of them rounds
    # thousands alike.
    weighted = ops.reduce_mean(ops.mul(ops.part(x, 2, 0, 2), ops.part(y, 2, 0, 1)), 1)
    bias = ops.mul(ops.reduce_mean(ops.part(y, 2, 1, 3), 1), ops.constant(np.float32(0.001)))
    met = ops.mul(ops.add(weighted, bias), ops.constant(np.float32(x.shape[1])))
    # The sum of so many is brought to order one before the last layer.
    offset = net.param("scaling.offset", lambda: np.zeros(2))
    scale = net.param("scaling.scale", lambda: np.full(2, 0.02))
    return net.dense("met", ops.mul(ops.sub(met, offset), scale), 2)


def events(rng, rows, candidates=CANDIDATES):
    """Events of a boson that escapes, what recoils from it, and pile-up from other vertices; targets are its px and py in
    units of 50 GeV, candidates' momenta in GeV."""
    n = rng.integers(300, 900, rows)[:, None]
    real = np.arange(candidates) < n
    vertex = rng.choice(4, (rows, candidates), p=[0.25, 0.15, 0.3, 0.3])
    hard = (rng.random((rows, candidates)) < 0.1) & real
    vertex = np.where(hard, rng.choice(4, vertex.shape, p=[0.02, 0.03, 0.15, 0.8]), vertex)
    pt = rng.exponential(0.8, vertex.shape) + 0.2
    phi = rng.uniform(-np.pi, np.pi, vertex.shape)
    px, py = pt * np.cos(phi) * real, pt * np.sin(phi) * real
    met = 0.6 * rng.normal(size=(rows, 2))
    for p, component in ((px, 0), (py, 1)):
        share = rng.exponential(1, p.shape) * hard
        share /= share.sum(axis=1, keepdims=True) + 1e-9
        p -= 50 * met[:, component, None] * share
        p += 0.3 * rng.normal(size=p.shape) * hard
    pt = np.hypot(px, py)
    puppi = (0.75 * hard + 0.25 * rng.random(pt.shape)) * real
    eta = rng.uniform(-3, 3, pt.shape) * real
    impact = np.where(vertex >= 2, 0.02, 0.3) * rng.normal(size=(2, *pt.shape)) * real
    x = np.stack([px, py, pt, eta, np.arctan2(py, px) * real, puppi, *impact], axis=2)
    charge, kind = rng.integers(0, 3, pt.shape), rng.integers(0, 11, pt.shape)
    one_hot = [hcal.one_hot(c, k) * real[..., None] for c, k in zip((charge, kind, vertex), CATEGORIES)]
    return {"x": x, "categories": np.concatenate(one_hot, axis=2)}, [met.astype(np.float32)]


MODEL = Model(
    "deepmet",
    forward,
    events,
    outputs={"met": (2,)},
    parameters=("all", 5_373),
    loss=net.squared,
    rows=900,
    epochs=6,
    rate=2e-2,
    batch=12,
    test=12,
    calibration=4,
    grain=1 / 16,
    train_inputs=lambda rng, rows: events(rng, rows, 900),
)

if __name__ == "__main__":
    main(MODEL)
