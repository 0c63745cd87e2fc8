"""A trained model on cases whose truth is known: Dice, 95 % Hausdorff distance and surface Dice, per structure.

MONAI's metrics, on each image's own grid and in millimetres. Where a structure is in neither truth nor prediction
nothing is measured; where it is in one of them only, Dice and surface Dice are 0 and there is no distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.labels import read_labels
from PWSegmentationLib.evaluation import tables
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.evaluation.metrics import Answer, calibration, overlap
from PWSegmentationLib.files import write_json
from PWSegmentationLib.prediction.trained_model import TrainedModel, VolumeSegmentation
from PWSegmentationLib.progress import Progress, part_of
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.volume import Volume


@dataclass(frozen=True)
class Score:
    """One structure in one case, see `metrics.Overlap` and `metrics.Calibration`; None: nothing to measure."""

    case: str
    structure: str
    dice: float
    hd95: float | None
    surface_dice: float
    calibration_error: float | None
    seconds: float


def evaluate(
    model: TrainedModel,
    cases: Sequence[CaseFiles],
    named: Mapping[str, tuple[int, ...]],
    *,
    draws: int = 6,
    progress: Progress | None = None,
) -> list[Score]:
    """Segment every case and compare; ``named`` are all values that labels may hold, see `read_labels`.

    Raises `InputError` for a case that cannot be used, before any is segmented.
    """
    for case in cases:
        _read(case, named)
    scores = []
    for index, case in enumerate(cases):
        volume, truth = _read(case, named)
        part = part_of(progress, index / len(cases), (index + 1) / len(cases))
        found = model.segment(volume, draws=draws, progress=part)
        labels = found.labels()
        for structure, value in model.structures.items():
            predicted = labels == value
            there = truth == named.get(structure, (value,))[0]
            numbers = _compared(there, volume.grid, predicted, found, structure)
            if numbers is not None:
                scores.append(Score(case.name, structure, *numbers, round(found.cost.seconds, 3)))
    return scores


def _read(case: CaseFiles, named: Mapping[str, tuple[int, ...]]) -> tuple[Volume, NDArray[np.int32]]:
    volume = read_volume(case.image)
    return volume, read_labels(case, volume.grid, named=named)


def _compared(
    truth: NDArray[np.bool_],
    grid: Grid,
    predicted: NDArray[np.bool_],
    found: VolumeSegmentation,
    structure: str,
) -> tuple[float, float | None, float, float | None] | None:
    """Dice, HD95 (mm), surface Dice, calibration error; None where the structure is neither there nor found."""
    if not truth.any():
        return (0.0, None, 0.0, None) if predicted.any() else None
    reference = Reference.of(truth, (True,), grid)
    answer = Answer(Region.whole(grid.shape), predicted, found.map("probability", structure))
    extent, trust = overlap(answer, reference), calibration(answer, reference)
    assert extent.surface_dice is not None
    return extent.dice, extent.hd95_mm, extent.surface_dice, None if trust is None else trust.error


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
    rows = [
        [name, f"{r['dice']:.3f}", f"{r['hd95']:.1f}", f"{r['surface_dice']:.3f}", f"{r['calibration_error']:.3f}"]
        for name, r in means(scores).items()
    ]
    return tables.table(["structure", "Dice", "HD95 (mm)", "surface Dice (2 mm)", "calibration error"], rows)


def write(scores: Sequence[Score], path: Path) -> None:
    """JSON: the means, every score, and what it was measured with."""
    document: dict[str, Any] = {"means": as_json(means(scores)), "scores": [asdict(s) for s in scores]}
    write_json({**document, "provenance": machine_and_versions()}, path)


def _mean(values: Sequence[float | None]) -> float:
    there = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(there)) if there else float("nan")


def as_json(document: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """NaN as null, which JSON has."""
    return {n: {k: None if np.isnan(v) else v for k, v in row.items()} for n, row in document.items()}
