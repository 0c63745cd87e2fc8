"""Fit a network to the pseudo-label of one case within a time budget, and find out whether it was worth it.

From scratch it was not, where measured: the compact network on eight development structures, up to 50 steps, mean
Dice of the image-aware label, the network, and the label with a quarter or half of the network: 20 + 20 points
.804, .801, .806, .805; scribbles .778, .750, .774, .768. The label alone is therefore the rule, and a network has to
earn its use at withheld marks (`holdout`).
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.training.case_data import IN_CHANNELS, prepare
from PWSegmentationLib.training.case_model import WINDOW, CaseModel, FitReport, corrected, infer
from PWSegmentationLib.training.holdout import DEFAULT_SHARE, Relabel, Trial, Verdict, withhold_blocks, withhold_marks
from PWSegmentationLib.training.losses import segmentation_loss
from PWSegmentationLib.training.patches import PatchSampler

# Steps timed before the length of the schedule is fixed.
_TIMED_STEPS = 3
# Looks at the withheld voxels during the fit, the last at its end.
_LOOKS = 6
# Looks without a better score after which fitting stops.
_PATIENCE = 3
# Of AdamW: the peak, steps of the linear warm-up to it; and the largest norm of the gradient.
LEARNING_RATE, WEIGHT_DECAY, CLIP = 3e-3, 1e-2, 1.0
_WARM_UP = 4


def fit_case(
    image: NDArray[np.generic],
    label: PseudoLabel,
    spacing: tuple[float, float, float],
    *,
    valid: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    relabel: Relabel,
    budget_s: float,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> CaseModel:
    """Fit the compact network to ``label`` and judge it on what was withheld.

    Parameters
    ----------
    image
        ``[i, j, k]``, raw intensities of a crop; any shape, about isotropic.
    label
        On the same voxels; voxels of confidence 0 are not learnt from.
    spacing
        mm.
    valid
        Voxels that were measured.
    positive, negative
        The user's marks, which decide whether the network is accepted, see `holdout`.
    relabel
        Makes the label from other marks: called once, with some marks left out, or not at all if there are too few.
    budget_s
        Wall-clock seconds for all of it, kept to about a step and a look.
    """
    clock = _Clock(budget_s, progress, cancel)
    model = _start(seed, device)
    data = prepare(image, label, spacing, valid=valid, multiple=model.config.patch, device=device)
    generator = torch.Generator().manual_seed(seed)
    trial = None
    if not clock.cancelled():
        clock.tell("withholding marks")
        trial = withhold_marks(data, positive, negative, spacing, relabel, valid, generator)
    if trial is None:
        trial = withhold_blocks(data, generator)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        verdict, losses = _Fit(model, trial, clock, generator, seed).run()
    report = FitReport(
        len(losses), clock.elapsed(), tuple(losses), verdict.label_score, verdict.network_score, verdict.reason
    )
    return CaseModel(model, data, verdict.accepted, verdict.share, report)


def _start(seed: int, device: str) -> ProbabilisticUNETR:
    """The network, on the device, its weights decided by the seed and the global generator left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ProbabilisticUNETR("compact", in_channels=IN_CHANNELS)
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
        clock: _Clock,
        generator: torch.Generator,
        seed: int,
    ) -> None:
        self.model, self.trial, self.clock = model, trial, clock
        # None until the first steps have been timed.
        self.planned: int | None = None
        self.sampler = PatchSampler(trial.data, trial.taught, WINDOW, generator)
        self.noise = torch.Generator(device=trial.taught.device).manual_seed(seed)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.losses: list[float] = []
        self.best: tuple[Verdict, dict[str, Tensor]] | None = None
        self.last_look = 0
        self.looks_without_gain = 0
        self.step_seconds = 0.0
        self.look_seconds = 0.0

    def run(self) -> tuple[Verdict, list[float]]:
        """Train until the budget, the caller or the score says stop; the best state stays in the model."""
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
            group["lr"] = LEARNING_RATE * self._schedule(len(self.losses))
        batch = self.sampler.draw()
        out = self.model(batch.inputs, generator=self.noise)
        logits = corrected(out.logits, batch.inputs)
        loss = segmentation_loss(logits, batch.probability, batch.weight, out.kl)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimiser.step()
        self.losses.append(float(loss.detach()))
        self.step_seconds = time.monotonic() - start
        self.clock.tell("learning", len(self.losses) / self.planned if self.planned else 0.0)

    def _schedule(self, step: int) -> float:
        """Linear warm-up times cosine, of as many steps as are planned."""
        rise = min(1.0, (step + 1) / _WARM_UP)
        if self.planned is None:
            return rise
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.planned)))

    def _look(self) -> None:
        """Judge the network as it is now and keep it if it is the best so far."""
        start = time.monotonic()
        verdict = self.trial.judge(infer(self.model, self.trial.shown(), samples=0, seed=0))
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
