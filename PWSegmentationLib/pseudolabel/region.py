"""Which part of the volume is looked at, and at which resolution.

Pure numbers (millimetres, voxel counts): nothing here touches an image. All arrays are ordered (i, j, k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: Voxels of the working grid: enough to see an organ's outline, few enough for about a second of work.
VOXEL_BUDGET = 400_000
#: Reach of a lone positive prompt (mm): without any background prompt nothing further away is looked at.
LONE_REACH_MM = 50.0
#: Bounds of the margin around the prompts (mm) once background prompts or a box tell the object's extent.
MARGIN_MM = (8.0, 25.0)


def region_of_interest(
    positive_mm: np.ndarray,
    negative_mm: np.ndarray | None = None,
    boxes_mm: np.ndarray | None = None,
    reach_mm: float = LONE_REACH_MM,
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the part of space that the prompts are about.

    Boxes limit the region by themselves; background prompts enclose the object, so that a small margin is
    enough; positives alone leave its extent open, so that the margin is the reach of a lone prompt.

    Parameters
    ----------
    positive_mm, negative_mm
        Positions (n, 3) of the prompts along the image's own axes (index times spacing), mm.
    boxes_mm
        Boxes (m, 2, 3): lower and upper corner, mm.
    reach_mm
        How far beyond a positive prompt is looked where no other prompt tells the extent, mm.

    Returns
    -------
    lower, upper
        Corners (3,) of the region, mm; not clipped to the image.
    """
    positive = np.asarray(positive_mm, dtype=float).reshape(-1, 3)
    negative = np.zeros((0, 3)) if negative_mm is None else np.asarray(negative_mm, dtype=float).reshape(-1, 3)
    boxes = np.zeros((0, 2, 3)) if boxes_mm is None else np.asarray(boxes_mm, dtype=float).reshape(-1, 2, 3)
    if len(boxes):
        # A shell around the box shows the background beside the object.
        return boxes[:, 0].min(0) - MARGIN_MM[0], boxes[:, 1].max(0) + MARGIN_MM[0]
    points = np.concatenate([positive, negative])
    if not len(points):
        raise ValueError("A region of interest needs at least one prompt.")
    lower, upper = points.min(0), points.max(0)
    if not len(negative):
        return lower - reach_mm, upper + reach_mm
    margin = float(np.clip(0.1 * np.max(upper - lower), *MARGIN_MM))
    if not len(positive):
        return lower - margin, upper + margin
    # A background click left of the object says nothing about its right: where none lies beyond the outermost
    # positive, the region reaches as far as it would without any.
    open_below = negative.min(0) >= positive.min(0)
    open_above = negative.max(0) <= positive.max(0)
    lower = np.where(open_below, positive.min(0) - reach_mm, lower - margin)
    upper = np.where(open_above, positive.max(0) + reach_mm, upper + margin)
    return lower, upper


def working_spacing(
    extent_mm: Sequence[float] | np.ndarray,
    spacing_mm: Sequence[float] | np.ndarray,
    voxel_budget: int = VOXEL_BUDGET,
) -> np.ndarray:
    """Voxel size of the working grid: isotropic as far as the image's own resolution gives it a meaning.

    The smallest size s such that the grid with voxels max(s, spacing) stays within the budget; s is never
    below the finest spacing, and an axis that is coarser than s keeps its own spacing.

    Returns
    -------
    numpy.ndarray
        (3,) voxel size in mm.
    """
    extent = np.maximum(np.asarray(extent_mm, dtype=float), 1e-6)
    spacing = np.asarray(spacing_mm, dtype=float)

    def count(size: float) -> float:
        return float(np.prod(np.ceil(extent / np.maximum(size, spacing)) + 1))

    low = float(spacing.min())
    if count(low) <= voxel_budget:
        return np.maximum(low, spacing)
    high = low
    while count(high) > voxel_budget:
        high *= 2.0
        if high > 1e6:  # a budget that no size can meet
            break
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if count(middle) > voxel_budget else (low, middle)
    return np.maximum(high, spacing)
