"""Reads what alkaid is to compute out of a package of ours: types and codes of dense layers."""

import json
import re
from dataclasses import dataclass

import numpy as np

from networks import Unsupported

TYPE = r"(u?)fixed<(\d+),(-?\d+)(?:,(\w+),(\w+))?>"
CODES = TYPE + r"(?: side\{offset: (\d+), count: (\d+)\}|\[([-\d, ]+)\])"
NODE = re.compile(r'^%\d+ = (\w+)\([^)]*\) "[^"]*"(.*?)\} : \[[\d, ]+\] ' + TYPE + "$", re.M | re.S)


@dataclass
class Type:
    signed: bool
    width: int
    integer: int
    rounding: str
    overflow: str

    @property
    def kif(self):
        """Sign bit, integer bits without it, fraction bits."""
        return int(self.signed), self.integer - int(self.signed), self.width - self.integer

    def on_grid(self, x):
        """`x` rounded to the type and clipped to its range."""
        step = 2.0 ** (self.integer - self.width)
        high = 2.0 ** (self.integer - int(self.signed)) - step
        low = -high - step if self.signed else 0.0
        return np.clip(np.round(x / step) * step, low, high).astype(np.float32)


@dataclass
class Dense:
    weight: np.ndarray
    bias: np.ndarray
    relu: bool
    type: Type


def _type(match):
    unsigned, width, integer, rounding, overflow = match
    return Type(not unsigned, int(width), int(integer), rounding, overflow)


def input_type(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    return _type(re.fullmatch(TYPE, manifest["inputs"][0]["type"]).groups())


def _values(text, key, weights):
    match = re.search(rf"\b{key}: {CODES}", text)
    if not match:
        raise Unsupported(f"a layer without {key}")
    kind, (offset, count, inline) = _type(match.groups()[:5]), match.groups()[5:]
    if inline:
        codes = np.array([int(c) for c in inline.split(",")])
    else:
        size = next(n for n in (1, 2, 4, 8) if 8 * n >= kind.width)
        form = f"<{'i' if kind.signed else 'u'}{size}"
        codes = np.frombuffer(weights, form, int(count), int(offset))
    return codes * 2.0 ** (kind.integer - kind.width)


def dense_layers(folder):
    """The layers of a package that is a chain of dense layers, and its fingerprint."""
    text, weights = (folder / "program.hw").read_text(), (folder / "weights.bin").read_bytes()
    layers = []
    for op, body, *kind in NODE.findall(text):
        if op in ("input", "output"):
            continue
        if op != "dot" or not re.search(r"window: \[\]", body):
            raise Unsupported("traces every product by itself: asked for dense layers only")
        if "accum: exact" not in body:
            raise Unsupported("casts each product: not traced")
        act = re.search(r"act: (none|clamp\{lo: 0\})", body)
        if not act:
            raise Unsupported("an activation that is no ReLU")
        bias = _values(body, "bias", weights)
        weight = _values(body, "weight", weights).reshape(len(bias), -1)
        layers.append(Dense(weight, bias, act[1] != "none", _type(kind)))
    return layers, json.loads((folder / "manifest.json").read_text())["fingerprint"]
