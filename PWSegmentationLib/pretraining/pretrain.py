"""Train the promptable network: make the bank of tasks where it is missing, then learn from it."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from PWSegmentationLib import __version__
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.model_files import save_model
from PWSegmentationLib.networks.presets import PRESETS
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.network_inputs import CHANNELS, refined
from PWSegmentationLib.pretraining.bank import TaskBank, write_tasks
from PWSegmentationLib.pretraining.config import PretrainingConfig
from PWSegmentationLib.pretraining.material import Material, selection_group, selection_names
from PWSegmentationLib.pretraining.tasks import Task
from PWSegmentationLib.pretraining.windows import TaskWindows
from PWSegmentationLib.training.losses import LossWeights, segmentation_loss
from PWSegmentationLib.training.processes import Processes, joined
from PWSegmentationLib.training.run import Run, TrainingReport

Say = Callable[[str], None]


def make_tasks(config: PretrainingConfig, folder: Path, *, jobs: int = 1, say: Say = lambda words: None) -> None:
    """The tasks to learn from (``folder/tasks``) and those to select by (``folder/selection``), as far as missing."""
    material = Material(config.real_share, config.structures, config.corrections, config.edge, config.seed)
    groups: dict[Path, partial[Iterator[Task]]] = {}
    for names in selection_names():
        groups[folder / "selection" / re.sub(r"[^\w+]+", "-", " ".join(names))] = partial(selection_group, *names)
    for number in range(config.groups):
        groups[folder / "tasks" / f"{number:06d}"] = partial(material.group, number)
    missing = {path: group for path, group in groups.items() if not path.is_dir()}
    if not missing:
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waiting = [pool.submit(_make, path, group) for path, group in missing.items()]
        try:
            for done, future in enumerate(as_completed(waiting), start=len(groups) - len(missing) + 1):
                say(f"{future.result()}: group {done} of {len(groups)}")
        finally:
            pool.shutdown(cancel_futures=True)


def pretrain(config: PretrainingConfig, folder: str | Path, *, quiet: bool = False) -> TrainingReport:
    """Train, or go on training, from the tasks in ``folder``; writes ``folder/model.safetensors`` with its card."""
    from PWSegmentationLib.session.local import choose_device

    folder = Path(folder)
    device = choose_device(config.device)
    with joined(device) as processes:
        objective = _Objective(config, folder, processes, torch.device(device))
        return Run(objective, config, config.document, folder, processes, device, quiet=quiet).train()


class _Objective:
    """The structure somebody has prompted, given the label: learnt in windows, judged on whole views."""

    def __init__(self, config: PretrainingConfig, folder: Path, processes: Processes, device: torch.device) -> None:
        self.config, self.folder, self.processes, self.device = config, folder, processes, device
        self.network = _network(config)
        self.weights = LossWeights(config.loss_dice, config.loss_cross_entropy, config.loss_kl, config.loss_boundary)

    def begin(self) -> None:
        """Open the banks."""
        self.windows = TaskWindows(TaskBank(self.folder / "tasks"), self.config.window, self.config.seed)
        self.selection = TaskBank(self.folder / "selection")

    def loss(self, learner: nn.Module, number: int) -> Tensor:
        """Of micro-batch ``number`` of the run."""
        batch = self.windows.batch(number * self.config.batch, self.config.batch)
        inputs, truth, known = (t.to(self.device) for t in (batch.inputs, batch.truth, batch.known))
        seed = int(np.random.default_rng((self.config.seed, number, 3)).integers(2**63))
        out = learner(inputs, generator=torch.Generator(device=self.device).manual_seed(seed))
        # Every window is a channel: a small structure counts as much as a large one in the same batch.
        logits, truth, known = (t.transpose(0, 1) for t in (refined(out.logits.float(), inputs), truth, known))
        return segmentation_loss(logits, truth, known, out.kl, self.weights)

    def score(self, network: ProbabilisticUNETR) -> float:
        """Mean Dice on the selection tasks."""
        mine = range(self.processes.rank, len(self.selection), self.processes.count)
        own = [dice_of(network, self.selection, n, self.device) for n in mine]
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


def dice_of(network: ProbabilisticUNETR, bank: TaskBank, index: int, device: torch.device) -> float:
    """Dice of a deterministic pass over the whole view of a task."""
    task = bank.task(index)
    inputs = torch.from_numpy(task.inputs)[None].to(device)
    shape = inputs.shape[2:]
    padding = [p for n in reversed(shape) for p in (0, -n % network.config.patch)]
    inputs = functional.pad(inputs, padding)
    network.eval()
    with torch.no_grad():
        logits = refined(network(inputs, sample=False).logits.float(), inputs)
    found = (logits[0, 0, : shape[0], : shape[1], : shape[2]] > 0).cpu().numpy()
    truth = task.truth >= 0.5
    return float(2.0 * np.count_nonzero(found & truth) / max(1, np.count_nonzero(found) + np.count_nonzero(truth)))


def _network(config: PretrainingConfig) -> ProbabilisticUNETR:
    """Its first weights are decided by the seed; before the first step the answer is the label."""
    if config.preset not in PRESETS:
        raise InputError(f'There is no preset "{config.preset}"; there are: {", ".join(PRESETS)}.')
    sizes = replace(PRESETS[config.preset], window=config.window)
    if config.attention != "preset":
        sizes = replace(sizes, mean=config.attention)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = ProbabilisticUNETR(sizes, in_channels=len(CHANNELS))
    for parameter in network.out.parameters():
        torch.nn.init.zeros_(parameter)
    return network


def _make(path: Path, group: Callable[[], Iterator[Task]]) -> str:
    write_tasks(path, group())
    return path.name
