"""Picking few points that represent many."""

from __future__ import annotations

import numpy as np


def farthest_points(points: np.ndarray, count: int, *, first: int) -> np.ndarray:
    """Exact farthest-point sampling (Gonzalez 1985).

    Parameters
    ----------
    points
        Coordinates (n, d), in units whose distances are comparable (mm).
    count
        How many points to pick; no more than n are returned.
    first
        Index of the first point.

    Returns
    -------
    numpy.ndarray
        (min(count, n),) indices in the order of picking; equal points are picked once at most, as long as
        there are others.
    """
    coordinates = np.ascontiguousarray(np.asarray(points, dtype=float).T)  # one row per axis: fast columns
    if coordinates.ndim != 2:
        raise ValueError("Points must be an array of shape (n, d).")
    total = coordinates.shape[1]
    count = min(int(count), total)
    if count <= 0:
        return np.zeros(0, dtype=np.int64)
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = first
    nearest = np.full(total, np.inf)
    for number in range(1, count + 1):
        latest = chosen[number - 1]
        squared = np.zeros(total)
        for row in coordinates:
            squared += (row - row[latest]) ** 2
        np.minimum(nearest, squared, out=nearest)
        nearest[latest] = -1.0  # never twice, not even among equal points
        if number < count:
            chosen[number] = int(nearest.argmax())
    return chosen
