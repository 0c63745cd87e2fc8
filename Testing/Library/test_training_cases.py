"""Which cases there are, what their labels become, and the sentences for data that cannot be meant."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from PWSegmentationLib import InputError, Point, PromptSet, SegmentPrompts, write_prompts
from PWSegmentationLib.cases import CaseFiles, CaseSet, read_cases
from PWSegmentationLib.cases.case_set import fifths
from PWSegmentationLib.prediction.preparation import Preparation
from PWSegmentationLib.training.case_labels import dense_target, given_prompts, sparse_target
from PWSegmentationLib.training.windows import PrepareCase, TrainingWindows
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.writing import write_image

from .training_data import STRUCTURES, quick, scene, write_datalist, write_elsewhere


def write_case(folder: Path, seed: int, **sparse: object) -> None:
    image, labels, grid = scene(seed)
    write_image(image, grid, folder / "image.nii.gz")
    write_image(labels, grid, folder / "labels.nii.gz")
    (folder / "labels.json").write_text(json.dumps(STRUCTURES))


def prepared(cases: CaseSet, case: CaseFiles, **changes: object) -> dict[str, np.ndarray]:
    config = quick(Path(), **changes)
    return {k: v.numpy() for k, v in PrepareCase(cases, config, Preparation())(case).items()}


def test_datalist_and_folder_are_the_same_cases(tmp_path: Path) -> None:
    cases = read_cases(write_datalist(tmp_path / "list", 2, 1, 1))
    assert cases.structures == STRUCTURES
    assert [len(s) for s in (cases.training, cases.selection, cases.test)] == [2, 1, 1]
    for number, name in enumerate(("training/a", "training/b", "validation/c", "test/d")):
        write_case(tmp_path / "folder" / name, number)
    sorted_ = read_cases(tmp_path / "folder")
    assert [c.name for s in (sorted_.training, sorted_.selection, sorted_.test) for c in s] == ["a", "b", "c", "d"]
    for ours, theirs in zip(cases.training, sorted_.training, strict=True):
        a, b = prepared(cases, ours, supervision="dense"), prepared(sorted_, theirs, supervision="dense")
        assert all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("said", [{"0": "CT"}, "CT", None])
def test_a_datalist_names_its_modality_one_way_or_another(tmp_path: Path, said: object) -> None:
    path = write_datalist(tmp_path, 1, 0, 0)
    path.write_text(json.dumps({**json.loads(path.read_text()), "modality": said}))
    assert read_cases(path).modality == ("CT" if said else "")


def test_a_selection_set_is_kept_apart_and_does_not_move(tmp_path: Path) -> None:
    for n in range(10):
        write_case(tmp_path / f"case{n}", n)
    before = read_cases(tmp_path)
    assert len(before.selection) == 2 and len(before.training) == 8
    shutil.rmtree(tmp_path / before.training[0].name)
    assert set(read_cases(tmp_path).selection) <= {*before.selection, *before.training}
    assert before.selection == read_cases(tmp_path).selection or len(read_cases(tmp_path).selection) == 2


def test_the_selection_set_does_not_depend_on_where_the_data_lie(tmp_path: Path) -> None:
    names = []
    for place in ("here", "there/and further", "there/again", "elsewhere"):
        write_datalist(tmp_path / place, 10, 0, 0)
        names.append([c.name for c in read_cases(tmp_path / place / "dataset.json").selection])
    assert names == 4 * [names[0]] and len(names[0]) == 2


def test_who_is_in_which_set_stays_as_it_was() -> None:
    """Results with a model trained before stand on it: whom it learnt from must never become whom it is tested with."""
    cases = [CaseFiles(f"image{n}", Path(f"image{n}.nii.gz"), group=f"case{n // 2}") for n in range(20)]
    whole = CaseSet({"ball": 1}, tuple(cases), (), ())
    assert [c.name for c in whole.split().selection] == ["image4", "image5", "image16", "image17"]
    selection, test, training = fifths(cases, 2)
    assert [{c.patient for c in part} for part in (selection, test)] == [{"case8", "case2"}, {"case5", "case1"}]
    assert [c for c in cases if c not in selection + test] == list(training)
    # Too few patients to go round: all are learnt from.
    assert fifths(cases[:4], 2) == [(), (), tuple(cases[:4])]
    assert not CaseSet({"ball": 1}, tuple(cases[:2]), (), ()).split().selection


def test_a_structure_of_several_values_is_one(tmp_path: Path) -> None:
    for several in (False, True):
        folder = tmp_path / str(several) / "a"
        write_case(folder, 0)
        _, labels, grid = scene(0)
        if several:
            labels[(labels == 1) & (np.indices(labels.shape)[2] % 2 == 0)] = 5
        write_image(labels, grid, folder / "labels.nii.gz")
        points = np.zeros_like(labels)
        for value in (1, 2):
            inside = np.argwhere(labels == value)
            points[tuple(inside[len(inside) // 2])] = value
        points[tuple(np.argwhere(labels == labels.max())[0])] = labels.max()
        points[1, 1, 1] = 6 if several else 3
        write_image(points, grid, folder / "points.nii.gz")
        (folder / "labels.json").write_text(json.dumps({"ball": [1, 5] if several else 1, "bar": 2}))
    one, two = (read_cases(tmp_path / str(several)) for several in (False, True))
    assert one.structures == two.structures == STRUCTURES and (one.background, two.background) == (3, 6)
    a, b = (prepared(cases, cases.training[0], supervision="dense") for cases in (one, two))
    assert all(np.array_equal(a[k], b[k]) for k in a)
    prompts = given_prompts(two.training[0], two, grid)
    assert len(prompts["ball"].positions(True)) == 2 and len(prompts["ball"].positions(False)) == 2
    (tmp_path / "True" / "a" / "labels.json").write_text(json.dumps({"ball": [1, 5], "bar": [2, 5]}))
    with pytest.raises(InputError, match="The value 5 belongs to 'ball' and to 'bar'"):
        read_cases(tmp_path / "True")


def test_points_of_a_structure_left_out_are_outside_the_others(tmp_path: Path) -> None:
    write_case(tmp_path / "a", 0)
    _, labels, grid = scene(0)
    points = np.zeros_like(labels)
    for value in STRUCTURES.values():
        points[tuple(np.argwhere(labels == value)[0])] = value
    write_image(points, grid, tmp_path / "a" / "points.nii.gz")
    cases = read_cases(tmp_path).only(["ball"])
    prompts = given_prompts(cases.training[0], cases, grid)
    assert [s.name for s in prompts] == ["ball"] and len(prompts["ball"].positions(False)) == 1


@pytest.mark.parametrize("supervision", ["points", "box", "scribbles"])
def test_simulated_prompts_give_a_label_near_the_truth(tmp_path: Path, supervision: str) -> None:
    cases = read_cases(write_datalist(tmp_path, 1, 0, 0))
    sparse = prepared(cases, cases.training[0], supervision=supervision)
    dense = prepared(cases, cases.training[0], supervision="dense")
    known = sparse["confidence"] > 0
    assert 0.1 < known.mean() <= 1
    for found, true, where in zip(sparse["probability"] >= 0.5, dense["probability"] >= 0.5, known, strict=True):
        overlap = 2 * (found & true & where).sum() / ((found & where).sum() + (true & where).sum())
        assert overlap > (0.5 if supervision == "box" else 0.7)
    again = prepared(cases, cases.training[0], supervision=supervision)
    assert all(np.array_equal(sparse[k], again[k]) for k in sparse)


def test_the_unknown_band_and_the_weighting_are_switches(tmp_path: Path) -> None:
    cases = read_cases(write_datalist(tmp_path, 1, 0, 0))
    case = cases.training[0]
    on = prepared(cases, case, unknown_below=0.5)
    assert ((on["confidence"] == 0) | (on["confidence"] >= 0.5)).all() and (on["confidence"] == 0).any()
    assert (prepared(cases, case, unknown_below=0.0)["confidence"] > 0).all()
    flat = prepared(cases, case, unknown_below=0.5, weighting=False)
    assert set(np.unique(flat["confidence"])) == {0, 1} and set(np.unique(flat["probability"])) == {0, 1}
    assert np.array_equal(flat["confidence"] > 0, on["confidence"] > 0)


def test_the_papers_gaussian_label_can_be_had(tmp_path: Path) -> None:
    cases = read_cases(write_datalist(tmp_path, 1, 0, 0))
    given = prepared(cases, cases.training[0], pseudo_label="gaussian", sigma_mm=6)
    ours = prepared(cases, cases.training[0])
    assert not np.array_equal(given["probability"], ours["probability"])
    assert ((given["probability"] == 0) | (given["probability"] >= 0.49)).mean() > 0.95


def test_prompts_points_and_scribbles_that_came_with_a_case(tmp_path: Path) -> None:
    _, labels, grid = scene(0)
    voxel = {n: np.argwhere(labels == v)[len(np.argwhere(labels == v)) // 2] for n, v in STRUCTURES.items()}
    points = np.zeros(labels.shape, np.uint8)
    points[tuple(voxel["ball"])], points[tuple(voxel["bar"])], points[1, 1, 1] = 1, 2, 3
    write_case(tmp_path / "a", 0)
    write_image(points, grid, tmp_path / "a" / "points.nii.gz")
    write_case(tmp_path / "b", 0)
    clicks = [SegmentPrompts(n, points=(Point(tuple(grid.to_world(v))),)) for n, v in voxel.items()]
    write_prompts(PromptSet(tuple(clicks)), tmp_path / "b" / "prompts.json")
    cases = read_cases(tmp_path)
    by_name = {c.name: c for c in (*cases.training, *cases.selection)}
    assert cases.background == 3
    for name, outside in (("a", 2), ("b", 1)):
        found = prepared(cases, by_name[name], supervision="given", promptable=True)
        inside, not_inside = found["seeds"][0], found["seeds"][1]
        assert inside.any() and not_inside.any()
        prompts = given_prompts(by_name[name], cases, grid)
        assert len(prompts["ball"].positions(False)) == outside - (name == "b")


def test_clicks_that_a_coarser_grid_cannot_tell_apart_are_learnt_from_all_the_same(tmp_path: Path) -> None:
    write_case(tmp_path / "a", 0)
    _, labels, grid = scene(0)
    inside = np.argwhere(labels == 1)
    beside = np.argwhere(labels == 2)[0]
    # The outermost voxel of the ball and its neighbour: 2 mm from each other, in one voxel of 8 mm.
    edge = inside[inside[:, 0].argmax()]
    clicks = [Point(tuple(grid.to_world(v)), sign) for v, sign in ((edge, True), (edge + [1, 0, 0], False))]
    clicks.append(Point(tuple(grid.to_world(inside[len(inside) // 2]))))
    bar = SegmentPrompts("bar", points=(Point(tuple(grid.to_world(beside))),))
    write_prompts(PromptSet((SegmentPrompts("ball", points=tuple(clicks)), bar)), tmp_path / "a" / "prompts.json")
    cases = read_cases(tmp_path)
    coarse = PrepareCase(cases, quick(Path(), supervision="given", spacing_mm=8), Preparation(8.0))
    assert (coarse(cases.training[0])["probability"][0] >= 0.5).any()
    away = SegmentPrompts("bar", points=(Point((500.0, 0.0, 0.0)),))
    write_prompts(PromptSet((away,)), tmp_path / "a" / "prompts.json")
    with pytest.raises(InputError, match=r"Case 'a': A point of 'bar' at R 500.* lies outside the volume"):
        coarse(cases.training[0])


def test_what_cannot_be_learnt_is_said_before_training(tmp_path: Path) -> None:
    cases = read_cases(write_datalist(tmp_path, 2, 0, 0))
    named = {**cases.named, "spleen": (3,)}
    more = CaseSet({**cases.structures, "spleen": 3}, cases.training, (), (), named=named)
    with pytest.raises(InputError, match="No training case shows 'spleen': add one that does"):
        TrainingWindows(more, quick(tmp_path, supervision="dense"), Preparation(), 16)
    assert TrainingWindows(more.only(["bar"]), quick(tmp_path, supervision="dense"), Preparation(), 16).batch(0, 1)
    # A scan of which nothing was measured.
    for number in range(2):
        write_image(np.full((24, 24, 24), np.nan, np.float32), scene(number)[2], tmp_path / f"image{number}.nii.gz")
    with pytest.raises(InputError, match="nothing to learn from the case 'image"):
        TrainingWindows(cases, quick(tmp_path, supervision="dense"), Preparation(), 16)


def test_a_structure_without_prompts_is_unknown_not_absent() -> None:
    image, labels, grid = scene(0)
    ball = grid.to_world(np.argwhere(labels == 1).mean(axis=0).round())
    volume = replace(read_like(image, grid))
    target = sparse_target(
        volume, PromptSet((SegmentPrompts("ball", points=(Point(tuple(ball)),)),)), STRUCTURES, quick(Path())
    )
    assert target.confidence[0].any() and not target.confidence[1].any()
    dense = dense_target(labels.astype(np.int32), STRUCTURES)
    assert dense.confidence.all() and dense.probability[1].sum() == (labels == 2).sum()


def read_like(image: np.ndarray, grid: Grid):
    from PWSegmentationLib import Volume

    return Volume(image, grid)


def test_windows_depend_on_their_number_alone(tmp_path: Path) -> None:
    cases = read_cases(write_datalist(tmp_path, 2, 0, 0))
    config = quick(tmp_path, supervision="dense")
    windows = TrainingWindows(cases.split(), config, Preparation(), 16)
    forward = [windows.batch(n, 1) for n in range(4)]
    for n in (3, 0, 2):
        again = windows.batch(n, 1)
        assert all(np.array_equal(getattr(again, k), getattr(forward[n], k)) for k in ("image", "probability", "seeds"))
    assert not np.array_equal(forward[0].image, forward[2].image)
    both = windows.batch(0, 2)
    assert np.array_equal(both.image[1:], forward[1].image)
    assert type(both.image) is type(both.confidence) is torch.Tensor, "metadata would slow down every layer"
    assert both.image.shape == (2, 1, 16, 16, 16) and both.probability.shape == (2, 2, 16, 16, 16)


def test_mirroring_moves_image_and_label_alike(tmp_path: Path) -> None:
    """The published code mirrored one of its two labels and not the other."""
    cases = read_cases(write_datalist(tmp_path, 1, 0, 0))
    windows = TrainingWindows(cases, quick(tmp_path, supervision="dense"), Preparation(), 16)
    for n in range(8):
        batch = windows.batch(n, 1)
        ball = batch.probability[0, 0] > 0.5
        if 20 < ball.sum() < 4000:
            assert batch.image[0, 0][ball].mean() > batch.image[0, 0][~ball].mean() + 0.5


def test_an_oblique_or_flipped_case_comes_back_to_its_own_grid() -> None:
    image, _, grid = scene(4)
    volume = read_like(image.astype(np.float32)[::-1, :20].transpose(2, 0, 1), _turned(grid))
    for spacing in (0.0, 2.0):
        done = Preparation(spacing).prepare(volume)
        assert (np.diag(done.grid.affine[:3, :3]) > 0).all()
        back = done.to_source(done.volume.array)
        assert back.shape == volume.array.shape
        np.testing.assert_allclose(back, volume.array, atol=1e-2)
        index = np.array([3, 4, 5])
        world = volume.grid.to_world(index)
        at = tuple(done.grid.to_voxel(world))
        assert done.volume.array[at] == pytest.approx(volume.array[tuple(index)], abs=1e-2)


def _turned(grid: Grid) -> Grid:
    """The grid of ``array[::-1, :20].transpose(2, 0, 1)``."""
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = grid.shape[0] - 1
    move = np.zeros((4, 4))
    move[[2, 0, 1, 3], [0, 1, 2, 3]] = 1
    return Grid((grid.shape[2], grid.shape[0], 20), grid.affine @ flip @ move)


def test_ct_gets_its_window_and_mr_its_own_range() -> None:
    image, _, grid = scene(0)
    volume = read_like(image.astype(np.float32) * 10, grid)
    ct, mr = Preparation(0, "ct").prepare(volume).image, Preparation(0, "robust").prepare(volume).image
    assert (ct == 2).mean() > 0.5
    assert (mr == 2).mean() < 0.02 and mr.min() == -2


def damaged(tmp_path: Path, what: str) -> Path:
    """A data set in which one thing is wrong."""
    path = write_datalist(tmp_path, 2, 0, 1)
    document = json.loads(path.read_text())
    _image, labels, grid = scene(0)
    if what == "missing file":
        (tmp_path / "label0.nii.gz").unlink()
    elif what == "other geometry":
        write_elsewhere(labels, grid, tmp_path / "label0.nii.gz")
    elif what == "unnamed value":
        labels[0, 0, 0] = 7
        write_image(labels, grid, tmp_path / "label0.nii.gz")
    elif what == "empty case":
        write_image(np.zeros_like(labels), grid, tmp_path / "label0.nii.gz")
    elif what == "in two sets":
        document["test"].append(document["training"][0])
    elif what == "no names":
        document.pop("labels")
    elif what == "no labels":
        document["training"][0].pop("label")
    elif what == "damaged image":
        (tmp_path / "image0.nii.gz").write_bytes(b"nothing")
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("missing file", r"names the label .*label0.nii.gz, which does not exist"),
        ("other geometry", r"labels of 'image0' lie on another grid than its image"),
        ("unnamed value", r"labels of 'image0' hold the value 7, which has no name"),
        ("empty case", r"case 'image0' is empty"),
        ("in two sets", r"is in the training and in the test set"),
        ("no names", r"name no structure"),
        ("no labels", r"case 'image0' has no dense labels, which supervision \"points\" needs"),
        ("damaged image", r"Cannot read .*image0.nii.gz"),
    ],
)
def test_data_that_cannot_be_meant(tmp_path: Path, what: str, sentence: str) -> None:
    path = damaged(tmp_path, what)

    def use() -> None:
        cases = read_cases(path)
        for case in (*cases.training, *cases.selection):
            prepared(cases, case)

    with pytest.raises(InputError, match=sentence) as refused:
        use()
    assert "\n" not in str(refused.value)


def test_a_case_without_anything_is_refused(tmp_path: Path) -> None:
    write_case(tmp_path / "a", 0)
    (tmp_path / "a" / "labels.nii.gz").unlink()
    cases = read_cases(tmp_path)
    with pytest.raises(InputError, match="neither labels nor prompts"):
        prepared(cases, cases.training[0], supervision="given")


def test_a_promptable_network_with_dense_labels_is_shown_clicks_and_taught_the_labels(tmp_path: Path) -> None:
    cases = read_cases(write_datalist(tmp_path, 1, 0, 0))
    case = cases.training[0]
    plain = prepared(cases, case, supervision="dense")
    shown = prepared(cases, case, supervision="dense", promptable=True, points_inside=4, points_outside=3)
    assert not plain["seeds"].any()
    assert np.array_equal(plain["probability"], shown["probability"]) and (shown["confidence"] == 1).all()
    for index in range(len(cases.structures)):
        inside, outside = shown["seeds"][2 * index] > 0, shown["seeds"][2 * index + 1] > 0
        assert inside.any() and outside.any()
        assert (shown["probability"][index][inside] == 1).mean() > 0.9
