"""Fits what the label's witnesses weigh for clicks: ``python -m Testing.Benchmarks.label_weights -o weights.json``.

Twenty minutes on two cores. The witnesses see structures that are prompted in several ways, each way once as the
simulated annotator does and once as less careful users might; then the weights of `pseudolabel.judgement` are fitted to
the label's Dice overlap by gradient descent. The structures are those to learn from, those for tuning, and procedural
scenes; none is reported. The table is cross-validated: each fifth of the structures is judged by weights that were
fitted to the others.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.annotator.variety import varied_clicks
from PWSegmentationLib.cases.labels import load_case
from PWSegmentationLib.evaluation.provenance import provenance
from PWSegmentationLib.files import write_json
from PWSegmentationLib.prediction.view import look_at, region_for
from PWSegmentationLib.procedural import scene
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel.from_image import said_by_witnesses
from PWSegmentationLib.pseudolabel.judgement import WITNESSES, click_weights
from PWSegmentationLib.samples.development import development_cases, split
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

# What the fit is over, and each one's share. Those to learn from are mostly thin, the others mostly compact; a label
# for either alone is worse for the other.
SOURCES = {"learning": 2.0, "tuning": 1.0, "procedural": 0.5}
# A careful user's clicks count as much as those of so many others.
_CAREFUL = 2.0
# Clicks inside and outside.
WAYS = ((2, 2), (3, 5), (5, 10), (8, 4), (20, 20))
# The images with more structures than are measured, and how many of those are learnt from.
_LEARNT_FROM = {"chest CT": 48, "brain MR": 27}
_SCENES = 75
# Smaller structures say little, voxels.
_LEAST_VOXELS = 30
# Views are coarser than users' are, to have many of them; and of each so many voxels are kept, near the border and
# far from it.
_VOXELS, _NEAR, _FAR = 150_000, 15_000, 3_000
# Steps over as many cases as there are, and how they are taken.
_EPOCHS, _BATCH, _RATE, _DECAY = 8, 16, 0.05, 1e-4
_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Case:
    """One view of one prompted structure, as the witnesses see it.

    ``said`` float32 ``(witness, voxel)`` and ``truth`` bool ``(voxel)`` at voxels that stand for ``weight`` each;
    ``clicked``: voxels of the clicks rightly inside, wrongly inside and wrongly outside.
    """

    source: str
    structure: str
    way: str
    about: tuple[float, ...]
    clicked: tuple[float, float, float]
    said: NDArray[np.float16]
    truth: NDArray[np.bool_]
    weight: NDArray[np.float32]


def main() -> int:
    """See the cases, fit, and write the weights."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.label_weights", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("label_weights.json"), help="JSON to write")
    parser.add_argument("--cases", type=Path, help="folder that keeps what the witnesses saw, for the next fit")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="processes (2)")
    wanted = parser.parse_args()
    cases = _cases(wanted.cases, wanted.jobs)
    report: dict[str, Any] = {
        "made by": provenance(),
        "cases": {source: sum(c.source == source for c in cases) for source in SOURCES},
        "Dice with the weights that ship": table(cases, [dice(c, shipped(c)) for c in cases]),
        "Dice cross-validated": table(cases, cross_validated(cases)),
        "weights": {
            name: [round(v, 2) for v in row] for name, row in zip((*WITNESSES, "constant"), fit(cases), strict=True)
        },
    }
    write_json(report, wanted.output)
    sys.stdout.write(f"{json.dumps(report, indent=1)}\n")
    return 0


def structures(source: str) -> Iterator[tuple[str, Volume, Reference]]:
    """The structures of one of `SOURCES`: a name, the image, and what is right."""
    if source == "procedural":
        yield from _procedural()
        return
    for files in development_cases():
        tuning = split()[files.name].get("tuning", {}) if source == "tuning" else {}
        count = _LEARNT_FROM.get(files.name, 0) if source == "learning" else 0
        if not tuning and not count:
            continue
        case = load_case(files)
        measured = {v for values in case.structures.values() for v in values}
        sizes = np.bincount(case.labels.ravel())
        others = [v for v in range(1, len(sizes)) if v not in measured and sizes[v] >= _LEAST_VOXELS]
        found = {name: case.structures[name] for name in tuning}
        for value in np.random.default_rng(5).permutation(others)[:count]:
            found[str(value)] = (int(value),)
        for name, values in found.items():
            yield f"{files.name}, {name}", case.volume, Reference.of(case.labels, values, case.volume.grid)


def _procedural() -> Iterator[tuple[str, Volume, Reference]]:
    for number in range(_SCENES):
        made = scene(1_000_000 + number)
        found = {n: Reference.of(made.labels, values, made.volume.grid) for n, values in made.structures.items()}
        names = [n for n in sorted(found) if found[n].voxels >= _LEAST_VOXELS]
        if names:
            # Small structures are many, large ones few: each size has its turn.
            size = np.array([found[n].voxels for n in names], dtype=float) ** (1 / 3)
            name = str(np.random.default_rng(number).choice(names, p=size / size.sum()))
            yield f"{number}, {name}", made.volume, found[name]


def seen(source: str, name: str, volume: Volume, reference: Reference, seed: int) -> Iterator[Case]:
    """The cases of a structure."""
    for number, (inside, outside) in enumerate(WAYS):
        rng = np.random.default_rng((seed, number))
        careful = SimulatedAnnotator(reference, protocol(f"points {inside}+{outside}"), seed).start()
        for way, prompts in (("careful", careful), ("varied", varied_clicks(reference, inside, outside, rng))):
            found = _seen(volume, prompts, reference, rng)
            if found is not None:
                yield Case(source, name, f"{way} {inside}+{outside}", *found)


def _seen(volume: Volume, prompts: SegmentPrompts, reference: Reference, rng: np.random.Generator) -> Any:
    """The last fields of a `Case`; None where the label does not judge clicks by clicks."""
    view = look_at(volume, prompts, (), region_for(prompts, volume.grid), _VOXELS)
    seeds, size = view.seeds, view.grid.spacing
    if not seeds.positive.any() or not seeds.negative.any():
        return None
    truth = resample(reference.over(view.region).astype(np.float32), view.fine, view.grid) > 0.5
    maps, about = said_by_witnesses(view.image, size, seeds.positive, seeds.negative, view.valid)
    if about is None or not truth.any():
        return None
    said = np.stack([maps[name] for name in WITNESSES])
    weights = click_weights(about)
    logit = sum((weights[name] * maps[name] for name in WITNESSES), weights["constant"])
    near, free = truth | (logit > -4.0), view.valid & ~seeds.positive & ~seeds.negative
    chosen, stands_for = [], []
    for there, most in ((near, _NEAR), (~near, _FAR)):
        voxels = np.flatnonzero(there & free)
        chosen.append(rng.choice(voxels, min(len(voxels), most), replace=False))
        stands_for.append(np.full(len(chosen[-1]), len(voxels) / max(len(chosen[-1]), 1), np.float32))
    at = np.concatenate(chosen)
    clicked = (truth & seeds.positive, ~truth & seeds.positive, truth & seeds.negative)
    said = said.reshape(len(WITNESSES), -1)[:, at].astype(np.float16)
    return about, tuple(float(c.sum()) for c in clicked), said, truth.ravel()[at], np.concatenate(stands_for)


def _part(source: str, part: int, parts: int) -> list[Case]:
    """The cases of every ``parts``-th structure of a source, from ``part`` on."""
    torch.set_num_threads(1)
    found = []
    for number, (name, volume, reference) in enumerate(structures(source)):
        if number % parts == part:
            found += list(seen(source, name, volume, reference, number))
            sys.stderr.write(f"{source}: {name}\n")
    return found


def _cases(folder: Path | None, jobs: int) -> list[Case]:
    """All cases, from ``folder`` if they are there."""
    kept = None if folder is None else folder / "cases.npz"
    if kept is not None and kept.exists():
        return _read(kept)
    # The packages are fetched once, not by each process.
    development_cases()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_part, source, part, 4) for source in SOURCES for part in range(4)]
        found = [case for each in waiting for case in each.result()]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        _write(found, kept)
    return found


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
                tuple(n["about"]),
                tuple(n["clicked"]),
                *(stored[f"{key}/{number}"] for key in ("said", "truth", "weight")),
            )
            for number, n in enumerate(names)
        ]


def shipped(case: Case) -> torch.Tensor:
    """The label's log-odds with the weights that ship."""
    weights = click_weights(case.about)
    by_witness = torch.tensor([weights[name] for name in WITNESSES])
    return by_witness @ torch.from_numpy(case.said).float() + weights["constant"]


def judged(case: Case, rows: torch.Tensor) -> torch.Tensor:
    """The label's log-odds with ``rows`` (witnesses and the constant, circumstances)."""
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


def fit(cases: Sequence[Case]) -> list[list[float]]:
    """The rows that make the soft Dice largest, each source with its share.

    The soft Dice drives the log-odds up, which the label's probabilities should not follow: rows are scaled to be as
    sure as the weights that ship.
    """
    counts = {source: sum(c.source == source for c in cases) for source in SOURCES}
    share = [SOURCES[c.source] / counts[c.source] * (_CAREFUL if _is_careful(c) else 1.0) for c in cases]
    chances = np.array(share) / sum(share)
    rng = np.random.default_rng(0)
    rows = torch.zeros(len(WITNESSES) + 1, len(cases[0].about))
    rows[:-1, 0] = torch.tensor([1.5, 0.8, 5.2, 0.6, 1.5])
    rows.requires_grad_()
    steps = _EPOCHS * len(cases) // _BATCH
    optimiser = torch.optim.Adam([rows], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = rng.choice(len(cases), _BATCH, p=chances)
        missed = torch.stack([1.0 - overlap(cases[i], torch.sigmoid(judged(cases[i], rows))) for i in batch])
        loss = missed.mean() + _DECAY * (rows[:, 1:] ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    found = rows.detach()
    return [[float(v) for v in row] for row in found / _surer(cases, found)]


def _surer(cases: Sequence[Case], rows: torch.Tensor) -> float:
    """How many times surer these rows are than the weights that ship."""
    some = cases[::5]
    wanted = _sureness([shipped(c) for c in some])
    return float(
        min(np.arange(0.5, 6.0, 0.05), key=lambda t: abs(_sureness([judged(c, rows) / t for c in some]) - wanted))
    )


def _sureness(logits: Sequence[torch.Tensor]) -> float:
    return float(np.mean([float(logit.clamp(-6.0, 6.0).abs().mean()) for logit in logits]))


def cross_validated(cases: Sequence[Case]) -> list[float]:
    """Dice of each case by rows fitted to other structures."""
    names = sorted({c.structure for c in cases})
    fold = {name: number % _FOLDS for number, name in enumerate(np.random.default_rng(0).permutation(names))}
    found = np.zeros(len(cases))
    for left_out in range(_FOLDS):
        rows = torch.tensor(fit([c for c in cases if fold[c.structure] != left_out]))
        for number, case in enumerate(cases):
            if fold[case.structure] == left_out:
                found[number] = dice(case, judged(case, rows))
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
