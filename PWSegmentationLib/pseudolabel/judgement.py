"""What each cue of the label weighs, given how the object was prompted.

Log-odds per unit of each cue (`from_image`), and a constant. For strokes and boxes they are fixed. For clicks they
depend on how many there are and how they lie: many clicks enclose the object, and where gaps between them are wide, the
nearest click overstates the distance to it. The rows were fitted to the label's Dice overlap with structures that are
not reported and with procedural scenes: ``python -m Testing.Benchmarks.label_weights``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from PWSegmentationLib.pseudolabel.extent import CLICK_MM, is_stroke
from PWSegmentationLib.volume.masks import parts_of

#: What the weights for clicks depend on; see `circumstances`.
Circumstances: TypeAlias = tuple[float, ...]

#: What is weighed.
CUES = ("span", "window", "surface", "seed likelihood", "likelihood")

#: Where background was implied, or a box was drawn.
AROUND: Mapping[str, float] = {
    "span": 0.75,
    "window": 0.4,
    "surface": 2.6,
    "likelihood": 0.75,
    "seed likelihood": 0.3,
    "constant": 0.0,
}
#: From positive prompts alone: the border of what is looked at is not where the object's surroundings begin.
OPEN: Mapping[str, float] = {**AROUND, "constant": -4.0}
#: Strokes leave no gaps between seeds, which makes distances worth more.
STROKES: Mapping[str, float] = {
    "span": 2.0,
    "window": 0.6,
    "surface": 2.6,
    "likelihood": 0.8,
    "seed likelihood": 0.0,
    "constant": 0.6,
}

#: Clicks: what a cue weighs for each of the `Circumstances`, the first of which is 1. The window weighs the same
#: in all, for how wide it is depends on the voxels, and so would the answer.
_CLICKS: Mapping[str, tuple[float, ...]] = {
    "span": (0.83, 0.05, 0.08, 0.20, 0.25, 0.07),
    "window": (0.31, 0.00, 0.00, 0.00, 0.00, 0.00),
    "surface": (2.14, 0.20, 0.10, -0.01, 0.17, 0.13),
    "seed likelihood": (0.30, 0.15, -0.20, 0.41, 0.40, 0.30),
    "likelihood": (0.54, 0.12, -0.38, 0.39, 0.48, 0.38),
    "constant": (-0.27, -0.35, -0.67, 3.29, -5.84, 0.12),
}

#: Clicks lie along something thin, from not at all to surely: how isolated those inside are, and their second extent
#: over the first. Of fewer clicks than these nobody knows.
_GAPS, _EXTENT, _STRAND_CLICKS = (0.42, 0.54), (0.6, 0.5), 4


def click_weights(about: Circumstances) -> Mapping[str, float]:
    """The weights for clicks on both sides of the object's border; a cue is never taken for the opposite."""
    weights = {name: float(np.dot(row, about)) for name, row in _CLICKS.items()}
    return {name: weight if name == "constant" else max(0.0, weight) for name, weight in weights.items()}


def circumstances(
    positive: np.ndarray, negative: np.ndarray, spacing: np.ndarray, *, enclosed: bool = True
) -> Circumstances:
    """One; how many clicks inside and outside; how isolated these are; how round the object is.

    ``positive`` and ``negative``: (I, J, K) bool, both not empty; ``spacing``: mm per voxel. Not ``enclosed``: the
    negative ones do not show where the object's surroundings begin.
    """
    inside, outside = _middles(positive, spacing), _middles(negative, spacing)
    counts = (0.5 * math.log(len(inside)), 0.5 * math.log(len(outside)))
    isolation = (0.0, 0.0)
    if enclosed:
        # A stroke leaves no gaps.
        gaps_inside = 0.0 if is_stroke(positive, spacing) else _isolation(inside, negative, spacing)
        isolation = (gaps_inside, _isolation(outside, positive, spacing))
    return (1.0, *counts, *isolation, _second_extent(inside))


def along_strand(about: Circumstances) -> float:
    """How surely the clicks inside lie along something thin, 0 to 1: in a row, gaps wider than what is around them."""
    _, inside, _, gaps, _, extent = about
    if inside < 0.5 * math.log(_STRAND_CLICKS) - 1e-6:
        return 0.0
    return _ramp(gaps, _GAPS) * _ramp(extent, _EXTENT)


def joined_by(about: Circumstances, share: float) -> Circumstances:
    """The same clicks with that share of the gaps between those inside filled."""
    return (*about[:3], about[3] * (1.0 - share), *about[4:])


def _ramp(value: float, ends: tuple[float, float]) -> float:
    """0 at the first of ``ends``, 1 at the second, linear between."""
    return min(1.0, max(0.0, (value - ends[0]) / (ends[1] - ends[0])))


def _isolation(middles: np.ndarray, others: np.ndarray, spacing: np.ndarray) -> float:
    """How much of the distance to clicks with these `_middles` is only the gap between them, 0 (dense) to 1.

    h / (h + r), with h the free gap from one click to the next, and r the distance to ``others``, the seeds of the
    other sign. A region goes on between its isolated clicks, so that the distance to the nearest click overstates the
    distance to the region. What is usual for clicks, one half, counts as one click more, so that two that happen to lie
    side by side do not pass for a dense cover.
    """
    from scipy.spatial import cKDTree

    count = len(middles)
    if count < 2:
        return 0.5
    to_others = float(np.median(cKDTree(np.argwhere(others) * spacing).query(middles)[0]))
    gap = max(0.0, float(np.median(cKDTree(middles).query(middles, k=2)[0][:, 1])) - 1.5 * CLICK_MM)
    return (count * gap / max(gap + to_others, 1e-6) + 0.5) / (count + 1)


def _middles(clicks: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """The middle of every click, mm from the first voxel's; (n, 3).

    A click drawn as a small ball counts once, at its middle, which does not depend on the grid it was drawn on.
    """
    from scipy import ndimage

    parts, count = parts_of(clicks)
    return np.array(ndimage.center_of_mass(clicks, parts, range(1, count + 1))) * spacing


def _second_extent(points: np.ndarray) -> float:
    """How far ``points`` (n, 3) spread along their second axis, as a share of the first; 0 for one or two."""
    if len(points) < 3:
        return 0.0
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 0.0))
    return float(spread[1] / spread[2]) if spread[2] > 0 else 0.0
