"""Fit a network to one segment of this case, and keep it only if it is better than what was there before."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.body_size import BodySize
from PWSegmentationLib.prediction.network_inputs import network_inputs
from PWSegmentationLib.prediction.predict import CaseNetwork, pseudo_label
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prediction.view import View, look, look_at
from PWSegmentationLib.prediction.zoom import Judged, zoomed
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import Seeds
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.training.adaptation import adapt
from PWSegmentationLib.training.case_fitting import fit_case
from PWSegmentationLib.training.case_model import FitReport
from PWSegmentationLib.training.holdout import mark_groups
from PWSegmentationLib.volume.volume import Volume

# Voxels of the view that is learnt from: a step takes about a second, most of it for the label.
_LESSON_VOXELS = 80_000


@dataclass(frozen=True)
class AdaptReport:
    """What adapting did, and in one sentence whether the adapted network is used."""

    steps: int
    seconds: float
    reason: str


def adapt_segment(
    volume: Volume,
    segment: SegmentPrompts,
    others: Iterable[SegmentPrompts] = (),
    *,
    model: PromptableModel,
    budget_s: float,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[PromptableModel | None, AdaptReport]:
    """Adapt the promptable network to ``segment`` for ``budget_s`` seconds.

    Returned only if it finds prompts that it was not shown better than before, else None.
    """
    started = time.perf_counter()
    size = BodySize.of(volume.grid)
    volume, segment, others = size.volume(volume), size.prompts(segment), size.all(others)

    def judged(view: View) -> Judged:
        return Judged(model.answer(view, segment, pseudo_label(view, segment, device=device)))

    looked = zoomed(volume, segment, others, judged)
    view = look_at(volume, segment, others, looked.view.region, _LESSON_VOXELS)

    def shown(positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> NDArray[np.float32]:
        part = replace(view, seeds=Seeds(positive, negative, view.seeds.inside, view.seeds.claimed))
        return network_inputs(part, pseudo_label(part, segment, device=device))

    found = adapt(
        model.network,
        shown,
        mark_groups(view.seeds.positive, view.grid.spacing),
        mark_groups(view.seeds.negative, view.grid.spacing),
        budget_s=budget_s - (time.perf_counter() - started),
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    seconds = time.perf_counter() - started
    if np.isnan(found.before) and cancel is not None and cancel():
        return None, AdaptReport(found.steps, seconds, "It was stopped before anything was learnt.")
    if np.isnan(found.before) and seconds >= budget_s:
        return None, AdaptReport(found.steps, seconds, "There was no time left to learn: give it more seconds.")
    if np.isnan(found.before):
        return None, AdaptReport(found.steps, seconds, "Too few prompts to tell whether adapting helps: place more.")
    reason = f"At hidden prompts the adapted network scores {found.after:.3f} and scored {found.before:.3f} before: "
    if found.network is None:
        verdict = "that may be chance, so it is not used." if found.after > found.before else "it is not used."
        return None, AdaptReport(found.steps, seconds, reason + verdict)
    adapted = replace(model, network=found.network, name=f"{model.name}, adapted")
    return adapted, AdaptReport(found.steps, seconds, reason + "it is used.")


def fit_segment(
    volume: Volume,
    segment: SegmentPrompts,
    others: Iterable[SegmentPrompts] = (),
    *,
    budget_s: float,
    method: str = "auto",
    sigma_mm: float = 10.0,
    samples: int = 6,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[CaseNetwork | None, FitReport]:
    """Fit a compact network to the pseudo-label of ``segment`` for ``budget_s`` seconds.

    Part of the prompts is withheld from label and network alike; the network is returned only if it answers those
    better than the label does, else None. The report says why in one sentence.
    """
    size = BodySize.of(volume.grid)
    segment = size.prompts(segment)
    view = look(size.volume(volume), segment, size.all(others), device=device)

    def label_of(seeds: Seeds) -> PseudoLabel:
        return pseudo_label(replace(view, seeds=seeds), segment, method=method, sigma_mm=sigma_mm, device=device)

    def relabel(positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> PseudoLabel:
        return label_of(Seeds(positive, negative, view.seeds.inside, view.seeds.claimed))

    model = fit_case(
        view.image,
        label_of(view.seeds),
        view.grid.spacing,
        valid=view.valid,
        positive=view.seeds.positive,
        negative=view.seeds.negative,
        relabel=relabel,
        budget_s=budget_s,
        device=device,
        seed=seed,
        progress=progress,
        cancel=cancel,
    )
    if not model.accepted:
        return None, model.report
    # Label and network are weighed at every prediction, when later prompts are known.
    probability, uncertainty = model.predict(samples, seed)
    return CaseNetwork(view.grid, probability, uncertainty, model.share), model.report
