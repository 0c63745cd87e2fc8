"""Train a network on a set of cases: the loop, what it remembers, and when it stops.

The result is a function of the config alone: windows, noise and learning rate of a step depend on its number, so that
a run that was interrupted, or is spread over several processes, does what a run in one piece does. The test set is
looked at once, after the last step, by the model that the selection set chose.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from PWSegmentationLib import __version__
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.model_files import load_into, save_model
from PWSegmentationLib.networks.presets import PRESETS
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.sliding_window import half_precision
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.training.config import TrainingConfig
from PWSegmentationLib.training.losses import LossWeights, segmentation_loss
from PWSegmentationLib.training.preparation import Preparation
from PWSegmentationLib.training.processes import Processes, joined, process_count
from PWSegmentationLib.training.selection import SelectionSet
from PWSegmentationLib.training.training_log import TrainingLog
from PWSegmentationLib.training.training_state import (
    RunState,
    load_optimiser,
    load_state,
    optimiser_tensors,
    save_state,
)
from PWSegmentationLib.training.windows import TrainingWindows, Windows

# Share of the windows whose prompts a promptable network is not shown.
_UNPROMPTED = 0.5


@dataclass(frozen=True)
class TrainingReport:
    """How a run ended; ``losses`` of every step, ``selection`` the best score on the selection set (NaN: none)."""

    model: Path
    steps: int
    losses: tuple[float, ...]
    selection: float
    best_step: int


def train(config: TrainingConfig, cases: CaseSet, output: str | Path, *, quiet: bool = False) -> TrainingReport:
    """Train, or go on training, in the folder ``output``; writes ``model.safetensors`` with its card.

    Raises
    ------
    InputError
        If the data, the config or the state in ``output`` cannot be used. What was saved is kept.
    SystemExit, KeyboardInterrupt
        After the step at hand was finished and the state saved, when the process is asked to stop.
    """
    from PWSegmentationLib.session.local import choose_device

    device = choose_device(config.device)
    if config.accumulate % process_count():
        raise InputError(
            f'"accumulate" ({config.accumulate}) must be a multiple of the number of processes '
            f"({process_count()}), which share the passes of a step."
        )
    with joined(device) as processes:
        if device == "cuda":
            device = f"cuda:{processes.local_rank}"
        return _Run(config, cases.only(config.structures), Path(output), processes, device, quiet).train()


class _Run:
    """A run: network, optimiser, moving average, and where it stands."""

    def __init__(
        self, config: TrainingConfig, cases: CaseSet, output: Path, processes: Processes, device: str, quiet: bool
    ) -> None:
        self.config, self.cases, self.output, self.processes = config, cases, output, processes
        self.device = torch.device(device)
        self.quiet = quiet
        self.preparation = _preparation(config, cases)
        self.network = _network(config, len(cases.structures)).to(self.device)
        self.window = config.window or self.network.config.window
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.amp == "fp16" and self.device.type != "cpu")
        self.progress = RunState()
        self.saved_step = -1
        self._resume()
        self.learner: nn.Module = self.network
        if processes.count > 1:
            self.learner = DistributedDataParallel(
                self.network, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        self.loss = LossWeights(config.loss_dice, config.loss_cross_entropy, config.loss_kl, config.loss_boundary)

    def train(self) -> TrainingReport:
        """Steps until there are enough, the selection says stop, or somebody does."""
        if not self.progress.finished:
            self.windows = TrainingWindows(self.cases, self.config, self.preparation, self.window)
            self.selection = SelectionSet(self.cases, self.config, self.preparation, self.processes)
            self.output.mkdir(parents=True, exist_ok=True)
            first, done = self.processes.is_first, self.progress.step
            log = TrainingLog(self.output, self.config.steps, done, quiet=self.quiet, writes=first)
            with log, _asked() as stop:
                self._loop(log, stop)
        best = self.progress.best_score if self.progress.best_score >= 0 else math.nan
        path = self.output / "model.safetensors"
        return TrainingReport(path, self.progress.step, tuple(self.progress.losses), best, self.progress.best_step)

    def _loop(self, log: TrainingLog, stop: _Stop) -> None:
        progress, config = self.progress, self.config
        while progress.step < config.steps and not progress.finished:
            loss = self._step(progress.step)
            progress.step += 1
            progress.losses.append(loss)
            log.step(progress.step, loss, self._rate(progress.step - 1))
            if progress.step % config.select_every == 0 or progress.step == config.steps:
                self._select(log)
            progress.finished = progress.finished or progress.step == config.steps
            asked = self.processes.any(stop.signal is not None)
            if progress.step % config.save_every == 0 or progress.finished or asked:
                self._save()
            if asked and not progress.finished:
                stop.obey()

    def _step(self, step: int) -> float:
        """One optimiser step over ``accumulate`` passes, shared by the processes; returns their mean loss."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step)
        mine = range(self.processes.rank, config.accumulate, self.processes.count)
        self.learner.train()
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for index in mine:
            last = index == mine[-1]
            # Gradients are exchanged once per step, with the last pass.
            waiting = isinstance(self.learner, DistributedDataParallel) and not last
            with self.learner.no_sync() if waiting else nullcontext():  # type: ignore[operator]
                loss = self._pass(step * config.accumulate + index)
                self.scaler.scale(loss / len(mine)).backward()
            total += float(loss.detach()) / len(mine)
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update_parameters(self.network)
        mean = self.processes.mean(total)
        if not math.isfinite(mean):
            raise InputError(
                f'The loss of step {step + 1} is not a number: lower "learning_rate", or set "amp" to "off", and run '
                "the same command with another output folder."
            )
        return mean

    def _pass(self, number: int) -> Tensor:
        """The loss of micro-batch ``number`` of the run."""
        batch = self.windows.batch(number * self.config.batch, self.config.batch).to(self.device)
        noise = torch.Generator(device=self.device).manual_seed(_seed(self.config.seed, number))
        with half_precision(self.device, self.config.amp):
            out = self.learner(self._inputs(batch, number), generator=noise)
        return segmentation_loss(out.logits.float(), batch.probability, batch.confidence, out.kl, self.loss)

    def _inputs(self, batch: Windows, number: int) -> Tensor:
        if not self.config.promptable:
            return batch.image
        shown = np.random.default_rng((self.config.seed, number, 2)).random(len(batch.image)) >= _UNPROMPTED
        keep = torch.from_numpy(shown).to(batch.seeds).reshape(-1, 1, 1, 1, 1)
        return torch.cat([batch.image, batch.seeds * keep], dim=1)

    def _rate(self, step: int) -> float:
        """Linear warm-up times cosine."""
        rise = min(1.0, (step + 1) / max(1, self.config.warm_up))
        return self.config.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * step / self.config.steps))

    def _select(self, log: TrainingLog) -> None:
        """Judge the moving average on the selection set and keep it if it is the best so far."""
        progress = self.progress
        model = self._model()
        score = self.selection.score(model)
        if score is None:
            # Nothing to select by: the last one is kept.
            progress.best_step = progress.step
            self._keep(model, None)
            return
        log.selection(progress.step, score)
        progress.selections.append({"step": progress.step, "dice": score})
        if score > progress.best_score:
            progress.best_score, progress.best_step, progress.looks_without_gain = score, progress.step, 0
            self._keep(model, score)
            return
        progress.looks_without_gain += 1
        progress.finished = 0 < self.config.patience <= progress.looks_without_gain

    def _keep(self, model: TrainedModel, score: float | None) -> None:
        if self.processes.is_first:
            metrics = {"selection_dice": score, "step": self.progress.step}
            save_model(model.network, self.output / "model.safetensors", {**model.card, "metrics": metrics})

    def _model(self) -> TrainedModel:
        network: Any = self.average.module if self.config.ema else self.network
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

    def _save(self) -> None:
        if not self.processes.is_first or self.saved_step == self.progress.step:
            return
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in optimiser_tensors(self.optimiser).items()}
        self.progress.scaler = self.scaler.state_dict()
        save_state(self.output, tensors, self.progress, self.config.document)
        self.saved_step = self.progress.step

    def _resume(self) -> None:
        found = load_state(self.output, self.config.document)
        if found is None:
            return
        tensors, self.progress = found
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimiser": {}}
        for name, value in tensors.items():
            part, key = name.split(".", 1)
            parts[part][key] = value
        load_into(self.network, parts["model"], self.output)
        load_into(self.average, parts["average"], self.output)
        load_optimiser(self.optimiser, parts["optimiser"])
        self.scaler.load_state_dict(self.progress.scaler)
        self.saved_step = self.progress.step


class _Stop:
    """Whether a signal asked to stop; the step at hand is finished first."""

    signal: int | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    def obey(self) -> None:
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + (self.signal or signal.SIGTERM))


@contextmanager
def _asked() -> Iterator[_Stop]:
    """Signals are noted, and not obeyed, while the block runs."""
    stop = _Stop()
    try:
        before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread, which alone gets signals
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
