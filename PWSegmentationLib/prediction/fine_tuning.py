"""Fit a network to one segment of this case, and keep it only if it is better than its own teacher."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.predict import CaseNetwork, pseudo_label
from PWSegmentationLib.prediction.view import look
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import Seeds
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from PWSegmentationLib.training import FitReport


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
    from PWSegmentationLib.training import fit_case

    view = look(volume, segment, others, device=device)

    def label_of(seeds: Seeds) -> PseudoLabel:
        return pseudo_label(
            replace(view, seeds=seeds), segment, method=method, sigma_mm=sigma_mm, device=device, seed=seed
        )

    def relabel(positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> PseudoLabel:
        return label_of(Seeds(positive, negative, view.seeds.inside))

    model = fit_case(
        view.image,
        label_of(view.seeds),
        view.grid.spacing,
        budget_s=budget_s,
        device=device,
        seed=seed,
        progress=progress,
        cancel=cancel,
        valid=view.valid,
        positive=view.seeds.positive,
        negative=view.seeds.negative,
        relabel=relabel,
    )
    if not model.accepted:
        return None, model.report
    # The network alone: label and network are weighed at every prediction, when later prompts are known.
    probability, uncertainty = replace(model, share=1.0).predict(samples, seed)
    return CaseNetwork(view.grid, probability, uncertainty, model.share), model.report
