"""How far an object reaches when nobody has said where it ends.

From positive prompts alone, or with negative ones that lie far away for its size, the object is taken to be the region
around them whose border the image shows best. The candidates are nested: everything within a geodesic distance t of the
prompts, which grows through even tissue first. Of these the one with the largest mean contrast across its border wins,
as for maximally stable extremal regions (Matas et al., BMVC 2002) and the isolabel-contour contrast of region growing
(Hojjatoleslami & Kittler, IEEE TMI 1998).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.pseudolabel.geodesic import geodesic_distances
from PWSegmentationLib.pseudolabel.intensity import in_order, window
from PWSegmentationLib.pseudolabel.smoothing import smooth
from PWSegmentationLib.pseudolabel.threads import one_thread
from PWSegmentationLib.volume.masks import parts_of

if TYPE_CHECKING:
    import torch

#: Candidate distances.
_STEPS = 96
#: Width of the window growth sees, in robust spreads of the seeds: wide, so that soft borders are not met too early.
_WINDOW = 25.0
#: Cost of one millimetre, against a full-range step of one: dear enough that the region stays compact.
_LENGTH_WEIGHT = 0.01
#: The smallest and the largest object looked for, as radii of a ball, mm.
_RADIUS_MM = (1.5, 45.0)
#: The background starts this far outside the border, as a share of the object's radius, and at least so many mm.
_GAP_SHARE, _GAP_MM = 0.25, 2.0
#: Seeds that hang together and would not fit into a ball of this diameter (mm) are a stroke, not a click.
CLICK_MM = 8.0
#: Negative seeds this many times further from the positive ones than these from each other leave the extent open.
_OPEN_FROM = 3.0


def implied_background(
    image: np.ndarray,
    valid: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    device: str,
) -> np.ndarray | None:
    """The shell of voxels (I, J, K) bool taken for background where the negative seeds do not show where it begins.

    None where they do, and where the image shows no border within the largest object looked for.
    """
    from scipy import ndimage

    found = likely_object(image, valid, positive, negative, spacing, device)
    if found is None:
        return None
    spacing = np.asarray(spacing, dtype=float)
    radius = float((3.0 * np.count_nonzero(found) * np.prod(spacing) / (4.0 * math.pi)) ** (1 / 3))
    gap = max(_GAP_MM, _GAP_SHARE * radius, float(spacing.min()))
    away = ndimage.distance_transform_edt(~found, sampling=spacing)
    # A shell is enough, and keeps what lies further out from counting as the object's surroundings.
    return np.asarray((away > gap) & (away <= gap + max(3.0, 2.0 * float(spacing.max()))))


def likely_object(
    image: np.ndarray,
    valid: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    device: str,
) -> np.ndarray | None:
    """The region (I, J, K) bool around positive seeds with the best border, None where there is none or no measurement.

    None, too, where negative seeds show it: where they lie about as near to the positive ones as these to each other.
    The region never holds a negative seed.
    """
    import torch

    if negative.any() and _openness(positive, negative, np.asarray(spacing, dtype=float)) < _OPEN_FROM:
        return None
    measured = valid & ~negative
    if not measured.any():
        return None
    spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    values, usable, seeds = (
        torch.as_tensor(np.ascontiguousarray(a), device=device) for a in (image, measured, positive)
    )
    with torch.inference_mode(), one_thread():
        smoothed = smooth(values, min(spacing), spacing)
        view = window(smoothed, usable, seeds, width=_WINDOW)
        starts = torch.where(seeds, 0.0, torch.inf)[None]
        distance = geodesic_distances(view[None], starts, spacing, length_weight=_LENGTH_WEIGHT, rounds=4)[0]
        distance = torch.where(usable, distance, torch.inf)
        padding = torch.as_tensor(_padding(valid), device=device)
        if not bool(padding.all()):
            # Where padding begins, what was measured ends: that is a border, too.
            smoothed = torch.where(padding, smoothed[~padding].min(), smoothed)
        limit, radius = best_border(distance, smoothed, spacing, int(padding.sum()))
        if radius > 0.95 * _RADIUS_MM[1]:
            return None
        return np.asarray((distance <= limit).cpu().numpy())


def _padding(valid: np.ndarray) -> np.ndarray:
    """What was not measured (I, J, K) bool, without single voxels and planes, which may be in the midst of anything."""
    from scipy import ndimage

    away = ~np.asarray(valid)
    return np.asarray(ndimage.binary_dilation(ndimage.binary_erosion(away, border_value=1)) if away.any() else away)


def _openness(positive: np.ndarray, negative: np.ndarray, spacing: np.ndarray) -> float:
    """How many times further it is from positive seeds to negative ones than positive seeds reach themselves.

    Clicks reach as far as the next one of them: they were spread over the object. A stroke reaches half as far as it
    is long from its middle. One click says nothing about the extent: infinite.
    """
    from scipy.spatial import cKDTree

    to_negative = cKDTree(np.argwhere(negative) * spacing)
    seeds = np.argwhere(positive) * spacing
    parts, count = parts_of(positive)
    length = max(float(np.linalg.norm(s - s.mean(0), axis=1).max()) for s in _by_part(seeds, parts[positive], count))
    if length > CLICK_MM or is_stroke(positive, spacing):
        return float(np.median(to_negative.query(seeds)[0])) / (0.5 * length)
    if count < 2:
        return math.inf
    middles = np.array([s.mean(0) for s in _by_part(seeds, parts[positive], count)])
    gap = float(np.median(cKDTree(middles).query(middles, k=2)[0][:, 1]))
    return float(np.median(to_negative.query(middles)[0])) / gap


def _by_part(seeds: np.ndarray, part: np.ndarray, count: int) -> list[np.ndarray]:
    """The rows of `seeds` (n, 3) of each part, 1 to `count`."""
    return [seeds[part == number] for number in range(1, count + 1)]


def is_stroke(seeds: np.ndarray, spacing: np.ndarray) -> bool:
    """Whether most seed voxels (I, J, K) hang together in parts that are too large for a click."""
    parts, _ = parts_of(seeds)
    voxels = np.bincount(parts.ravel())[1:]
    click_voxels = 4.0 / 3.0 * math.pi * (0.5 * CLICK_MM) ** 3 / float(np.prod(spacing))
    return bool(voxels[voxels > max(click_voxels, 27)].sum() > 0.5 * voxels.sum())


def best_border(
    distance: torch.Tensor, image: torch.Tensor, spacing: Sequence[float], padding: int = 0
) -> tuple[float, float]:
    """The distance at which the image shows a border best, and the radius of a ball of the volume within, mm.

    ``padding``: so many voxels of the view were not measured, and are not reached.
    """
    import torch

    voxel = math.prod(spacing)
    volumes = [4.0 / 3.0 * math.pi * r**3 / voxel for r in _RADIUS_MM]
    finite = in_order(distance[torch.isfinite(distance)])
    # Candidates evenly spaced in the logarithm of the volume, from the smallest object to the largest.
    # What fills more than half of the view has most of its border outside it.
    largest = min(volumes[1], 0.5 * (len(finite) + padding), len(finite))
    counts = torch.logspace(math.log10(max(volumes[0], 1.0)), math.log10(max(largest, 2.0)), _STEPS)
    limits = torch.unique(finite[counts.clamp(max=len(finite) - 1).long()])
    if len(limits) < 2:
        return float(finite[-1]), _RADIUS_MM[0]
    contrast = torch.zeros(len(limits) + 1, device=distance.device)
    area = torch.zeros_like(contrast)
    # The first candidate that holds each voxel.
    candidate = torch.searchsorted(limits, distance.contiguous())
    for axis in range(3):
        count = distance.shape[axis] - 1
        if count < 1:
            continue
        a, b = candidate.narrow(axis, 0, count), candidate.narrow(axis, 1, count)
        difference = (image.narrow(axis, 0, count) - image.narrow(axis, 1, count)).abs().flatten()
        # A face is on the border of every candidate t with min(a, b) <= t < max(a, b).
        first, behind = torch.minimum(a, b).flatten(), torch.maximum(a, b).flatten()
        face = voxel / spacing[axis]
        for where, sign in ((first, face), (behind, -face)):
            contrast += torch.bincount(where, difference * sign, len(contrast)).float()
            area += torch.bincount(where, minlength=len(contrast)).float() * sign
    mean = contrast.cumsum(0)[:-1] / area.cumsum(0)[:-1].clamp(min=1e-6)
    inside = torch.searchsorted(finite, limits, right=True).float() * voxel
    best = int(mean.argmax())
    return float(limits[best]), float((3.0 * inside[best] / (4.0 * math.pi)) ** (1 / 3))
