"""A loss that looks at known voxels only and believes a label as far as the label believes itself.

Soft Dice with squared prediction + cross-entropy + the KL term of the attention, after arXiv 2403.02566, with two
changes. The label's probability is a soft target and its confidence the weight (the paper's code thresholds the
label and uses neither); and voxels of confidence 0 are unknown and take no part at all, which on scribbles comes
within 5 % of dense supervision (arXiv 2403.12834), where the paper's code takes them for background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term; 0 switches it off.

    ``kl`` multiplies the mean over the transformer's blocks of a KL that is itself a mean over pairs of tokens:
    it depends neither on the window nor on the depth. (The paper's code sums over the blocks: 12 × as much.)
    ``boundary`` is an option, see `boundary_loss`.
    """

    dice: float = 1.0
    cross_entropy: float = 1.0
    kl: float = 0.3
    boundary: float = 0.0


def segmentation_loss(
    logits: Tensor,
    probability: Tensor,
    confidence: Tensor,
    kl: Tensor | None = None,
    weights: LossWeights | None = None,
) -> Tensor:
    """The weighted sum of the terms, a scalar.

    Parameters
    ----------
    logits, probability, confidence
        ``(batch, channels, i, j, k)``. Where ``confidence`` is 0 neither the value nor the gradient depends on
        the other two, whatever they hold, NaN included.
    kl
        ``(blocks,)``, as a network returns it.
    """
    weights = weights or LossWeights()
    total = torch.zeros((), device=logits.device, dtype=logits.dtype)
    if weights.dice:
        total = total + weights.dice * soft_dice_loss(logits, probability, confidence)
    if weights.cross_entropy:
        total = total + weights.cross_entropy * cross_entropy_loss(logits, probability, confidence)
    if weights.kl and kl is not None:
        total = total + weights.kl * kl.mean()
    if weights.boundary:
        total = total + weights.boundary * boundary_loss(logits, probability, confidence)
    return total


def soft_dice_loss(logits: Tensor, probability: Tensor, confidence: Tensor, smooth: float = 1e-5) -> Tensor:
    """1 − 2·Σ w·p·y / (Σ w·p² + Σ w·y²), w the confidence; per channel, over the batch together; 0 at p = y.

    The batch is pooled: a window without foreground would otherwise be all or nothing.
    """
    logits, target, weight = _known(logits, probability, confidence)
    predicted = torch.sigmoid(logits)
    axes = (0, *range(2, logits.ndim))
    overlap = (weight * predicted * target).sum(dim=axes)
    size = (weight * (predicted.square() + target.square())).sum(dim=axes)
    return (1.0 - (2.0 * overlap + smooth) / (size + smooth)).mean()


def cross_entropy_loss(logits: Tensor, probability: Tensor, confidence: Tensor) -> Tensor:
    """Binary cross-entropy against the soft target, averaged with the confidence as weight; 0 if nothing is known."""
    logits, target, weight = _known(logits, probability, confidence)
    per_voxel = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (weight * per_voxel).sum() / weight.sum().clamp_min(1e-6)


def boundary_loss(logits: Tensor, probability: Tensor, confidence: Tensor) -> Tensor:
    """Σ w·p·φ / Σ w·|φ|, φ the target's signed distance, negative inside (arXiv 1812.07032); in [−1, 1], best −1.

    Predicting inside lowers it and predicting outside raises it, the more the further from the border. (The paper's
    code has the sign the other way round: a perfect mask cost 19.13, an inverted one 0.) The target is split at one
    half; where a window holds only one side φ is ±1. Distances in voxels.
    """
    logits, target, weight = _known(logits, probability, confidence)
    distance = _signed_distance(target >= 0.5).to(logits)
    return (weight * torch.sigmoid(logits) * distance).sum() / (weight * distance.abs()).sum().clamp_min(1e-6)


def _signed_distance(inside: Tensor) -> Tensor:
    """``(batch, channels, i, j, k)`` float32 on the CPU: voxels to the border's far side, negative inside."""
    masks = inside.cpu().numpy()
    out = np.empty(masks.shape, np.float32)
    for index in np.ndindex(masks.shape[:2]):
        mask = masks[index]
        if mask.all() or not mask.any():
            out[index] = -1.0 if mask.all() else 1.0
        else:
            out[index] = ndimage.distance_transform_edt(~mask) - ndimage.distance_transform_edt(mask)
    return torch.from_numpy(out)


def _known(logits: Tensor, probability: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The arguments with 0 at unknown voxels; selected and not multiplied, since 0 × NaN is NaN."""
    known = confidence > 0
    zero = torch.zeros((), device=logits.device, dtype=logits.dtype)
    return (
        torch.where(known, logits, zero),
        torch.where(known, probability.to(logits.dtype), zero),
        torch.where(known, confidence.to(logits.dtype), zero),
    )
