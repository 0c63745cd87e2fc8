"""Many results in a few numbers: means, curves over clicks, calibration, and differences with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.evaluation.metrics import CALIBRATION_BINS
from PWSegmentationLib.evaluation.results import Result

# Clicks are counted until this Dice is reached.
GOOD_DICE = 0.85
_RESAMPLINGS = 2000


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Numbers by use, protocol and method: ``summary["tuning"]["points 5+10"]["PWSegmentation"]["dice"]``.

    Structures without a use are under "cases". See `numbers` and `difference` for what there is.
    """
    out: dict[str, Any] = {}
    for use in _names(r.use for r in results):
        of_use = [r for r in results if r.use == use]
        for prompts in _names(r.prompts for r in of_use):
            of_prompts = [r for r in of_use if r.prompts == prompts]
            by_method = {m: [r for r in of_prompts if r.method == m] for m in _names(r.method for r in of_prompts)}
            table = {m: numbers(rs) for m, rs in by_method.items()}
            first, *others = by_method
            for other in others:
                table[other]["first method minus this"] = difference(by_method[first], by_method[other])
            out.setdefault(use or "cases", {})[prompts] = table
    return out


def numbers(results: Sequence[Result]) -> dict[str, Any]:
    """What one method did with one protocol.

    Returns
    -------
    dict
        ``structures``; ``dice``, ``surface dice``: means after the last step; ``hd95 mm``: median, an answer without
        a surface counting as infinitely far (None if that is the median); ``seconds``, ``seconds 95 %``: median and
        95th percentile over all answers.

        With corrections also ``dice by step``, ``lower quartile by step``, ``upper quartile by step``; ``dice auc``
        and ``surface dice auc``: trapezoidal area over the corrective clicks without the first prompts, as in the
        CVPR 2025 challenge (at most the number of clicks less one); ``clicks to 0.85``: mean, ten clicks without
        success counting as eleven, and ``reached 0.85``: the share that got there.

        With a probability also ``calibration error``, ``uncertainty auroc``: means; ``bins``: voxels, mean
        probability and share inside, all structures counting the same.
    """
    curves = _curves(results)
    last = [r for r in results if r.step == max(r.step for r in results)]
    seconds = [r.seconds for r in results if r.seconds is not None]
    distances = [float("inf") if r.hd95_mm is None else r.hd95_mm for r in last]
    out: dict[str, Any] = {
        "structures": len(last),
        "dice": mean(r.dice for r in last),
        "surface dice": mean(r.surface_dice or 0.0 for r in last),
        "hd95 mm": median(distances) if np.isfinite(median(distances)) else None,
        "seconds": median(seconds),
        "seconds 95 %": float(np.percentile(seconds, 95)),
    }
    if curves.shape[1] > 1:
        out |= _over_clicks(curves, results)
    trusted = [r.calibration for r in last if r.calibration is not None]
    if trusted:
        found = [c.auroc for c in trusted if c.auroc is not None]
        out["calibration error"] = mean(c.error for c in trusted)
        out["uncertainty auroc"] = mean(found) if found else None
        out["bins"] = _bins(last)
    return out


def difference(ours: Sequence[Result], theirs: Sequence[Result]) -> dict[str, Any]:
    """Mean difference of the last Dice over the structures that both answered, and how sure it is.

    ``interval``: 95 % by bootstrap over structures (percentiles; seeded). ``better``: on how many structures.
    """
    mine, other = _last_dice(ours), _last_dice(theirs)
    gains = np.array([mine[key] - other[key] for key in mine if key in other])
    if len(gains) == 0:
        return {"structures": 0}
    draws = np.random.default_rng(0).choice(gains, (_RESAMPLINGS, len(gains))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {
        "structures": len(gains),
        "dice": float(gains.mean()),
        "interval": [float(low), float(high)],
        "better": int((gains > 0).sum()),
    }


def _over_clicks(curves: NDArray[np.float64], results: Sequence[Result]) -> dict[str, Any]:
    clicks = curves[:, 1:]
    surfaces = _surface_curves(results)
    out: dict[str, Any] = {
        "dice by step": curves.mean(axis=0).tolist(),
        "lower quartile by step": np.percentile(curves, 25, axis=0).tolist(),
        "upper quartile by step": np.percentile(curves, 75, axis=0).tolist(),
        "dice auc": float(_area(clicks).mean()),
    }
    if surfaces is not None:
        out["surface dice auc"] = float(_area(surfaces[:, 1:]).mean())
    reached = curves >= GOOD_DICE
    # The first prompts are the first click; never counts as one more than there were.
    needed = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, curves.shape[1] + 1)
    out["clicks to 0.85"] = float(needed.mean())
    out["reached 0.85"] = float(reached.any(axis=1).mean())
    return out


def _area(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Trapezoidal area under each row, one apart."""
    return np.asarray((0.5 * (curves[:, 1:] + curves[:, :-1])).sum(axis=1))


def _curves(results: Sequence[Result]) -> NDArray[np.float64]:
    """Dice, ``(structures, steps)``."""
    rows: dict[tuple[str, str], list[float]] = {}
    for r in sorted(results, key=lambda r: r.step):
        rows.setdefault((r.case, r.structure), []).append(r.dice)
    return np.array(list(rows.values()))


def _surface_curves(results: Sequence[Result]) -> NDArray[np.float64] | None:
    """Surface Dice, ``(structures, steps)``; None unless it was measured at every step."""
    rows: dict[tuple[str, str], list[float]] = {}
    for r in sorted(results, key=lambda r: r.step):
        if r.surface_dice is None:
            return None
        rows.setdefault((r.case, r.structure), []).append(r.surface_dice)
    return np.array(list(rows.values()))


def _last_dice(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    """Of each structure, after the last step."""
    return {(r.case, r.structure): r.dice for r in sorted(results, key=lambda r: r.step)}


def _bins(results: Sequence[Result]) -> dict[str, list[float | None]]:
    """Reliability over all structures: each weighs the same, however large it is."""
    weight, probability, inside = np.zeros((3, CALIBRATION_BINS))
    for result in results:
        c = result.calibration
        if c is None:
            continue
        share = np.array(c.voxels) / sum(c.voxels)
        weight += share
        probability += share * np.array([p or 0.0 for p in c.probability])
        inside += share * np.array([p or 0.0 for p in c.inside])
    used = weight > 0
    return {
        "weight": (weight / weight.sum()).tolist(),
        "probability": [float(p / w) if u else None for p, w, u in zip(probability, weight, used, strict=True)],
        "inside": [float(p / w) if u else None for p, w, u in zip(inside, weight, used, strict=True)],
    }


def _names(names: Any) -> list[str]:
    """Each once, in the order they come."""
    return list(dict.fromkeys(names))
