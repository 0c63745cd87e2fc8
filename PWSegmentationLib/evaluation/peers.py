"""What a user would pick instead, on the same prompts."""

from __future__ import annotations

import importlib.util
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.evaluation.metrics import Answer, dice
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.pseudolabel.gaussian import PAPER_SIGMA_MM, gaussian
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

# The margin around the seeds that Grow from seeds works in, voxels: of 5, 10 and 20 the one with which it does best on
# the structures used for tuning.
MARGIN_VOXELS = 5
# The random walk works on about this many voxels. The weight of intensity differences: of 130 (the default), 1, 4, 16,
# 64, 250 and 1000 thousand the one with which it does best on the structures used for tuning.
_WALK_VOXELS = 100_000
_WALK_BETA = 64_000.0
# The Gaussian label is cut off at the best of these.
_THRESHOLDS = np.linspace(0.05, 0.95, 19)


class _Peer:
    """Answers every set of prompts anew."""

    def open(self, volume: Volume) -> None:
        """Keep the image."""
        self._volume = volume

    def begin(self) -> None:
        """See `Method`."""


class GrowFromSeeds(_Peer):
    """Slicer's Grow from seeds with its default settings, at the volume's own resolution around the seeds."""

    name = "Grow from seeds"

    def __init__(self) -> None:
        if importlib.util.find_spec("slicer") is None:
            raise not_installed("Grow from seeds comes with Slicer", "slicer")

    def answer(self, prompts: SegmentPrompts, reference: Reference) -> Answer | None:
        """None without seeds of both kinds, without which it refuses to run."""
        started = time.perf_counter()
        region = seed_region(self._volume, prompts)
        part = self._volume.crop(region)
        seeds = draw_seeds(prompts, part.grid)
        if seeds is None:
            return None
        mask = grow_from_seeds(part.array, seeds)
        return Answer(region, mask, seconds=time.perf_counter() - started)


class RandomWalk(_Peer):
    """The random walk of scikit-image (Grady 2006) around the seeds, at a resolution at which it ends in seconds."""

    name = "random walk"

    def __init__(self) -> None:
        if importlib.util.find_spec("skimage") is None:
            raise not_installed("The random walk comes with scikit-image", "benchmark")

    def answer(self, prompts: SegmentPrompts, reference: Reference) -> Answer | None:
        """None without seeds of both kinds."""
        from skimage.segmentation import random_walker

        started = time.perf_counter()
        region = seed_region(self._volume, prompts)
        part = self._volume.crop(region)
        grid = _coarser(part.grid, _WALK_VOXELS)
        seeds = draw_seeds(prompts, grid)
        if seeds is None:
            return None
        image = resample(part.measured()[0], part.grid, grid)
        low, high = np.percentile(image, [0.5, 99.5])
        with warnings.catch_warnings():
            # It recommends packages that would make it faster.
            warnings.simplefilter("ignore")
            inside = random_walker(
                np.clip((image - low) / max(float(high - low), 1e-6), 0.0, 1.0),
                seeds.astype(np.int32),
                beta=_WALK_BETA,
                mode="cg_j",
                tol=1e-3,
                spacing=grid.spacing,
                return_full_prob=True,
            )[0]
        probability = np.clip(resample(inside, grid, part.grid), 0.0, 1.0)
        seconds = time.perf_counter() - started
        return Answer(region, probability >= 0.5, probability, 4.0 * probability * (1.0 - probability), seconds)


class GaussianLabel(_Peer):
    """The paper's sum of Gaussians, 10 mm wide, cut off where it agrees best with the reference.

    No user could choose so well: what is shown is the most that this label can give.
    """

    name = "Gaussian label, best threshold"

    def answer(self, prompts: SegmentPrompts, reference: Reference) -> Answer | None:
        """None without a positive point or stroke, the only prompts it knows."""
        positions = prompts.positions(positive=True)
        if len(positions) == 0:
            return None
        started = time.perf_counter()
        grid = self._volume.grid
        region = grid.region_of(positions, margin=4.0 * PAPER_SIGMA_MM)
        part = grid.crop(region)
        if not prompts.points:
            # A stroke has thousands of voxels; every one of them on this grid once.
            positions = part.to_world(np.argwhere(draw(prompts, part).positive)[::10])
        probability = gaussian(part.to_index(positions), part.shape, PAPER_SIGMA_MM, spacing=part.spacing)
        seconds = time.perf_counter() - started
        whole = region.union(reference.region)
        truth, shown = reference.over(whole), region.fitted(probability, whole)
        best = max(_THRESHOLDS, key=lambda threshold: dice(shown >= threshold, truth))
        return Answer(region, probability >= best, probability, seconds=seconds)


def seed_region(volume: Volume, prompts: SegmentPrompts) -> Region:
    """The part around the prompts that Grow from seeds works in."""
    positions = [prompts.positions(True), prompts.positions(False), *(b.corners for b in prompts.boxes)]
    region = volume.grid.region_of(np.concatenate(positions), margin=2.0)
    return region.grown(MARGIN_VOXELS).intersection(Region.whole(volume.grid.shape))


def draw_seeds(prompts: SegmentPrompts, grid: Grid) -> NDArray[np.uint8] | None:
    """The prompts as seeds: 1 inside, 2 outside, 0 unknown; None if one kind is missing.

    A box says that everything outside it is outside, and that its centre is inside unless a click beside it says
    otherwise.
    """
    clicked = np.array([p.position for p in prompts.points]).reshape(-1, 3)
    centres = [b.center for b in prompts.boxes if not (np.linalg.norm(clicked - b.center, axis=1) < 5.0).any()]
    drawn = draw(replace(prompts, points=(*prompts.points, *(Point(c) for c in centres))), grid)
    negative = drawn.negative if drawn.inside is None else drawn.negative | ~drawn.inside
    seeds = np.where(drawn.positive, np.uint8(1), np.where(negative, np.uint8(2), np.uint8(0)))
    return seeds if (seeds == 1).any() and (seeds == 2).any() else None


def grow_from_seeds(image: NDArray[Any], seeds: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Slicer's Grow from seeds (`vtkImageGrowCutSegment`, default settings; needs the extra ``slicer``).

    Parameters
    ----------
    image
        ``[i, j, k]``, the part around the seeds.
    seeds
        Same shape: 1 inside, 2 outside, 0 unknown.
    """
    import slicer
    import vtk

    grow = slicer.vtkImageGrowCutSegment()
    grow.SetIntensityVolume(_to_vtk(image.astype(np.float32), vtk.VTK_FLOAT))
    grow.SetSeedLabelVolume(_to_vtk(seeds.astype(np.int16), vtk.VTK_SHORT))
    grow.Update()
    scalars = grow.GetOutput().GetPointData().GetScalars()
    from vtk.util.numpy_support import vtk_to_numpy

    return np.asarray(vtk_to_numpy(scalars).reshape(image.shape[::-1]).T == 1)


def _coarser(grid: Grid, voxels: int) -> Grid:
    """A grid over the same place with at most about ``voxels`` voxels, as isotropic as the grid allows."""
    edge = (np.prod(np.array(grid.shape) * grid.spacing) / voxels) ** (1 / 3)
    return grid.resampled(np.maximum(grid.spacing, edge))


def _to_vtk(array: NDArray[Any], scalar_type: int) -> Any:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(array.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(array.T.ravel(), deep=1, array_type=scalar_type))
    return image
