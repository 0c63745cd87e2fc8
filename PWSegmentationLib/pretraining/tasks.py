"""A task to learn from: what a network would be shown of a structure somebody has prompted, and what is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.annotator.protocols import Protocol, SimulatedAnnotator
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.annotator.variety import varied_prompts
from PWSegmentationLib.prediction.network_inputs import network_inputs
from PWSegmentationLib.prediction.predict import pseudo_label
from PWSegmentationLib.prediction.view import View, look
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

# Views thinner than this, voxels, say nothing in three dimensions.
_LEAST_EDGE = 4


@dataclass(frozen=True, eq=False)
class Task:
    """``inputs`` float32 ``(channels, i, j, k)`` in [−1, 1], ``truth`` float32 ``(i, j, k)`` in [0, 1]."""

    inputs: NDArray[np.float32]
    truth: NDArray[np.float32]


def varied_tasks(volume: Volume, reference: Reference, rng: np.random.Generator, corrections: int) -> Iterator[Task]:
    """First prompts of a random kind, and up to ``corrections`` more rounds, each with one to three clicks.

    Every click goes into the largest error of the label: it is what the user sees before there is a network.
    """
    annotator = SimulatedAnnotator(reference, Protocol("corrections"), int(rng.integers(2**31)))
    prompts: SegmentPrompts | None = varied_prompts(reference, rng)
    for turn in range(corrections + 1):
        for _ in range(int(rng.integers(1, 4)) if turn else 0):
            assert prompts is not None
            prompts = corrected(volume, prompts, annotator)
            if prompts is None:
                return
        assert prompts is not None
        made = task(volume, prompts, reference)
        if made is None:
            return
        yield made


def protocol_tasks(volume: Volume, reference: Reference, protocol: Protocol, seed: int = 0) -> Iterator[Task]:
    """The first prompts of a protocol, and where it has corrections the prompts after three of them."""
    annotator = SimulatedAnnotator(reference, protocol, seed)
    prompts: SegmentPrompts | None = annotator.start()
    first = task(volume, annotator.start(), reference)
    if first is not None:
        yield first
    for _ in range(min(3, protocol.corrections)):
        prompts = corrected(volume, prompts, annotator) if prompts is not None else None
    if protocol.corrections and prompts is not None:
        last = task(volume, prompts, reference)
        if last is not None:
            yield last


def task(volume: Volume, prompts: SegmentPrompts, reference: Reference) -> Task | None:
    """The task of these prompts; None where the view is too thin."""
    view, label = _labelled(volume, prompts)
    if min(view.grid.shape) < _LEAST_EDGE:
        return None
    truth = resample(reference.over(view.region).astype(np.float32), view.fine, view.grid)
    return Task(network_inputs(view, label), truth)


def corrected(volume: Volume, prompts: SegmentPrompts, annotator: SimulatedAnnotator) -> SegmentPrompts | None:
    """With a click into the largest error of the label; None where there is nothing to correct."""
    view, label = _labelled(volume, prompts)
    return annotator.correct(prompts, view.region, view.to_fine(label.probability) >= 0.5)


def _labelled(volume: Volume, prompts: SegmentPrompts) -> tuple[View, PseudoLabel]:
    view = look(volume, prompts)
    return view, pseudo_label(view, prompts)
