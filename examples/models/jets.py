"""The LHC jet tagger: gluon, quark, W, Z or top from 16 observables of a jet's substructure."""

from functools import cache

import numpy as np

from zoo import ops
from zoo.model import Model, main


def forward(net, x):
    for i, n in enumerate((64, 32, 32)):
        x = ops.relu(net.dense(f"dense{i}", x, n))
    return ops.softmax(net.dense("tag", x, 5))


def particles(rng, kinds, slots=32):
    """Momentum fractions [rows, slots] and directions [rows, slots, 2] of what jets are made of: one prong of gluons and
    quarks, two of W and Z, three of tops."""
    rows = len(kinds)
    prongs = np.array([1, 1, 2, 2, 3])[kinds]
    multiplicity = np.minimum(rng.poisson(np.array([26, 13, 19, 19, 26])[kinds]) + 3, slots)
    share = rng.dirichlet([2, 2, 2], rows) * (np.arange(3) < prongs[:, None])
    share /= share.sum(axis=1, keepdims=True)
    distance = np.array([0, 0, 0.14, 0.2, 0.3])[kinds] * np.exp(0.08 * rng.normal(size=rows))
    angle = rng.uniform(0, 2 * np.pi, rows)[:, None] + np.array([0, np.pi, np.pi / 2])
    reach = distance[:, None] * (1 - share)
    centre = np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=-1)
    of = (rng.random((rows, slots, 1)) > share.cumsum(axis=1)[:, None]).sum(axis=-1).clip(0, 2)
    width = np.array([0.06, 0.035, 0.03, 0.03, 0.03])[kinds][:, None, None]
    spread = width * rng.normal(size=(rows, slots, 2)) * rng.exponential(1, (rows, slots, 1))
    place = np.take_along_axis(centre, of[:, :, None], axis=1) + spread
    z = rng.exponential(1, (rows, slots)) ** 1.5 * (np.arange(slots) < multiplicity[:, None])
    return z / z.sum(axis=1, keepdims=True), place, multiplicity


def observables(rng, kinds):
    z, place, multiplicity = particles(rng, kinds)
    delta = place[:, :, None] - place[:, None]
    r = np.sqrt((delta**2).sum(axis=-1)) + 1e-6
    centre = (z[..., None] * place).sum(axis=1, keepdims=True)
    theta = np.sqrt(((place - centre) ** 2).sum(axis=-1))

    def correlations(beta):
        pairs = z[:, :, None] * r**beta * (1 - np.eye(z.shape[1]))
        e2 = (z[:, None] * pairs).sum(axis=(1, 2)) / 2
        return e2, np.einsum("nij,nji->n", pairs @ pairs, pairs) / 6

    e2, e3 = zip(*(correlations(beta) for beta in (0, 1, 2)))
    leading = np.sort(z, axis=1)[:, :-4:-1]
    mass2 = (z[:, :, None] * z[:, None] * r**2).sum(axis=(1, 2)) / 2
    columns = [
        (z * np.log(z + 1e-9)).sum(axis=1),
        *np.log(np.maximum(e2, 1e-6)),
        *np.log([e3[b] / e2[b] ** 2 + 1e-6 for b in (1, 2)]),
        *np.log([e3[b] / e2[b] ** 3 + 1e-6 for b in (1, 2)]),
        (z * theta).sum(axis=1),
        (z * np.sqrt(theta)).sum(axis=1),
        np.sqrt((z**2).sum(axis=1)),
        *leading.T,
        np.sqrt(mass2) * np.exp(0.05 * rng.normal(size=len(kinds))),
        multiplicity,
    ]
    return np.stack(columns, axis=1)


@cache
def scales():
    """Mean and spread of each observable over a sample of its own."""
    rng = np.random.default_rng(0)
    sample = observables(rng, rng.integers(0, 5, 4000))
    return sample.mean(axis=0), sample.std(axis=0)


def generate(rng, rows):
    kinds = rng.integers(0, 5, rows)
    mean, spread = scales()
    return {"input": (observables(rng, kinds) - mean) / spread}, [kinds]


MODEL = Model(
    "jets",
    forward,
    generate,
    outputs={"probabilities": (5,)},
    parameters=("all", 4389),
    rows=20000,
    epochs=10,
    batch=100,
    test=1000,
    calibration=500,
)

if __name__ == "__main__":
    main(MODEL)
