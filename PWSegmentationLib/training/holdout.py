"""Is the network better than the label it was taught? Asked of what neither of them has seen.

The label is exact at the user's marks, since it was made from them; a network taught on it can only look worse
there. A fair question withholds marks from both: some are taken away, the label is made again without them, the
network is taught on that label, and both are scored at the marks taken away. Without a way to make the label
again, blocks of known voxels are withheld from the network alone; there it can show that it agrees with the
label, not that it is better, and it is never accepted on that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.training.case_data import CaseData
from PWSegmentationLib.training.patches import random_blocks
from PWSegmentationLib.volume.masks import parts_of

# (positive, negative) masks in, a label out.
Relabel = Callable[[NDArray[np.bool_], NDArray[np.bool_]], PseudoLabel]

# Shares of the network in the prediction that are tried, and the one used where none won.
SHARES = (0.25, 0.5)
DEFAULT_SHARE = 0.5
# By how much the score must rise, and how many standard errors of the marks won must lie above 0, so that luck is
# not taken for skill.
MARGIN = 0.02
SURE = 2.0

# Share of the groups of marks that is withheld, and the length above which a stroke is more than one group.
_FRACTION = 0.3
_BLOCK_MM = 15.0
# Share and edge of the blocks withheld where there are no marks, and how much of the inside they may take.
_BLOCK_FRACTION = 0.15
_BLOCK_VOXELS = 12
_INSIDE_WITHHELD = (0.05, 0.4)
_TRIES = 20


@dataclass(frozen=True)
class Verdict:
    """Scores in [0, 1], the best share of the network and whether it beats the label, with the reason."""

    label_score: float
    network_score: float
    share: float
    accepted: bool
    reason: str


@dataclass(frozen=True)
class Trial:
    """What the network is taught in the trial and where it is scored, ``(i, j, k)`` with padding.

    Scored where ``weight`` is positive. By marks, ``truth`` is 1 at positive and 0 at negative ones, and each group
    of marks weighs the same; by blocks, ``truth`` is the label itself. Inside and outside weigh the same together.
    ``group`` numbers the groups of marks (of either side from 1).
    """

    data: CaseData
    taught: Tensor
    truth: Tensor
    weight: Tensor
    group: Tensor
    by_marks: bool

    def shown(self) -> CaseData:
        """What the network is shown when it is judged: the label without what was withheld."""
        return replace(self.data, confidence=self.taught)

    def judge(self, network: Tensor) -> Verdict:
        """The verdict on the network's probability ``(i, j, k)``."""
        return self._judge_by_marks(network) if self.by_marks else self._judge_by_blocks(network)

    def _judge_by_marks(self, network: Tensor) -> Verdict:
        label = self.data.probability
        pooled = {share: (1.0 - share) * label + share * network for share in SHARES}
        share = max(SHARES, key=lambda s: self._score(pooled[s]))
        label_score, score = self._score(label), self._score(pooled[share])
        gain, doubt = self._marks_won(pooled[share])
        accepted = score >= label_score + MARGIN and gain > SURE * doubt
        reason = (
            f"At marks withheld from both, the network and the label together score {score:.3f} and the label alone "
            f"{label_score:.3f}, and the network wins {100 * gain:.0f} ± {100 * doubt:.0f} % of them: "
            + ("it is used." if accepted else "it is not used.")
        )
        return Verdict(label_score, score, share if accepted else DEFAULT_SHARE, accepted, reason)

    def _judge_by_blocks(self, network: Tensor) -> Verdict:
        where = self.weight > 0
        mine, theirs = network[where] >= 0.5, self.truth[where] >= 0.5
        size = int(mine.sum() + theirs.sum())
        agreement = 2.0 * float((mine & theirs).sum()) / size if size else 0.0
        reason = (
            f"In blocks of the label withheld from it, the network agrees with the label to Dice {agreement:.3f}; "
            "that cannot show it to be better than the label, so it is not used."
        )
        return Verdict(math.nan, self._score(network), DEFAULT_SHARE, False, reason)

    def _score(self, probability: Tensor) -> float:
        """1 − the weighted mean of the squared error (Brier score)."""
        error = (self.weight * (probability - self.truth).square()).sum()
        return 1.0 - float(error / self.weight.sum().clamp_min(1e-12))

    def _marks_won(self, probability: Tensor) -> tuple[float, float]:
        """Share of the groups of marks put right less that put wrong, and its standard error (infinite for one group).

        Counted, not scored: a network that merely doubts everything has a better score than a label that is surely
        wrong here and there, and moves no border for the better.
        """
        right, right_before = ((p >= 0.5) == (self.truth >= 0.5) for p in (probability, self.data.probability))
        change = right.float() - right_before.float()
        gain, variance = 0.0, 0.0
        for side in (0.0, 1.0):
            here = (self.weight > 0) & (self.truth == side)
            _, group = torch.unique(self.group[here], return_inverse=True)
            sums = torch.zeros(2, int(group.max()) + 1, device=change.device)
            sums.index_add_(1, group, torch.stack([change[here], torch.ones_like(change[here])]))
            mean = sums[0] / sums[1]
            # Inside and outside count half each.
            gain += 0.5 * float(mean.mean())
            variance += 0.25 * float(mean.var()) / len(mean) if len(mean) > 1 else math.inf
        return gain, math.sqrt(variance)


def withhold_blocks(data: CaseData, generator: torch.Generator) -> Trial:
    """A trial on blocks of known voxels that the network is not taught."""
    known, inside = data.confidence > 0, data.probability >= 0.5
    total = max(1, int((known & inside).sum()))
    # In a small case chance can withhold all or nothing of the inside: draw again.
    for _ in range(_TRIES):
        out = random_blocks(data.extent, _BLOCK_VOXELS, _BLOCK_FRACTION, generator).to(known.device) & known
        if _INSIDE_WITHHELD[0] * total <= int((out & inside).sum()) <= _INSIDE_WITHHELD[1] * total:
            break
    weight = torch.zeros_like(data.confidence)
    for part in (out & inside, out & ~inside):
        weight[part] = 1.0 / max(1, int(part.sum()))
    return Trial(data, torch.where(out, 0.0, data.confidence), data.probability, weight, weight, by_marks=False)


def withhold_marks(
    data: CaseData,
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    relabel: Relabel,
    valid: NDArray[np.bool_] | None,
    generator: torch.Generator,
) -> Trial | None:
    """A trial on marks that neither label nor network have seen; None if there are too few to withhold any."""
    groups = [mark_groups(marks, spacing) for marks in (positive, negative)]
    if min(int(g.max()) for g in groups) < 3:
        return None
    out, weight = [], np.zeros(data.shape, np.float32)
    for group in groups:
        count = int(group.max())
        chosen = 1 + torch.randperm(count, generator=generator)[: max(1, round(_FRACTION * count))].numpy()
        held = np.isin(group, chosen)
        sizes = np.bincount(group.ravel(), minlength=count + 1)
        weight[held] = 1.0 / (sizes[group[held]] * len(chosen))
        out.append(held)
    reduced = data.with_label(relabel(positive & ~out[0], negative & ~out[1]), valid)
    taught = torch.where(data.padded(out[0] | out[1]) > 0, 0.0, reduced.confidence)
    numbers = data.padded(groups[0] + groups[1])
    return Trial(reduced, taught, data.padded(out[0]), data.padded(weight), numbers, by_marks=True)


def mark_groups(marks: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.int32]:
    """Numbers 1…n of the marks to withhold together: touching ones; long strokes are cut at a lattice of blocks."""
    touching, _ = parts_of(marks)
    component = touching[marks]
    lengths = [0.0]
    for box in ndimage.find_objects(touching):
        lengths.append(max((b.stop - b.start) * s for b, s in zip(box, spacing, strict=True)))
    blocks = (np.argwhere(marks) * spacing // _BLOCK_MM).astype(np.int64)
    blocks[np.array(lengths)[component] <= _BLOCK_MM] = 0
    out = np.zeros(marks.shape, np.int32)
    if len(blocks):
        out[marks] = np.unique(np.column_stack([component, blocks]), axis=0, return_inverse=True)[1].ravel() + 1
    return out
