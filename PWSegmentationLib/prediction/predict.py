"""From one segment's prompts to its prediction."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.view import View, look, region_for
from PWSegmentationLib.prediction.zoom import Looked, zoomed
from PWSegmentationLib.progress import Cancel, Progress, part_of, stop_if
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import Seeds, draw
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
    samples: int = 0,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Prediction:
    """Predict ``segment`` from its prompts, the prompts of ``others`` that compete with it, and the image.

    The cost follows the region the prompts are about, not the volume. Voxels under a prompt always follow it.
    With ``model`` the network refines the label, averaged over ``samples`` draws; 0: one pass with the mean attention.
    ``earlier`` is what it said before the last prompts, which it goes by away from these: prompts added inside take
    nothing away, prompts added outside add nothing. Ignored where prompts have been taken back since.
    """
    started = time.perf_counter()
    others = tuple(others)
    if earlier is not None and (model is None or not earlier.counts_for(segment, others)):
        earlier = None
    part = (0.0, 1.0)

    def begin(start: float, stop: float) -> None:
        nonlocal part
        part = (start, stop)
        stop_if(cancel)

    def label_of(view: View) -> PseudoLabel:
        return pseudo_label(
            view,
            segment,
            method=method,
            sigma_mm=sigma_mm,
            earlier=earlier,
            device=device,
            seed=seed,
            progress=part_of(progress, *part),
            cancel=cancel,
        )

    labels: dict[View, PseudoLabel] = {}
    if model is not None:

        def judge(view: View) -> NDArray[np.float32]:
            label = labels[view] = label_of(view)
            stop_if(cancel)
            if not label.probability.any():
                # Nothing is known to be inside: there is nothing to refine.
                return label.probability
            return model.answer(view, segment, label, samples=samples, seed=seed)

        looked = zoomed(volume, segment, others, judge, begin)
        name = model.name
    else:
        view = look(volume, segment, others, device=device)
        looked = Looked(view, label_of(view).probability, region_for(segment, volume.grid).union(view.region))
        name = "Gaussian label" if method == "gaussian" else "image-aware label"
    view, probability = looked.view, looked.probability
    if earlier is not None:
        probability = earlier.kept_in(probability, view, segment, others)
    doubts = np.zeros_like(probability)
    if network is not None:
        probability, doubts = _combined(view, probability, network)
        name += " + fine-tuned network"
    fine, stated = view.to_fine(probability), probability
    if model is not None and model.sharpness is not None:
        stated = model.sharpness.stated(probability, view, segment, _evidence(labels[view]))
        fine = _on_their_side(view.to_fine(stated), fine >= 0.5)
    doubt = view.to_fine(np.maximum(_entropy(stated), doubts))
    _obey(fine, doubt, draw(segment, view.fine, others=others, point_radius=0.0))
    inside = fine >= 0.5
    return Prediction(
        segment=segment.name,
        grid=volume.grid,
        region=view.region,
        region_mask=inside,
        region_probability=_halved(fine),
        region_uncertainty=_halved(doubt),
        working_grid=view.grid,
        working_probability=_halved(probability),
        sight=looked.sight,
        note=_NOTHING_FOUND if segment.boxes and not inside.any() and not len(segment.positions(positive=True)) else "",
        method=name,
        seconds=time.perf_counter() - started,
    )


def pseudo_label(
    view: View,
    segment: SegmentPrompts,
    *,
    method: str = "auto",
    sigma_mm: float = 10.0,
    earlier: EarlierAnswer | None = None,
    device: str = "cpu",
    seed: int = 0,
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
        seed=seed,
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


def _evidence(label: PseudoLabel) -> NDArray[np.float32]:
    assert label.evidence is not None, "the network would have refused such a label"
    return label.evidence


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
