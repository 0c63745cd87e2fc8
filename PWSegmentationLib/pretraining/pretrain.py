"""Train the promptable network: make the bank of tasks where it is missing, then learn from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import as_completed
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from PWSegmentationLib import __version__
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.device import choose_device
from PWSegmentationLib.networks.model_files import load_into, save_model
from PWSegmentationLib.networks.presets import PRESETS
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.network_inputs import CHANNELS, refined
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prediction.sliding_window import half_precision
from PWSegmentationLib.pretraining.bank import TaskBank, write_tasks
from PWSegmentationLib.pretraining.config import PretrainingConfig
from PWSegmentationLib.pretraining.material import Material, selection_group, selection_names
from PWSegmentationLib.pretraining.tasks import Task
from PWSegmentationLib.pretraining.views import TaughtViews
from PWSegmentationLib.samples.development import development_cases
from PWSegmentationLib.training.losses import LossWeights, segmentation_loss
from PWSegmentationLib.training.processes import Processes, joined, workers
from PWSegmentationLib.training.run import Run, TrainingReport
from PWSegmentationLib.volume.masks import dice

Say = Callable[[str], None]


def make_tasks(config: PretrainingConfig, folder: Path, *, jobs: int = 1, say: Say = lambda words: None) -> None:
    """The tasks to learn from (``folder/tasks``) and those to select by (``folder/selection``), as far as missing."""
    material = Material(
        config.real_share, config.structures, config.corrections, config.edge, config.careful, config.seed
    )
    groups: dict[Path, Callable[[PromptableModel | None], Iterator[Task]]] = {}
    for names in selection_names():
        groups[folder / "selection" / re.sub(r"[^\w+]+", "-", " ".join(names))] = partial(_selection, names)
    for number in range(config.groups):
        groups[folder / "tasks" / f"{number:06d}"] = partial(_group, material, number)
    missing = {path: group for path, group in groups.items() if not path.is_dir()}
    if not missing:
        return
    # Downloaded here, once, and not by each process.
    development_cases()
    with workers(jobs) as pool:
        waiting = [pool.submit(_make, path, group, config.answers) for path, group in missing.items()]
        for done, future in enumerate(as_completed(waiting), start=len(groups) - len(missing) + 1):
            say(f"{future.result()}: group {done} of {len(groups)}")


def pretrain(config: PretrainingConfig, folder: str | Path, *, quiet: bool = False) -> TrainingReport:
    """Train, or go on training, from the tasks in ``folder``; writes ``folder/model.safetensors`` with its card."""
    folder = Path(folder)
    device = choose_device(config.device)
    with joined(device, config.accumulate) as processes:
        objective = _Objective(config, folder, processes, torch.device(device))
        return Run(objective, config, config.document, folder, processes, device, quiet=quiet).train()


class _Objective:
    """The structure somebody has prompted, given the label: learnt in windows, judged on whole views."""

    def __init__(self, config: PretrainingConfig, folder: Path, processes: Processes, device: torch.device) -> None:
        self.config, self.folder, self.processes, self.device = config, folder, processes, device
        self.network = network_of(config)
        # More tasks may be made while a run is under way.
        self.data: dict[str, list[str]] = {}
        self.weights = LossWeights(config.loss_dice, config.loss_cross_entropy, config.loss_kl, config.loss_boundary)

    def begin(self) -> None:
        """Open the banks."""
        self.views = TaughtViews(TaskBank(self.folder / "tasks"), self.network.config.patch, self.config.seed)
        self.selection = TaskBank(self.folder / "selection")

    def loss(self, learner: nn.Module, number: int) -> Tensor:
        """Of micro-batch ``number`` of the run: the mean over its views, which differ in shape."""
        views = range(number * self.config.batch, (number + 1) * self.config.batch)
        return torch.stack([self._loss(learner, n) for n in views]).mean()

    def _loss(self, learner: nn.Module, number: int) -> Tensor:
        view = self.views[number]
        inputs, truth, known = (t.to(self.device) for t in (view.inputs, view.truth, view.known))
        seed = int(np.random.default_rng((self.config.seed, number, 3)).integers(2**63))
        out = learner(inputs, generator=torch.Generator(device=self.device).manual_seed(seed))
        return segmentation_loss(refined(out.logits.float(), inputs), truth, known, out.kl, self.weights)

    def score(self, network: ProbabilisticUNETR) -> float:
        """Mean Dice on the selection tasks."""
        mine = range(self.processes.rank, len(self.selection), self.processes.count)
        with half_precision(self.device, self.config.amp):
            own = [dice_of(network, self.selection, n) for n in mine]
        return float(np.mean([d for part in self.processes.gather(own) for d in part]))

    def keep(self, network: ProbabilisticUNETR, metrics: Mapping[str, Any]) -> None:
        """Write ``model.safetensors``."""
        card = {
            "made_by": f"PWSegmentation {__version__}",
            "channels": list(CHANNELS),
            "pretraining": self.config.document,
            "metrics": dict(metrics),
        }
        save_model(network, self.folder / "model.safetensors", card)


def dice_of(network: ProbabilisticUNETR, bank: TaskBank, index: int) -> float:
    """Dice of a deterministic pass over the whole view of a task."""
    task = bank.task(index)
    return dice(PromptableModel(network.eval()).probability(task.inputs) >= 0.5, task.truth >= 0.5)


def network_of(config: PretrainingConfig) -> ProbabilisticUNETR:
    """Its first weights are decided by the seed; before the first step the answer is the label."""
    if config.preset not in PRESETS:
        raise InputError(f'There is no preset "{config.preset}"; there are: {", ".join(PRESETS)}.')
    sizes = PRESETS[config.preset]
    if config.attention != "preset":
        sizes = replace(sizes, mean=config.attention)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ProbabilisticUNETR(sizes, in_channels=len(CHANNELS))
    for parameter in network.out.parameters():
        torch.nn.init.zeros_(parameter)
    if config.start:
        _go_on(network, config.start)
    return network


def _go_on(network: ProbabilisticUNETR, start: str) -> None:
    """From the weights of ``start``, which may lack the convolutions beside the tokens: those are 0 at first."""
    weights = PromptableModel.load(start).network.state_dict()
    own = {name: value for name, value in network.state_dict().items() if name.startswith("convolutions.")}
    load_into(network, {**own, **weights}, start)


def _make(path: Path, groups: Callable[[PromptableModel | None], Iterator[Task]], model: str) -> str:
    """In a process of its own."""
    write_tasks(path, groups(_loaded(model) if model else None))
    return path.name


@lru_cache(maxsize=1)
def _loaded(model: str) -> PromptableModel:
    return PromptableModel.load(model)


def _group(material: Material, number: int, model: PromptableModel | None) -> Iterator[Task]:
    return replace(material, model=model).group(number)


def _selection(names: tuple[str, str, str], model: PromptableModel | None) -> Iterator[Task]:
    return selection_group(*names, model)
