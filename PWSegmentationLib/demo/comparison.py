"""The demo's segments beside the reference and beside what Grow from seeds makes of the same prompts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.demo.case import DemoCase
from PWSegmentationLib.evaluation.metrics import dice
from PWSegmentationLib.evaluation.peers import grow_from_seeds, seed_region
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.segments.colors import Color


@dataclass(frozen=True)
class Peer:
    """The answer of Grow from seeds; ``mask`` has the whole volume's shape."""

    mask: NDArray[np.bool_]
    volume_ml: float
    dice: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """One segment; ``peer`` is None where Slicer's code is not installed."""

    name: str
    color: Color
    prompts: SegmentPrompts
    prediction: Prediction
    mask: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    reference_ml: float
    dice: float
    peer: Peer | None

    @property
    def prompt_words(self) -> str:
        """How many prompts of which kind: "6 points inside, 10 outside"."""
        inside = sum(p.positive for p in self.prompts.points)
        counts = [
            (inside, "{} point{} inside"),
            (len(self.prompts.points) - inside, "{} point{} outside"),
            (len(self.prompts.boxes), "{} box{}"),
            (sum(s.positive for s in self.prompts.scribbles), "{} stroke{} inside"),
            (sum(not s.positive for s in self.prompts.scribbles), "{} stroke{} outside"),
            (len(self.prompts.strokes), "{} painted labelmap{}"),
        ]
        plural = {True: "", False: "s"}
        words = [text.format(n, "es" if "box" in text and n != 1 else plural[n == 1]) for n, text in counts if n]
        return ", ".join(words)


def compare(case: DemoCase, prediction: Prediction, color: Color) -> Comparison:
    """Measure one segment, and let Grow from seeds answer its prompts."""
    mask, reference = prediction.mask, case.reference_mask(prediction.segment)
    return Comparison(
        name=prediction.segment,
        color=color,
        prompts=case.prompts[prediction.segment],
        prediction=prediction,
        mask=mask,
        reference=reference,
        reference_ml=_millilitres(reference, case),
        dice=dice(mask, reference),
        peer=_grown(case, prediction.segment, reference),
    )


def _grown(case: DemoCase, name: str, reference: NDArray[np.bool_]) -> Peer | None:
    """Grow from seeds with its default settings; what is inside the other segments is outside this one."""
    prompts = case.prompts[name]
    others = [s for s in case.prompts if s.name != name]
    start = time.perf_counter()
    region = seed_region(case.volume, prompts)
    part = case.volume.crop(region)
    seeds = draw(prompts, part.grid, others=others)
    labels = np.where(seeds.positive, np.uint8(1), np.where(seeds.negative, np.uint8(2), np.uint8(0)))
    try:
        grown = grow_from_seeds(part.array, labels)
    except ImportError:
        return None
    mask = np.zeros(case.volume.grid.shape, bool)
    mask[region.slices] = grown
    seconds = time.perf_counter() - start
    return Peer(mask, _millilitres(mask, case), dice(mask, reference), seconds)


def _millilitres(mask: NDArray[np.bool_], case: DemoCase) -> float:
    return float(np.count_nonzero(mask)) * case.volume.grid.voxel_volume / 1000.0
