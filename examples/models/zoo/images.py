"""Small colour images drawn from nothing: digits and shapes, turned, scaled, coloured, in front of clutter."""

import numpy as np

# Seven rows of five cells for each digit.
_GLYPHS = [
    " ### #   ##   ##   ##   ##   # ### ",
    "  #   ##    #    #    #    #   ### ",
    " ### #   #    #   #   #   #   #####",
    " ### #   #    #  ##     ##   # ### ",
    "   #   ##  # # #  # #####   #    # ",
    "######    #### #    #    ##   # ###",
    " ### #    #    #### #   ##   # ### ",
    "#####    #   #   #    #    #    #  ",
    " ### #   ##   # ### #   ##   # ### ",
    " ### #   ##   # ####    #    # ### ",
]


def _grid(rng, rows, size, scale, turn):
    """Coordinates of the pixels of `size` x `size` images in the frame of what is drawn: two arrays [rows, size, size]."""
    x, y = np.meshgrid(np.arange(size) - size / 2 + 0.5, np.arange(size) - size / 2 + 0.5)
    at = rng.uniform(-2.5, 2.5, (2, rows, 1, 1))
    angle, scale = rng.uniform(-turn, turn, (rows, 1, 1)), rng.uniform(*scale, (rows, 1, 1))
    x, y = x - at[0], y - at[1]
    return (x * np.cos(angle) + y * np.sin(angle)) / scale, (y * np.cos(angle) - x * np.sin(angle)) / scale


def _paint(rng, masks):
    """Colours `masks` [rows, layers, size, size], each layer over those before it."""
    rows, layers, size, _ = masks.shape
    ramp = rng.uniform(-0.3, 0.3, (2, rows, 3, 1, 1))
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    image = rng.uniform(0.2, 0.8, (rows, 3, 1, 1)) + ramp[0] * x + ramp[1] * y
    ground = image.mean(axis=(2, 3), keepdims=True)
    for layer in range(layers):
        away = rng.choice([-1, 1], (rows, 1, 1, 1)) * rng.uniform(0.25, 0.6, (rows, 1, 1, 1))
        colour = ground + away + 0.15 * rng.normal(size=(rows, 3, 1, 1))
        mask = masks[:, layer, None]
        image = image * (1 - mask) + colour * mask
    return (image + 0.06 * rng.normal(size=image.shape)).clip(0, 1)


def digits(rng, rows):
    """House numbers: images [rows, 3, 32, 32] in 0..1 and the digits in their middle; neighbours are cut by the edge."""
    glyphs = np.array([[c == "#" for c in g] for g in _GLYPHS], float).reshape(10, 7, 5)
    glyphs = np.pad(glyphs, ((0, 0), (1, 1), (1, 1)))
    labels = rng.integers(0, 10, rows)
    u, v = _grid(rng, rows, 32, (2.4, 3.6), 0.25)
    u = u + 0.2 * v * rng.uniform(-1, 1, (rows, 1, 1))

    def drawn(which, shift):
        x, y = (u - shift + 3).clip(0, 5.999), (v + 4).clip(0, 7.999)
        i, j = y.astype(int), x.astype(int)
        fy, fx = y - i, x - j
        pick = lambda i, j: glyphs[which[:, None, None], i.clip(0, 8), j.clip(0, 6)]
        low = pick(i, j) * (1 - fx) + pick(i, j + 1) * fx
        return low * (1 - fy) + (pick(i + 1, j) * (1 - fx) + pick(i + 1, j + 1) * fx) * fy

    sides = [drawn(rng.integers(0, 10, rows), s) * (rng.random((rows, 1, 1)) < 0.6) for s in (-6, 6)]
    mask = np.maximum(np.maximum(*sides), drawn(labels, 0))
    return _paint(rng, mask[:, None]), labels


def shapes(rng, rows):
    """Images [rows, 3, 32, 32] in 0..1 of ten shapes behind a thin bar, and which shape it is."""
    labels = rng.integers(0, 10, rows)
    u, v = _grid(rng, rows, 32, (8, 12), 0.4)
    r, m = np.hypot(u, v), np.maximum(abs(u), abs(v))
    kinds = [
        r < 1,
        (r < 1) & (r > 0.6),
        m < 0.85,
        (m < 0.9) & (m > 0.55),
        (v > -0.6) & (v < 1 - 1.7 * abs(u)),
        (np.minimum(abs(u), abs(v)) < 0.25) & (m < 1),
        (abs(v) < 0.3) & (abs(u) < 1.1),
        np.hypot(abs(u) - 0.6, v) < 0.42,
        (r < 1) & (np.hypot(u - 0.5, v) > 0.75),
        (u * v > 0) & (m < 0.95),
    ]
    shape = np.stack(kinds, axis=1)[np.arange(rows), labels]
    x, y = _grid(rng, rows, 32, (1, 1), np.pi)
    bar = abs(y - rng.uniform(-8, 8, (rows, 1, 1))) < 0.8
    return _paint(rng, np.stack([shape, bar], axis=1).astype(float)), labels
