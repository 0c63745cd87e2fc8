"""How often the review's alarms are right: planted errors found, and good segments flagged.

Good segments are the references of labelled images; bad ones are made of them (`planted_errors`). A simulated annotator
has prompted every structure, as a user would have before the segment was made; a review knows those prompts and the
image, and no truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

import numpy as np

from PWSegmentationLib.annotator.protocols import Protocol, SimulatedAnnotator
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.planted_errors import KINDS, plant
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.review.flags import Evidence, alarms
from PWSegmentationLib.review.second_opinion import second_opinion
from PWSegmentationLib.segments.segmentation import Segment

GOOD = "none"


@dataclass(frozen=True)
class Finding:
    """What a review said of one segment: the ``planted`` error (or `GOOD`), and the kinds of its alarms."""

    case: str
    structure: str
    use: str
    planted: str
    alarms: tuple[str, ...]


def measure_flags(
    cases: Sequence[CaseFiles],
    protocol: Protocol,
    *,
    uses: Sequence[str] = ("tuning", "reported", ""),
    repeats: int = 3,
    seed: int = 0,
    by_opinion: bool = True,
    progress: Progress | None = None,
) -> list[Finding]:
    """Review every structure as it is, and with every planted error, ``repeats`` of each kind.

    Structures of other ``uses``, and those that are not there, are left out. A case that cannot be read is left out
    too, and said so by `InputError` if none is left.
    """
    found: list[Finding] = []
    for index, files in enumerate(cases):
        if progress is not None:
            progress(index / len(cases), files.name)
        try:
            case = load_case(files)
        except InputError:
            continue
        present = set(np.unique(case.labels))
        for use in uses:
            # Names are often the same for all cases, also for those without such a structure.
            there = [s for s, values in case.structures.items() if not present.isdisjoint(values)]
            names = [s for s in there if files.uses.get(s, "") == use]
            found += _of_case(case, use, names, protocol, repeats, seed, by_opinion)
    if not found:
        raise InputError("There is nothing to measure: no case can be read, or none has a structure of that use.")
    return found


def summary(findings: Sequence[Finding]) -> dict[str, Any]:
    """By use: the share of good segments with an alarm, and of planted errors with one, in all and by kind."""
    out: dict[str, Any] = {}
    for use in dict.fromkeys(f.use for f in findings):
        of_use = [f for f in findings if f.use == use]
        good = [bool(f.alarms) for f in of_use if f.planted == GOOD]
        bad = [f for f in of_use if f.planted != GOOD]
        kinds = {k: [bool(f.alarms) for f in bad if f.planted == k] for k in KINDS}
        out[use or "cases"] = {
            "good segments": len(good),
            "false alarms per segment": mean(good) if good else None,
            "planted errors": len(bad),
            "recall": mean(bool(f.alarms) for f in bad) if bad else None,
            "recall by kind": {k: mean(v) if v else None for k, v in kinds.items()},
            "errors by kind": {k: len(v) for k, v in kinds.items()},
        }
    return out


def table(findings: Sequence[Finding]) -> str:
    """The summary for people, Markdown."""
    lines = [
        "| structures | false alarms | recall | " + " | ".join(KINDS) + " |",
        "|---|---|---|" + "---|" * len(KINDS),
    ]
    for use, numbers in summary(findings).items():
        cells = [f"{use} ({numbers['good segments']})", _share(numbers["false alarms per segment"])]
        cells += [f"{_share(numbers['recall'])} of {numbers['planted errors']}"]
        cells += [_share(numbers["recall by kind"][k]) for k in KINDS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything as JSON values."""
    return {"summary": summary(findings), "findings": [asdict(f) for f in findings]}


def _of_case(
    case: Case, use: str, names: Sequence[str], protocol: Protocol, repeats: int, seed: int, by_opinion: bool
) -> Iterator[Finding]:
    grid = case.volume.grid
    references = {n: Reference.of(case.labels, case.structures[n], grid) for n in names}
    prompts = {n: replace(SimulatedAnnotator(r, protocol, seed).start(), name=n) for n, r in references.items()}
    for name, reference in references.items():
        evidence = _evidence(case, name, prompts, by_opinion)
        good = Segment(name, 1, (1.0, 0.0, 0.0), reference.region, reference.mask)
        yield Finding(case.name, name, use, GOOD, _alarms(good, evidence))
        for kind_number, kind in enumerate(KINDS):
            for repeat in range(repeats):
                rng = np.random.default_rng((seed, repeat, kind_number))
                made = plant(kind, case.volume, references, name, rng)
                if made is not None:
                    bad = Segment(name, 1, good.color, made.region, made.mask)
                    yield Finding(case.name, name, use, kind, _alarms(bad, evidence))


def _evidence(case: Case, name: str, prompts: dict[str, SegmentPrompts], by_opinion: bool) -> Evidence:
    others = tuple(p for n, p in prompts.items() if n != name)
    opinion = second_opinion(case.volume, prompts[name], others) if by_opinion else None
    return Evidence(case.volume.grid, case.volume.grid, prompts[name], others, opinion)


def _alarms(segment: Segment, evidence: Evidence) -> tuple[str, ...]:
    return tuple(flag.kind for flag in alarms(segment, evidence) if flag.alarm)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
