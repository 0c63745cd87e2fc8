"""From one segment's prompts to its prediction."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.body_size import BodySize
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.view import View, look
from PWSegmentationLib.prediction.zoom import Judged, Looked, zoomed
from PWSegmentationLib.progress import Cancel, Progress, part_of, stop_if
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import Drawing, Seeds
from PWSegmentationLib.pseudolabel import PseudoLabel, gaussian_label, image_aware
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from PWSegmentationLib.prediction.promptable import PromptableModel


# The largest number below one half, also as float16.
_BELOW = 0.5 - 2.0**-12

# Of a box, where clicks say what is not meant, and none what is.
_NOTHING_FOUND = "Nothing is found in the box: click inside what is meant."
# Of clicks that are all beside the image.
_IN_PADDING = "What was marked is padding, where nothing was measured: click on the structure itself."


@dataclass(frozen=True, eq=False)
class CaseNetwork:
    """What a network fitted to this case says about one segment, averaged over its stochastic passes.

    ``probability`` and ``uncertainty`` are float32 ``[i, j, k]`` on ``grid``, in [0, 1]; ``share`` is the network's
    weight beside the label's, (0, 1].
    """

    grid: Grid
    probability: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    share: float = 0.5


def predict(
    volume: Volume,
    segment: SegmentPrompts,
    others: Iterable[SegmentPrompts] = (),
    *,
    method: str = "auto",
    sigma_mm: float = 10.0,
    network: CaseNetwork | None = None,
    model: PromptableModel | None = None,
    earlier: EarlierAnswer | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Prediction:
    """Predict ``segment`` from its prompts, the prompts of ``others`` that compete with it, and the image.

    The cost follows the region the prompts are about, not the volume. Voxels under a prompt always follow it.
    With ``model`` the network refines the label.
    ``earlier`` is what it said before the last prompts, which it goes by away from these: prompts added inside take
    nothing away, prompts added outside add nothing. Ignored where prompts have been taken back since.
    """
    started = time.perf_counter()
    size, grid = BodySize.of(volume.grid), volume.grid
    volume, segment, others = size.volume(volume), size.prompts(segment), size.all(others)
    if earlier is not None:
        earlier = earlier.enlarged(size)
    if earlier is not None and (model is None or not earlier.counts_for(segment, others)):
        earlier = None
    judge = _Judge(segment, method, sigma_mm, model, earlier, device, progress, cancel)
    looked = _look(volume, segment, others, judge)
    view, probability = looked.view, looked.probability
    if earlier is not None:
        probability = earlier.kept_in(probability, view, segment, others)
    doubts = np.zeros_like(probability)
    if network is not None:
        probability, doubts = _combined(view, probability, network)
    stated = _stated(looked, probability, segment, model)
    inside, fine, doubt = _at_the_volumes_voxels(view, segment, others, probability, stated, doubts)
    return Prediction(
        segment=segment.name,
        grid=grid,
        region=view.region,
        region_mask=inside,
        region_probability=fine,
        region_uncertainty=doubt,
        working_grid=size.real(view.grid),
        working_probability=_halved(probability),
        note=_note(segment, view, inside),
        method=judge.name + (" + fine-tuned network" if network is not None else ""),
        seconds=time.perf_counter() - started,
    )


@dataclass(eq=False)
class _Judge:
    """Says of a view what the label finds there, refined by the ``model`` if there is one; the rest is `predict`'s."""

    segment: SegmentPrompts
    method: str
    sigma_mm: float
    model: PromptableModel | None
    earlier: EarlierAnswer | None
    device: str
    progress: Progress | None
    cancel: Cancel | None
    part: tuple[float, float] = (0.0, 1.0)

    @property
    def name(self) -> str:
        """For people."""
        if self.model is not None:
            return self.model.name
        return "Gaussian label" if self.method == "gaussian" else "image-aware label"

    def begin(self, start: float, stop: float) -> None:
        """What comes next is this part of all the work."""
        self.part = (start, stop)
        stop_if(self.cancel)

    def __call__(self, view: View) -> Judged:
        label = pseudo_label(
            view,
            self.segment,
            method=self.method,
            sigma_mm=self.sigma_mm,
            earlier=self.earlier,
            device=self.device,
            progress=part_of(self.progress, *self.part),
            cancel=self.cancel,
        )
        if self.model is None:
            return Judged(label.probability, label)
        stop_if(self.cancel)
        if not label.probability.any():
            # Nothing is known to be inside: there is nothing to refine.
            return Judged(label.probability, label)
        return Judged(self.model.answer(view, self.segment, label), label)


def _look(volume: Volume, segment: SegmentPrompts, others: tuple[SegmentPrompts, ...], judge: _Judge) -> Looked:
    """The part of the volume that the prompts are about, and what is said of it."""
    if judge.model is not None:
        return zoomed(volume, segment, others, judge, judge.begin)
    view = look(volume, segment, others, device=judge.device)
    answer = judge(view)
    return Looked(view, answer.probability, answer.label)


def _stated(
    looked: Looked, probability: NDArray[np.float32], segment: SegmentPrompts, model: PromptableModel | None
) -> NDArray[np.float32] | None:
    """``probability`` as sure as such voxels are right, on the working grid; None where nothing is known of that."""
    if model is None or model.sharpness is None:
        return None
    cues = None if looked.label is None else looked.label.cues
    assert cues is not None, "the network would have refused such a label"
    return model.sharpness.stated(probability, looked.view, segment, cues)


def _note(segment: SegmentPrompts, view: View, inside: NDArray[np.bool_]) -> str:
    """What is to be said of an answer, ``inside``; mostly nothing."""
    marked = view.seeds.positive
    if marked.any():
        return "" if view.valid[marked].any() else _IN_PADDING
    return _NOTHING_FOUND if segment.boxes and not inside.any() else ""


def _at_the_volumes_voxels(
    view: View,
    segment: SegmentPrompts,
    others: tuple[SegmentPrompts, ...],
    probability: NDArray[np.float32],
    stated: NDArray[np.float32] | None,
    doubts: NDArray[np.float32],
) -> tuple[NDArray[np.bool_], NDArray[np.float16], NDArray[np.float16]]:
    """Mask, probability and uncertainty over the view's region, from numbers on its working grid.

    The border is where ``probability`` has it, whatever is ``stated``. A region may have most of a large volume's
    voxels: all is done slab by slab, so that nothing but the results is ever there for all of them.
    """
    inside = np.empty(view.fine.shape, bool)
    found, doubt = (np.empty(view.fine.shape, np.float16) for _ in range(2))
    drawing = Drawing.of(segment, view.fine, others=others, point_radius=0.0)
    entropy = np.maximum(_entropy(probability if stated is None else stated), doubts)
    for part, (fine, unsure, *said) in view.fine_slabs(probability, entropy, *([] if stated is None else [stated])):
        if said:
            fine = _on_their_side(said[0], fine >= 0.5)
        _obey(fine, unsure, drawing.seeds(part))
        inside[part.slices] = fine >= 0.5
        found[part.slices] = _halved(fine)
        doubt[part.slices] = _halved(unsure)
    return inside, found, doubt


def pseudo_label(
    view: View,
    segment: SegmentPrompts,
    *,
    method: str = "auto",
    sigma_mm: float = 10.0,
    earlier: EarlierAnswer | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> PseudoLabel:
    """The dense label of a view: probability and confidence on its working grid, with ``earlier``'s share if given.

    Raises `InputError` for the Gaussian label where nothing but a box says what is inside.
    """
    seeds = view.seeds
    if method == "gaussian":
        return gaussian_label(_marked(view, segment), view.grid.shape, view.grid.spacing, sigma_mm)
    label = image_aware(
        view.image,
        view.grid.spacing,
        seeds.positive,
        seeds.negative,
        seeds.inside,
        claimed=seeds.claimed,
        valid=view.valid,
        middle=earlier is None or earlier.middle_stands(view, segment),
        device=device,
        progress=progress,
        cancel=cancel,
    )
    return label if earlier is None else earlier.into(label, view, segment)


def _marked(view: View, segment: SegmentPrompts) -> NDArray[np.float64]:
    """Voxel indices ``(n, 3)`` that the view's seeds say are inside: of points where they were clicked."""
    voxels = np.argwhere(view.seeds.positive).astype(float)
    clicks = np.array([p.position for p in segment.points if p.positive]).reshape(-1, 3)
    if len(clicks) and not (segment.scribbles or segment.strokes):
        # Seeds may be withheld, and their clicks with them.
        held = np.zeros(len(clicks), bool)
        seen = view.grid.contains(clicks)
        held[seen] = ~view.seeds.positive[tuple(view.grid.to_voxel(clicks[seen]).T)]
        voxels = view.grid.to_index(clicks[~held])
    if not len(voxels):
        raise InputError(f"The Gaussian label needs more than a box: place a point or a scribble in '{segment.name}'.")
    return voxels


def _combined(
    view: View, probability: NDArray[np.float32], network: CaseNetwork
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The weighted mean of label and network, and the network's doubts; where it has not looked, the label alone."""
    known = resample(np.ones(network.grid.shape), network.grid, view.grid, outside=0.0) > 0.5
    says = resample(network.probability, network.grid, view.grid)
    doubts = resample(network.uncertainty, network.grid, view.grid)
    mean = np.where(known, probability + network.share * (says - probability), probability).astype(np.float32)
    return mean, np.where(known, doubts, 0.0).astype(np.float32)


def _on_their_side(probability: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``probability`` where interpolating it has moved the border: back to one half, or just below."""
    return np.where(inside, np.maximum(probability, 0.5), np.minimum(probability, _BELOW)).astype(np.float32)


def _obey(probability: NDArray[np.float32], uncertainty: NDArray[np.float32], seeds: Seeds) -> None:
    """Make every voxel under a prompt follow it, in place."""
    if seeds.inside is not None:
        probability[~seeds.inside] = 0.0
        uncertainty[~seeds.inside] = 0.0
    for where, value in ((seeds.negative, 0.0), (seeds.positive, 1.0)):
        probability[where] = value
        uncertainty[where] = 0.0


def _halved(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """As float16; through torch, because NumPy is forty times slower with values below 6e-5, and most are."""
    import torch

    return np.asarray(torch.from_numpy(np.ascontiguousarray(values)).half().numpy())


def _entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy of a yes-or-no with this probability, bits: 0 certain, 1 a coin toss."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    return np.asarray(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)), dtype=np.float32)
