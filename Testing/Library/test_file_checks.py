"""No command writes over a file that it reads, or writes one twice: it refuses with one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.volume.writing import write_image
from Testing.Library.grids import GRIDS, SHAPE
from Testing.Library.test_commandline import markups
from Testing.Library.test_export import lesion_series, segments

GRID = GRIDS["straight"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of every kind that commands read; prompts are for the segments "big" and "small"."""
    places = [GRID.to_world(index).tolist() for index in ((2, 2, 2), (6, 6, 4))]
    named = [{"name": n, "points": [{"position": p}]} for n, p in zip(("big", "small"), places, strict=True)]
    painted = {"name": "big", "strokes": [{"file": "strokes.nii.gz"}]}
    for name, content in (("ok.json", named), ("seg.labels.json", named), ("strokes.json", [painted])):
        document = {"format": "pwseg-prompts", "version": 1, "segments": content}
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "x.labels.json").write_text('{"big": 2, "small": 1}', encoding="utf-8")
    image = np.random.default_rng(0).normal(0, 9, SHAPE).astype(np.int16)
    for name in ("ct.nii.gz", "p.big.nii.gz"):
        write_image(image, GRID, tmp_path / name)
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[2, 2, 2] = 1
    write_image(strokes, GRID, tmp_path / "strokes.nii.gz")
    markups(tmp_path / "liver.mrk.json", "Fiducial", places[0])
    write_segmentation(segments(GRID, 3), tmp_path / "a.seg.nrrd")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str) -> str:
    """The sentence that a command, run in ``folder``, refuses with; no file may have changed."""
    monkeypatch.chdir(folder)
    before = contents(folder)
    code = main([*words.split()])
    said = capsys.readouterr().err
    assert contents(folder) == before
    assert code == 2, said
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("p.big.nii.gz --prompts ok.json -o a.seg.nrrd --probability p.nii.gz", "also the image itself"),
        ("ct.nii.gz --scribbles big=strokes.nii.gz -o strokes.nii.gz", "strokes.nii.gz (--output) is also a file of"),
        ("ct.nii.gz --prompts strokes.json -o strokes.nii.gz", "strokes.nii.gz (--output) is also a file of prompts"),
        ("ct.nii.gz --points liver=liver.mrk.json -o b.nrrd --save-prompts liver.mrk.json", "also a file of prompts"),
        ("ct.nii.gz --prompts seg.labels.json -o seg.nii.gz", "seg.labels.json (a side-car of --output) is also"),
        ("ct.nii.gz --prompts ok.json --labels x.labels.json -o x.nii.gz", "is also --labels"),
        ("ct.nii.gz --prompts ok.json -o q.big.nii.gz --probability q.nii.gz", "q.big.nii.gz (--probability) is also"),
        ("ct.nii.gz --prompts ok.json --save-prompts b.labels.json -o b.nii.gz", "also a side-car of --output"),
        ("ct.nii.gz --prompts ok.json --save-prompts b.seg.nrrd.provenance.json -o b.seg.nrrd", "also a side-car"),
        ("ct.nii.gz --prompts ok.json -o s.stl -o s.big.stl", "s.big.stl (--output) is also --output"),
        ("ct.nii.gz --prompts ok.json -o b.nrrd --model a.safetensors --save-prompts a.json", "is also the model"),
    ],
)  # fmt: skip
def test_segment_loses_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    assert said in refused(folder, capsys, monkeypatch, f"segment {words} --method image-aware --quiet")


def test_a_link_to_the_image_is_the_image(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link.nii.gz").symlink_to(folder / "ct.nii.gz")
    words = "segment link.nii.gz --prompts ok.json -o ct.nii.gz --method image-aware"
    assert "also the image itself" in refused(folder, capsys, monkeypatch, words)


@pytest.mark.parametrize("image", ["ct", "ct/f003.seg.dcm"])
def test_no_slice_of_the_series_is_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    series = lesion_series(tmp_path)
    for index, file in enumerate(sorted(series.iterdir())):
        file.rename(series / f"f{index:03}.seg.dcm")
    words = f"segment {image} --prompts prompts.json -o ct/f003.seg.dcm --method image-aware"
    said = refused(tmp_path, capsys, monkeypatch, words)
    assert "f003.seg.dcm (--output) is also " in said
    write_segmentation(segments(GRIDS["straight"], 2), tmp_path / "a.seg.nrrd")
    assert "is also " in refused(tmp_path, capsys, monkeypatch, f"export a.seg.nrrd --image {image} -o ct/f003.seg.dcm")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("a.seg.nrrd --image ct.nii.gz -o ct.nii.gz", "also the image itself"),
        ("a.seg.nrrd -o a.seg.nrrd", "also the segmentation itself"),
        ("a.seg.nrrd --labels x.labels.json -o x.nrrd", "also --labels"),
        ("a.seg.nrrd -o b.stl -o b.left_kidney.stl", "b.left_kidney.stl (--output) is also --output"),
    ],
)
def test_export_loses_no_file(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    (folder / "x.labels.json").write_text(json.dumps(segments(GRID, 3).values), encoding="utf-8")
    assert said in refused(folder, capsys, monkeypatch, f"export {words}")


def test_exporting_cases_loses_none_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(np.zeros(SHAPE, np.int16), GRID, tmp_path / "cases" / "segmentation" / "image.nii.gz")
    write_segmentation(segments(GRID, 3), tmp_path / "cases" / "segmentation" / "segmentation.seg.nrrd")
    words = "export cases -o cases/segmentation"
    assert "also the segmentation itself" in refused(tmp_path, capsys, monkeypatch, words)


def test_a_trained_model_writes_no_labels_over_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from PWSegmentationLib.networks.model_files import save_model
    from PWSegmentationLib.networks.unetr import ProbabilisticUNETR, UNETRConfig
    from PWSegmentationLib.prediction.preparation import Preparation

    tiny = UNETRConfig(window=16, patch=4, stem=1, hidden=16, heads=2, mlp=32, depth=2, skips=(0,), features=4)
    card = {"structures": {"liver": 1}, "preparation": Preparation(2.0).document, "window": 16}
    save_model(ProbabilisticUNETR(tiny, in_channels=1, out_channels=1), tmp_path / "model" / "model.safetensors", card)
    write_image(np.zeros(SHAPE, np.int16), GRID, tmp_path / "images" / "a.nii.gz")
    words = "predict model images -o images --device cpu --quiet"
    assert "a.nii.gz (--output) is also the image itself" in refused(tmp_path, capsys, monkeypatch, words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train run/model.json -o run", "is also the data"),
        ("flags cases -o cases/a/prompts.json", "is also a file of the case 'a'"),
        ("pretrain run/model.json -o run", "is also the config itself"),
        ("benchmark --notes notes.json -o notes.json", "is also --notes"),
        ("demo -o out --screenshot out/index.html", "is also the report"),
    ],
)
def test_other_commands_lose_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    case = tmp_path / "cases" / "a"
    write_image(np.zeros(SHAPE, np.int16), GRID, case / "image.nii.gz")
    write_image(np.ones(SHAPE, np.uint8), GRID, case / "labels.nii.gz")
    (case / "labels.json").write_text('{"liver": 1}', encoding="utf-8")
    (case / "prompts.json").write_text("{}", encoding="utf-8")
    shutil.copytree(case, tmp_path / "cases" / "b")
    (tmp_path / "run").mkdir()
    config = {} if words.startswith("pretrain") else {"data": "../cases"}
    (tmp_path / "run" / "model.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "notes.json").write_text("{}", encoding="utf-8")
    assert said in refused(tmp_path, capsys, monkeypatch, words)


def test_a_wrong_table_is_refused_before_computing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_segmentation(segments(GRID, 3), folder / "t.nrrd")
    monkeypatch.setattr("PWSegmentationLib.volume.reading.read_volume", None)
    words = "segment ct.nii.gz --prompts ok.json -o new.seg.nrrd -o t.mha"
    assert "t.nrrd any more" in refused(folder, capsys, monkeypatch, words)
    words = "segment ct.nii.gz --prompts ok.json -o new.nrrd --labels none.json"
    assert "Cannot read the label names" in refused(folder, capsys, monkeypatch, words)


def test_two_labelmaps_of_one_name_share_their_table(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert main(["export", "a.seg.nrrd", "-o", "b.nii.gz", "-o", "b.nrrd"]) == 0
    for name in ("b.nii.gz", "b.nrrd"):
        assert read_segmentation(folder / name).values == segments(GRID, 3).values
