"""Small grids of every kind: straight, oblique, left-handed, with permuted axes, and tilted as a gantry is."""

from __future__ import annotations

import numpy as np

from PWSegmentationLib.volume.grid import Grid

SHAPE = (9, 8, 7)
_C, _S = np.cos(0.4), np.sin(0.4)
_ROTATION = np.array([[_C, -_S, 0], [_S, _C, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, _C, -_S], [0, _S, _C]])


def _grid_of(axes: np.ndarray) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = axes * (0.7, 1.25, 3.0)
    affine[:3, 3] = (-12.5, 40.0, 7.75)
    return Grid(SHAPE, affine)


GRIDS = {
    "straight": _grid_of(np.eye(3)),
    "oblique": _grid_of(_ROTATION),
    "left-handed": _grid_of(_ROTATION @ np.diag([1.0, -1.0, 1.0])),
    "permuted": _grid_of(np.eye(3)[:, [1, 2, 0]]),
    "tilted": _grid_of(np.eye(3) + np.outer([0, 0.3, 0], [0, 0, 1])),
}
