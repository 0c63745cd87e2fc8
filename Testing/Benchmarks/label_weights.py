"""Fits what the label's cues weigh for clicks: ``python -m Testing.Benchmarks.label_weights``.

Half an hour on two cores. The label sees structures that are prompted in several ways, each way once as the
simulated annotator does and once as less careful users might; then the weights of `pseudolabel.judgement` are fitted to
the label's Dice overlap by gradient descent. The structures are those to learn from, those for tuning, and procedural
scenes; none is reported. The table is cross-validated: each fifth of the structures is judged by weights that were
fitted to the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from PWSegmentationLib.annotator.protocols import Protocol, SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.annotator.variety import varied_clicks
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.files import write_json
from PWSegmentationLib.prediction.promptable import label_share
from PWSegmentationLib.prediction.view import look_at, region_for
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel.from_image import cues_of_clicks, image_aware
from PWSegmentationLib.pseudolabel.judgement import AROUND, CUES, click_weights
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume
from Testing.Benchmarks.fitting import SOURCES, WAYS, fit_arguments, in_turn, kept_or_seen

# What the fit is over, and each one's share. Those to learn from are mostly thin, the others mostly compact; a label
# for either alone is worse for the other.
_SHARES = {"learning": 2.0, "tuning": 1.0, "procedural": 1.0}
# A careful user's clicks count as much as those of so many others.
_CAREFUL = 2.0
# Where the fit starts, and what it is drawn to: the weights where background was implied, and a constant that follows
# how isolated the clicks are. The network learnt with these.
_ISOLATION = (4.0, -8.0)
# Its weight stays as it is: see `pseudolabel.judgement`.
_KEPT = CUES.index("window")
# A few of these, and then clicks into the label's largest errors, which lie near the border.
_STARTS, _CORRECTIONS = ((1, 1), (2, 3), (1, 2), (3, 5)), (2, 8)
_CORRECTED = ("tuning", "procedural")
# Views are coarser than users' are, to have many of them; and of each so many voxels are kept, near the border and
# far from it.
_VOXELS, _NEAR, _FAR = 150_000, 15_000, 3_000
# Steps over as many cases as there are, how they are taken, and how strongly the rows are drawn back.
_EPOCHS, _BATCH, _RATE, _DECAY = 8, 16, 0.02, 3e-3
# The soft Dice wants log-odds that are surer than a label should be: so many times.
_SURER = 3.0
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Case:
    """One view of one prompted structure, and what the cues say there.

    ``said`` float16 ``(cue, voxel)`` and ``truth`` bool ``(voxel)`` at voxels that stand for ``weight`` each;
    ``clicked``: voxels of the clicks rightly inside, wrongly inside and wrongly outside; ``share``: the label's in the
    program's answer.
    """

    source: str
    structure: str
    way: str
    share: float
    about: tuple[float, ...]
    clicked: tuple[float, float, float]
    said: NDArray[np.float16]
    truth: NDArray[np.bool_]
    weight: NDArray[np.float32]


def main() -> int:
    """See the cases, fit, and write the weights."""
    wanted = fit_arguments("label_weights", __doc__).parse_args()
    cases = kept_or_seen(wanted.cases, wanted.jobs, seen, _read, _write)
    fixed = fixed_rows(len(cases[0].about))
    report: dict[str, Any] = {
        "made by": machine_and_versions(),
        "cases": {source: sum(c.source == source for c in cases) for source in SOURCES},
        "Dice with fixed weights": table(cases, [dice(c, judged(c, fixed)) for c in cases]),
        "Dice with the weights that ship": table(cases, [dice(c, shipped(c)) for c in cases]),
        "Dice cross-validated": table(cases, cross_validated(cases)),
        "weights": {
            name: [round(v, 2) for v in row] for name, row in zip((*CUES, "constant"), fit(cases).tolist(), strict=True)
        },
    }
    write_json(report, wanted.output)
    sys.stdout.write(f"{json.dumps(report, indent=1)}\n")
    return 0


def seen(source: str, name: str, volume: Volume, reference: Reference, seed: int) -> Iterator[Case]:
    """The cases of a structure."""
    for number, (inside, outside) in enumerate(WAYS):
        rng = np.random.default_rng((seed, number))
        careful = SimulatedAnnotator(reference, protocol(f"points {inside}+{outside}"), seed).start()
        for way, prompts in (("careful", careful), ("varied", varied_clicks(reference, inside, outside, rng))):
            found = _seen(volume, prompts, reference, rng)
            if found is not None:
                yield Case(source, name, f"{way} {inside}+{outside}", label_share(prompts), *found)
    for turn in (0, 1) if source in _CORRECTED else ():
        prompts = _corrected(volume, reference, 2 * seed + turn)
        found = _seen(volume, prompts, reference, np.random.default_rng(seed))
        if found is not None:
            yield Case(source, name, "careful, corrected", label_share(prompts), *found)


def _corrected(volume: Volume, reference: Reference, seed: int) -> SegmentPrompts:
    """A few first clicks, and corrections of what the label makes of them."""
    inside, outside = _STARTS[seed % len(_STARTS)]
    annotator = SimulatedAnnotator(reference, Protocol("corrected", inside=inside, outside=outside), seed)
    prompts = annotator.start()
    for _ in range(int(np.random.default_rng((seed, 99)).integers(*_CORRECTIONS, endpoint=True))):
        view = look_at(volume, prompts, (), region_for(prompts, volume.grid), _VOXELS)
        seeds = view.seeds
        label = image_aware(view.image, view.grid.spacing, seeds.positive, seeds.negative, valid=view.valid)
        more = annotator.correct(prompts, view.region, view.to_fine(label.probability) >= 0.5)
        if more is None:
            break
        prompts = more
    return prompts


def _seen(volume: Volume, prompts: SegmentPrompts, reference: Reference, rng: np.random.Generator) -> Any:
    """The last fields of a `Case`; None where the label does not judge clicks by clicks."""
    view = look_at(volume, prompts, (), region_for(prompts, volume.grid), _VOXELS)
    seeds, spacing = view.seeds, view.grid.spacing
    if not seeds.positive.any() or not seeds.negative.any():
        return None
    truth = resample(reference.over(view.region).astype(np.float32), view.fine, view.grid) > 0.5
    maps, about = cues_of_clicks(view.image, spacing, seeds.positive, seeds.negative, view.valid)
    if about is None or not truth.any():
        return None
    said = np.stack([maps[name] for name in CUES])
    weights = click_weights(about)
    logit = sum((weights[name] * maps[name] for name in CUES), weights["constant"])
    near, free = truth | (logit > -4.0), view.valid & ~seeds.positive & ~seeds.negative
    chosen, stands_for = [], []
    for there, most in ((near, _NEAR), (~near, _FAR)):
        voxels = np.flatnonzero(there & free)
        chosen.append(rng.choice(voxels, min(len(voxels), most), replace=False))
        stands_for.append(np.full(len(chosen[-1]), len(voxels) / max(len(chosen[-1]), 1), np.float32))
    at = np.concatenate(chosen)
    clicked = (truth & seeds.positive, ~truth & seeds.positive, truth & seeds.negative)
    said = said.reshape(len(CUES), -1)[:, at].astype(np.float16)
    return about, tuple(float(c.sum()) for c in clicked), said, truth.ravel()[at], np.concatenate(stands_for)


def _write(cases: Sequence[Case], path: Path) -> None:
    arrays = {}
    names = []
    for number, case in enumerate(cases):
        fields = asdict(case)
        arrays.update({f"{key}/{number}": fields.pop(key) for key in ("said", "truth", "weight")})
        names.append(fields)
    np.savez(path, names=np.array(json.dumps(names)), **arrays)


def _read(path: Path) -> list[Case]:
    with np.load(path, allow_pickle=False) as stored:
        names = json.loads(str(stored["names"]))
        return [
            Case(
                n["source"],
                n["structure"],
                n["way"],
                n["share"],
                tuple(n["about"]),
                tuple(n["clicked"]),
                *(stored[f"{key}/{number}"] for key in ("said", "truth", "weight")),
            )
            for number, n in enumerate(names)
        ]


def shipped(case: Case) -> torch.Tensor:
    """The label's log-odds with the weights that ship."""
    weights = click_weights(case.about)
    by_cue = torch.tensor([weights[name] for name in CUES])
    return by_cue @ torch.from_numpy(case.said).float() + weights["constant"]


def judged(case: Case, rows: torch.Tensor) -> torch.Tensor:
    """The label's log-odds with ``rows`` (cues and the constant, circumstances)."""
    weights = rows @ torch.tensor(case.about)
    return weights[:-1] @ torch.from_numpy(case.said).float() + weights[-1]


def overlap(case: Case, probability: torch.Tensor) -> torch.Tensor:
    """Dice of a probability at the case's voxels."""
    truth, weight = torch.from_numpy(case.truth).float(), torch.from_numpy(case.weight)
    rightly, wrongly, missed = case.clicked
    both = (probability * truth * weight).sum() + rightly
    return 2.0 * both / ((probability * weight).sum() + (truth * weight).sum() + 2 * rightly + wrongly + missed)


def dice(case: Case, logit: torch.Tensor) -> float:
    """Dice of the mask."""
    return float(overlap(case, (logit > 0).float()))


def fit(cases: Sequence[Case]) -> torch.Tensor:
    """The rows that make the soft Dice largest: ``(cues and the constant, circumstances)``.

    Each source has its share; and a case counts by the square of the label's share in the answer, for after few clicks
    the network has the say, and it learnt with the fixed weights.
    """
    counts = {source: sum(c.source == source for c in cases) for source in SOURCES}
    chances = np.array([_SHARES[c.source] / counts[c.source] * (_CAREFUL if _is_careful(c) else 1.0) for c in cases])
    chances *= np.array([c.share**2 for c in cases])
    rng = np.random.default_rng(0)
    fixed = fixed_rows(len(cases[0].about))
    change = torch.zeros_like(fixed, requires_grad=True)
    free = torch.ones(len(fixed), 1)
    free[_KEPT] = 0.0
    steps = _EPOCHS * len(cases) // _BATCH
    optimiser = torch.optim.Adam([change], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = rng.choice(len(cases), _BATCH, p=chances / chances.sum())
        rows = _SURER * (fixed + free * change)
        missed = torch.stack([1.0 - overlap(cases[i], torch.sigmoid(judged(cases[i], rows))) for i in batch])
        loss = missed.mean() + _DECAY * (change**2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return _as_sure(cases, (fixed + free * change).detach(), fixed)


def fixed_rows(circumstances: int) -> torch.Tensor:
    """The rows that the fit starts from."""
    rows = torch.zeros(len(CUES) + 1, circumstances)
    rows[:-1, 0] = torch.tensor([AROUND[name] for name in CUES])
    rows[-1, 3:5] = torch.tensor(_ISOLATION)
    return rows


def _as_sure(cases: Sequence[Case], rows: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """``rows``, scaled so that the label is as sure as by ``others``."""
    some = cases[::5]
    wanted = _sureness([judged(c, others) for c in some])

    def differs(times: float) -> float:
        return abs(_sureness([judged(c, rows) / times for c in some]) - wanted)

    return rows / min(np.arange(0.5, 6.0, 0.05).tolist(), key=differs)


def _sureness(logits: Sequence[torch.Tensor]) -> float:
    return float(np.mean([float(logit.clamp(-6.0, 6.0).abs().mean()) for logit in logits]))


def cross_validated(cases: Sequence[Case]) -> list[float]:
    """Dice of each case by rows fitted to other structures."""
    found = np.zeros(len(cases))
    for others, left_out in in_turn([c.structure for c in cases], _FOLDS):
        rows = fit([cases[number] for number in others])
        for number in left_out:
            found[number] = dice(cases[number], judged(cases[number], rows))
    return [float(v) for v in found]


def table(cases: Sequence[Case], values: Sequence[float]) -> dict[str, dict[str, float]]:
    """The mean by source and way."""
    found: dict[str, dict[str, float]] = {}
    for source in SOURCES:
        by_way: dict[str, list[float]] = {}
        for case, value in zip(cases, values, strict=True):
            if case.source == source:
                by_way.setdefault(case.way, []).append(value)
        found[source] = {way: round(float(np.mean(each)), 3) for way, each in by_way.items()}
    return found


def _is_careful(case: Case) -> bool:
    return case.way.startswith("careful")


if __name__ == "__main__":
    sys.exit(main())
