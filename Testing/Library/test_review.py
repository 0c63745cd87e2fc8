"""A reviewer learns what is wrong with a segment, says what is to be done, and is shown what comes next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.export.maps import write_map
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.export.seg_nrrd import read_fields
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.prompts.json_format import write_prompts
from PWSegmentationLib.prompts.prompts import Point, PromptSet, SegmentPrompts
from PWSegmentationLib.review.measures import measure, surface_mm2, touched_faces
from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.writing import write_image
from Testing.Library.conftest import random_affine

SHAPE = (56, 48, 40)
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])
GRID = Grid(SHAPE, AFFINE)
CENTERS = {"left lesion": (14, 24, 20), "right lesion": (40, 24, 20)}


def ball(center: tuple[int, int, int], radius_mm: float = 9.0) -> np.ndarray:
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    return np.linalg.norm((index - center) * np.array(GRID.spacing), axis=-1) < radius_mm


def segment(name: str, mask: np.ndarray, value: int = 1) -> Segment:
    region = Region.around(mask)
    where = () if region is None else (region, mask[region.slices])
    return Segment(name, value, (0.9, 0.3, 0.1 * value), *where)


def prompts_of(name: str) -> SegmentPrompts:
    """The middle and four places around it inside; six outside, 3 mm from the border."""
    center = np.array(CENTERS[name])
    inside = [center, *(center + d for d in ((5, 0, 0), (-5, 0, 0), (0, 5, 0), (0, -5, 0)))]
    outside = [center + d for d in ((12, 0, 0), (-12, 0, 0), (0, 12, 0), (0, -12, 0), (0, 0, 8), (0, 0, -8))]
    points = [Point(tuple(GRID.to_world(p)), True) for p in inside]
    points += [Point(tuple(GRID.to_world(p)), False) for p in outside]
    return SegmentPrompts(name, tuple(points))


def write_case(folder: Path, masks: dict[str, np.ndarray], *, grid: Grid = GRID) -> Path:
    rng = np.random.default_rng(0)
    image = 20 + 80 * (ball(CENTERS["left lesion"]) | ball(CENTERS["right lesion"])) + rng.normal(0, 6, SHAPE)
    write_image(image.astype(np.float32), GRID, folder / "image.nii.gz")
    made = Segmentation(grid, tuple(segment(n, m, k) for k, (n, m) in enumerate(masks.items(), start=1)))
    write_segmentation(made, folder / "segmentation.seg.nrrd")
    write_prompts(PromptSet(tuple(prompts_of(n) for n in CENTERS)), folder / "prompts.json")
    return folder


def good() -> dict[str, np.ndarray]:
    return {name: ball(center) for name, center in CENTERS.items()}


def leaked() -> np.ndarray:
    """The left lesion, with a lump to the front."""
    return ball(CENTERS["left lesion"]) | ball((14, 36, 20), 6.0)


def reviewed(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict:
    assert main(["review", str(folder), "--json", "--no-pages", *options]) == 0
    return json.loads(capsys.readouterr().out)


def alarms(document: dict, name: str, case: int = 0) -> list[str]:
    (found,) = (s for s in document["cases"][case]["segments"] if s["name"] == name)
    return [flag["kind"] for flag in found["flags"] if flag["alarm"]]


def test_good_segments_raise_no_alarm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = reviewed(write_case(tmp_path / "case", good()), capsys)
    assert [alarms(document, name) for name in CENTERS] == [[], []]
    (found, _) = document["cases"][0]["segments"]
    assert found["measures"]["volume_ml"] == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.05)
    assert found["measures"]["surface_mm2"] == pytest.approx(4 * np.pi * 9**2, rel=0.06)


@pytest.mark.parametrize(
    ("masks", "kinds"),
    [
        ({"left lesion": leaked()}, {"leak", "prompts"}),
        ({"left lesion": ball(CENTERS["left lesion"]) & (np.indices(SHAPE)[0] < 14)}, {"prompts", "missing part"}),
        ({"left lesion": ball((22, 24, 20))}, {"prompts"}),
        ({"left lesion": good()["right lesion"], "right lesion": good()["left lesion"]}, {"swapped", "side"}),
        ({"left lesion": np.zeros(SHAPE, bool)}, {"empty"}),
    ],
    ids=["leak", "missing part", "shifted", "swapped", "empty"],
)
def test_errors_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], masks: dict[str, np.ndarray], kinds: set[str]
) -> None:
    document = reviewed(write_case(tmp_path / "case", {**good(), **masks}), capsys)
    assert kinds & set(alarms(document, "left lesion"))
    assert document["work list"][0]["segment"] in masks


def test_another_geometry_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 4.0
    document = reviewed(write_case(tmp_path / "case", good(), grid=Grid(SHAPE, moved)), capsys)
    assert alarms(document, "left lesion") == ["geometry"]


def test_what_was_said_is_kept_and_changes_since_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = write_case(tmp_path / "case", good())
    voxels_before = (case / "segmentation.seg.nrrd").read_bytes().split(b"\n\n", 1)[1]
    document = reviewed(case, capsys, "--accept", "left lesion", "--flag", "right lesion", "--comment", "Rand prüfen")
    statuses = {s["name"]: (s["status"], s["comment"], s["need"]) for s in document["cases"][0]["segments"]}
    assert statuses == {
        "left lesion": ("completed", "Rand prüfen", 0.0),
        "right lesion": ("flagged", "Rand prüfen", 1.0),
    }
    # Slicer shows it, and nothing else of its file has changed. Nobody was named.
    file = case / "segmentation.seg.nrrd"
    assert "Segmentation.Status:completed|" in read_fields(file)["Segment0_Tags"]
    assert file.read_bytes().split(b"\n\n", 1)[1] == voxels_before
    assert '"by"' not in (case / "review.json").read_text(encoding="utf-8")

    found = read_segmentation(file)
    less = ball(CENTERS["left lesion"], 8.0)
    edited = (replace(segment("left lesion", less), status="completed"), *found.segments[1:])
    write_segmentation(Segmentation(GRID, edited), file)
    (first, second) = reviewed(case, capsys)["cases"][0]["segments"]
    removed = (good()["left lesion"].sum() - less.sum()) * GRID.voxel_volume / 1000
    assert first["changes"]["removed_ml"] == pytest.approx(removed)
    assert first["changes"]["added_ml"] == 0
    # What was accepted and has changed since is to be looked at again.
    assert first["need"] > 0
    assert second["changes"]["dice"] == 1.0


def test_what_was_accepted_on_another_grid_is_to_be_looked_at_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = write_case(tmp_path / "case", good())
    reviewed(case, capsys, "--accept", "left lesion")
    finer = Grid(SHAPE, np.diag([0.5, 0.5, 0.75, 1.0]))
    write_case(case, good(), grid=finer)
    (found, _) = reviewed(case, capsys)["cases"][0]["segments"]
    assert found["status"] == "inprogress" and found["need"] > 0
    reviewed(case, capsys, "--accept", "left lesion")
    (found, _) = reviewed(case, capsys)["cases"][0]["segments"]
    assert found["status"] == "completed" and found["need"] == 0


@pytest.mark.parametrize(("slices", "thickness"), [(1, 1.0), (2, 0.6)])
def test_a_thin_image_can_be_reviewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], slices: int, thickness: float
) -> None:
    grid = Grid((40, 40, slices), np.diag([1.0, 1.0, thickness, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[10:30, 10:30] = True
    write_image(mask.astype(np.float32), grid, tmp_path / "image.nii.gz")
    write_segmentation(Segmentation(grid, (segment("plate", mask),)), tmp_path / "segmentation.seg.nrrd")
    prompts = PromptSet().with_prompt("plate", Point((20.0, 20.0, 0.0)))
    write_prompts(prompts, tmp_path / "prompts.json")
    (found,) = reviewed(tmp_path, capsys)["cases"][0]["segments"]
    assert found["name"] == "plate" and found["measures"]["volume_ml"] > 0


def test_next_is_what_needs_a_person_most(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "a", good())
    write_case(tmp_path / "b", {**good(), "left lesion": leaked()})
    assert main(["review", str(tmp_path), "--next"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["b", "left", "lesion"]
    for case in "ab":
        assert main(["review", str(tmp_path / case), "--accept", "all", "--next"]) == 0
    capsys.readouterr()
    assert main(["review", str(tmp_path), "--next"]) == 0
    assert capsys.readouterr().out == "Nothing is left to review.\n"


def test_a_probability_says_how_sure_the_answer_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = write_case(tmp_path / "case", good())
    sure, unsure = np.where(good()["left lesion"], 0.95, 0.02), np.where(good()["right lesion"], 0.6, 0.3)
    write_map(sure, GRID, case / "probability.left_lesion.nii.gz", eight_bit=True)
    write_map(unsure, GRID, case / "probability.right_lesion.nii.gz")
    document = reviewed(case, capsys)
    left, right = (s["measures"] for s in document["cases"][0]["segments"])
    assert left["confidence"] == pytest.approx(0.95, abs=0.01)
    assert right["confidence"] == pytest.approx(0.6, abs=0.01)
    assert "confidence" in alarms(document, "right lesion")
    assert document["work list"][0]["segment"] == "right lesion"


def test_wrong_use_is_answered_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = write_case(tmp_path / "case", good())
    write_case(tmp_path / "other", good())
    (tmp_path / "empty").mkdir()
    for said, *args in [
        ("There is no folder", tmp_path / "none"),
        ("There are no cases", tmp_path / "empty"),
        ("There is no segment 'liver'", case, "--accept", "liver"),
        ("name one case", tmp_path, "--accept", "all"),
        ("Say which segment", case, "--comment", "hm"),
    ]:
        assert main(["review", *map(str, args)]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_a_case_that_cannot_be_read_costs_itself_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_case(tmp_path / "a", good())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "image.nii.gz").write_bytes(b"no image")
    document = reviewed(tmp_path, capsys)
    assert "no segmentation" in document["cases"][1]["problem"]
    assert len(document["cases"][0]["segments"]) == 2


@pytest.mark.parametrize("seed", range(4))
def test_surface_of_a_ball_on_any_grid(seed: int) -> None:
    affine = random_affine(seed)
    affine[:3, :3] /= np.linalg.norm(affine[:3, :3], axis=0) / np.array([1.0, 1.2, 1.7])
    grid = Grid((40, 36, 28), affine)
    center = grid.to_world((20, 18, 14))
    mask = np.linalg.norm(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - center, axis=-1) < 15
    assert surface_mm2(mask, grid) == pytest.approx(4 * np.pi * 15**2, rel=0.05)


def test_parts_and_dust() -> None:
    mask = ball((14, 24, 20)) | ball((40, 24, 20), 5.0)
    mask[0, 0, 0] = True
    found = measure(segment("two", mask), GRID)
    assert (found.components, found.dust) == (2, 1)
    assert measure(segment("none", np.zeros(SHAPE, bool)), GRID).volume_ml == 0


def test_what_is_looked_at_in_slabs_is_measured_as_one() -> None:
    """A horseshoe is one part, though its legs meet only in the last slab; a ball has no surface between slabs."""
    grid = Grid((120, 100, 90), np.eye(4))
    mask = np.zeros(grid.shape, bool)
    mask[10:110, 10:20, 40:50] = mask[10:110, 80:90, 40:50] = mask[100:110, 10:90, 40:50] = True
    found = measure(Segment("horseshoe", 1, (1.0, 0.0, 0.0), Region.whole(grid.shape), mask), grid)
    assert (found.components, found.largest_share, found.voxels) == (1, 1.0, int(mask.sum()))
    round_one = np.linalg.norm(np.moveaxis(np.indices(grid.shape), 0, -1) - (60, 50, 45), axis=-1) < 40
    assert surface_mm2(round_one, grid) == pytest.approx(4 * np.pi * 40**2, rel=0.03)


# ---- pages --------------------------------------------------------------------------------------------------------


def test_pages_hold_everything_and_hide_nothing_in_markup(tmp_path: Path) -> None:
    name = "<b>left</b> & 脾"
    masks = {**good(), name: leaked()}
    write_case(tmp_path / "cases" / "patient 1", masks)
    write_case(tmp_path / "cases" / "patient-2", good())
    assert main(["review", str(tmp_path / "cases"), "--quiet"]) == 0
    page = (tmp_path / "cases" / "patient 1" / "review.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;left&lt;/b&gt; &amp; 脾" in page
    assert "<b>left" not in page
    assert page.count("data:image/webp;base64,") == 4
    folder = (tmp_path / "cases" / "review.html").read_text(encoding="utf-8")
    assert 'href="patient%201/review.html"' in folder
    assert folder.count("data:image/webp;base64,") == 2
    for text in (page, folder):
        assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize("flipped", [False, True])
def test_the_border_that_a_segment_touches_is_called_by_the_side_of_the_patient(flipped):
    # Slices stacked from the head down, or up.
    grid = Grid(SHAPE, np.diag([-1.0, 1.0, -1.5 if flipped else 1.5, 1.0]))
    mask = np.zeros(SHAPE, bool)
    mask[:5, 10:20, :5] = True
    touching = segment("liver", mask)

    assert touched_faces(touching, grid) == ("right", "superior" if flipped else "inferior")
