"""Where to prompt next: spots that a person can answer, far from what was asked before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.metrics import Answer
from PWSegmentationLib.evaluation.planted_errors import KINDS, plant
from PWSegmentationLib.evaluation.results import Results
from PWSegmentationLib.evaluation.spots import choose_spot
from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.review.next_annotation import suggest
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.volume import Volume
from PWSegmentationLib.volume.writing import write_image
from Testing.Library.conftest import bright_ellipsoid, random_affine


@pytest.mark.parametrize("seed", [0, 1])
def test_suggestions_are_clear_spots_away_from_prompts(seed: int) -> None:
    affine = random_affine(seed)
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0) / np.array([1.0, 1.2, 2.0])
    image, _, center = bright_ellipsoid((56, 48, 32), affine, (16, 10, 9))
    volume = Volume.from_array(image, affine)
    prompts = SegmentPrompts("lesion", (Point(tuple(center), True),))
    found = predict(volume, prompts)
    spots = suggest(found, prompts, 6, case="one")
    assert len(spots) == 6
    places = np.array([s.position for s in spots])
    apart = np.linalg.norm(places[:, None] - np.vstack([places, center])[None], axis=2)
    assert apart[apart > 0].min() > 4
    voxels = volume.grid.to_voxel(places)
    assert [s.k for s in spots] == voxels[:, 2].tolist()
    inside = found.mask[tuple(voxels.T)]
    # One click inside is there already: two outside for each.
    assert inside.tolist() == [False, False, True, False, False, True]
    assert all(0 <= s.gain <= 1 and 0 <= s.chance_wrong <= 1 and s.segment == "lesion" for s in spots)


def test_nothing_is_suggested_for_nothing() -> None:
    grid = Grid((8, 8, 8), np.eye(4))
    nothing = predict(
        Volume.from_array(np.zeros(grid.shape), grid.affine), SegmentPrompts("a", (Point((4, 4, 4), True),))
    )
    empty = Answer(nothing.region, np.zeros_like(nothing.region_mask), nothing.region_probability * 0)
    with pytest.raises(InputError, match="how sure they are"):
        choose_spot("suggested", Answer(empty.region, empty.mask), grid, SegmentPrompts("a"), np.random.default_rng(0))
    sure = Answer(empty.region, empty.mask, empty.probability, empty.probability)
    for way in ("suggested", "uncertain"):
        assert choose_spot(way, sure, grid, SegmentPrompts("a"), np.random.default_rng(0)) is None


def test_the_annotator_answers_what_is_there() -> None:
    grid = Grid((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:15, 5:15, 5:15] = 1
    annotator = SimulatedAnnotator(Reference.of(labels, (1,), grid), protocol("suggested spots"))
    first = annotator.start()
    second = annotator.answer_at(first, (6.0, 6.0, 12.0))
    assert second is not None
    third = annotator.answer_at(second, (2.0, 6.0, 12.0))
    assert third is not None
    assert [p.positive for p in third.points] == [True, True, False]
    assert annotator.answer_at(third, (2.0, 6.0, 12.2)) is None


def write_cases(folder: Path) -> Path:
    affine = np.diag([1.5, 1.5, 2.0, 1.0])
    image, mask, _ = bright_ellipsoid((40, 36, 28), affine, (12, 9, 9))
    grid = Grid(mask.shape, affine)
    write_image(image, grid, folder / "a" / "image.nii.gz")
    labels = mask.astype(np.uint8)
    labels[2:7, 2:7, 2:7] = 2
    write_image(labels, grid, folder / "a" / "labels.nii.gz")
    (folder / "a" / "labels.json").write_text('{"lesion": 1, "corner": 2}', encoding="utf-8")
    return folder


def test_the_benchmark_compares_ways_to_choose_spots(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    ways = [w for name in ("suggested", "uncertain", "random") for w in ("--prompts", f"{name} spots")]
    words = ["benchmark", str(write_cases(tmp_path / "cases")), "-o", str(out), "--against", "none", "--quiet", *ways]
    assert main([*words, "--only", "lesion"]) == 0
    results = Results.read(out)
    assert not results.failures
    assert [r.step for r in results.results] == 3 * list(range(13))
    last = {r.prompts: r.dice for r in results.results}
    assert last["suggested spots"] > 0.85


def test_flags_are_measured_on_planted_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "flags.json"
    cases = write_cases(tmp_path / "cases")
    # Names that all cases share, among them one of a structure that this one lacks.
    (cases / "a" / "labels.json").write_text('{"lesion": 1, "corner": 2, "spleen": 3}', encoding="utf-8")
    words = [
        "flags",
        str(cases),
        "-o",
        str(out),
        "--repeats",
        "1",
        "--prompts",
        "points 20+20",
    ]
    assert main(words) == 0
    row = capsys.readouterr().out.splitlines()[2].split("|")
    assert row[1].strip() == "cases (2)"
    assert float(row[2]) == 0.0
    assert float(row[3].split("of")[0]) > 0.7
    assert main(["flags", str(tmp_path / "none"), "-o", str(out)]) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_planted_errors_are_errors_and_come_again(kind: str) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    image, mask, _ = bright_ellipsoid((48, 48, 32), affine, (12, 9, 12))
    labels = mask.astype(np.uint8)
    labels[2:9, 2:9, 2:9] = 2
    volume = Volume.from_array(image, affine)
    references = {n: Reference.of(labels, (v,), volume.grid) for n, v in (("lesion", 1), ("corner", 2))}
    made, again = (plant(kind, volume, references, "lesion", np.random.default_rng(1)) for _ in range(2))
    assert made is not None and again is not None
    assert made.region == again.region and np.array_equal(made.mask, again.mask)
    whole = Region.whole(mask.shape)
    wrong = made.region.fitted(made.mask, whole) != mask
    assert wrong.sum() >= 0.2 * mask.sum()
    if kind == "leak":
        assert made.region.fitted(made.mask, whole)[mask].all()
