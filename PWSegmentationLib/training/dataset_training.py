"""Train a network on a set of cases.

The test set is looked at once, after the last step, by the model that the selection set chose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from PWSegmentationLib import __version__
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.device import choose_device
from PWSegmentationLib.networks.model_files import save_model
from PWSegmentationLib.networks.presets import PRESETS
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.preparation import Preparation
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.training.config import TrainingConfig
from PWSegmentationLib.training.losses import LossWeights, segmentation_loss
from PWSegmentationLib.training.processes import Processes, joined
from PWSegmentationLib.training.run import Run, TrainingReport
from PWSegmentationLib.training.selection import SelectionSet
from PWSegmentationLib.training.windows import TrainingWindows, Windows

# Share of the windows whose prompts a promptable network is not shown.
_UNPROMPTED = 0.5


def train(config: TrainingConfig, cases: CaseSet, output: str | Path, *, quiet: bool = False) -> TrainingReport:
    """Train, or go on training, in the folder ``output``; writes ``model.safetensors`` with its card.

    Raises
    ------
    InputError
        If the data, the config or the state in ``output`` cannot be used. What was saved is kept.
    SystemExit, KeyboardInterrupt
        After the step at hand was finished and the state saved, when the process is asked to stop.
    """
    device = choose_device(config.device)
    output = Path(output)
    with joined(device, config.accumulate) as processes:
        if device == "cuda":
            device = f"cuda:{processes.local_rank}"
        objective = _Objective(config, cases.only(config.structures), output, processes, torch.device(device))
        return Run(objective, config, config.document, output, processes, device, quiet=quiet).train()


class _Objective:
    """The structures of a set of cases, learnt in windows and judged on the selection cases."""

    def __init__(
        self, config: TrainingConfig, cases: CaseSet, output: Path, processes: Processes, device: torch.device
    ) -> None:
        self.config, self.cases, self.output, self.processes = config, cases, output, processes
        self.device = device
        self.preparation = _preparation(config, cases)
        self.network = _network(config, len(cases.structures))
        self.window = config.window or self.network.config.window
        self.weights = LossWeights(config.loss_dice, config.loss_cross_entropy, config.loss_kl, config.loss_boundary)
        # The test set decides nothing.
        self.data = {
            "structures": [f"{name}: {', '.join(map(str, cases.named[name]))}" for name in cases.structures],
            "training cases": [case.name for case in cases.training],
            "selection cases": [case.name for case in cases.selection],
        }

    def begin(self) -> None:
        """Prepare the cases."""
        self.windows = TrainingWindows(self.cases, self.config, self.preparation, self.window)
        self.selection = SelectionSet(self.cases, self.config, self.preparation, self.processes)

    def loss(self, learner: nn.Module, number: int) -> Tensor:
        """Of micro-batch ``number`` of the run."""
        batch = self.windows.batch(number * self.config.batch, self.config.batch).to(self.device)
        noise = torch.Generator(device=self.device).manual_seed(_seed(self.config.seed, number))
        out = learner(self._inputs(batch, number), generator=noise)
        return segmentation_loss(out.logits.float(), batch.probability, batch.confidence, out.kl, self.weights)

    def score(self, network: ProbabilisticUNETR) -> float | None:
        """Mean Dice on the selection cases."""
        return self.selection.score(self._model(network))

    def keep(self, network: ProbabilisticUNETR, metrics: Mapping[str, Any]) -> None:
        """Write ``model.safetensors``."""
        card = {**self._model(network).card, "metrics": dict(metrics)}
        save_model(network, self.output / "model.safetensors", card)

    def _inputs(self, batch: Windows, number: int) -> Tensor:
        if not self.config.promptable:
            return batch.image
        shown = np.random.default_rng((self.config.seed, number, 2)).random(len(batch.image)) >= _UNPROMPTED
        keep = torch.from_numpy(shown).to(batch.seeds).reshape(-1, 1, 1, 1, 1)
        return torch.cat([batch.image, batch.seeds * keep], dim=1)

    def _model(self, network: ProbabilisticUNETR) -> TrainedModel:
        card = {
            "made_by": f"PWSegmentation {__version__}",
            "structures": self.cases.structures,
            "preparation": self.preparation.document,
            "window": self.window,
            "promptable": self.config.promptable,
            # Where the data lie says nothing to others, and may say something about them.
            "training": {**self.config.document, "data": Path(self.config.data).name},
            "data": {name: [c.name for c in getattr(self.cases, name)] for name in ("training", "selection", "test")},
        }
        structures = self.cases.structures
        return TrainedModel(network, structures, self.preparation, self.window, self.config.promptable, card)


def _network(config: TrainingConfig, structures: int) -> ProbabilisticUNETR:
    """Its first weights are decided by the seed; torch's global generator is left alone."""
    if config.preset not in PRESETS:
        raise InputError(f'There is no preset "{config.preset}"; there are: {", ".join(PRESETS)}.')
    sizes = PRESETS[config.preset]
    if config.attention != "preset":
        sizes = replace(sizes, mean=config.attention)
    if config.window % sizes.patch:
        raise InputError(f'"window" must be a multiple of {sizes.patch} with the preset "{config.preset}".')
    channels = 1 + 2 * structures * config.promptable
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return ProbabilisticUNETR(sizes, in_channels=channels, out_channels=structures)


def _preparation(config: TrainingConfig, cases: CaseSet) -> Preparation:
    ct = config.intensity == "ct" or (config.intensity == "auto" and cases.modality.upper().startswith("CT"))
    return Preparation(config.spacing_mm, "ct" if ct else "robust")


def _seed(seed: int, number: int) -> int:
    return int(np.random.default_rng((seed, number, 3)).integers(2**63))
