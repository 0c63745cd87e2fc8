"""Where in a segment a further prompt would help most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.prediction import Prediction

# A prompt speaks for about so many mm around it: doubt is summed over cells of this size.
_CELL_MM = 8.0
# Looking at more voxels than this would be felt while clicking.
_MOST_VOXELS = 1_500_000
# Less doubt than this, bits in a voxel, is none: the answer is right nine times in ten.
_LEAST_DOUBT = 0.5
# So many places at most.
_SPOTS = 5


@dataclass(frozen=True)
class UncertainSpot:
    """A place of doubt: its ``position`` (mm, RAS), and how sure the answer there is, 0.5 to 1."""

    position: tuple[float, float, float]
    certainty: float


def uncertain_spots(
    prediction: Prediction, prompted: NDArray[np.float64] | Sequence[Sequence[float]] = ()
) -> list[UncertainSpot]:
    """The places where most of the doubt lies together, the worst first; at most `_SPOTS`.

    ``prompted`` ``(n, 3)`` are the positions (mm, RAS) of the prompts: near them, little more would be learnt.
    """
    step = max(1, int(np.ceil((prediction.region_mask.size / _MOST_VOXELS) ** (1 / 3))))
    doubt = prediction.region_uncertainty[::step, ::step, ::step].astype(np.float32)
    spacing = np.array(prediction.grid.spacing) * step
    cell = np.maximum(1, np.rint(_CELL_MM / spacing)).astype(int)
    means = _cell_means(doubt, cell)
    start = np.array(prediction.region.start)
    centres = (np.indices(means.shape).reshape(3, -1).T + 0.5) * cell * step + start
    world = prediction.grid.to_world(centres)
    score = means.ravel() * _far_from(world, np.asarray(prompted, float).reshape(-1, 3))
    found: list[UncertainSpot] = []
    while len(found) < _SPOTS and score.size and score.max() > 0:
        best = int(score.argmax())
        worst = _worst_voxel(doubt, np.unravel_index(best, _cells(doubt.shape, cell)), cell)
        if doubt[tuple(worst)] >= _LEAST_DOUBT:
            found.append(_spot(prediction, worst * step))
        score[np.linalg.norm(world - world[best], axis=1) < 1.25 * _CELL_MM] = 0.0
    return found


def _cells(shape: tuple[int, ...], cell: NDArray[np.intp]) -> tuple[int, ...]:
    return tuple(int(-(-n // c)) for n, c in zip(shape, cell, strict=True))


def _cell_means(values: NDArray[np.float32], cell: NDArray[np.intp]) -> NDArray[np.float32]:
    """Means over blocks of ``cell`` voxels; blocks at the end are filled up with zero."""
    counts = _cells(values.shape, cell)
    padded = np.zeros([n * int(c) for n, c in zip(counts, cell, strict=True)], np.float32)
    padded[tuple(slice(n) for n in values.shape)] = values
    blocks = padded.reshape([n for pair in zip(counts, cell, strict=True) for n in map(int, pair)])
    return np.asarray(blocks.mean(axis=(1, 3, 5)))


def _far_from(world: NDArray[np.float64], prompted: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 at a prompt, 1 where none is within reach of one."""
    weight = np.ones(len(world))
    for position in prompted[:500]:
        weight = np.minimum(weight, np.linalg.norm(world - position, axis=1) / (1.5 * _CELL_MM))
    return weight


def _worst_voxel(doubt: NDArray[np.float32], at: Sequence[np.intp], cell: NDArray[np.intp]) -> NDArray[np.intp]:
    low = np.array(at) * cell
    part = doubt[tuple(slice(a, a + c) for a, c in zip(low, cell, strict=True))]
    return np.asarray(low + np.unravel_index(int(part.argmax()), part.shape))


def _spot(prediction: Prediction, index: NDArray[np.intp]) -> UncertainSpot:
    probability = float(prediction.region_probability[tuple(index)])
    position = prediction.grid.to_world(index + np.array(prediction.region.start))
    return UncertainSpot(tuple(float(v) for v in position), max(probability, 1.0 - probability))  # type: ignore[arg-type]
