"""What each script of the zoo says about its model, and how the files of the model are made from it."""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import net as nets
from . import onnxfile

FOLDER = Path(__file__).resolve().parent.parent
LARGE = FOLDER.parent.parent / "target" / "models"


@dataclass
class Model:
    """A model of the zoo.

    `generate(rng, rows)` gives inputs by name and a list of targets, one for each output, rows first: classes are integers,
    anything else is a regression. `parameters` is (kind, number): what "all", "trained" or "weights" of the network must
    come to.
    """

    name: str
    forward: object
    generate: object
    outputs: dict  # name: shape of a row
    parameters: tuple
    loss: object = nets.cross_entropy
    rows: int = 2000
    epochs: int = 4
    rate: float = 2e-3
    batch: int = 32
    test: int = 200
    calibration: int = 32
    grain: float = 0.0  # inputs are multiples of it, which makes files of images small
    large: bool = False
    seed: int = 1
    train_inputs: object = None  # smaller inputs to train on, where weights do not depend on the size
    head: object = None  # trained alone, on what `features` gives
    features: object = None
    noise: float = 0.0  # on the features that the head is trained on, in units of their spread
    statistics: int = 8  # rows that batch normalisations of `features` take their statistics from

    def data(self, seed, rows, generate=None):
        inputs, targets = (generate or self.generate)(np.random.default_rng([self.seed, seed]), rows)
        grain = np.float32(self.grain)
        round_ = (lambda x: np.round(x / grain) * grain) if self.grain else (lambda x: x)
        return {k: round_(v).astype(np.float32) for k, v in inputs.items()}, targets

    def build(self):
        net = nets.Net(self.forward, self.seed)
        inputs, _ = self.data(0, 2)
        results = net(*inputs.values())
        count = {"all": net.count, "trained": net.trained, "weights": net.weights}[self.parameters[0]]()
        assert count == self.parameters[1], f"{self.name}: {count} parameters, {self.parameters} expected"
        shapes = [r.shape[1:] for r in results]
        assert shapes == list(self.outputs.values()), f"{self.name}: outputs {shapes}, {self.outputs} expected"
        return net

    def train(self, net):
        inputs, targets = self.data(1, self.rows, self.train_inputs)
        inputs = list(inputs.values())
        if self.head is None:
            net.fit(inputs, targets, self.loss, self.epochs, self.rate, self.batch)
            return
        net.calibrate(*(i[: self.statistics] for i in inputs))
        net.forward = self.features
        features = net.run(*inputs, batch=8)
        net.forward = self.head
        net.fit(features, targets, self.loss, self.epochs, self.rate, self.batch, calibrate=0, noise=self.noise)
        net.forward = self.forward

    def write(self, folder):
        start = time.monotonic()
        net = self.build()
        self.train(net)
        x, targets = self.data(2, self.test)
        calibration, _ = self.data(3, self.calibration)
        results = net.run(*x.values(), batch=16)
        onnxfile.write(folder / f"{self.name}.onnx", net, {k: v[:1] for k, v in x.items()}, list(self.outputs))
        np.savez_compressed(folder / f"{self.name}.x.npz", **x)
        np.savez_compressed(folder / f"{self.name}.calibration.npz", **calibration)
        np.savez_compressed(folder / f"{self.name}.float.npz", **dict(zip(self.outputs, results)))
        # Labels or targets: of the first output, that `check --labels` reads, and of the others.
        for name, target in zip(self.outputs, targets):
            first = name == next(iter(self.outputs))
            np.save(folder / (f"{self.name}.y.npy" if first else f"{self.name}.{name}.y.npy"), target)
        scores = ", ".join(score(r, t) for r, t in zip(results, targets))
        print(f"{self.name}: {net.count()} parameters; {scores}; {time.monotonic() - start:.0f} s", file=sys.stderr)


def score(result, target):
    if np.issubdtype(target.dtype, np.integer):
        classes = result.argmax(axis=1) if result.shape[1] > 1 else (result[:, 0] > 0.5)
        return f"accuracy {100 * (classes == target).mean():.1f} %"
    mean = target.mean(axis=(0, *range(2, target.ndim)), keepdims=True)
    error = np.sqrt(((result - target) ** 2).mean() / ((target - mean) ** 2).mean())
    return f"RMS error {100 * error:.1f} % of the target's spread"


def main(*models):
    parser = argparse.ArgumentParser(description=f"Trains and writes {', '.join(m.name for m in models)}.")
    parser.add_argument("folder", nargs="?", type=Path, help="where to; without it, here, and target/models for large ones")
    folder = parser.parse_args().folder
    for model in models:
        model.write(folder or (LARGE if model.large else FOLDER))
