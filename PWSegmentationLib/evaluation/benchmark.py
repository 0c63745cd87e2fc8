"""Accuracy and time beside Grow from seeds: the same prompts, the same process, one table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.evaluation import annotator
from PWSegmentationLib.evaluation.peers import MARGIN_VOXELS, grow_from_seeds
from PWSegmentationLib.evaluation.provenance import provenance
from PWSegmentationLib.files import replacing
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts, Strokes
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.session.session import Session
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

# The annotator looks no further than this around a structure, mm.
_ANNOTATOR_MARGIN_MM = 30.0

PROMPT_KINDS = ("points 5+10", "points 20+20", "scribbles")


@dataclass(frozen=True)
class Case:
    """A labelled image: ``labels`` is on the image's grid, ``structures`` gives the value of each structure."""

    name: str
    volume: Volume
    labels: NDArray[Any]
    structures: dict[str, int]


@dataclass(frozen=True)
class Result:
    """One structure, one kind of prompts, one method."""

    case: str
    structure: str
    prompts: str
    method: str
    dice: float
    seconds: float
    voxels: int


def run(
    cases: Iterable[Case], *, finetune_s: float = 0.0, done: Callable[[Result], None] | None = None
) -> list[Result]:
    """Every structure of every case with every kind of prompts, by this library and by Grow from seeds."""
    results: list[Result] = []
    for case in cases:
        for structure, value in case.structures.items():
            mask = case.labels == value
            for kind in PROMPT_KINDS:
                prompts = place(mask, case.volume, kind)
                methods: dict[str, Callable[[], NDArray[np.bool_]]] = {
                    "pwseg": lambda: _by_session(case.volume, prompts),  # noqa: B023 - called in this turn
                    "Grow from seeds": lambda: _by_growing(case.volume, prompts),  # noqa: B023
                }
                if finetune_s:
                    methods["pwseg, fine-tuned"] = lambda: _by_session(case.volume, prompts, finetune_s)  # noqa: B023
                for method, predict in methods.items():
                    started = time.perf_counter()
                    found = predict()
                    seconds = time.perf_counter() - started
                    score = annotator.dice(found, mask)
                    result = Result(case.name, structure, kind, method, score, seconds, int(mask.sum()))
                    results.append(result)
                    if done is not None:
                        done(result)
    return results


def place(mask: NDArray[np.bool_], volume: Volume, kind: str, seed: int = 0) -> SegmentPrompts:
    """The simulated annotator's prompts for ``mask``, in world mm."""
    grid = volume.grid
    found = Region.around(mask)
    assert found is not None, "the structure is not in the image"
    region = grid.region_of(grid.to_world(np.array([found.start, np.subtract(found.stop, 1)])), _ANNOTATOR_MARGIN_MM)
    part, crop = mask[region.slices], grid.crop(region)
    if kind == "scribbles":
        strokes = Strokes.from_labelmap(annotator.scribbles(part, grid.spacing), crop.affine)
        return SegmentPrompts("structure", strokes=(strokes,))
    inside, outside = (int(n) for n in kind.removeprefix("points ").split("+"))
    positive, negative = annotator.points(part, grid.spacing, inside, outside, seed)
    points = [Point(tuple(p), True) for p in crop.to_world(positive)]
    points += [Point(tuple(p), False) for p in crop.to_world(negative)]
    return SegmentPrompts("structure", tuple(points))


def _by_session(volume: Volume, prompts: SegmentPrompts, finetune_s: float = 0.0) -> NDArray[np.bool_]:
    session = Session("cpu")
    session.set_volume(volume)
    for prompt in prompts:
        session.add_prompt(prompts.name, prompt)
    if finetune_s:
        session.finetune(finetune_s)
    return session.predict().mask


def _by_growing(volume: Volume, prompts: SegmentPrompts) -> NDArray[np.bool_]:
    """Grow from seeds on the part around the seeds, at the volume's own resolution."""
    region = seed_region(volume, prompts)
    part = volume.crop(region)
    seeds = draw(prompts, part.grid)
    mask = np.zeros(volume.grid.shape, bool)
    mask[region.slices] = grow_from_seeds(part.array, (seeds.positive + 2 * seeds.negative).astype(np.uint8))
    return mask


def seed_region(volume: Volume, prompts: SegmentPrompts) -> Region:
    """The part around the prompts that Grow from seeds works in."""
    positions = np.concatenate([prompts.positions(True), prompts.positions(False)])
    region = volume.grid.region_of(positions, margin=2.0)
    grown = Region(
        tuple(a - MARGIN_VOXELS for a in region.start),  # type: ignore[arg-type]
        tuple(b + MARGIN_VOXELS for b in region.stop),  # type: ignore[arg-type]
    )
    return grown.intersection(Region.whole(volume.grid.shape))


def table(results: Sequence[Result]) -> str:
    """Dice and seconds, a line per structure and a column per method and kind of prompts, as Markdown."""
    methods = list(dict.fromkeys(r.method for r in results))
    lines = ["| structure | " + " | ".join(f"{k}: {m}" for k in PROMPT_KINDS for m in methods) + " |"]
    lines.append("|---" * (1 + len(PROMPT_KINDS) * len(methods)) + "|")
    for name in dict.fromkeys((r.case, r.structure) for r in results):
        mine = {(r.prompts, r.method): r for r in results if (r.case, r.structure) == name}
        cells = [mine.get((k, m)) for k in PROMPT_KINDS for m in methods]
        lines.append(
            f"| {name[0]} {name[1]} | "
            + " | ".join(f"{c.dice:.3f} ({c.seconds:.1f} s)" if c else "" for c in cells)
            + " |"
        )
    for what, of, unit in (("mean Dice", _mean_dice, ""), ("median time", _median_seconds, " s")):
        numbers = [of([r for r in results if (r.prompts, r.method) == (k, m)]) for k in PROMPT_KINDS for m in methods]
        lines.append(f"| **{what}** | " + " | ".join(f"**{n:.3f}{unit}**" for n in numbers) + " |")
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Means, medians and the margin over Grow from seeds for each kind of prompts."""
    out: dict[str, Any] = {}
    for kind in PROMPT_KINDS:
        of_kind = [r for r in results if r.prompts == kind]
        methods = {m: [r for r in of_kind if r.method == m] for m in dict.fromkeys(r.method for r in of_kind)}
        out[kind] = {
            m: {"mean dice": _mean_dice(rs), "median seconds": _median_seconds(rs)} for m, rs in methods.items()
        }
    return out


def write(results: Sequence[Result], path: str | Path) -> None:
    """Write results with the machine, versions and commit they were measured on, as JSON."""
    document = {"made by": provenance(), "summary": summary(results), "results": [asdict(r) for r in results]}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _mean_dice(results: Sequence[Result]) -> float:
    return mean(r.dice for r in results) if results else float("nan")


def _median_seconds(results: Sequence[Result]) -> float:
    return median(r.seconds for r in results) if results else float("nan")
