"""The score that decides which weights are kept: mean Dice of deterministic passes over the selection set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_dice
from numpy.typing import NDArray

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.labels import read_labels
from PWSegmentationLib.prediction.inference_memory import plan_inference
from PWSegmentationLib.prediction.preparation import Preparation, Prepared
from PWSegmentationLib.prediction.sliding_window import infer_maps
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.training.case_labels import dense_target, given_prompts, simulated_prompts, sparse_target
from PWSegmentationLib.training.config import TrainingConfig
from PWSegmentationLib.training.processes import Processes
from PWSegmentationLib.volume.reading import read_volume


@dataclass(frozen=True, eq=False)
class _Judged:
    """A case with what is known about it: ``(structures, i, j, k)`` bool masks, and where they are known.

    ``prompts`` are what a promptable model is shown.
    """

    prepared: Prepared
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_]
    prompts: PromptSet | None


class SelectionSet:
    """The selection cases of this process, read once.

    A case with dense labels is judged by them; one with sparse prompts by its pseudo-label, where that is known. A
    promptable model is judged with prompts and without, as it is trained.
    """

    def __init__(self, cases: CaseSet, config: TrainingConfig, preparation: Preparation, processes: Processes) -> None:
        self.processes = processes
        mine = cases.selection[processes.rank :: processes.count]
        self.judged = [_read(case, cases, config, preparation) for case in mine]

    def score(self, model: TrainedModel) -> float | None:
        """Mean over cases and structures, the same in every process; None without a case."""
        own = [d for case in self.judged for d in _dice_of(model, case)]
        scores = [d for part in self.processes.gather(own) for d in part]
        return float(np.mean(scores)) if scores else None


def _read(case: CaseFiles, cases: CaseSet, config: TrainingConfig, preparation: Preparation) -> _Judged:
    volume = read_volume(case.image)
    prepared = preparation.prepare(volume)
    if case.labels is not None:
        label = prepared.labels(read_labels(case, volume.grid, named=cases.named))
        target = dense_target(label, cases.structures)
        prompts = None
        if config.promptable:
            prompts = simulated_prompts(case.name, label, prepared.grid, cases.structures, config)
    else:
        prompts = given_prompts(case, cases, volume.grid)
        target = sparse_target(prepared.volume, prompts, cases.structures, config)
    return _Judged(prepared, target.probability >= 0.5, target.confidence > 0, prompts)


def _dice_of(model: TrainedModel, case: _Judged) -> list[float]:
    """Dice of each structure that is there."""
    shown = [None, case.prompts] if model.promptable else [None]
    return [d for prompts in shown for d in _dice_with(prompts, model, case)]


def _dice_with(prompts: PromptSet | None, model: TrainedModel, case: _Judged) -> list[float]:
    device = next(model.network.parameters()).device
    plan = plan_inference(model.network, case.prepared.grid.shape, model.window, 0, device)
    maps, _ = infer_maps(model.network, model.inputs(case.prepared, prompts), plan, draws=0, overlap=0.25)
    found = torch.from_numpy((maps.probability.cpu().numpy() >= 0.5) & case.known)[None].float()
    truth = torch.from_numpy(case.truth & case.known)[None].float()
    scores = compute_dice(found, truth, include_background=True, ignore_empty=True)[0]
    return [float(s) for s in scores if not torch.isnan(s)]
