"""A training run: the loop, what it remembers, and when it stops; what is learnt is an `Objective`'s matter.

The result is a function of the config alone: data, noise and learning rate of a step depend on its number, so that
a run that was interrupted, or is spread over several processes, does what a run in one piece does.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.model_files import load_into
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.sliding_window import half_precision
from PWSegmentationLib.training.processes import Processes
from PWSegmentationLib.training.schedule import Schedule
from PWSegmentationLib.training.training_log import TrainingLog
from PWSegmentationLib.training.training_state import (
    RunState,
    load_optimiser,
    load_state,
    optimiser_tensors,
    save_state,
)

# Steps in a row whose gradient is not a number, after which the run gives up.
_MOST_LOST = 10


@dataclass(frozen=True)
class TrainingReport:
    """How a run ended; ``losses`` of every step, ``selection`` the best score on the selection set (NaN: none)."""

    model: Path
    steps: int
    losses: tuple[float, ...]
    selection: float
    best_step: int


class Objective(Protocol):
    """What a run learns: a network, data, a loss, and a score that decides which weights are kept."""

    network: ProbabilisticUNETR

    @property
    def data(self) -> Mapping[str, Sequence[str]]:
        """Names of what is learnt, learnt from and selected by; none may change while a run is under way."""

    def begin(self) -> None:
        """Read the data. Not called where the run has ended already."""

    def loss(self, learner: nn.Module, number: int) -> Tensor:
        """Of micro-batch ``number`` of the run; ``learner`` is the network, or stands for it in several processes."""

    def score(self, network: ProbabilisticUNETR) -> float | None:
        """Of these weights on what nobody learns from, the same in every process; None where there is nothing."""

    def keep(self, network: ProbabilisticUNETR, metrics: Mapping[str, Any]) -> None:
        """Write the model."""


class Run:
    """Network, optimiser, moving average, and where the run stands.

    Parameters
    ----------
    objective, schedule
        What to learn, and how; ``document`` is the whole config, which must not change while a run is under way.
    output
        The run's folder. If it holds the state of this run, the run goes on from there.
    quiet
        No bar.
    """

    def __init__(
        self,
        objective: Objective,
        schedule: Schedule,
        document: Mapping[str, Any],
        output: Path,
        processes: Processes,
        device: str,
        *,
        quiet: bool = False,
    ) -> None:
        self.objective, self.schedule, self.document = objective, schedule, document
        self.output, self.processes, self.quiet = output, processes, quiet
        self.device = torch.device(device)
        self.network = objective.network.to(self.device)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema))
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        on_gpu = self.device.type != "cpu"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=schedule.amp == "fp16" and on_gpu)
        self.progress = RunState()
        self.saved_step = -1
        self.lost = 0
        self._resume()
        self.learner: nn.Module = self.network
        if processes.count > 1:
            self.learner = DistributedDataParallel(
                self.network, device_ids=[self.device] if self.device.type == "cuda" else None
            )

    def train(self) -> TrainingReport:
        """Steps until there are enough, the selection says stop, or somebody does."""
        if not self.progress.finished:
            self.objective.begin()
            self.output.mkdir(parents=True, exist_ok=True)
            first, done = self.processes.is_first, self.progress.step
            log = TrainingLog(self.output, self.schedule.steps, done, quiet=self.quiet, writes=first)
            with log, _asked() as stop:
                self._loop(log, stop)
        best = self.progress.best_score if self.progress.best_score >= 0 else math.nan
        path = self.output / "model.safetensors"
        return TrainingReport(path, self.progress.step, tuple(self.progress.losses), best, self.progress.best_step)

    def _loop(self, log: TrainingLog, stop: _Stop) -> None:
        progress, schedule = self.progress, self.schedule
        while progress.step < schedule.steps and not progress.finished:
            loss = self._step(progress.step)
            progress.step += 1
            progress.losses.append(loss)
            log.step(progress.step, loss, self._rate(progress.step - 1))
            if progress.step % schedule.select_every == 0 or progress.step == schedule.steps:
                self._select(log)
            progress.finished = progress.finished or progress.step == schedule.steps
            asked = self.processes.any(stop.signal is not None)
            if progress.step % schedule.save_every == 0 or progress.finished or asked:
                self._save()
            if asked and not progress.finished:
                stop.obey()

    def _step(self, step: int) -> float:
        """One optimiser step over ``accumulate`` passes, shared by the processes; returns their mean loss."""
        schedule = self.schedule
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate(step)
        mine = range(self.processes.rank, schedule.accumulate, self.processes.count)
        self.learner.train()
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for index in mine:
            last = index == mine[-1]
            # Gradients are exchanged once per step, with the last pass.
            waiting = isinstance(self.learner, DistributedDataParallel) and not last
            with self.learner.no_sync() if waiting else nullcontext():  # type: ignore[operator]
                with half_precision(self.device, schedule.amp):
                    loss = self.objective.loss(self.learner, step * schedule.accumulate + index)
                self.scaler.scale(loss / len(mine)).backward()
            total += float(loss.detach()) / len(mine)
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip)
        mean = self.processes.mean(total)
        # Half precision loses a gradient now and then, which must not reach the weights; the scaler sees to its own.
        if self.scaler.is_enabled() or (math.isfinite(mean) and math.isfinite(float(norm))):
            self.scaler.step(self.optimiser)
            self.scaler.update()
            self.average.update_parameters(self.network)
            self.lost = 0
        else:
            self.lost += 1
        if not math.isfinite(mean) or self.lost > _MOST_LOST:
            raise InputError(
                f'The loss of step {step + 1} is not a number: lower "learning_rate", or set "amp" to "off", and run '
                "the same command with another output folder."
            )
        return mean

    def _rate(self, step: int) -> float:
        """Linear warm-up times cosine."""
        rise = min(1.0, (step + 1) / max(1, self.schedule.warm_up))
        return self.schedule.learning_rate * rise * 0.5 * (1.0 + math.cos(math.pi * step / self.schedule.steps))

    def _select(self, log: TrainingLog) -> None:
        """Judge the moving average on the selection set and keep it if it is the best so far."""
        progress = self.progress
        network: Any = self.average.module if self.schedule.ema else self.network
        score = self.objective.score(network)
        if score is None:
            # Nothing to select by: the last one is kept.
            progress.best_step = progress.step
            self._keep(network, None)
            return
        log.selection(progress.step, score)
        progress.selections.append({"step": progress.step, "dice": score})
        if score > progress.best_score:
            progress.best_score, progress.best_step, progress.looks_without_gain = score, progress.step, 0
            self._keep(network, score)
            return
        progress.looks_without_gain += 1
        progress.finished = 0 < self.schedule.patience <= progress.looks_without_gain

    def _keep(self, network: ProbabilisticUNETR, score: float | None) -> None:
        if self.processes.is_first:
            self.objective.keep(network, {"selection_dice": score, "step": self.progress.step})

    def _save(self) -> None:
        if not self.processes.is_first or self.saved_step == self.progress.step:
            return
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        tensors |= {f"optimiser.{k}": v for k, v in optimiser_tensors(self.optimiser).items()}
        self.progress.scaler = self.scaler.state_dict()
        save_state(self.output, tensors, self.progress, self.document, self.objective.data)
        self.saved_step = self.progress.step

    def _resume(self) -> None:
        found = load_state(self.output, self.document, self.objective.data)
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
