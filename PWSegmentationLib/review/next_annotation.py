"""Where the next prompt would help most: which spot, on which slice, of which segment, in which case.

Asking at the most uncertain voxel helps little: it lies on the border, where a yes or no says nothing of what is
beyond, and where mixed intensities mislead the label. A prompt helps where it speaks for much that nothing has spoken
for yet. So the spots are clear ones, well inside the answer or beside it: a little, or anywhere where the answer could
go on. Of those on the side that has fewer prompts than it should, it is the one farthest from all prompts, the more so
where the answer is in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.volume.masks import depth_mm

# Inside, a spot keeps this far from the border, mm, or this share of the half thickness if less; outside, so far, and
# farther only where the answer's probability is above this: after a click, much of a large organ is yet to be found.
_INSIDE_MM, _INSIDE_SHARE, _OUTSIDE_MM, _POSSIBLE = 3.0, 0.35, (2.0, 10.0), 0.3
# Prompts outside for each one inside: a segment has more ways to be too large than to be too small.
_OUTSIDE_FOR_INSIDE = 2.0
# Added to the chance of being wrong, so that distance counts where nothing is in doubt; at most so far, mm.
_CALM, _FAR_MM = 0.1, 60.0
# How far a prompt speaks for its surroundings, mm (standard deviation), for the gain to expect.
_SPEAKS_MM = 8.0
# Looked at on a lattice of no more voxels than this.
_MOST_VOXELS = 300_000


@dataclass(frozen=True)
class Suggestion:
    """A spot to prompt at: ``position`` (mm, RAS), the chance that the answer is wrong there, and the ``gain`` in Dice.

    ``k`` is the slice of the volume that it lies on. The gain is what correcting the voxels around it would bring that
    are likely wrong: an estimate to order by, and no promise.
    """

    case: str
    segment: str
    position: tuple[float, float, float]
    k: int
    chance_wrong: float
    gain: float


def suggest(
    prediction: Prediction, prompts: SegmentPrompts | None = None, count: int = 5, *, case: str = ""
) -> list[Suggestion]:
    """The spots where one more prompt would help most, in the order in which to answer them; at most ``count``."""
    step = max(1, int(np.ceil((prediction.region_mask.size / _MOST_VOXELS) ** (1 / 3))))
    every = (slice(None, None, step),) * 3
    inside = prediction.region_mask[every]
    if not inside.any():
        return []
    probability = prediction.region_probability[every].astype(np.float32)
    # Voxels that another segment has are not doubtful here, however probable.
    wrong = np.where(inside, 1.0 - probability, np.where(probability < 0.5, probability, 0.0)).astype(np.float32)
    spacing = np.array(prediction.grid.spacing) * step
    candidates, side = _candidates(inside, probability, spacing)
    world = prediction.grid.to_world(candidates * step + prediction.region.start)
    chance = wrong[tuple(candidates.T)]
    gains = _gain(wrong, inside, spacing, float(probability.sum(dtype=np.float64)))[tuple(candidates.T)]
    near = np.full(len(world), _FAR_MM)
    placed = {True: 0, False: 0}
    for positive in (True, False) if prompts is not None else ():
        positions = prompts.positions(positive)  # type: ignore[union-attr]
        placed[positive] = len(positions)
        for position in positions[:: max(1, len(positions) // 200)]:
            near = np.minimum(near, np.linalg.norm(world - position, axis=1))
    found: list[Suggestion] = []
    while len(found) < count:
        wanted = placed[False] >= _OUTSIDE_FOR_INSIDE * placed[True]
        open_spots = side == wanted if (side == wanted).any() else np.ones(len(side), bool)
        score = np.where(open_spots, near * (chance + _CALM), 0.0)
        best = int(score.argmax())
        if score[best] <= 0:
            break
        position = (float(world[best, 0]), float(world[best, 1]), float(world[best, 2]))
        k = int(candidates[best, 2] * step + prediction.region.start[2])
        found.append(Suggestion(case, prediction.segment, position, k, float(chance[best]), float(gains[best])))
        near = np.minimum(near, np.linalg.norm(world - world[best], axis=1))
        placed[bool(side[best])] += 1
    return found


def _candidates(
    inside: NDArray[np.bool_], probability: NDArray[np.float32], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Voxels ``(n, 3)`` of the lattice that are clearly on one side of the border, and whether that is the inside."""
    depth = depth_mm(inside, spacing)
    away = ndimage.distance_transform_edt(~inside, sampling=spacing)
    deep = depth > min(_INSIDE_MM, _INSIDE_SHARE * depth.max())
    beside = (away >= _OUTSIDE_MM[0]) & ((away <= _OUTSIDE_MM[1]) | (probability > _POSSIBLE))
    voxels = np.argwhere(deep | beside)
    return voxels, inside[tuple(voxels.T)]


def _gain(
    wrong: NDArray[np.float32], inside: NDArray[np.bool_], spacing: NDArray[np.float64], probable: float
) -> NDArray[np.float64]:
    """The Dice to gain, at every voxel, if all that is likely wrong around it on its own side were put right."""
    sigma = _SPEAKS_MM / spacing
    # The filter's weights add up to one; a prompt speaks for all that they cover.
    reach = float(np.prod(np.sqrt(2.0 * np.pi) * sigma))
    sums = [ndimage.gaussian_filter(np.where(side, wrong, np.float32(0)), sigma) for side in (inside, ~inside)]
    total = np.count_nonzero(inside) + probable
    return np.asarray(np.minimum(np.where(inside, *sums) * reach * 2.0 / total, 1.0), np.float64)
