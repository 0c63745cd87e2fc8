"""Adapt a promptable network to one structure of one case: it learns to find the prompts it is not shown.

Each step hides some of the marks, makes label and inputs from the others, and asks for all marks and for what the
network says when it sees all of them. So it learns what this structure looks like in this image, without being told
more than the user has told. Whether that helped is asked of marks that were hidden throughout one more look.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.network_inputs import IMAGE_CHANNELS, refined
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.training.losses import LossWeights, segmentation_loss
from PWSegmentationLib.training.variation import recoloured, turned

Bools = NDArray[np.bool_]
# The inputs of the network ``(channels, i, j, k)`` where only these positive and negative marks are shown.
Shown = Callable[[Bools, Bools], NDArray[np.float32]]


@dataclass(frozen=True)
class AdaptationOptions:
    """How to adapt.

    Parameters
    ----------
    learning_rate, weight_decay
        Of AdamW; the rate falls along a cosine.
    kept
        Share of the marks shown in a step, drawn between these.
    mark_weight
        How much more a marked voxel counts than one the network itself is sure of.
    folds, looks
        Sets of marks that are hidden to judge by, and how often the network is judged.
    margin
        By how much the adapted network must find hidden marks better: few marks were hidden, a little may be chance.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    kept: tuple[float, float] = (0.4, 0.9)
    mark_weight: float = 10.0
    folds: int = 3
    looks: int = 3
    margin: float = 0.02


@dataclass(frozen=True)
class Adaptation:
    """The adapted network, or None where it was not better.

    ``before`` and ``after``: how well hidden marks were found, 1 − mean squared error; NaN where none could be hidden.
    """

    network: ProbabilisticUNETR | None
    steps: int
    seconds: float
    before: float
    after: float


def adapt(
    network: ProbabilisticUNETR,
    shown: Shown,
    positive: NDArray[np.int32],
    negative: NDArray[np.int32],
    *,
    budget_s: float,
    seed: int = 0,
    options: AdaptationOptions | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Adaptation:
    """Adapt a copy of ``network`` for about ``budget_s`` seconds.

    Parameters
    ----------
    shown
        Makes the inputs from marks.
    positive, negative
        ``(i, j, k)``: numbers 1… of the marks, 0 elsewhere (see `holdout.mark_groups`).
    """
    options = options or AdaptationOptions()
    return _Adapting(network, shown, positive, negative, budget_s, seed, options, progress, cancel).run()


@dataclass(frozen=True, eq=False)
class _Question:
    """Inputs without some marks, and the marks that were hidden: their truth and weight."""

    inputs: NDArray[np.float32]
    truth: NDArray[np.float32]
    weight: NDArray[np.float32]


class _Adapting:
    def __init__(
        self,
        network: ProbabilisticUNETR,
        shown: Shown,
        positive: NDArray[np.int32],
        negative: NDArray[np.int32],
        budget_s: float,
        seed: int,
        options: AdaptationOptions,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> None:
        self.start = time.monotonic()
        self.network = copy.deepcopy(network).train()
        for parameter in self.network.parameters():
            parameter.requires_grad_(True)
        self.device = next(network.parameters()).device
        self.shown, self.marks = shown, (positive, negative)
        self.budget, self.options = budget_s, options
        self.progress, self.cancel = progress, cancel
        self.rng = np.random.default_rng((seed, 11))
        self.noise = torch.Generator(device=self.device).manual_seed(seed)
        self.loss = LossWeights()

    def run(self) -> Adaptation:
        everything = self.shown(self.marks[0] > 0, self.marks[1] > 0)
        said = self._probability(network=self.network, inputs=everything)
        self.truth, self.weight = self._lesson(said)
        # With few marks it may happen that none is hidden.
        tries = (self._question(self._kept(0.7)) for _ in range(4 * self.options.folds))
        questions = list(islice((q for q in tries if q is not None), self.options.folds))
        if not questions or self._stopped():
            return self._outcome(None, 0, math.nan, math.nan)
        before = self._score(questions)
        best: tuple[float, dict[str, Tensor] | None] = (before, None)
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        steps, look = 0, 1
        while not self._stopped():
            self._step(optimiser)
            steps += 1
            if self._share() >= look / self.options.looks - 0.05:
                look += 1
                score = self._score(questions)
                if score > best[0]:
                    best = score, {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        if steps == 0:
            return self._outcome(None, 0, math.nan, math.nan)
        clearly = best[0] >= before + self.options.margin
        return self._outcome(best[1] if clearly else None, steps, before, best[0])

    def _outcome(self, state: dict[str, Tensor] | None, steps: int, before: float, after: float) -> Adaptation:
        network = None
        if state is not None:
            self.network.load_state_dict(state)
            network = self.network.eval()
        return Adaptation(network, steps, time.monotonic() - self.start, before, after)

    def _share(self) -> float:
        return (time.monotonic() - self.start) / self.budget if self.budget > 0 else math.inf

    def _stopped(self) -> bool:
        if self.progress is not None:
            self.progress(min(1.0, self._share()), "learning this structure")
        return self._share() >= 1.0 or (self.cancel is not None and self.cancel())

    def _lesson(self, said: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is asked for everywhere: the marks, and elsewhere what the network is sure of when it sees all marks."""
        truth, weight = said.copy(), np.abs(2.0 * said - 1.0).astype(np.float32)
        for marks, value in zip(self.marks, (1.0, 0.0), strict=True):
            truth[marks > 0], weight[marks > 0] = value, self.options.mark_weight
        return truth, weight

    def _kept(self, share: float) -> tuple[Bools, Bools]:
        """The marks that are shown, each with this chance; of the positive ones at least one."""
        kept = []
        for side, marks in enumerate(self.marks):
            count = int(marks.max())
            chosen = np.flatnonzero(self.rng.random(count) < share) + 1
            if side == 0 and not len(chosen) and count:
                chosen = self.rng.integers(1, count + 1, 1)
            kept.append(np.isin(marks, chosen))
        return kept[0], kept[1]

    def _question(self, kept: tuple[Bools, Bools]) -> _Question | None:
        """None where nothing is hidden."""
        truth, weight = np.zeros(self.marks[0].shape, np.float32), np.zeros(self.marks[0].shape, np.float32)
        for marks, shown, value in zip(self.marks, kept, (1.0, 0.0), strict=True):
            hidden = (marks > 0) & ~shown
            sizes = np.bincount(marks[hidden], minlength=int(marks.max()) + 1)
            found = np.count_nonzero(sizes)
            # Each mark counts the same, and inside as much as outside.
            weight[hidden] = 0.5 / (np.maximum(sizes[marks[hidden]], 1) * max(found, 1))
            truth[hidden] = value
        return _Question(self.shown(*kept), truth, weight) if weight.any() else None

    def _score(self, questions: Sequence[_Question]) -> float:
        """1 − the mean squared error at hidden marks."""
        errors = []
        for question in questions:
            error = (self._probability(self.network, question.inputs) - question.truth) ** 2
            errors.append(float((question.weight * error).sum() / question.weight.sum()))
        self.network.train()
        return 1.0 - float(np.mean(errors))

    def _step(self, optimiser: torch.optim.Optimizer) -> None:
        inputs = self.shown(*self._kept(float(self.rng.uniform(*self.options.kept))))
        stack = np.concatenate([inputs, self.truth[None], self.weight[None]])
        recoloured(stack, IMAGE_CHANNELS, np.ones(inputs.shape[1:], np.float32), self.rng)
        values = _padded(torch.from_numpy(turned(stack, self.rng)), self.network.config.patch).to(self.device)
        for group in optimiser.param_groups:
            group["lr"] = self.options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, self._share())))
        out = self.network(values[:, :-2], generator=self.noise)
        logits = refined(out.logits, values[:, :-2])
        loss = segmentation_loss(logits, values[:, -2:-1], values[:, -1:], out.kl, self.loss)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimiser.step()

    def _probability(self, network: ProbabilisticUNETR, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        i, j, k = inputs.shape[1:]
        values = _padded(torch.from_numpy(inputs), network.config.patch).to(self.device)
        with torch.no_grad():
            logits = refined(network.eval()(values, sample=False).logits, values)
        return np.asarray(torch.sigmoid(logits[0, 0, :i, :j, :k]).cpu().numpy())


def _padded(values: Tensor, patch: int) -> Tensor:
    """``(1, channels, ...)``, zeros up to a multiple of ``patch``."""
    return functional.pad(values[None], [p for n in reversed(values.shape[1:]) for p in (0, -n % patch)])
