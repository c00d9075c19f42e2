"""Smooth random functions."""

import numpy as np


def smooth(rng, rows, shape, terms):
    """Random fields [rows, *shape]: sums of `terms` low cosines along each axis, of unit variance."""
    coefficients = rng.normal(size=(rows, *(terms,) * len(shape)))
    for axis, n in enumerate(shape, 1):
        cosines = np.cos(np.pi * np.arange(terms)[:, None] * (np.arange(n) + 0.5) / n)
        coefficients = np.moveaxis(np.tensordot(coefficients, cosines, axes=(axis, 0)), -1, axis)
    return coefficients / np.sqrt((coefficients**2).mean(axis=tuple(range(1, 1 + len(shape))), keepdims=True))
