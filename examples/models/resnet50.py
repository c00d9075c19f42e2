"""The top tagger on ResNet-50: is the image of a jet that of a top quark? The features are those of random weights with
calibrated batch normalisations; only the head is trained."""

import numpy as np

from jets import particles
from zoo import ops
from zoo.model import Model, main


def features(net, x):
    def step(name, x, n, kernel, strides=1, pads=0, scale=1.0):
        x = net.conv(f"{name}.conv", x, n, kernel, strides=strides, pads=pads, bias=False)
        return net.batch_norm(f"{name}.norm", x, scale)

    x = ops.max_pool(ops.relu(step("stem", x, 64, 7, 2, 3)), (3, 3), (2, 2), (1, 1))
    for stage, (n, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for i in range(blocks):
            name = f"stage{stage}.block{i}"
            strides = 2 if i == 0 and stage > 1 else 1
            y = ops.relu(step(f"{name}.1", x, n, 1))
            y = ops.relu(step(f"{name}.2", y, n, 3, strides, 1))
            # Small corrections, as blocks are where training starts, and not noise upon noise.
            y = step(f"{name}.3", y, 4 * n, 1, scale=0.2)
            if i == 0:
                x = step(f"{name}.shortcut", x, 4 * n, 1, strides)
            x = ops.relu(ops.add(y, x))
    return ops.flatten(ops.global_average_pool(x))


def head(net, x):
    return ops.softmax(net.dense("head", x, 2))


def forward(net, x):
    return head(net, features(net, x))


def generate(rng, rows):
    """Images of what enters 56 x 56 cells up to 0.5 in eta and phi from a jet's axis, a shower wide, each cell as 4 x 4
    pixels of three colours; classes QCD, top."""
    top = rng.integers(0, 2, rows)
    kinds = np.where(top, 4, rng.integers(0, 2, rows))
    z, place, _ = particles(rng, kinds)
    cells = (np.arange(56) + 0.5) / 56 - 0.5
    showers = np.exp(-0.5 * ((place[..., None] - cells) / 0.04) ** 2)
    images = np.sqrt(np.einsum("rp,rpi,rpj->rij", z, showers[:, :, 0], showers[:, :, 1]))
    images = images.repeat(4, axis=1).repeat(4, axis=2)
    return {"input": np.repeat(images[:, None], 3, axis=1)}, [top]


MODEL = Model(
    "resnet50",
    forward,
    generate,
    outputs={"classifier": (2,)},
    parameters=("trained", 23_512_130),
    rows=300,
    epochs=200,
    rate=1e-3,
    batch=50,
    test=100,
    calibration=8,
    grain=1 / 256,
    large=True,
    features=features,
    head=head,
    noise=0.5,
    statistics=16,
)

if __name__ == "__main__":
    main(MODEL)
