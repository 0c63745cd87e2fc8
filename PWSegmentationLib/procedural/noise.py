"""Smooth random fields, cheap at any scale: a small grid of random numbers, brought to size axis by axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def smooth(rng: np.random.Generator, shape: Sequence[int], cell: float) -> NDArray[np.float32]:
    """A field over ``shape`` with mean about 0 and variance about 1 that changes over ``cell`` voxels."""
    weights = [_weights(rng, n, max(cell, 1.0)) for n in shape]
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for w in weights:
        # Contracts the first axis and appends it, so that after three the axes are in order again.
        field = np.tensordot(field, w, (0, 1))
    return np.asarray(field)


def octaves(rng: np.random.Generator, shape: Sequence[int], cell: float, count: int = 3) -> NDArray[np.float32]:
    """A sum of smooth fields, each half as wide and as strong as the one before; variance about 1."""
    total = np.zeros(tuple(shape), np.float32)
    strength = 0.0
    for octave in range(count):
        if octave and cell / 2**octave < 1.5:
            break
        total += np.float32(0.5**octave) * smooth(rng, shape, cell / 2**octave)
        strength += 0.5 ** (2 * octave)
    return total / np.float32(np.sqrt(strength))


def _weights(rng: np.random.Generator, n: int, cell: float) -> NDArray[np.float32]:
    """``(n, nodes)``: cubic B-spline weights of nodes ``cell`` apart, scaled to keep the variance."""
    nodes = int(np.ceil((n - 1) / cell)) + 5
    # A random phase: no plane of the volume is always a plane of nodes.
    place = (np.arange(n) / cell + 1.0 + rng.random())[:, None]
    t = np.abs(place - np.arange(nodes))
    w = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.where(t < 2, (2 - t) ** 3 / 6, 0.0))
    return np.asarray(w / np.linalg.norm(w, axis=1, keepdims=True), dtype=np.float32)
