"""The CNN for street view house numbers, on digits drawn here."""

from zoo import images, ops
from zoo.model import Model, main


def forward(net, x):
    for i, n in enumerate((16, 16, 24)):
        x = ops.relu(net.batch_norm(f"conv{i}.norm", net.conv(f"conv{i}", x, n, 3, bias=False)))
        x = ops.max_pool(x, (2, 2))
    x = ops.flatten(x)
    for i, n in enumerate((42, 64)):
        x = ops.relu(net.batch_norm(f"dense{i}.norm", net.dense(f"dense{i}", x, n, bias=False)))
    return ops.softmax(net.dense("digit", x, 10))


def generate(rng, rows):
    x, labels = images.digits(rng, rows)
    return {"input": x}, [labels]


MODEL = Model(
    "svhn",
    forward,
    generate,
    outputs={"probabilities": (10,)},
    parameters=("all", 14_210),
    rows=3000,
    epochs=5,
    rate=4e-3,
    test=120,
    calibration=40,
    grain=1 / 16,
)

if __name__ == "__main__":
    main(MODEL)
