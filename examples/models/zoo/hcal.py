"""Cells of a hadron calorimeter: charge in eight time slices, and the energy that made it."""

import numpy as np

# Fractions of a pulse's charge in the slices from its arrival on.
_PULSE = np.array([0.05, 0.55, 0.25, 0.1, 0.05])


def cells(rng, rows):
    """Energies [rows, 1] in units of 10 GeV, and what is measured: charges [rows, 8], |ieta| 1..30 and depth 0..7 and gain
    [rows]."""
    energy = rng.exponential(1.5, rows) + 0.05
    ieta, depth = rng.integers(1, 31, rows), rng.integers(0, 7, rows)
    gain = rng.normal(1.0, 0.1, rows)
    response = gain * (1 + 0.3 * np.sin(ieta / 5)) * (0.7 + 0.08 * depth)

    def pulse(charge, arrival):
        slices = np.zeros((rows, 8))
        whole = np.floor(arrival).astype(int)
        late = arrival - whole
        for i, fraction in enumerate(_PULSE):
            for shift, share in ((0, 1 - late), (1, late)):
                at = whole + i + shift
                inside = (at >= 0) & (at < 8)
                slices[np.nonzero(inside)[0], at[inside]] += (charge * fraction * share)[inside]
        return slices

    charge = pulse(energy * response, 2 + rng.uniform(0, 0.5, rows))
    for bunch in (-2, 0, 3, 4):
        charge += pulse(rng.exponential(0.12, rows) * response, np.full(rows, float(bunch)))
    charge += 0.04 * rng.normal(size=charge.shape) + 0.02 * np.sqrt(charge) * rng.normal(size=charge.shape)
    return energy[:, None].astype(np.float32), charge, ieta, depth, gain


def one_hot(index, n):
    return np.eye(n, dtype=np.float32)[index]
