"""Prompts drawn onto a grid: which voxels are known to be inside, outside, or allowed at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prompts.lines import line_near
from PWSegmentationLib.prompts.prompts import Box, Point, Scribble, SegmentPrompts, Strokes
from PWSegmentationLib.volume.grid import Grid, Region

# A click says something about the tissue around it, not about one voxel: the size of a small brush.
POINT_RADIUS_MM = 2.0


@dataclass(frozen=True, eq=False)
class Seeds:
    """Boolean arrays ``[i, j, k]`` on one grid; no voxel is both positive and negative.

    ``inside`` is None without a box, else false where the segment may not be. ``claimed`` is the part of ``negative``
    that nobody said about this segment: other segments claim it.
    """

    positive: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    inside: NDArray[np.bool_] | None = None
    claimed: NDArray[np.bool_] | None = None


def draw(
    segment: SegmentPrompts,
    grid: Grid,
    *,
    others: Iterable[SegmentPrompts] = (),
    point_radius: float = POINT_RADIUS_MM,
) -> Seeds:
    """Draw the prompts of ``segment`` onto ``grid``; what is positive for ``others`` is negative here.

    Points become balls of ``point_radius`` mm (0: their voxel alone), smaller where they lie closer together. Where
    prompts of both signs meet, a point outranks a scribble, a scribble outranks a painted voxel, the later scribble
    outranks the earlier, and between two points the nearer one decides.
    """
    return Drawing.of(segment, grid, others=others, point_radius=point_radius).seeds(Region.whole(grid.shape))


@dataclass(frozen=True, eq=False)
class Drawing:
    """Prompts drawn onto a large grid, to be looked at part by part: ``label`` takes a byte a voxel, `Seeds` four.

    ``label`` ``[i, j, k]`` on ``grid``: 1 positive, 2 negative, 3 claimed by another segment, 0 not said. ``slivers``:
    the voxels of boxes that hold no voxel's centre.
    """

    label: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    slivers: NDArray[np.integer]
    grid: Grid

    @classmethod
    def of(
        cls,
        segment: SegmentPrompts,
        grid: Grid,
        *,
        others: Iterable[SegmentPrompts] = (),
        point_radius: float = POINT_RADIUS_MM,
    ) -> Drawing:
        """See `draw`."""
        label = np.zeros(grid.shape, np.uint8)
        for other in others:
            _draw_one(label, grid, other, point_radius, positive_as=3, negative_as=0)
        _draw_one(label, grid, segment, point_radius, positive_as=1, negative_as=2)
        return cls(label, segment.boxes, _slivers(segment.boxes, grid), grid)

    def seeds(self, part: Region) -> Seeds:
        """The arrays of a part of the grid."""
        label = self.label[part.slices]
        return Seeds(label == 1, label >= 2, _inside(self.boxes, self.grid, part, self.slivers), label == 3)


def _draw_one(
    label: NDArray[np.uint8],
    grid: Grid,
    segment: SegmentPrompts,
    radius: float,
    positive_as: int,
    negative_as: int,
) -> None:
    for strokes in segment.strokes:
        _draw_strokes(label, grid, strokes, positive_as, negative_as)
    for scribble in segment.scribbles:
        value = positive_as if scribble.positive else negative_as
        if value:
            _draw_scribble(label, grid, scribble, value)
    _draw_points(label, grid, segment.points, radius, positive_as, negative_as)


def _draw_strokes(label: NDArray[np.uint8], grid: Grid, strokes: Strokes, positive_as: int, negative_as: int) -> None:
    aligned = bool(np.allclose(grid.affine[:3, :3], strokes.grid.affine[:3, :3], atol=1e-6))
    for positive, value in ((False, negative_as), (True, positive_as)):
        if not value:
            continue
        # Every painted voxel marks the voxel it falls into, so that thin strokes survive a coarser grid...
        _mark(label, grid, strokes.positions(positive), value)
    if aligned:
        return
    # ...and every voxel that falls into a painted one is marked, so that there are no gaps on a finer grid.
    region = grid.region_of(_corners(strokes.grid))
    voxels = np.indices(region.shape).reshape(3, -1).T + region.start
    painted = strokes.grid.to_voxel(grid.to_world(voxels))
    ok = ((painted >= 0) & (painted < strokes.grid.shape)).all(axis=1)
    values = strokes.labels[tuple(painted[ok].T)]
    for sign, value in ((2, negative_as), (1, positive_as)):
        if value:
            label[tuple(voxels[ok][values == sign].T)] = value


def _draw_scribble(label: NDArray[np.uint8], grid: Grid, scribble: Scribble, value: int) -> None:
    from scipy.spatial import cKDTree

    line = line_near(scribble, grid)
    if not len(line):
        return
    # The voxels under the line itself, however thin the brush...
    _mark(label, grid, line, value)
    # ...and those whose centre the brush covers.
    region = grid.region_of(line, margin=scribble.radius)
    voxels = np.indices(region.shape).reshape(3, -1).T + region.start
    distance, _ = cKDTree(line).query(grid.to_world(voxels), distance_upper_bound=scribble.radius)
    label[tuple(voxels[np.isfinite(distance)].T)] = value


def _draw_points(
    label: NDArray[np.uint8],
    grid: Grid,
    points: Iterable[Point],
    radius: float,
    positive_as: int,
    negative_as: int,
) -> None:
    from scipy.spatial import cKDTree

    wanted = [(p, positive_as if p.positive else negative_as) for p in points]
    wanted = [(p, v) for p, v in wanted if v and grid.contains(p.position)]
    if not wanted:
        return
    positions = np.array([p.position for p, _ in wanted])
    values = np.array([v for _, v in wanted], np.uint8)
    tree = cKDTree(positions)
    radii = _radii(positions, values, radius)
    for position in positions if radius > 0 else ():
        region = grid.region_of(position, margin=radius)
        voxels = np.indices(region.shape).reshape(3, -1).T + region.start
        distance, nearest = tree.query(grid.to_world(voxels), distance_upper_bound=radius)
        near = np.isfinite(distance)
        near[near] = distance[near] <= radii[nearest[near]]
        label[tuple(voxels[near].T)] = values[nearest[near]]
    for value in (3, 2, 1):
        _mark(label, grid, positions[values == value], value)


def _radii(positions: NDArray[np.float64], values: NDArray[np.uint8], radius: float) -> NDArray[np.float64]:
    """How far each point ``(n, 3)`` speaks for, mm: half way to the next of its kind, ``radius`` at most.

    Who clicks twenty times into a lesion of 5 mm means the places clicked: balls of 2 mm would stick out of it.
    """
    from scipy.spatial import cKDTree

    radii = np.full(len(positions), radius)
    for value in np.unique(values):
        same = values == value
        if same.sum() > 1:
            radii[same] = np.minimum(radius, 0.5 * cKDTree(positions[same]).query(positions[same], k=2)[0][:, 1])
    return radii


def _mark(label: NDArray[np.uint8], grid: Grid, world: NDArray[np.float64], value: int) -> None:
    voxels = grid.to_voxel(world.reshape(-1, 3))
    voxels = voxels[((voxels >= 0) & (voxels < grid.shape)).all(axis=1)]
    label[tuple(voxels.T)] = value


def _inside(boxes: Sequence[Box], grid: Grid, part: Region, slivers: NDArray[np.integer]) -> NDArray[np.bool_] | None:
    """Which voxels of ``part`` lie in a box, or are among ``slivers`` ``(n, 3)``; None without boxes."""
    if not boxes:
        return None
    inside = np.zeros(part.shape, bool)
    for box in boxes:
        region = grid.region_of(box.corners).intersection(part)
        if not region.is_empty:
            inside[region.relative_to(part).slices] |= _held(box, grid, region)
    voxels = np.concatenate([grid.to_voxel([box.center for box in boxes]), slivers])
    voxels = voxels[((voxels >= part.start) & (voxels < part.stop)).all(axis=1)]
    inside[tuple((voxels - part.start).T)] = True
    return inside


def _held(box: Box, grid: Grid, region: Region) -> NDArray[np.bool_]:
    """Which voxels of ``region`` lie in the box; where it is thinner than a voxel, the layer of voxels it lies in."""
    turned, first = box.axes.T @ grid.affine[:3, :3], box.axes.T @ (grid.affine[:3, 3] - box.center)
    reach = 0.5 * np.maximum(np.abs(turned).max(axis=1), box.size) + 1e-6
    held = np.ones(region.shape, bool)
    for away, steps, farthest in zip(first, turned, reach, strict=True):
        for axis in range(3):
            index = np.arange(region.start[axis], region.stop[axis]).reshape([-1 if axis == a else 1 for a in range(3)])
            # Along most axes of most boxes nothing changes: then one number stands for many voxels.
            if np.abs(steps[axis] * index).max() > 1e-9:
                away = away + steps[axis] * index
        held &= np.abs(away) <= farthest
    return held


def _world(grid: Grid, region: Region) -> NDArray[np.float64]:
    return grid.to_world(np.moveaxis(np.indices(region.shape), 0, -1) + region.start)


def _slivers(boxes: Sequence[Box], grid: Grid) -> NDArray[np.integer]:
    """Voxels ``(n, 3)`` nearest to boxes that reach into the grid by less than to a voxel's centre.

    None where any box holds a voxel, as nearly all do: the planes are looked at one by one until one is found.
    """
    found = []
    for box in boxes:
        region = grid.region_of(box.corners).intersection(Region.whole(grid.shape))
        if region.is_empty:
            continue
        nearest: tuple[float, NDArray[np.int_]] | None = None
        for plane in range(region.start[0], region.stop[0]):
            layer = Region((plane, *region.start[1:]), (plane + 1, *region.stop[1:]))
            if _held(box, grid, layer).any():
                return np.zeros((0, 3), int)
            beyond = np.maximum(np.abs((_world(grid, layer) - box.center) @ box.axes) - 0.5 * np.array(box.size), 0.0)
            distance = np.linalg.norm(beyond, axis=-1)
            if nearest is None or distance.min() < nearest[0]:
                voxel = np.add(np.unravel_index(distance.argmin(), layer.shape), layer.start)
                nearest = float(distance.min()), voxel.astype(int)
        assert nearest is not None, "the region has planes"
        found.append(nearest[1])
    return np.array(found, dtype=int).reshape(-1, 3)


def _corners(grid: Grid) -> NDArray[np.float64]:
    index = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1).T
    return grid.to_world(index)
