"""Fit a network to the pseudo-label of one case within a time budget, and find out whether it was worth it.

From scratch it was not, where measured: the compact network on eight development structures, up to 50 steps, mean
Dice of the image-aware label, the network, and the label with a quarter or half of the network: 20 + 20 points
.804, .801, .806, .805; scribbles .778, .750, .774, .768. The label alone is therefore the rule, and a network has to
earn its use at withheld marks (`holdout`). Networks trained beforehand come in through ``network``.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PWSegmentationLib.networks.presets import UNETRConfig
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.training.case_data import IN_CHANNELS, prepare
from PWSegmentationLib.training.case_model import CaseModel, FitReport, corrected, infer
from PWSegmentationLib.training.holdout import DEFAULT_SHARE, Relabel, Trial, Verdict, withhold_blocks, withhold_marks
from PWSegmentationLib.training.losses import LossWeights, segmentation_loss
from PWSegmentationLib.training.patches import PatchSampler

# Steps timed before the length of the schedule is fixed.
_TIMED_STEPS = 3
# Looks at the withheld voxels during the fit, the last at its end.
_LOOKS = 6
# Looks without a better score after which fitting stops.
_PATIENCE = 3


@dataclass(frozen=True)
class FitOptions:
    """How to train; ``learning_rate`` is the peak, ``window`` the largest edge of a training window in voxels."""

    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warm_up: int = 4
    window: int = 48
    clip: float = 1.0
    loss: LossWeights = field(default_factory=LossWeights)


def fit_case(
    image: NDArray[np.generic],
    label: PseudoLabel,
    spacing: Sequence[float],
    *,
    budget_s: float,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    network: str | UNETRConfig | ProbabilisticUNETR = "compact",
    valid: NDArray[np.bool_] | None = None,
    positive: NDArray[np.bool_] | None = None,
    negative: NDArray[np.bool_] | None = None,
    relabel: Relabel | None = None,
    max_steps: int | None = None,
    options: FitOptions | None = None,
) -> CaseModel:
    """Fit a network to ``label`` and judge it on what was withheld.

    Parameters
    ----------
    image
        ``[i, j, k]``, raw intensities of a crop; any shape, about isotropic.
    label
        On the same voxels; voxels of confidence 0 are not learnt from.
    spacing
        mm.
    budget_s
        Wall-clock seconds for all of it, kept to about a step and a look.
    network
        A preset, a configuration, or a network to start from (it takes ``IN_CHANNELS`` channels and is not changed).
    valid
        Voxels that were measured; None: all.
    positive, negative
        The user's marks. With ``relabel`` they decide whether the network is accepted, see `holdout`.
    relabel
        Makes the label from other marks: called once, with some marks left out.
    max_steps
        At most so many training steps. The same number of steps and seed give the same result on one device.
    """
    options = options or FitOptions()
    clock = _Clock(budget_s, progress, cancel)
    model = _start(network, seed, device)
    data = prepare(image, label, spacing, valid=valid, multiple=model.config.patch, device=device)
    generator = torch.Generator().manual_seed(seed)
    trial = None
    if positive is not None and negative is not None and relabel is not None and not clock.cancelled():
        clock.tell("withholding marks")
        size = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
        trial = withhold_marks(data, positive, negative, size, relabel, valid, generator)
    if trial is None:
        trial = withhold_blocks(data, generator)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        verdict, losses = _Fit(model, trial, options, clock, generator, seed, max_steps).run()
    report = FitReport(
        len(losses), clock.elapsed(), tuple(losses), verdict.label_score, verdict.network_score, verdict.reason
    )
    return CaseModel(model, data, verdict.accepted, verdict.share, options.window, report)


def _start(network: str | UNETRConfig | ProbabilisticUNETR, seed: int, device: str) -> ProbabilisticUNETR:
    """A network of its own, on the device, its weights decided by the seed and the global generator left alone."""
    if isinstance(network, ProbabilisticUNETR):
        if network.in_channels != IN_CHANNELS or network.out_channels != 1:
            raise ValueError(f"The network must take {IN_CHANNELS} channels and give 1.")
        return copy.deepcopy(network).to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ProbabilisticUNETR(network, in_channels=IN_CHANNELS)
    # It corrects the label, see `corrected`; before the first step it changes nothing.
    for parameter in model.out.parameters():
        torch.nn.init.zeros_(parameter)
    return model.to(device)


class _Clock:
    """The budget, and the caller's two ears."""

    def __init__(self, budget_s: float, progress: Progress | None, cancel: Cancel | None) -> None:
        self.start, self.budget = time.monotonic(), budget_s
        self.progress, self.cancel = progress, cancel
        self.reached = 0.0

    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def left(self) -> float:
        return self.budget - self.elapsed()

    def cancelled(self) -> bool:
        return self.cancel is not None and self.cancel()

    def tell(self, text: str, fraction: float = 0.0) -> None:
        if self.progress is not None:
            self.reached = min(1.0, max(self.reached, fraction, self.elapsed() / max(self.budget, 1e-9)))
            self.progress(self.reached, text)


class _Fit:
    """The training loop and what it remembers."""

    def __init__(
        self,
        model: ProbabilisticUNETR,
        trial: Trial,
        options: FitOptions,
        clock: _Clock,
        generator: torch.Generator,
        seed: int,
        max_steps: int | None,
    ) -> None:
        self.model, self.trial, self.options, self.clock = model, trial, options, clock
        # None until the first steps have been timed.
        self.planned = max_steps
        self.sampler = PatchSampler(trial.data, trial.taught, options.window, generator)
        self.noise = torch.Generator(device=trial.taught.device).manual_seed(seed)
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.losses: list[float] = []
        self.best: tuple[Verdict, dict[str, Tensor]] | None = None
        self.last_look = 0
        self.looks_without_gain = 0
        self.step_seconds = 0.0
        self.look_seconds = 0.0

    def run(self) -> tuple[Verdict, list[float]]:
        """Train until the budget, the steps, the caller or the score says stop; the best state stays in the model."""
        if len(self.sampler.inside) == 0:
            return _no_verdict("The network is not used: the label knows no voxel inside."), []
        self.model.train()
        while not self._finished():
            self._step()
            if self.planned is None and len(self.losses) == _TIMED_STEPS:
                self.planned = self._affordable()
            if self.planned and len(self.losses) % max(1, math.ceil(self.planned / _LOOKS)) == 0:
                self._look()
        if self.last_look < len(self.losses) and not self.clock.cancelled():
            self._look()
        self.model.eval()
        if self.best is None:
            return _no_verdict(
                "The network is not used: fitting ended, or was cancelled, before it could be judged."
            ), self.losses
        verdict, state = self.best
        self.model.load_state_dict(state)
        return verdict, self.losses

    def _finished(self) -> bool:
        enough = self.planned is not None and len(self.losses) >= self.planned
        # A step and the look at the end need their time too.
        late = self.clock.left() < self.step_seconds + self.look_seconds
        return enough or late or self.looks_without_gain >= _PATIENCE or self.clock.cancelled()

    def _affordable(self) -> int:
        """Steps that fit the budget if all take as long as the last; a look, without gradients, costs about one."""
        return max(_TIMED_STEPS, int(self.clock.left() / max(self.step_seconds, 1e-4)) + _TIMED_STEPS - _LOOKS)

    def _step(self) -> None:
        start = time.monotonic()
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.learning_rate * self._schedule(len(self.losses))
        batch = self.sampler.draw()
        out = self.model(batch.inputs, generator=self.noise)
        logits = corrected(out.logits, batch.inputs)
        loss = segmentation_loss(logits, batch.probability, batch.weight, out.kl, self.options.loss)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimiser.step()
        self.losses.append(float(loss.detach()))
        self.step_seconds = time.monotonic() - start
        self.clock.tell("learning", len(self.losses) / self.planned if self.planned else 0.0)

    def _schedule(self, step: int) -> float:
        """Linear warm-up times cosine; a function of the step alone where the number of steps was given."""
        rise = min(1.0, (step + 1) / self.options.warm_up)
        if self.planned is None:
            return rise
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.planned)))

    def _look(self) -> None:
        """Judge the network as it is now and keep it if it is the best so far."""
        start = time.monotonic()
        probability, _ = infer(self.model, self.trial.shown(), self.options.window, samples=0, seed=0)
        verdict = self.trial.judge(probability)
        if self.best is None or verdict.network_score > self.best[0].network_score:
            state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
            self.best = (verdict, state)
            self.looks_without_gain = 0
        else:
            self.looks_without_gain += 1
        self.last_look = len(self.losses)
        self.look_seconds = max(self.look_seconds, time.monotonic() - start)
        self.clock.tell("checking")


def _no_verdict(reason: str) -> Verdict:
    return Verdict(math.nan, math.nan, DEFAULT_SHARE, False, reason)
