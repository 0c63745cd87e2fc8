"""What intensities say: normalised views of the image, and likelihoods learnt from seeds (torch).

Everything here is built from ranks, medians and ratios, so that a x + b in place of x changes nothing, be it
Hounsfield units or an arbitrary MR scale; a < 0 mirrors the views, which no later step notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.pseudolabel.smoothing import along_axis, gaussian_matrix

if TYPE_CHECKING:
    import torch

#: Knots of the cumulative histogram that equalisation follows.
_KNOTS = 65
#: Voxels that quantiles are taken from.
_SAMPLE = 50_000
#: Half-width of the window around the object's intensity, in robust standard deviations of its seeds.
_WIDTH = 10.0
#: Intensities that differ by more than this many times the noise are of different tissues.
_ONE_TISSUE = 3.0


def equalised(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Histogram equalisation over the valid voxels: contrast goes where most tissue is; in [0, 1]."""
    import torch

    ordered = _sorted_sample(image, valid)
    positions = torch.linspace(0, 1, _KNOTS, device=image.device) * (len(ordered) - 1)
    knots = torch.unique(ordered[positions.round().long()])
    if len(knots) < 2:
        return torch.full_like(image, 0.5)
    # The middle of each plateau, so that mirroring the intensities mirrors the result.
    low = torch.searchsorted(ordered, knots, right=False)
    high = torch.searchsorted(ordered, knots, right=True)
    rank = (low + high).float() / (2.0 * len(ordered))
    upper = torch.searchsorted(knots, image.contiguous()).clamp(1, len(knots) - 1)
    share = ((image - knots[upper - 1]) / (knots[upper] - knots[upper - 1])).clamp(0, 1)
    return rank[upper - 1] + (rank[upper] - rank[upper - 1]) * share


def noise_level(image: torch.Tensor, valid: torch.Tensor) -> float:
    """Typical difference between neighbours: the median over the valid pairs, the smallest of the axes."""
    levels = []
    everywhere = bool(valid.all())
    for axis in range(3):
        count = image.shape[axis] - 1
        if count < 1:
            continue
        steps = (image.narrow(axis, 1, count) - image.narrow(axis, 0, count)).abs()
        if not everywhere:
            steps = steps[valid.narrow(axis, 0, count) & valid.narrow(axis, 1, count)]
        if steps.numel():
            levels.append(_lower_median(steps))
    return min(levels) if levels else 0.0


def tissue_step(image: np.ndarray, valid: np.ndarray) -> float:
    """By how much intensities differ at least that are of different tissues. Both (I, J, K); ``valid``: bool."""
    import torch

    return _ONE_TISSUE * noise_level(torch.as_tensor(image), torch.as_tensor(valid))


def window(image: torch.Tensor, valid: torch.Tensor, positive: torch.Tensor, *, width: float = _WIDTH) -> torch.Tensor:
    """View tanh((x - m) / (w s)) around the positive seeds' median m, with their robust spread s.

    Differences near the object's own intensity keep their size; what is far from it (air, bone) saturates.
    The spread is never below the image's noise, nor below a hundredth of its robust range.
    """
    import torch

    sample = image[positive]
    middle = _median(sample)
    spread = float(1.4826 * _median((sample - middle).abs()))
    ordered = _sorted_sample(image, valid)
    last = len(ordered) - 1
    span = float(ordered[round(0.99 * last)] - ordered[round(0.01 * last)])
    scale = max(spread, noise_level(image, valid), 0.01 * span, 1e-12)
    return torch.tanh((image - middle) / (width * scale))


def _median(values: torch.Tensor) -> torch.Tensor:
    """The middle value, or the mean of the two middle ones: mirrored intensities give the mirrored median."""
    ordered = in_order(values)
    return 0.5 * (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])


def _sorted_sample(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Every n-th of the valid values, in order: enough of them for quantiles."""
    values = image.flatten() if bool(valid.all()) else image[valid]
    return in_order(values[:: max(1, len(values) // _SAMPLE)])


def in_order(values: torch.Tensor) -> torch.Tensor:
    """Sorted, and flat. On a CPU by NumPy, in a twentieth of the time that torch takes."""
    import torch

    return torch.from_numpy(np.sort(values.numpy(), axis=None)) if _on_cpu(values) else values.flatten().sort().values


def _lower_median(values: torch.Tensor) -> float:
    """The middle value, or the lower of the two middle ones."""
    middle = (values.numel() - 1) // 2
    return float(np.partition(values.numpy(), middle, axis=None)[middle] if _on_cpu(values) else values.median())


def _on_cpu(values: torch.Tensor) -> bool:
    return values.device.type == "cpu"


def span(image: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """The range of intensities under the seeds (2nd to 98th percentile) stretched to [0, 1], clipped outside it."""
    ordered = in_order(image[seeds])
    last = len(ordered) - 1
    low, high = float(ordered[round(0.02 * last)]), float(ordered[round(0.98 * last)])
    return ((image - low) / max(high - low, 1e-12)).clamp(0.0, 1.0)


def likelihood_ratio(
    features: Sequence[torch.Tensor],
    inside: torch.Tensor,
    outside: torch.Tensor,
    *,
    bins: int,
    width: float,
) -> torch.Tensor:
    """Log-likelihood ratio of inside to outside under smoothed joint histograms of a few features.

    Parameters
    ----------
    features
        One or two maps (I, J, K) in [0, 1].
    inside, outside
        Weights (I, J, K) with which each voxel counts in either histogram.
    bins, width
        Bins per feature, and the smoothing's standard deviation in bins (a kernel density estimate).
    """
    import torch

    index = torch.zeros(inside.shape, dtype=torch.long, device=inside.device)
    for feature in features:
        index = index * bins + (feature.clamp(0, 1) * (bins - 1)).round().long()
    flat = index.flatten()
    densities = []
    for weight in (inside, outside):
        histogram = torch.bincount(flat, weight.flatten(), bins ** len(features)).float()
        histogram = histogram.reshape((bins,) * len(features))
        for axis in range(len(features)):
            histogram = along_axis(histogram, gaussian_matrix(bins, width, histogram.device).T, axis)
        densities.append(histogram / histogram.sum().clamp(min=1e-12))
    # An intensity never seen on either side says nothing: the floor takes the ratio to one.
    floor = 0.02 * (densities[0] + densities[1]).mean()
    return torch.log((densities[0] + floor) / (densities[1] + floor)).flatten()[index]
