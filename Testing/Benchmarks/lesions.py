"""One click on a lesion that hardly stands out: ``python -m Testing.Benchmarks.lesions``; some ten minutes.

Lesions are made up in liver and spleen of the real chest CT: lumpy ellipsoids of 4 to 16 mm, 25 to 70 HU darker or
brighter than the organ, whose noise (19 HU) they keep. Those of the first two seeds were for tuning. Each is clicked in
its middle, then corrected, with and without looking at the click's surroundings first (`prediction.standing_out`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.evaluation.benchmark import conversation
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.evaluation.methods import BySession
from PWSegmentationLib.evaluation.metrics import overlap
from PWSegmentationLib.files import write_json
from PWSegmentationLib.prediction import standing_out
from PWSegmentationLib.samples.development import development_cases
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume
from Testing.Benchmarks import OUTPUT

SEEDS: Mapping[str, tuple[int, ...]] = {"tuning": (11, 12), "reported": (21, 22)}
# Lesions of each seed, by organ.
_COUNT = {"liver": 9, "spleen": 3}
_RADIUS_MM, _CONTRAST_HU, _DARK = (4.0, 16.0), (25.0, 70.0), 0.7
# Width of the border, mm.
_SOFT_MM = 0.8
# Free voxels around each lesion.
_FREE = 8
_CORRECTIONS = 4


def main() -> int:
    """Measure, and write it."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.lesions", description=__doc__)
    parser.add_argument(
        "-o", "--output", type=Path, default=OUTPUT / "lesions.json", help="JSON to write (%(default)s)"
    )
    output = parser.parse_args().output
    case = load_case(next(files for files in development_cases() if files.name == "chest CT"))
    report: dict[str, object] = {"made by": machine_and_versions(), "Dice after 1 to 5 clicks": {}}
    for use, seeds in SEEDS.items():
        found: dict[str, list[list[float]]] = {"with": [], "without": []}
        for seed in seeds:
            volume, lesions = planted(case, seed)
            for name, reference in lesions.items():
                found["with"].append(clicked(volume, reference))
                with _from_far():
                    found["without"].append(clicked(volume, reference))
                sys.stderr.write(
                    f"{use}, seed {seed}, {name}: {found['without'][-1][0]:.2f} {found['with'][-1][0]:.2f}\n"
                )
        means = {way: [round(fmean(step), 3) for step in zip(*dice, strict=True)] for way, dice in found.items()}
        report["Dice after 1 to 5 clicks"] |= {f"{use} ({len(found['with'])} lesions)": means}  # type: ignore[operator]
    write_json(report, output)
    sys.stdout.write(f"{report}\n")
    return 0


def planted(case: Case, seed: int) -> tuple[Volume, dict[str, Reference]]:
    """The image of ``case`` with lesions in its organs, and what is right of each."""
    rng = np.random.default_rng(seed)
    grid = case.volume.grid
    image = case.volume.array.astype(np.float32)
    lesions: dict[str, Reference] = {}
    for organ, count in _COUNT.items():
        allowed = np.isin(case.labels, case.structures[organ])
        depth, free = _depth(allowed, grid.spacing), allowed.copy()
        sizes = sorted((float(rng.uniform(*_RADIUS_MM)) for _ in range(count)), reverse=True)
        for radius in sizes:
            contrast = float(rng.choice([-1.0, 1.0], p=[_DARK, 1.0 - _DARK]) * rng.uniform(*_CONTRAST_HU))
            places = np.argwhere(free & (depth > 0.8 * radius))
            if not len(places):
                continue
            region, share = _lesion(places[rng.integers(len(places))], radius, allowed, np.array(grid.spacing), rng)
            image[region.slices] += contrast * share
            free[region.grown(_FREE).intersection(Region.whole(grid.shape)).slices] = False
            labels = np.zeros(grid.shape, np.uint8)
            labels[region.slices] = share > 0.5
            lesions[f"{organ}, {radius:.0f} mm, {contrast:+.0f} HU"] = Reference.of(labels, [1], grid)
    return replace(case.volume, array=image), lesions


def clicked(volume: Volume, reference: Reference) -> list[float]:
    """Dice after a click in the middle, and after every correction."""
    asked = replace(protocol("one click"), corrections=_CORRECTIONS)
    method = BySession("PWSegmentation")
    method.open(volume)
    annotator = SimulatedAnnotator(reference, asked)
    dice: list[float] = []
    for _, _, answer in conversation(annotator, annotator.start(), asked, reference, method, 0):
        # Where there is nothing more to say, the answer before stands.
        dice.append(dice[-1] if answer is None else overlap(answer, reference, surfaces=False).dice)
    return dice


def _depth(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Distance to the organ's border inside it, mm."""
    depth = np.zeros(mask.shape, np.float32)
    box = Region.around(mask)
    assert box is not None, "the organ is there"
    depth[box.slices] = ndimage.distance_transform_edt(mask[box.slices], sampling=spacing)
    return depth


def _lesion(
    middle: NDArray[np.integer],
    radius: float,
    allowed: NDArray[np.bool_],
    spacing: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Region, NDArray[np.float32]]:
    """Where a lumpy ellipsoid lies, and which share of each voxel there it fills."""
    reach = np.ceil(1.8 * radius / spacing + 2).astype(int)
    region = Region(tuple(middle - reach), tuple(middle + reach + 1)).intersection(Region.whole(allowed.shape))
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    offset = (np.moveaxis(np.indices(region.shape), 0, -1) + region.start - middle) * spacing
    x, y, z = np.moveaxis(offset @ turned / (radius * rng.uniform(0.75, 1.3, 3)), -1, 0)
    a, b, c = rng.uniform(0.0, 2.0 * math.pi, 3)
    lumps = 0.12 * np.sin(3 * x + a) * np.cos(3 * y + b) + 0.05 * np.sin(5 * z + c)
    beyond = (np.sqrt(x**2 + y**2 + z**2) + lumps - 1.0) * radius / _SOFT_MM
    return region, (allowed[region.slices] / (1.0 + np.exp(np.minimum(beyond, 50.0)))).astype(np.float32)


@contextmanager
def _from_far() -> Iterator[None]:
    """Nothing stands out meanwhile."""
    before = standing_out.radius_standing_out
    standing_out.radius_standing_out = lambda view, clicks: None
    try:
        yield
    finally:
        standing_out.radius_standing_out = before


if __name__ == "__main__":
    sys.exit(main())
