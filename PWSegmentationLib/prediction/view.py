"""The part of the volume that a segment's prompts are about, at the resolution it is worked on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import Seeds, draw
from PWSegmentationLib.pseudolabel.extent import likely_object
from PWSegmentationLib.pseudolabel.intensity import tissue_step
from PWSegmentationLib.pseudolabel.region import LONE_REACH_MM, VOXEL_BUDGET, region_of_interest, working_spacing
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.intensity import measurable
from PWSegmentationLib.volume.masks import parts_of
from PWSegmentationLib.volume.resampling import resample, resampled_slabs
from PWSegmentationLib.volume.volume import Volume

# So many voxels of the volume are brought back from a working grid at a time.
SLAB_VOXELS = 4_000_000


@dataclass(frozen=True, eq=False)
class View:
    """Everything a pseudo-label or a network needs to know about one segment.

    Parameters
    ----------
    region
        The part of the volume, in its voxels.
    fine
        Grid of that part at the volume's own resolution.
    grid
        The working grid over the same part: as isotropic as the image allows, within a voxel budget.
    image
        float32 ``[i, j, k]`` on ``grid``, in the volume's units but for a constant, finite.
    valid
        Where ``image`` is a measurement, not padding.
    seeds
        The prompts drawn onto ``grid``.
    """

    region: Region
    fine: Grid
    grid: Grid
    image: NDArray[np.float32]
    valid: NDArray[np.bool_]
    seeds: Seeds

    def to_fine(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values on the working grid, linearly interpolated at the volume's voxels in the region."""
        return resample(values, self.grid, self.fine)

    def fine_slabs(self, *values: NDArray[np.floating]) -> Iterator[tuple[Region, list[NDArray[np.float32]]]]:
        """`to_fine` of several arrays, in slabs: a part of the fine grid, and what each array is there."""
        for slabs in zip(*(resampled_slabs(v, self.grid, self.fine, SLAB_VOXELS) for v in values), strict=True):
            yield slabs[0][0], [slab for _, slab in slabs]


# Around an object that was found from positive prompts alone: this share of its size, and at least so many mm.
_SURROUNDINGS, _SURROUNDINGS_MM = 0.4, 8.0


def look(
    volume: Volume, segment: SegmentPrompts, others: Iterable[SegmentPrompts] = (), *, device: str = "cpu"
) -> View:
    """Cut the part of ``volume`` that the prompts of ``segment`` are about and bring it to the working grid.

    Positive prompts alone, or with few negative ones, do not say how large the object is: a first look, far around
    them, finds out, and where it is small a second one goes closer, so that a 5 mm lesion is seen as finely as the
    image allows.
    """
    others = tuple(others)
    view = look_at(volume, segment, others, region_for(segment, volume.grid))
    if segment.boxes or max(view.grid.spacing) <= 1.2 * min(view.fine.spacing):
        return view
    seeds = view.seeds
    found = likely_object(view.image, view.valid, seeds.positive, seeds.negative, view.grid.spacing, device)
    around = None if found is None else Region.around(found)
    if around is None:
        return view
    ends = np.array([around.start, np.subtract(around.stop, 1)])
    margin = max(_SURROUNDINGS_MM, _SURROUNDINGS * float((np.array(around.shape) * view.grid.spacing).max()))
    closer = volume.grid.region_of(view.grid.to_world(ends), margin)
    return look_at(volume, segment, others, closer)


def look_at(
    volume: Volume,
    segment: SegmentPrompts,
    others: Iterable[SegmentPrompts],
    region: Region,
    budget: int = VOXEL_BUDGET,
) -> View:
    """The view of ``region``, on a working grid of at most about ``budget`` voxels."""
    part = volume.crop(region)
    extent = np.array(part.grid.shape) * part.grid.spacing
    grid = part.grid.resampled(working_spacing(extent, part.grid.spacing, budget))
    values, known = part.measured()
    if _denied_in_padding(part, known, segment):
        # Then it is the background of something cut out, as dark as the darkest that was measured.
        known = part.valid(padding=True)
    valid = resample(known, part.grid, grid) > 0.5 if not known.all() else np.ones(grid.shape, bool)
    seeds = draw(segment, grid, others=competing(others, part.grid))
    image = resample(values, part.grid, grid)
    return View(region, part.grid, grid, image, valid, _of_one_tissue(seeds, segment, grid, image, valid))


def _denied_in_padding(part: Volume, known: NDArray[np.bool_], segment: SegmentPrompts) -> bool:
    """Whether a negative prompt says of voxels that are taken for padding that they are outside."""
    if part.padding == (None, None) or known.all():
        return False
    voxels = part.grid.to_voxel(segment.positions(positive=False))
    where = tuple(voxels[((voxels >= 0) & (voxels < part.grid.shape)).all(axis=1)].T)
    return bool((measurable(part.array[where]) & ~known[where]).any())


def _of_one_tissue(
    seeds: Seeds, segment: SegmentPrompts, grid: Grid, image: NDArray[np.float32], valid: NDArray[np.bool_]
) -> Seeds:
    """``seeds`` without the voxels around a click that are clearly another tissue than the voxel clicked.

    A ball of 2 mm around a click beside a border, as corrective clicks are, would claim the tissue beyond it. What is
    scribbled or painted was meant voxel by voxel and stays.
    """
    from scipy.spatial import cKDTree

    clicks = np.array([p.position for p in segment.points if grid.contains(p.position)])
    if not len(clicks):
        return seeds
    limit = tissue_step(image, valid)
    clicked = image[tuple(grid.to_voxel(clicks).T)]
    kept = np.zeros(grid.shape, bool) if seeds.claimed is None else seeds.claimed.copy()
    if segment.scribbles or segment.strokes:
        painted = draw(replace(segment, points=()), grid)
        kept |= painted.positive | painted.negative
    voxels = np.argwhere((seeds.positive | seeds.negative) & ~kept)
    _, nearest = cKDTree(clicks).query(grid.to_world(voxels))
    beyond = voxels[np.abs(image[tuple(voxels.T)] - clicked[nearest]) > limit]
    away = np.zeros(grid.shape, bool)
    away[tuple(beyond.T)] = True
    kept[tuple(grid.to_voxel(clicks).T)] = True
    positive, negative = (_touching(mask & ~away, kept) for mask in (seeds.positive, seeds.negative))
    return replace(seeds, positive=positive, negative=negative)


def _touching(mask: NDArray[np.bool_], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of ``mask`` with a voxel of ``kept``: crumbs of a ball must not pass for clicks of their own."""
    parts, count = parts_of(mask)
    wanted = np.zeros(count + 1, bool)
    wanted[parts[kept & mask]] = True
    wanted[0] = False
    return np.asarray(wanted[parts])


def region_for(segment: SegmentPrompts, grid: Grid, reach_mm: float = LONE_REACH_MM) -> Region:
    """The part of ``grid`` that the prompts of ``segment`` alone are about; see `region_of_interest`."""
    spacing = np.array(grid.spacing)
    boxes = [grid.to_index(b.corners) * spacing for b in segment.boxes]
    lower, upper = region_of_interest(
        grid.to_index(segment.positions(positive=True)) * spacing,
        grid.to_index(segment.positions(positive=False)) * spacing,
        np.array([(b.min(axis=0), b.max(axis=0)) for b in boxes]) if boxes else None,
        reach_mm,
    )
    limit = np.array(grid.shape)
    start = np.clip(np.floor(lower / spacing + 0.5).astype(int), 0, limit - 1)
    stop = np.clip(np.ceil(upper / spacing + 0.5).astype(int), start + 1, limit)
    return Region(tuple(int(v) for v in start), tuple(int(v) for v in stop))  # type: ignore[arg-type]


def competing(others: Iterable[SegmentPrompts], grid: Grid) -> tuple[SegmentPrompts, ...]:
    """What other segments claim on ``grid``: their positive points, scribbles and strokes there.

    Trimmed to the grid, so that a prompt far away is not a reason to compute this segment again.
    """
    found = []
    for other in others:
        points = tuple(p for p in other.points if p.positive and grid.contains(p.position))
        scribbles = tuple(s for s in other.scribbles if s.positive and grid.contains(s.points).any())
        strokes = tuple(s for s in other.strokes if grid.contains(s.positions(positive=True)).any())
        if points or scribbles or strokes:
            found.append(replace(other, points=points, scribbles=scribbles, strokes=strokes, boxes=()))
    return tuple(found)
