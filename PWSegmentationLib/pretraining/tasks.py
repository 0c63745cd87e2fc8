"""A task to learn from: what a network would be shown of a structure somebody has prompted, and what is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.annotator import placement
from PWSegmentationLib.annotator.protocols import Protocol, SimulatedAnnotator
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.annotator.variety import varied_prompts
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.network_inputs import network_inputs
from PWSegmentationLib.prediction.predict import pseudo_label
from PWSegmentationLib.prediction.view import View, look, look_at, region_for
from PWSegmentationLib.prediction.zoom import Judged, zoomed
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.pseudolabel.region import VOXEL_BUDGET
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from PWSegmentationLib.prediction.promptable import PromptableModel

# Views thinner than this, voxels, say nothing in three dimensions.
_LEAST_EDGE = 4
# Of which the structure must fill as many.
_LEAST_VOXELS = 12
# The working grid has between so many voxels, evenly over the logarithm, and as many as the user's at most.
_FEWEST_VOXELS = 50_000
# How far around lone positive prompts is looked: mm, or as a share of half the structure's size. Where that is small,
# the view lies in the middle of the structure, and the network must say so.
_REACH_MM, _REACH = (25.0, 130.0), (0.25, 1.6)
# Close views: on each side this share of the structure's size, and at least so many mm.
_MARGIN, _MARGIN_MM = (0.1, 0.6), (5.0, 15.0)
# How often a model that answers also decides where is looked, as it will for users.
_WHERE_IT_LOOKS = 0.8
# How often its answer to fewer prompts is at hand, as it is for users unless they place many prompts at once.
_WITH_EARLIER = 0.7


@dataclass(frozen=True, eq=False)
class Task:
    """``inputs`` float32 ``(channels, i, j, k)`` in [−1, 1], ``truth`` float32 ``(i, j, k)`` in [0, 1]."""

    inputs: NDArray[np.float32]
    truth: NDArray[np.float32]


class _Look(NamedTuple):
    """A view, its label, and the answer that is seen there."""

    view: View
    label: PseudoLabel
    probability: NDArray[np.float32]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the answer is inside."""
        return self.probability >= 0.5

    def as_earlier(self, prompts: SegmentPrompts) -> EarlierAnswer:
        """For the next look, after more prompts."""
        return EarlierAnswer(prompts, (), self.view.grid, self.probability.astype(np.float16))


def varied_tasks(
    volume: Volume,
    reference: Reference,
    rng: np.random.Generator,
    corrections: int,
    model: PromptableModel | None = None,
    careful: float = 0.5,
) -> Iterator[Task]:
    """First prompts of a random kind, and up to ``corrections`` more rounds, each with one to three clicks.

    ``careful`` is for `varied_prompts`. Clicks go into the largest errors of what the user sees: the answer of
    ``model``, or the label where there is none. Each round is looked at from near or far, on a finer or coarser grid,
    or where the model would look: there, its first and its last look are tasks. Mostly its answer of the round before
    is a part of the label.
    """
    earlier: EarlierAnswer | None = None
    prompts: SegmentPrompts | None = varied_prompts(reference, rng, careful)
    for _ in range(corrections + 1):
        assert prompts is not None
        if model is not None and rng.random() < _WHERE_IT_LOOKS:
            looks = _looks(volume, prompts, model, earlier)
        else:
            looks = [_looked(_varied_view(volume, prompts, reference, rng), prompts, model, earlier)]
        made = [_task(each.view, each.label, reference) for each in (looks[0], looks[-1])[: len(looks)]]
        yield from (each for each in made if each is not None)
        if made[-1] is None:
            return
        keeps = model is not None and rng.random() < _WITH_EARLIER
        earlier = looks[-1].as_earlier(prompts) if keeps else None
        prompts = _corrected(prompts, looks[-1].view.grid, looks[-1].mask, made[-1].truth >= 0.5, rng)
        if prompts is None:
            return


def _looked(
    view: View, prompts: SegmentPrompts, model: PromptableModel | None, earlier: EarlierAnswer | None = None
) -> _Look:
    counts = earlier is not None and earlier.counts_for(prompts, ())
    label = pseudo_label(view, prompts, earlier=earlier if counts else None)
    return _Look(view, label, label.probability if model is None else model.answer(view, prompts, label))


def _looks(
    volume: Volume, prompts: SegmentPrompts, model: PromptableModel, earlier: EarlierAnswer | None = None
) -> list[_Look]:
    """Every look of the program at these prompts, in order."""
    looks: list[_Look] = []

    def judge(view: View) -> Judged:
        looks.append(_looked(view, prompts, model, earlier))
        return Judged(looks[-1].probability)

    zoomed(volume, prompts, (), judge)
    return looks


def protocol_tasks(
    volume: Volume, reference: Reference, protocol: Protocol, seed: int = 0, model: PromptableModel | None = None
) -> Iterator[Task]:
    """The first prompts of a protocol, and where it has corrections the prompts after three of them.

    Seen where the program looks last with ``model``, or with the label alone.
    """
    annotator = SimulatedAnnotator(reference, protocol, seed)
    earlier: EarlierAnswer | None = None
    prompts: SegmentPrompts | None = annotator.start()
    for turn in range(min(3, protocol.corrections) + 1):
        assert prompts is not None
        if model is None:
            seen = _looked(look(volume, prompts), prompts, None)
        else:
            seen = _looks(volume, prompts, model, earlier)[-1]
            earlier = seen.as_earlier(prompts)
        made = _task(seen.view, seen.label, reference)
        if made is None:
            return
        if turn in (0, 3):
            yield made
        if turn < 3:
            mask = seen.view.to_fine(seen.mask.astype(np.float32)) >= 0.5
            prompts = annotator.correct(prompts, seen.view.region, mask)
        if prompts is None:
            return


def _task(view: View, label: PseudoLabel, reference: Reference) -> Task | None:
    """The task of a view; None where the view is too thin, or holds too little of the structure."""
    if min(view.grid.shape) < _LEAST_EDGE:
        return None
    truth = resample(reference.over(view.region).astype(np.float32), view.fine, view.grid)
    if np.count_nonzero(truth >= 0.5) < _LEAST_VOXELS:
        return None
    return Task(network_inputs(view, label), truth)


def _varied_view(volume: Volume, prompts: SegmentPrompts, reference: Reference, rng: np.random.Generator) -> View:
    """From far, as when nothing is known of the object's extent, or from near, as once it was seen."""
    region = region_for(prompts, volume.grid)
    if not prompts.boxes:
        if rng.random() < 0.5:
            region = _around(reference, prompts, volume.grid, rng)
        elif not len(prompts.positions(positive=False)):
            reach = float(np.exp(rng.uniform(*np.log(_REACH_MM))))
            if rng.random() < 0.6:
                half = 0.5 * float((np.array(reference.region.shape) * volume.grid.spacing).max())
                reach = max(10.0, half * float(np.exp(rng.uniform(*np.log(_REACH)))))
            region = volume.grid.region_of(prompts.positions(positive=True), reach)
    budget = int(np.exp(rng.uniform(np.log(_FEWEST_VOXELS), np.log(VOXEL_BUDGET))))
    return look_at(volume, prompts, (), region, budget)


def _around(reference: Reference, prompts: SegmentPrompts, grid: Grid, rng: np.random.Generator) -> Region:
    """The structure and its positive prompts with a margin that differs from side to side."""
    size = np.array(reference.region.shape) * grid.spacing
    least = rng.uniform(*_MARGIN_MM)
    margins = np.maximum(least, rng.uniform(*_MARGIN) * size.max() * rng.uniform(0.5, 1.2, (2, 3))) / grid.spacing
    inside = grid.to_index(prompts.positions(positive=True))
    low = np.minimum(np.array(reference.region.start), inside.min(axis=0)) - margins[0]
    high = np.maximum(np.array(reference.region.stop), inside.max(axis=0) + 1) + margins[1]
    start = np.clip(np.floor(low).astype(int), 0, np.array(grid.shape) - 1)
    stop = np.clip(np.ceil(high).astype(int), start + 1, grid.shape)
    return Region(tuple(int(v) for v in start), tuple(int(v) for v in stop))  # type: ignore[arg-type]


def _corrected(
    prompts: SegmentPrompts,
    grid: Grid,
    said: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    rng: np.random.Generator,
) -> SegmentPrompts | None:
    """With one to three clicks into the largest errors, mostly into their middle; None where there is nothing wrong."""
    errors, count = ndimage.label(said != truth)
    if count == 0:
        return None
    sizes = np.bincount(errors.ravel())[1:]
    taken = {tuple(grid.to_voxel(p.position)) for p in prompts.points}
    boxes = ndimage.find_objects(errors)
    added = 0
    for number in 1 + np.argsort(-sizes, kind="stable")[: int(rng.integers(1, 4))]:
        box = boxes[number - 1]
        component = errors[box] == number
        within = placement.centre(component, grid.spacing)[0]
        if rng.random() < 0.3:
            within = np.argwhere(component)[rng.integers(np.count_nonzero(component))]
        voxel = within + [s.start for s in box]
        position = grid.to_world(voxel)
        outside_box = prompts.boxes and not any(b.contains(position) for b in prompts.boxes)
        if tuple(voxel) in taken or outside_box:
            continue
        prompts = prompts.with_prompt(Point(tuple(position), bool(truth[tuple(voxel)])))
        added += 1
    return prompts if added else None
