"""The line of a scribble, as far as it matters to a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prompts.prompts import Scribble
from PWSegmentationLib.volume.grid import Grid

# More than the finest line through a large volume needs: what a brush of metres asks for is bounded by it.
_MOST_POSITIONS = 1_000_000
# A brush thinner than this, as a share of the voxel size, covers no more than its line.
_THINNEST = 0.1


def line_near(scribble: Scribble, grid: Grid) -> NDArray[np.float64]:
    """World positions ``(n, 3)`` on the line, half a voxel or brush radius apart; none where it passes by the grid."""
    points = np.array(scribble.points)
    ends = (points[:-1], points[1:]) if len(points) > 1 else (points, points)
    starts, ways = _near(*ends, grid, scribble.radius)
    lengths = np.linalg.norm(ways, axis=1)
    finest = min(grid.spacing)
    step = 0.5 * max(min(finest, scribble.radius), _THINNEST * finest)
    step = max(step, float(lengths.sum()) / _MOST_POSITIONS)
    pieces = [np.zeros((0, 3))]
    for start, way, length in zip(starts, ways, lengths, strict=True):
        count = max(1, int(np.ceil(length / step)))
        pieces.append(start + way * (np.arange(count + 1) / count)[:, None])
    return np.concatenate(pieces)


def touches(scribble: Scribble, grid: Grid) -> bool:
    """Whether the line passes through the grid, or the brush covers the centre of a voxel."""
    line = line_near(scribble, grid)
    if grid.contains(line).any():
        return True
    nearest = np.clip(grid.to_voxel(line), 0, np.array(grid.shape) - 1)
    return bool((np.linalg.norm(grid.to_world(nearest) - line, axis=1) <= scribble.radius).any())


def _near(
    starts: NDArray[np.float64], ends: NDArray[np.float64], grid: Grid, margin: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts and ways, ``(n, 3)``, of the parts of segments that lie within about ``margin`` mm of the grid."""
    origin = grid.to_index(starts)
    way = grid.to_index(ends) - origin
    # What runs along a face never crosses it.
    way = np.where(np.abs(way) < 1e-9, 1e-9, way)
    reach = margin * np.linalg.norm(grid.inverse[:3, :3], axis=1) + 0.5
    crossings = np.stack([(-0.5 - reach - origin) / way, (np.array(grid.shape) - 0.5 + reach - origin) / way])
    enter = np.maximum(crossings.min(axis=0).max(axis=1), 0.0)[:, None]
    leave = np.minimum(crossings.max(axis=0).min(axis=1), 1.0)[:, None]
    near = (enter <= leave)[:, 0]
    return (starts + enter * (ends - starts))[near], ((leave - enter) * (ends - starts))[near]
