"""The demo on a small case, through the same functions as the real one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.demo.case import DemoCase, prompt_file
from PWSegmentationLib.demo.comparison import Comparison, compare
from PWSegmentationLib.demo.run import DemoOutcome, run_case
from PWSegmentationLib.drawing.slices import DisplayVolume
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.json_format import read_prompts
from PWSegmentationLib.prompts.prompts import Box, Point, PromptSet, Scribble, SegmentPrompts, Strokes
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.conftest import bright_ellipsoid

# Flipped and turned, as real volumes are.
AFFINE = np.array([[0, 0, 2.5, -30], [-1.2, 0, 0, 20], [0, -1.0, 0, 100], [0, 0, 0, 1]])
SHAPE = (40, 44, 20)


def small_case() -> DemoCase:
    image, mask, center = bright_ellipsoid(SHAPE, AFFINE, (9, 9, 9))
    place = tuple(center)
    inside = Scribble((place, tuple(center + np.array((3, 0, 0)))), 1.0)
    lesion = SegmentPrompts("lesion", (Point(place),), (Box(place, (24, 24, 24)),), (inside,))
    painted = np.zeros(SHAPE, np.uint8)
    painted[4:6, 4:6, 4:6] = 1
    tissue = SegmentPrompts("tissue <b>&", strokes=(Strokes.from_labelmap(painted, AFFINE),))
    return DemoCase(
        name="small",
        title="A lesion",
        volume=Volume.from_array(image, AFFINE),
        prompts=PromptSet((lesion, tissue)),
        labels=np.where(mask, 7, 3),
        values={"lesion": 7, "tissue <b>&": 3},
        source="made up",
        reference="labels made by the test",
    )


@pytest.fixture(scope="module")
def case() -> DemoCase:
    return small_case()


@dataclass(frozen=True)
class Run:
    """One run of the demo on the small case."""

    outcome: DemoOutcome
    folder: Path
    said: list[float]


@pytest.fixture(scope="module")
def done(case: DemoCase, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, said = tmp_path_factory.mktemp("demo"), []
    picture = folder / "picture.png"
    outcome = run_case(case, folder / "out", screenshot=picture, progress=lambda f, _: said.append(f))
    return Run(outcome, folder, said)


def test_everything_is_written(done: Run) -> None:
    names = sorted(p.name for p in (done.folder / "out").iterdir())
    assert names == [
        "index.html",
        "small-labels.ctbl",
        "small-labels.labels.json",
        "small-labels.nii.gz",
        "small-probability.lesion.nii.gz",
        "small-probability.tissue_b.nii.gz",
        "small.seg.nrrd",
    ]
    assert sorted(p.name for p in done.outcome.files) == names
    assert done.said == sorted(done.said)
    assert done.said[-1] == 1
    assert (done.folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    table = done.outcome.table().splitlines()
    assert table[0].split()[0] == "structure"
    assert table[1].startswith("lesion")
    assert len(table) == 4


def test_the_page_needs_nothing_else(done: Run) -> None:
    page = done.outcome.page.read_text(encoding="utf-8")
    assert page.count("data:image/webp;base64,") == 2
    assert not re.search(r'(src|href)="(?!data:)', page)
    words = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "http" not in words.replace("http-equiv", "")
    assert "tissue &lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert "1 point inside, 1 box, 1 stroke inside" in page
    assert "labels made by the test" in page
    assert "prefers-color-scheme: dark" in page


def test_without_slicer_the_page_says_so(case: DemoCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PWSegmentationLib.demo import comparison

    def missing(*_: object) -> None:
        raise ImportError("No module named 'slicer'")

    monkeypatch.setattr(comparison, "grow_from_seeds", missing)
    outcome = run_case(case, tmp_path, screenshot=tmp_path / "picture.png")
    assert "install slicer-core" in outcome.page.read_text(encoding="utf-8")
    assert "not installed" in outcome.table()


def test_pictures_show_the_patient_the_right_way_round(case: DemoCase) -> None:
    display = DisplayVolume.of(case.volume)
    np.testing.assert_allclose(display.grid.affine[:3, :3], np.diag(display.grid.spacing), atol=1e-9)
    index = (5, 30, 12)
    mark = np.zeros(SHAPE, bool)
    mark[index] = True
    (found,) = np.argwhere(display.turned(mark))
    np.testing.assert_allclose(display.grid.to_world(found), case.volume.grid.to_world(index))
    np.testing.assert_allclose(display.places(case.volume.grid.to_world(index))[0], found * display.grid.spacing)


def test_agreement_of_the_reference_with_itself(case: DemoCase) -> None:
    mask = case.reference_mask("lesion")
    number = mask.astype(np.float16)
    same = compare(case, Prediction("lesion", case.volume.grid, Region.whole(SHAPE), mask, number, number), (1, 0, 0))
    assert isinstance(same, Comparison)
    assert same.dice == 1
    assert same.prediction.volume_ml == pytest.approx(same.reference_ml)


def test_the_prompts_that_come_along() -> None:
    prompts = read_prompts(prompt_file())
    assert prompts.names == ("liver", "spleen", "left kidney", "heart", "aorta", "T10")
    assert all(s.has_positive and len(s.positions(False)) for s in prompts)
