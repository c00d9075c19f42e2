"""DeepCalo on images alone: the energy of an electron from its cluster in four layers of a calorimeter."""

import numpy as np

from zoo import net, ops
from zoo.model import Model, main


def forward(net, x):
    def block(name, x, n, kernel):
        return ops.relu(net.batch_norm(f"{name}.norm", net.conv(f"{name}.conv", x, n, kernel, pads="same", bias=False)))

    x = net.batch_norm("norm", ops.upsample(x, (1, 5)))
    x = block("block0", x, 16, 5)
    for i, n in enumerate((32, 64, 128, 256)):
        x = ops.max_pool(x, (2, 2))
        x = block(f"block{i + 1}a", x, n, 3)
        x = block(f"block{i + 1}b", x, n, 3)
    x = ops.flatten(x)
    for i in range(2):
        x = ops.leaky_relu(net.batch_norm(f"norm{i}", net.dense(f"dense{i}", x, 256, bias=False)), 0.3)
    return ops.relu(net.dense("energy", x, 1, bias=False))


def generate(rng, rows):
    """Energies in units of 10 GeV; images of 56 cells in eta, 11 in phi, of four layers: square roots of GeV."""
    energy = rng.uniform(0.5, 10, rows)
    lost = rng.exponential(0.08, rows).clip(0, 0.5)  # in the material in front, seen as light in the presampler
    peak = (0.42 + 0.05 * np.log(energy) + 0.05 * rng.normal(size=rows)).clip(0.1, 0.9)
    depth = np.arange(1, 4) / 4
    share = np.exp(-(((depth - peak[:, None]) / 0.2) ** 2))
    share = share / share.sum(axis=1, keepdims=True) * (1 - lost[:, None])
    share = np.concatenate([0.5 * lost[:, None], share], axis=1)
    eta, phi = np.arange(56) - 27.5, np.arange(11) - 5
    at_eta, at_phi = 2 * rng.normal(size=(rows, 1)), 0.4 * rng.normal(size=(rows, 1))
    images = np.zeros((rows, 4, 56, 11))
    for layer, (wide, high) in enumerate(((3.0, 0.9), (1.2, 0.7), (2.5, 0.6), (4.0, 0.9))):
        profile = np.exp(-np.abs(eta - at_eta) / wide)[:, :, None] * np.exp(-np.abs(phi - at_phi) / high)[:, None]
        profile *= np.exp(0.3 * rng.normal(size=profile.shape))
        profile /= profile.sum(axis=(1, 2), keepdims=True)
        images[:, layer] = 10 * (energy * share[:, layer])[:, None, None] * profile
    images += 0.03 * rng.normal(size=images.shape)
    # Square roots of energies have much the same error for small and large ones.
    return {"em_barrel": np.sign(images) * np.sqrt(np.abs(images))}, [energy[:, None].astype(np.float32)]


MODEL = Model(
    "deepcalo",
    forward,
    generate,
    outputs={"energy": (1,)},
    parameters=("weights", 1_832_256),
    loss=net.squared,
    rows=1500,
    epochs=4,
    rate=1e-3,
    batch=25,
    test=200,
    calibration=100,
    grain=1 / 64,
    large=True,
)

if __name__ == "__main__":
    main(MODEL)
