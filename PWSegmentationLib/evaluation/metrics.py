"""How far a segment is from the reference (MONAI's metrics), and how far its probability can be trusted.

Everything is measured on the part of the image that matters, so that the cost follows the structure.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.volume.grid import Region

# A border this near to the reference's counts as right, mm (normalised surface Dice).
SURFACE_TOLERANCE_MM = 2.0
# Calibration is measured inside the structure and this far around it, mm: far away everything is right, and easily so.
CALIBRATION_MARGIN_MM = 10.0
CALIBRATION_BINS = 15


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method said: arrays ``[i, j, k]`` over ``region`` of the volume; absent elsewhere.

    ``probability`` and ``uncertainty`` (both in [0, 1]) are None where a method has none. ``seconds`` it took.
    """

    region: Region
    mask: NDArray[np.bool_]
    probability: NDArray[np.floating] | None = None
    uncertainty: NDArray[np.floating] | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Overlap:
    """Dice; and, where asked for, surface Dice at 2 mm and the 95th percentile of the surface distance, mm.

    ``hd95_mm`` is None if the answer is empty and so has no surface.
    """

    dice: float
    surface_dice: float | None = None
    hd95_mm: float | None = None


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of two masks ``[i, j, k]`` of one shape; 1 if both are empty.

    In MONAI's single precision, as all results are; where nothing is reported, `volume.masks.dice` is enough.
    """
    from monai.metrics import compute_dice

    region = Region.around(a | b)
    if region is None:
        return 1.0
    one, other = _batches(a[region.slices], b[region.slices])
    return float(compute_dice(one, other, ignore_empty=False))


def overlap(answer: Answer, reference: Reference, *, surfaces: bool = True) -> Overlap:
    """Compare masks; without ``surfaces`` Dice alone, which is much cheaper."""
    found = Region.around(answer.mask)
    if found is None:
        return Overlap(0.0, 0.0 if surfaces else None)
    # One voxel around, so that a surface in the outermost plane is one.
    region = found.shifted(answer.region.start).union(reference.region).grown(1)
    mask, truth = answer.region.fitted(answer.mask, region), reference.over(region)
    if not surfaces:
        return Overlap(dice(mask, truth))
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    prediction, target = _batches(mask, truth)
    options: Any = {"include_background": True, "spacing": reference.grid.spacing}
    with warnings.catch_warnings():
        # MONAI warns of its own use of an argument that it is about to drop.
        warnings.simplefilter("ignore", FutureWarning)
        near = compute_surface_dice(prediction, target, [SURFACE_TOLERANCE_MM], use_subvoxels=True, **options)
        far = compute_hausdorff_distance(prediction, target, percentile=95, **options)
    return Overlap(dice(mask, truth), float(near), float(far))


@dataclass(frozen=True)
class Calibration:
    """What became of probabilities and uncertainties, per voxel near the structure.

    Parameters
    ----------
    voxels, probability, inside
        Per bin of the probability (`CALIBRATION_BINS` of equal width): voxels, their mean probability (None in an
        empty bin), and the share of them that is inside the reference.
    error
        Expected calibration error: the mean of |probability - inside| over the bins, weighted by their voxels.
    auroc
        Of the uncertainty as a detector of wrong voxels: the chance that a wrong voxel is less certain than a right
        one. None without an uncertainty, or where all voxels are right.
    """

    voxels: tuple[int, ...]
    probability: tuple[float | None, ...]
    inside: tuple[float | None, ...]
    error: float
    auroc: float | None


def calibration(answer: Answer, reference: Reference) -> Calibration | None:
    """Compare the probability with the reference in the structure and 10 mm around it; None without a probability.

    Where the method did not look, it says 0 and is sure of it.
    """
    if answer.probability is None:
        return None
    region, near = reference.within(CALIBRATION_MARGIN_MM)
    probability = answer.region.fitted(answer.probability, region)[near].astype(np.float32)
    truth = reference.over(region)[near]
    means, shares, counts = _binned(probability, truth)
    found = None
    if answer.uncertainty is not None:
        wrong = answer.region.fitted(answer.mask, region)[near] != truth
        found = auroc(answer.region.fitted(answer.uncertainty, region)[near], wrong)
    error = _mean_gap(means, shares, counts)
    return Calibration(tuple(int(c) for c in counts), _or_none(means), _or_none(shares), error, found)


def expected_calibration_error(probability: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """`Calibration.error` of some voxels."""
    return _mean_gap(*_binned(probability, truth))


def _batches(*arrays: NDArray[Any]) -> tuple[Any, ...]:
    """As MONAI's metrics take them: tensors with the axes (batch, class, ...)."""
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(a))[None, None] for a in arrays)


def _binned(
    probability: NDArray[np.float32], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per bin of the probability: its mean, the share that is inside, and the number of voxels."""
    try:
        from monai.metrics import calibration_binning
    except ImportError as error:
        # MONAI 1.6 needs PyTorch 2.8; the tool itself does with earlier ones.
        raise not_installed("Calibration is measured by MONAI 1.6 or later", "benchmark") from error

    stated, actual = _batches(probability, truth)
    bins = calibration_binning(stated, actual, CALIBRATION_BINS)
    means, shares, counts = (b[0, 0].double().numpy() for b in bins)
    return means, shares, counts


def _mean_gap(means: NDArray[np.float64], shares: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    used = counts > 0
    return float(np.sum(counts[used] * np.abs(means[used] - shares[used])) / counts.sum())


def auroc(score: NDArray[np.floating], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve, as the Mann-Whitney statistic over the number of pairs."""
    if positive.all() or not positive.any():
        return None
    u = stats.mannwhitneyu(score[positive].astype(np.float32), score[~positive].astype(np.float32)).statistic
    # In floating point: the number of pairs may not fit into the integer types of arrays.
    return float(u / (float(np.count_nonzero(positive)) * float(np.count_nonzero(~positive))))


def _or_none(values: NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(v) else round(float(v), 5) for v in values)
