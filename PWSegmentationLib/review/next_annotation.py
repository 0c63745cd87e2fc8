"""Where the next prompt would help most: which spot, on which slice, of which segment, in which case.

A prompt helps where the answer is likely wrong, and not in one voxel alone: what it says spreads over its surroundings
as far as they are doubtful in the same way. So the gain to expect of asking at a voxel is the chance that the answer
there is wrong, times the wrong voxels to expect around it on the same side of the border. Told as Dice, it can be
compared between segments and cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import SegmentPrompts

# How far a prompt speaks for its surroundings, mm (standard deviation); nearer than twice that to another prompt little
# more is learnt.
_SPEAKS_MM = 5.0
# Looked at on a lattice of no more voxels than this.
_MOST_VOXELS = 300_000


@dataclass(frozen=True)
class Suggestion:
    """A spot to prompt at: ``position`` (mm, RAS), the chance that the answer is wrong there, and the ``gain`` in Dice.

    ``k`` is the slice of the volume that it lies on.
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
    """The spots where one more prompt would help most, the best first; at most ``count``, apart from each other."""
    step = max(1, int(np.ceil((prediction.region_mask.size / _MOST_VOXELS) ** (1 / 3))))
    every = (slice(None, None, step),) * 3
    probability = prediction.region_probability[every].astype(np.float32)
    inside = prediction.region_mask[every]
    # Voxels that another segment has are not doubtful here, however probable.
    wrong = np.where(inside, 1.0 - probability, np.where(probability < 0.5, probability, 0.0))
    spacing = np.array(prediction.grid.spacing) * step
    score = wrong * _around(wrong, inside, spacing)
    index = np.argwhere(score > 0) * step + prediction.region.start
    if len(index) == 0:
        return []
    world, gains = prediction.grid.to_world(index), score[score > 0].astype(np.float64)
    placed = np.zeros((0, 3)) if prompts is None else np.concatenate([prompts.positions(s) for s in (True, False)])
    for position in placed[:: max(1, len(placed) // 300)]:
        gains *= _novelty(world, position)
    total = float(np.count_nonzero(inside) + probability.sum(dtype=np.float64)) or 1.0
    found: list[Suggestion] = []
    while len(found) < count and gains.max() > 0:
        best = int(gains.argmax())
        chance = float(wrong[tuple((index[best] - prediction.region.start) // step)])
        position = (float(world[best, 0]), float(world[best, 1]), float(world[best, 2]))
        gain = 2.0 * float(gains[best]) / total
        found.append(Suggestion(case, prediction.segment, position, int(index[best, 2]), chance, gain))
        gains *= _novelty(world, world[best])
    return found


def rank(
    predictions: Mapping[str, Iterable[Prediction]],
    prompts: Mapping[str, Mapping[str, SegmentPrompts]] | None = None,
    count: int = 10,
) -> list[Suggestion]:
    """The best spots over several cases; both mappings are by case name, prompts by segment name below."""
    found: list[Suggestion] = []
    for case, of_case in predictions.items():
        known = (prompts or {}).get(case, {})
        for prediction in of_case:
            found += suggest(prediction, known.get(prediction.segment), case=case)
    return sorted(found, key=lambda s: -s.gain)[:count]


def _around(
    wrong: NDArray[np.floating], inside: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Of every voxel, how many wrong voxels to expect in its reach on its own side of the border (lattice voxels)."""
    sigma = _SPEAKS_MM / spacing
    # The filter's weights add up to one; a prompt speaks for all that they cover.
    reach = float(np.prod(np.sqrt(2.0 * np.pi) * sigma))
    sums = [ndimage.gaussian_filter(np.where(side, wrong, 0.0).astype(np.float32), sigma) for side in (inside, ~inside)]
    return np.where(inside, *sums).astype(np.float32) * reach


def _novelty(world: NDArray[np.float64], position: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """0 at a prompt, towards 1 where it is out of reach."""
    squared = ((world - np.asarray(position)) ** 2).sum(axis=1)
    return np.asarray(1.0 - np.exp(-squared / (2.0 * (1.5 * _SPEAKS_MM) ** 2)))
