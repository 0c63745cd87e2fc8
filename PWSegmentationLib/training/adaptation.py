"""Adapt a promptable network to one structure of one case: it learns to find the prompts it is not shown.

Each step hides some of the marks, makes label and inputs from the others, and asks for all marks and for what the
network says when it sees all of them. So it learns what this structure looks like in this image, without being told
more than the user has told. Whether that helped is asked of marks that were kept out of all this: the network has
neither seen nor been asked for them. What is used, if anything, is half way between the weights before and after, which
keeps most of what was learnt and forgets less (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

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
# Numbers of positive and of negative marks.
Numbers = tuple[NDArray[np.int64], NDArray[np.int64]]
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
    judges
        Share of the marks of each sign that is kept out of learning, to judge by; one at least.
    way
        How far from the weights before to those after the adapted network lies, (0, 1].
    looks
        How often it is judged.
    margin
        By how much the adapted network must find hidden marks better: few marks were hidden, a little may be chance.
    """

    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    kept: tuple[float, float] = (0.4, 0.9)
    mark_weight: float = 10.0
    judges: float = 0.3
    way: float = 0.5
    looks: int = 3
    margin: float = 0.03


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
    """Inputs without some marks, and the marks that are hidden: their truth and weight."""

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
        self.first = network
        # Learns, and is never used; what may be used lies half way to it.
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
        learnt, judges = self._divided()
        if judges is None:
            return self._outcome(None, 0, math.nan, math.nan)
        said = self._probability(self.first, self.shown(*_numbered(self.marks, learnt)))
        self.truth, self.weight = self._lesson(said, learnt)
        before = best = self._score(self.first, judges)
        adapted: ProbabilisticUNETR | None = None
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        steps, look = 0, 1
        while not self._stopped():
            self._step(optimiser, learnt)
            steps += 1
            if self._share() >= look / self.options.looks - 0.05:
                look += 1
                candidate = self._part_of_the_way()
                score = self._score(candidate, judges)
                if score > best:
                    best, adapted = score, candidate
        if steps == 0:
            return self._outcome(None, 0, math.nan, math.nan)
        return self._outcome(adapted if best >= before + self.options.margin else None, steps, before, best)

    def _part_of_the_way(self) -> ProbabilisticUNETR:
        """A network between the first one and what has been learnt."""
        learnt = self.network.state_dict()
        found = copy.deepcopy(self.first).eval()
        found.load_state_dict({k: torch.lerp(v, learnt[k], self.options.way) for k, v in found.state_dict().items()})
        return found

    def _outcome(self, network: ProbabilisticUNETR | None, steps: int, before: float, after: float) -> Adaptation:
        return Adaptation(network, steps, time.monotonic() - self.start, before, after)

    def _share(self) -> float:
        return (time.monotonic() - self.start) / self.budget if self.budget > 0 else math.inf

    def _stopped(self) -> bool:
        if self.progress is not None:
            self.progress(min(1.0, self._share()), "learning this structure")
        return self._share() >= 1.0 or (self.cancel is not None and self.cancel())

    def _lesson(self, said: NDArray[np.float32], learnt: Numbers) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is asked for everywhere: the marks, and elsewhere what the network is sure of when it sees them all."""
        truth, weight = said.copy(), np.abs(2.0 * said - 1.0).astype(np.float32)
        for marked, value in zip(_numbered(self.marks, learnt), (1.0, 0.0), strict=True):
            truth[marked], weight[marked] = value, self.options.mark_weight
        return truth, weight

    def _divided(self) -> tuple[Numbers, _Question | None]:
        """The marks to learn from, and the question that the others are; None where there are too few of them."""
        learnt: list[NDArray[np.int64]] = []
        truth, weight = np.zeros(self.marks[0].shape, np.float32), np.zeros(self.marks[0].shape, np.float32)
        for marks, value in zip(self.marks, (1.0, 0.0), strict=True):
            count = int(marks.max())
            # One is left to learn from.
            judging = min(max(round(self.options.judges * count), 1), count - 1) if count else 0
            order = 1 + self.rng.permutation(count)
            learnt.append(order[judging:])
            for number in order[:judging]:
                # Each mark counts the same, and inside as much as outside.
                where = marks == number
                weight[where] = 0.5 / (np.count_nonzero(where) * judging)
                truth[where] = value
        numbers = learnt[0], learnt[1]
        if not truth.any():
            return numbers, None
        return numbers, _Question(self.shown(*_numbered(self.marks, numbers)), truth, weight)

    def _kept(self, learnt: Numbers, share: float) -> Numbers:
        """Those of the marks that are shown, each with this chance; of the positive ones at least one."""
        inside, outside = (numbers[self.rng.random(len(numbers)) < share] for numbers in learnt)
        return (inside if len(inside) else self.rng.choice(learnt[0], 1)), outside

    def _score(self, network: ProbabilisticUNETR, question: _Question) -> float:
        """1 − the mean squared error at hidden marks."""
        error = (self._probability(network, question.inputs) - question.truth) ** 2
        return 1.0 - float((question.weight * error).sum() / question.weight.sum())

    def _step(self, optimiser: torch.optim.Optimizer, learnt: Numbers) -> None:
        kept = self._kept(learnt, float(self.rng.uniform(*self.options.kept)))
        inputs = self.shown(*_numbered(self.marks, kept))
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
            logits = refined(network(values, sample=False).logits, values)
        return np.asarray(torch.sigmoid(logits[0, 0, :i, :j, :k]).cpu().numpy())


def _numbered(marks: tuple[NDArray[np.int32], NDArray[np.int32]], numbers: Numbers) -> tuple[Bools, Bools]:
    """Where the positive and negative marks with these numbers are."""
    return np.isin(marks[0], numbers[0]), np.isin(marks[1], numbers[1])


def _padded(values: Tensor, patch: int) -> Tensor:
    """``(1, channels, ...)``, zeros up to a multiple of ``patch``."""
    return functional.pad(values[None], [p for n in reversed(values.shape[1:]) for p in (0, -n % patch)])
