"""Where to ask for the next prompt: ways to choose a spot, which the benchmark compares.

"suggested" is what the program proposes (`review.next_annotation`); the others are what it is measured against.
"""

from __future__ import annotations

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.metrics import Answer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.review.next_annotation import suggest
from PWSegmentationLib.volume.grid import Grid


def choose_spot(
    way: str, answer: Answer, grid: Grid, prompts: SegmentPrompts, rng: np.random.Generator
) -> tuple[float, float, float] | None:
    """A position, mm RAS, to ask at after ``answer``; None where there is none.

    Raises `InputError` for a method that says no probability, which all ways but "random" need.
    """
    if way == "random":
        return _random(answer, grid, rng)
    if answer.probability is None or answer.uncertainty is None:
        raise InputError("Spots can be chosen for methods that say how sure they are: leave the others out.")
    half = (answer.probability.astype(np.float16), answer.uncertainty.astype(np.float16))
    prediction = Prediction("structure", grid, answer.region, answer.mask, *half)
    if way == "uncertain":
        return _most_uncertain(prediction, prompts)
    found = suggest(prediction, prompts, count=1)
    return found[0].position if found else None


def _random(answer: Answer, grid: Grid, rng: np.random.Generator) -> tuple[float, float, float]:
    """Any voxel within 10 mm of the answer's bounding box: what one asks who has no idea."""
    found = np.argwhere(answer.mask)
    reach = np.ceil(10.0 / np.array(grid.spacing)).astype(int)
    start, shape = np.array(answer.region.start), np.array(grid.shape)
    low, high = (
        (found.min(axis=0), found.max(axis=0)) if len(found) else (np.zeros(3, int), np.array(answer.mask.shape))
    )
    voxel = rng.integers(np.maximum(low + start - reach, 0), np.minimum(high + start + reach + 1, shape))
    return _position(grid, voxel)


def _most_uncertain(prediction: Prediction, prompts: SegmentPrompts) -> tuple[float, float, float] | None:
    """The voxel whose probability is nearest to one half, and which was not asked for before."""
    doubt = prediction.region_uncertainty.astype(np.float32)
    placed = np.concatenate([prompts.positions(True), prompts.positions(False)])
    index = prediction.grid.to_voxel(placed) - np.array(prediction.region.start)
    known = index[((index >= 0) & (index < doubt.shape)).all(axis=1)]
    doubt[tuple(known.T)] = 0.0
    if not doubt.any():
        return None
    best = np.array(np.unravel_index(int(doubt.argmax()), doubt.shape))
    return _position(prediction.grid, best + prediction.region.start)


def _position(grid: Grid, voxel: np.ndarray) -> tuple[float, float, float]:
    position = grid.to_world(voxel)
    return (float(position[0]), float(position[1]), float(position[2]))
