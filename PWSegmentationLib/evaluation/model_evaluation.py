"""A trained model on cases whose truth is known: Dice, 95 % Hausdorff distance and surface Dice, per structure.

MONAI's metrics, on each image's own grid and in millimetres. Where a structure is in neither truth nor prediction
nothing is measured; where it is in one of them only, Dice and surface Dice are 0 and there is no distance.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray

from PWSegmentationLib.evaluation.provenance import provenance
from PWSegmentationLib.networks.model_files import write_json
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.progress import Progress, part_of
from PWSegmentationLib.training.case_labels import read_label
from PWSegmentationLib.training.datalist import Case
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.reading import read_volume

TOLERANCE_MM = 2.0
# Room around truth and prediction, voxels, so that no surface lies on the face of what is measured.
_MARGIN = 2
# Bins of the calibration error.
_BINS = 10


@dataclass(frozen=True)
class Score:
    """One structure in one case. ``hd95`` in mm; None where one of the two masks is empty.

    ``calibration_error`` is the expected one: how far stated probability and found frequency lie apart, over the
    voxels that truth or prediction hold or where the probability is above 1 %.
    """

    case: str
    structure: str
    dice: float
    hd95: float | None
    surface_dice: float
    calibration_error: float
    seconds: float


def evaluate(
    model: TrainedModel,
    cases: Sequence[Case],
    named: Mapping[str, int],
    *,
    draws: int = 6,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Score]:
    """Segment every case and compare; ``named`` are all values that a label may hold."""
    scores = []
    for index, case in enumerate(cases):
        volume = read_volume(case.image)
        truth = read_label(case, named, volume.grid)
        part = part_of(progress, index / len(cases), (index + 1) / len(cases))
        found = model.segment(volume, draws=draws, seed=seed, progress=part)
        labels = found.labels()
        for structure, value in model.structures.items():
            actual, predicted = truth == named.get(structure, value), labels == value
            if actual.any() or predicted.any():
                probability = found.map("probability", structure)
                numbers = compare(predicted, actual, volume.grid.spacing)
                error = calibration_error(probability, actual, actual | predicted | (probability > 0.01))
                scores.append(Score(case.name, structure, *numbers, error, round(found.cost.seconds, 3)))
    return scores


def compare(
    predicted: NDArray[np.bool_], actual: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[float, float | None, float]:
    """Dice, 95 % Hausdorff distance (mm, None if undefined) and surface Dice at 2 mm of two masks ``[i, j, k]``."""
    if not predicted.any() or not actual.any():
        same = float(predicted.any() == actual.any())
        return same, None, same
    region = Region.around(predicted | actual)
    assert region is not None
    # Nothing changes outside of both, and distances cost by the voxel.
    pair = [np.pad(m[region.slices], _MARGIN) for m in (predicted, actual)]
    first, second = (torch.from_numpy(m.astype(np.float32))[None, None] for m in pair)
    space = tuple(float(s) for s in spacing)
    with warnings.catch_warnings():
        # MONAI warns of its own call of a deprecated option of its own.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(first, second, include_background=True, percentile=95, spacing=space)
        surface = compute_surface_dice(
            first, second, class_thresholds=[TOLERANCE_MM], include_background=True, spacing=space
        )
    overlap = compute_dice(first, second, include_background=True)
    return float(overlap[0, 0]), float(distance[0, 0]), float(surface[0, 0])


def calibration_error(probability: NDArray[np.float32], actual: NDArray[np.bool_], where: NDArray[np.bool_]) -> float:
    """Mean over ten bins of probability, weighted by their voxels, of |mean probability − share that is inside|."""
    stated, true = probability[where].astype(np.float64), actual[where]
    bins = np.minimum((stated * _BINS).astype(int), _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    gap = np.abs(np.bincount(bins, stated, _BINS) - np.bincount(bins, true, _BINS))
    return float(gap.sum() / max(1, count.sum()))


def means(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Per structure, and over all structures as ``mean``: the mean of each number."""
    names = list(dict.fromkeys(s.structure for s in scores))
    kinds = ("dice", "hd95", "surface_dice", "calibration_error")
    out = {
        name: {kind: _mean([getattr(s, kind) for s in scores if s.structure == name]) for kind in kinds}
        for name in names
    }
    return {**out, "mean": {kind: _mean([out[name][kind] for name in names]) for kind in kinds}}


def table(scores: Sequence[Score]) -> str:
    """Markdown."""
    lines = ["| structure | Dice | HD95 (mm) | surface Dice (2 mm) | calibration error |", "|---|---|---|---|---|"]
    for name, row in means(scores).items():
        numbers = " | ".join(f"{row[kind]:.3f}" for kind in ("surface_dice", "calibration_error"))
        lines.append(f"| {name} | {row['dice']:.3f} | {row['hd95']:.1f} | {numbers} |")
    return "\n".join(lines)


def write(scores: Sequence[Score], path: Path) -> None:
    """JSON: the means, every score, and what it was measured with."""
    document: dict[str, Any] = {"means": as_json(means(scores)), "scores": [asdict(s) for s in scores]}
    write_json({**document, "provenance": provenance()}, path)


def _mean(values: Sequence[float | None]) -> float:
    there = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(there)) if there else float("nan")


def as_json(document: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """NaN as null, which JSON has."""
    return {n: {k: None if np.isnan(v) else v for k, v in row.items()} for n, row in document.items()}
