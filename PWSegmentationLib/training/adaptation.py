"""Adapt a promptable network to one structure of one case: it learns to find the prompts it is not shown.

Each step hides some of the marks, makes label and inputs from the others, and asks for all of them and for what the
network says when it sees them all. So it learns what this structure looks like in this image, without being told
more than the user has told. Whether that helps is asked of marks that were kept out of all this: of every mark once,
because there are few, by as many learners, each of which has neither seen nor been asked for its part of them (K-fold
cross-validation). What is used, if anything, is the mean of what they learnt, half way to the weights before, which
keeps most of it and forgets less (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022; "Model soups",
ICML 2022).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
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
# A number for each positive and each negative mark.
Errors = tuple[NDArray[np.float64], NDArray[np.float64]]
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
    folds
        So many learners, each with another part of the marks kept out of learning, to judge by; fewer where there are
        fewer marks.
    way
        How far from the weights before to those after the adapted network lies, (0, 1].
    margin
        By how much the adapted network must find hidden marks better: they are few, a little may be chance.
    chance
        A gain that would come about by chance so often, or more often, is none (a paired t-test over the hidden marks).
    """

    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    kept: tuple[float, float] = (0.4, 0.9)
    mark_weight: float = 10.0
    folds: int = 3
    way: float = 0.5
    margin: float = 0.03
    chance: float = 0.025


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
class _Learner:
    """A copy of the network that learns, and never has what it is judged by.

    ``inputs`` are made from the marks it learns from, and ``said`` is what the first network says to them; what is
    asked for everywhere are ``truth`` and ``weight``.
    """

    network: ProbabilisticUNETR
    optimiser: torch.optim.Optimizer
    learnt: Numbers
    hidden: Numbers
    inputs: NDArray[np.float32]
    said: NDArray[np.float32]
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
        self.device = next(network.parameters()).device
        self.shown, self.marks = shown, (positive, negative)
        self.counts = int(positive.max()), int(negative.max())
        self.budget, self.options = budget_s, options
        self.progress, self.cancel = progress, cancel
        self.rng = np.random.default_rng((seed, 11))
        self.noise = torch.Generator(device=self.device).manual_seed(seed)
        self.loss = LossWeights()

    def run(self) -> Adaptation:
        learners = [self._learner(*fold) for fold in self._folds()]
        steps = 0
        while learners and not self._stopped():
            # In turn, so that all have learnt as much whenever somebody stops it.
            self._step(learners[steps % len(learners)])
            steps += 1
        if not learners or steps < len(learners):
            return Adaptation(None, steps, self._seconds(), math.nan, math.nan)
        found = [self._part_of_the_way(learner.network) for learner in learners]
        before, after = self._unjudged(), self._unjudged()
        for learner, network in zip(learners, found, strict=True):
            self._judge(before, learner.said, learner.hidden)
            self._judge(after, self._probability(network, learner.inputs), learner.hidden)
        scores = _score(before), _score(after)
        better = scores[1] >= scores[0] + self.options.margin and by_chance(before, after) < self.options.chance
        return Adaptation(_mean(found) if better else None, steps, self._seconds(), *scores)

    def _folds(self) -> list[tuple[Numbers, Numbers]]:
        """Marks to learn from and hidden ones: each is hidden once, of the positive ones never all.

        None where there are too few of them.
        """
        count = min(self.options.folds, self.counts[0])
        if count < 2:
            return []
        turns = [self.rng.permutation(marks) % count for marks in self.counts]
        folds = []
        for number in range(count):
            learnt = [1 + np.flatnonzero(turn != number) for turn in turns]
            hidden = [1 + np.flatnonzero(turn == number) for turn in turns]
            folds.append(((learnt[0], learnt[1]), (hidden[0], hidden[1])))
        return folds

    def _learner(self, learnt: Numbers, hidden: Numbers) -> _Learner:
        """Asked for: its marks, and elsewhere what the network is sure of when it sees them all."""
        network = copy.deepcopy(self.first).train()
        for parameter in network.parameters():
            parameter.requires_grad_(True)
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        inputs = self.shown(*_numbered(self.marks, learnt))
        said = self._probability(self.first, inputs)
        truth, weight = said.copy(), np.abs(2.0 * said - 1.0).astype(np.float32)
        for marked, value in zip(_numbered(self.marks, learnt), (1.0, 0.0), strict=True):
            truth[marked], weight[marked] = value, self.options.mark_weight
        return _Learner(network, optimiser, learnt, hidden, inputs, said, truth, weight)

    def _step(self, learner: _Learner) -> None:
        kept = self._kept(learner.learnt, float(self.rng.uniform(*self.options.kept)))
        inputs = self.shown(*_numbered(self.marks, kept))
        stack = np.concatenate([inputs, learner.truth[None], learner.weight[None]])
        recoloured(stack, IMAGE_CHANNELS, np.ones(inputs.shape[1:], np.float32), self.rng)
        values = _padded(torch.from_numpy(turned(stack, self.rng)), self.first.config.patch).to(self.device)
        for group in learner.optimiser.param_groups:
            group["lr"] = self.options.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, self._share())))
        out = learner.network(values[:, :-2], generator=self.noise)
        logits = refined(out.logits, values[:, :-2])
        loss = segmentation_loss(logits, values[:, -2:-1], values[:, -1:], out.kl, self.loss)
        learner.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.network.parameters(), 1.0)
        learner.optimiser.step()

    def _kept(self, learnt: Numbers, share: float) -> Numbers:
        """Those of the marks that are shown, each with this chance; of the positive ones at least one."""
        inside, outside = (numbers[self.rng.random(len(numbers)) < share] for numbers in learnt)
        return (inside if len(inside) else self.rng.choice(learnt[0], 1)), outside

    def _part_of_the_way(self, learner: ProbabilisticUNETR) -> ProbabilisticUNETR:
        """A network between the first one and what has been learnt."""
        learnt = learner.state_dict()
        found = copy.deepcopy(self.first).eval()
        found.load_state_dict({k: torch.lerp(v, learnt[k], self.options.way) for k, v in found.state_dict().items()})
        return found

    def _unjudged(self) -> Errors:
        inside, outside = (np.full(count, np.nan) for count in self.counts)
        return inside, outside

    def _judge(self, errors: Errors, probability: NDArray[np.float32], hidden: Numbers) -> None:
        """Note the mean squared errors at hidden marks."""
        for marks, numbers, value, found in zip(self.marks, hidden, (1.0, 0.0), errors, strict=True):
            if len(numbers):
                found[numbers - 1] = ndimage.mean((probability - value) ** 2, marks, numbers)

    def _probability(self, network: ProbabilisticUNETR, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        i, j, k = inputs.shape[1:]
        values = _padded(torch.from_numpy(inputs), network.config.patch).to(self.device)
        with torch.no_grad():
            logits = refined(network(values, sample=False).logits, values)
        return np.asarray(torch.sigmoid(logits[0, 0, :i, :j, :k]).cpu().numpy())

    def _seconds(self) -> float:
        return time.monotonic() - self.start

    def _share(self) -> float:
        return self._seconds() / self.budget if self.budget > 0 else math.inf

    def _stopped(self) -> bool:
        if self.progress is not None:
            self.progress(min(1.0, self._share()), "learning this structure")
        return self._share() >= 1.0 or (self.cancel is not None and self.cancel())


def _score(errors: Errors) -> float:
    """1 − the mean squared error; inside counts as much as outside."""
    return 1.0 - float(np.mean([side.mean() for side in errors if len(side)]))


def by_chance(before: Errors, after: Errors) -> float:
    """How likely it is that errors fall by so much where nothing was learnt."""
    found = stats.ttest_rel(np.concatenate(before), np.concatenate(after), alternative="greater")
    return float(np.nan_to_num(found.pvalue, nan=1.0))


def _mean(networks: Sequence[ProbabilisticUNETR]) -> ProbabilisticUNETR:
    """A network with the mean of their weights."""
    found = copy.deepcopy(networks[0])
    states = [network.state_dict() for network in networks]
    found.load_state_dict({name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]})
    return found


def _numbered(marks: tuple[NDArray[np.int32], NDArray[np.int32]], numbers: Numbers) -> tuple[Bools, Bools]:
    """Where the positive and negative marks with these numbers are."""
    return np.isin(marks[0], numbers[0]), np.isin(marks[1], numbers[1])


def _padded(values: Tensor, patch: int) -> Tensor:
    """``(1, channels, ...)``, zeros up to a multiple of ``patch``."""
    return functional.pad(values[None], [p for n in reversed(values.shape[1:]) for p in (0, -n % patch)])
