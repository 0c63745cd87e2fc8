"""Folders of labelled images: real files, and what is wrong with them in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.cases import find_cases, read_cases
from PWSegmentationLib.cases.labels import load_case, read_labels
from PWSegmentationLib.samples.development import SPLIT, development_cases

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
    case = load_case(only(write_case(tmp_path / "case", names=names)))
    assert case.structures == {"liver": (1,), "spleen": (2,)}


def test_without_names_every_label_is_a_structure(tmp_path):
    assert load_case(only(write_case(tmp_path / "case"))).structures == {"label 1": (1,), "label 2": (2,)}


def test_labels_on_a_smaller_grid_are_brought_to_the_image(tmp_path):
    """As Slicer writes segmentations: the lattice of the image, but no further than the segments."""
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [3, 3, 1, 1])[:3]
    case = load_case(only(write_case(tmp_path / "case", LABELS[3:17, 3:12, 1:8], affine)))
    np.testing.assert_array_equal(case.labels, LABELS)


@pytest.mark.parametrize("sets", [("",), ("training", "validation", "test")])
def test_one_folder_is_the_same_cases_to_train_on_and_to_measure_with(tmp_path, sets):
    for name in sets:
        for n in range(5):
            write_case(tmp_path / name / f"{name}{n}", names={"liver": 1, "rest": [2, 3]} if n else None)
    (tmp_path / "labels.json").write_text(json.dumps({"1": "liver", "4": "bladder"}))
    (next(tmp_path.rglob("labels.nii.gz")).parent / "prompts.json").write_text("{}")
    measured, taught = find_cases(tmp_path), read_cases(tmp_path)
    assert len(measured) == 5 * len(sets)
    assert set(measured) == {*taught.training, *taught.selection, *taught.test}
    assert taught.named == {"liver": (1,), "rest": (2, 3), "bladder": (4,)}
    for case in measured:
        loaded = load_case(case)
        other = {"bladder": (4,)} if case.name.endswith("0") else {"rest": (2, 3)}
        assert loaded.structures == {"liver": (1,), **other}
        np.testing.assert_array_equal(loaded.labels, read_labels(case, loaded.volume.grid, named=taught.named))


def test_a_broken_case_costs_the_benchmark_itself_alone_and_is_refused_for_training(tmp_path):
    write_case(tmp_path / "good", names={"liver": 1, "spleen": 2})
    broken = write_case(tmp_path / "broken", names={"liver": 1, "spleen": 2})
    (broken / "image.nii.gz").unlink()
    assert [(c.name, bool(c.problem)) for c in find_cases(tmp_path)] == [("broken", True), ("good", False)]
    with pytest.raises(InputError, match="broken has no image: put image"):
        read_cases(tmp_path)


def test_two_cases_of_one_name_are_not_measured_as_one(tmp_path):
    for name in ("training", "test"):
        write_case(tmp_path / name / "a", names={"liver": 1, "spleen": 2})
    first, second = find_cases(tmp_path)
    assert not first.problem and "Two cases in" in second.problem
    with pytest.raises(InputError, match="'a' is in the training and in the test set"):
        read_cases(tmp_path)


def test_cases_beside_the_sets_are_not_passed_over(tmp_path):
    for name in ("training/a", "test/b", "val/c"):
        write_case(tmp_path / name, names={"liver": 1, "spleen": 2})
    (tmp_path / "run" / "tensorboard").mkdir(parents=True)
    for find in (find_cases, read_cases):
        with pytest.raises(InputError, match="val lies beside the sets training, validation, test and holds cases"):
            find(tmp_path)
    (tmp_path / "val").rename(tmp_path / "validation")
    assert [c.name for c in read_cases(tmp_path).selection] == ["c"] and len(find_cases(tmp_path)) == 3


def test_a_value_that_two_cases_call_differently_is_refused_for_training(tmp_path):
    first = write_case(tmp_path / "a", names={"liver": 1, "spleen": 2})
    second = write_case(tmp_path / "b", names={"liver": 1, "kidney": 2})
    with pytest.raises(InputError, match=r"b/labels.json calls the value 2 'kidney', and .* call it 'spleen'"):
        read_cases(tmp_path)
    assert [set(c.structures) for c in find_cases(tmp_path)] == [{"liver", "spleen"}, {"liver", "kidney"}]
    (second / "labels.json").unlink()
    (first / "labels.json").write_text(json.dumps({"liver": 1, "organ": 1}), encoding="utf-8")
    with pytest.raises(InputError, match="The value 1 belongs to 'liver' and to 'organ'"):
        read_cases(tmp_path)


def test_what_lies_beside_an_image_is_none(tmp_path):
    folder = write_case(tmp_path / "case", names={"liver": 1, "spleen": 2})
    for name in ("image.png", "image.json", "labels.csv", "labels.txt", "points.csv"):
        (folder / name).write_text("nothing")
    case = only(folder)
    assert not case.problem and case.points is None
    np.testing.assert_array_equal(load_case(case).labels, LABELS)


def test_training_refuses_labels_on_another_grid_and_the_benchmark_takes_them(tmp_path):
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ [3, 3, 1, 1])[:3]
    case = only(write_case(tmp_path / "case", LABELS[3:17, 3:12, 1:8], affine))
    grid = load_case(case).volume.grid
    np.testing.assert_array_equal(read_labels(case, grid, resampled=True), LABELS)
    with pytest.raises(InputError, match="labels of 'case' lie on another grid than its image"):
        read_labels(case, grid, named={"liver": (1,), "spleen": (2,)})


def test_whole_numbers_may_be_stored_as_others(tmp_path):
    labels = LABELS.astype(np.float32)
    labels[labels == 2] = 2.0000002
    labels[0] = np.nan
    np.testing.assert_array_equal(load_case(only(write_case(tmp_path / "case", labels))).labels, LABELS)
    labels[0, 0, 0] = np.inf
    assert "not whole" in refused(write_case(tmp_path / "infinite", labels))


def test_the_fingerprint_follows_the_contents(tmp_path):
    first, same = (only(write_case(tmp_path / n / "case", names={"liver": 1})) for n in ("1", "2"))
    other = only(write_case(tmp_path / "3" / "case", np.flip(LABELS, 0), names={"liver": 1}))
    renamed = only(write_case(tmp_path / "4" / "case", names={"spleen": 1}))
    prints = [c.fingerprint() for c in (first, same, other, renamed)]
    assert prints[0] == prints[1] and len(set(prints)) == 3


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_case(only(folder))
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
    assert "whole numbers from 1" in refused(write_case(tmp_path / "half", names={"liver": 1.5}))
    assert "whole numbers from 1" in refused(write_case(tmp_path / "below", names={"liver": [-1, 2]}))
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
        load_case(cases[0])
