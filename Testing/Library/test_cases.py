"""Folders of labelled images: real files, and what is wrong with them in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.evaluation.cases import find_cases
from PWSegmentationLib.evaluation.development import SPLIT, development_cases

AFFINE = np.array([[0, -1.5, 0, 10], [-1.0, 0, 0, 20], [0, 0, 2.0, -30], [0, 0, 0, 1]])
LABELS = np.zeros((20, 18, 10), np.uint8)
LABELS[4:10, 4:10, 2:6] = 1
LABELS[12:16, 4:10, 2:6] = 2


def write_case(folder: Path, labels: np.ndarray = LABELS, affine: np.ndarray = AFFINE, names: object = None) -> Path:
    folder.mkdir(parents=True)
    image = (40.0 * (LABELS > 0) + np.random.default_rng(0).normal(0, 3, LABELS.shape)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    if names is not None:
        (folder / "labels.json").write_text(json.dumps(names), encoding="utf-8")
    return folder


def only(folder: Path):
    (case,) = find_cases(folder)
    return case


def test_cases_are_found_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a", ".hidden"):
        write_case(tmp_path / name)
    (tmp_path / "README.txt").write_text("no case")
    assert [c.name for c in find_cases(tmp_path)] == ["a", "b"]
    assert [c.name for c in find_cases(tmp_path / "a")] == ["a"], "a single case is a case"


@pytest.mark.parametrize(
    "names",
    [
        {"liver": 1, "spleen": 2},
        {"1": "liver", "2": "spleen"},
        {"labels": {"background": 0, "liver": 1, "spleen": 2}},
        {"liver": [1], "spleen": [2]},
    ],
)
def test_names_may_be_written_either_way(tmp_path, names):
    case = only(write_case(tmp_path / "case", names=names)).load()
    assert case.structures == {"liver": (1,), "spleen": (2,)}


def test_without_names_every_label_is_a_structure(tmp_path):
    assert only(write_case(tmp_path / "case")).load().structures == {"label 1": (1,), "label 2": (2,)}


def test_labels_on_a_smaller_grid_are_brought_to_the_image(tmp_path):
    """As Slicer writes segmentations: the lattice of the image, but no further than the segments."""
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [3, 3, 1, 1])[:3]
    case = only(write_case(tmp_path / "case", LABELS[3:17, 3:12, 1:8], affine)).load()
    np.testing.assert_array_equal(case.labels, LABELS)


def test_the_fingerprint_follows_the_contents(tmp_path):
    first, same = (only(write_case(tmp_path / n / "case", names={"liver": 1})) for n in ("1", "2"))
    other = only(write_case(tmp_path / "3" / "case", np.flip(LABELS, 0), names={"liver": 1}))
    renamed = only(write_case(tmp_path / "4" / "case", names={"spleen": 1}))
    prints = [c.fingerprint() for c in (first, same, other, renamed)]
    assert prints[0] == prints[1] and len(set(prints)) == 3


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        only(folder).load()
    return str(caught.value)


def test_what_cannot_be_a_case_says_why(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(InputError, match="There are no cases"):
        find_cases(tmp_path)
    (write_case(tmp_path / "bare") / "labels.nii.gz").unlink()
    assert "has no labels" in refused(tmp_path / "bare")
    twice = write_case(tmp_path / "twice")
    (twice / "image.nrrd").write_bytes((twice / "image.nii.gz").read_bytes())
    assert "2 files called image" in refused(twice)
    cut = write_case(tmp_path / "cut") / "image.nii.gz"
    cut.write_bytes(cut.read_bytes()[:200])
    assert "not a valid NIfTI" in refused(tmp_path / "cut")
    assert "not whole" in refused(write_case(tmp_path / "map", LABELS.astype(np.float32) * 0.5))
    assert "no labelled voxel" in refused(write_case(tmp_path / "empty", np.zeros_like(LABELS)))
    far = AFFINE.copy()
    far[:3, 3] += 500
    assert "drawn on another one" in refused(write_case(tmp_path / "far", affine=far))
    assert 'as in {"liver": 1' in refused(write_case(tmp_path / "list", names=[1, 2]))
    assert 'as in {"liver": 1' in refused(write_case(tmp_path / "words", names={"liver": {"a": 1}}))
    assert "same name" in refused(write_case(tmp_path / "same", names={"1": "liver", "2": "liver"}))


def test_the_split_names_every_development_structure_once():
    split = {k: v for k, v in json.loads(SPLIT.read_text(encoding="utf-8")).items() if k != "about"}
    for case, uses in split.items():
        assert set(uses) <= {"tuning", "reported"}, case
        names = [s for structures in uses.values() for s in structures]
        assert len(names) == len(set(names)), case
    tuned = sum(len(uses.get("tuning", {})) for uses in split.values())
    assert tuned == 17, "what was tuned on is never again only reported"


def test_development_images_that_cannot_be_had_are_listed_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PATH", "/nowhere")
    cases = development_cases(tmp_path)
    assert len(cases) == 8
    assert all("could not be downloaded" in c.problem for c in cases)
    with pytest.raises(InputError, match="connect to the network once"):
        cases[0].load()
