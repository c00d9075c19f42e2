"""ResNet-8 of MLPerf Tiny, on shapes drawn here instead of CIFAR-10."""

from zoo import images, ops
from zoo.model import Model, main


def forward(net, x):
    def step(name, x, n, strides=1):
        return net.batch_norm(f"{name}.norm", net.conv(f"{name}.conv", x, n, 3, strides=strides, pads="same"))

    x = ops.relu(step("stem", x, 16))
    for stack, (n, strides) in enumerate(((16, 1), (32, 2), (64, 2))):
        y = ops.relu(step(f"stack{stack}.1", x, n, strides))
        y = step(f"stack{stack}.2", y, n)
        if strides != 1:
            x = net.conv(f"stack{stack}.shortcut", x, n, 1, strides=strides)
        x = ops.relu(ops.add(x, y))
    x = ops.flatten(ops.average_pool(x, (8, 8)))
    return ops.softmax(net.dense("dense", x, 10))


def generate(rng, rows):
    x, labels = images.shapes(rng, rows)
    return {"input": x}, [labels]


MODEL = Model(
    "resnet8",
    forward,
    generate,
    outputs={"probabilities": (10,)},
    parameters=("all", 78_666),
    rows=1500,
    epochs=6,
    rate=4e-3,
    test=120,
    calibration=40,
    grain=1 / 16,
)

if __name__ == "__main__":
    main(MODEL)
