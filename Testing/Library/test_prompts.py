"""Prompts are stored as placed, and refused with one sentence when they cannot be meant."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PWSegmentationLib import (
    Box,
    Grid,
    InputError,
    Point,
    PromptSet,
    Scribble,
    SegmentPrompts,
    Strokes,
    read_prompts,
    write_prompts,
)
from PWSegmentationLib.prompts import check_prompts, draw, prompts_from_dict, prompts_to_dict
from Testing.Library.conftest import random_affine, rotation

GRID = Grid((40, 40, 40), np.eye(4))


def liver(*prompts) -> PromptSet:
    found = PromptSet()
    for prompt in prompts:
        found = found.with_prompt("liver", prompt)
    return found


finite = st.floats(-500, 500, allow_nan=False)
position = st.tuples(finite, finite, finite)
size = st.tuples(*[st.floats(0.1, 300)] * 3)
turned = st.integers(0, 1000).map(lambda s: tuple(rotation(np.random.default_rng(s)).ravel()))
prompt = st.one_of(
    st.builds(Point, position, st.booleans()),
    st.builds(Box, position, size, turned),
    st.builds(Scribble, st.lists(position, min_size=1, max_size=4).map(tuple), st.floats(0.1, 20), st.booleans()),
    st.integers(0, 1000).map(
        lambda s: Strokes.from_labelmap(np.random.default_rng(s).integers(0, 3, (3, 4, 5)), random_affine(s))
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["liver", "spleen", "Milz – äöü"]), st.lists(prompt, max_size=4)))
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, segments):
    prompts = PromptSet()
    for name, placed in segments.items():
        prompts = prompts.with_segment(SegmentPrompts(name))
        for each in placed:
            prompts = prompts.with_prompt(name, each)
    file = tmp_path_factory.mktemp("prompts") / "p.json"
    write_prompts(prompts, file)
    assert read_prompts(file) == prompts


def test_the_documented_format_is_read():
    document = {
        "format": "pwseg-prompts",
        "version": 1,
        "coordinateSystem": "RAS",
        "segments": [
            {
                "name": "spleen",
                "points": [{"position": [1, 2, 3], "positive": True}, {"position": [9, 9, 9], "positive": False}],
                "boxes": [{"center": [1, 2, 3], "size": [20, 30, 40]}],
                "scribbles": [{"points": [[1, 2, 3], [4, 5, 6]], "radius": 2.0, "positive": True}],
            }
        ],
    }
    spleen = prompts_from_dict(document)["spleen"]
    assert spleen.points[0] == Point((1, 2, 3)) and not spleen.points[1].positive
    assert spleen.boxes[0].size == (20, 30, 40)
    assert spleen.scribbles[0].radius == 2.0
    assert prompts_to_dict(prompts_from_dict(document)) == document | {"segments": [document["segments"][0]]}


def test_lps_files_are_turned_to_ras():
    axes = rotation(np.random.default_rng(1))
    painted = Strokes.from_labelmap(np.random.default_rng(1).integers(0, 3, (3, 4, 5)), random_affine(1))
    strokes = prompts_to_dict(liver(painted))["segments"][0]["strokes"]
    lps = {"format": "pwseg-prompts", "version": 1, "coordinateSystem": "LPS", "segments": [{
        "name": "a",
        "points": [{"position": [10, 20, 30]}],
        "boxes": [{"center": [10, 20, 30], "size": [1, 2, 3], "orientation": axes.ravel().tolist()}],
        "scribbles": [{"points": [[1, 2, 3], [4, 5, 6]], "radius": 1}],
        "strokes": strokes,
    }]}  # fmt: skip
    read = prompts_from_dict(lps)["a"]
    assert read.points[0].position == (-10, -20, 30)
    assert read.boxes[0].contains(read.boxes[0].center)
    np.testing.assert_allclose(read.boxes[0].axes, np.diag([-1, -1, 1]) @ axes)
    assert read.scribbles[0].points == ((-1, -2, 3), (-4, -5, 6))
    np.testing.assert_allclose(read.strokes[0].positions(True), painted.positions(True) * [-1, -1, 1])


def test_strokes_may_stand_in_a_file_beside_the_json(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    painted = np.zeros((6, 6, 6), np.uint8)
    painted[2, 3, 4], painted[5, 5, 5] = 1, 2
    nibabel.save(nibabel.Nifti1Image(painted, random_affine(4)), tmp_path / "strokes.nii.gz")
    document = {
        "format": "pwseg-prompts",
        "version": 1,
        "segments": [{"name": "a", "strokes": [{"file": "strokes.nii.gz"}]}],
    }
    (tmp_path / "p.json").write_text(json.dumps(document))
    strokes = read_prompts(tmp_path / "p.json")["a"].strokes[0]
    expected = (random_affine(4) @ [2, 3, 4, 1])[:3]
    np.testing.assert_allclose(strokes.positions(positive=True), [expected], atol=1e-3)


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        (PromptSet(), "There are no prompts"),
        (PromptSet((SegmentPrompts("liver"),)), "There are no prompts"),
        (liver(Point((5, 5, 5)), Point((100, 5, 5))), "outside the volume"),
        (liver(Point((5, 5, 5)), Scribble(((99, 0, 0), (99, 5, 0)), 1)), "outside the volume"),
        (liver(Box((500, 5, 5), (10, 10, 10))), "outside the volume"),
        (liver(Point((5, 5, 5)), Strokes.from_labelmap(np.ones((2, 2, 2)), random_affine(1))), "outside the volume"),
        (liver(Point((5, 5, 5)), Point((5, 5, 5))), "same point twice"),
        (liver(Box((5, 5, 5), (9, 9, 9)), Box((5, 5, 5), (9, 9, 9))), "same box twice"),
        (liver(Scribble(((5, 5, 5), (9, 5, 5)), 1), Scribble(((5, 5, 5), (9, 5, 5)), 1)), "same scribble twice"),
        (liver(Point((5, 5, 5)), Point((5.2, 5, 5), False)), "same voxel"),
        (liver(Point((5, 5, 5), False)), "only negative"),
        (liver(Box((20, 20, 20), (10, 10, 10)), Point((35, 20, 20))), "outside its box"),
        (liver(Point((5, 5, 5))).with_prompt("spleen", Point((5, 5, 5))), "both 'liver' and 'spleen'"),
    ],
)  # fmt: skip
def test_prompts_that_cannot_be_meant_are_refused_with_one_sentence(prompts, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        check_prompts(prompts, GRID)
    assert "\n" not in str(refused.value)


def test_a_turned_box_beside_a_corner_lies_outside():
    turned = tuple((np.array([[1, 1, 0], [-1, 1, 0], [0, 0, np.sqrt(2)]]).T / np.sqrt(2)).ravel())
    with pytest.raises(InputError, match="outside the volume"):
        check_prompts(liver(Box((46, 46, 20), (16, 20, 30), turned)), GRID)
    # ... and one that reaches into it by a sliver holds something.
    sliver = liver(Box((46, 46, 20), (18.6, 20, 30), turned))
    check_prompts(sliver, GRID)
    assert draw(sliver["liver"], GRID).inside.any()


@pytest.mark.parametrize(
    ("points", "radius", "touches"),
    [
        (((-50, 20, 20), (90, 20, 20)), 1.0, True),  # crosses the volume between two outside vertices
        (((20, 20, 45),), 10.0, True),  # a wide brush beside it
        (((20, 20, 45),), 3.0, False),
        (((-50, 20, 20), (20, 90, 20)), 1.0, False),  # passes by a corner
    ],
)
def test_a_scribble_lies_outside_where_it_touches_no_voxel(points, radius, touches):
    prompts = liver(Point((5, 5, 5)), Scribble(points, radius))
    assert draw(prompts["liver"], GRID, point_radius=0).positive.sum() > 1 or not touches
    if touches:
        check_prompts(prompts, GRID)
    else:
        with pytest.raises(InputError, match="wholly outside the volume"):
            check_prompts(prompts, GRID)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Point((float("nan"), 0, 0)), "finite"),
        (lambda: Point((1, 2)), "three finite numbers"),
        (lambda: Box((0, 0, 0), (1, 0, 1)), "positive size"),
        (lambda: Box((0, 0, 0), (1, 1, 1), (1, 0, 0, 0, 1, 0, 0, 0, 0)), "perpendicular"),
        (lambda: Box((0, 0, 0), (1e30, 1, 1)), "in mm"),
        (lambda: Scribble(((1e12, 0, 0),), 2), "in mm"),
        (lambda: Scribble(((0, 0, 0),), 1e30), "positive brush radius in mm"),
        (lambda: Scribble((), 2), "at least one point"),
        (lambda: Scribble(((0, 0, 0),), -1), "positive brush radius"),
        (lambda: Strokes.from_labelmap(np.zeros((3, 3, 3)), np.eye(4)), "empty"),
        (lambda: Strokes.from_labelmap(np.full((3, 3, 3), 7), np.eye(4)), "may only hold"),
        (lambda: SegmentPrompts(" "), "name"),
        (lambda: PromptSet((SegmentPrompts("a"), SegmentPrompts("a"))), "Two segments"),
    ],
)
def test_prompts_that_are_no_prompts_are_refused_with_one_sentence(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not valid JSON"),
        ("[]", '"format" must be'),
        ('{"format": "pwseg-prompts", "version": 9}', "version 9"),
        ('{"format": "pwseg-prompts", "version": 1}', "segments"),
        ('{"format": "pwseg-prompts", "version": 1, "segments": [{}]}', "name"),
        ('{"format": "pwseg-prompts", "version": 1, "segments": ["a"]}', "name"),
        ('{"format": "pwseg-prompts", "version": 1, "segments": [{"name": "a", "points": [{}]}]}', "'position'"),
        (
            '{"format": "pwseg-prompts", "version": 1, "segments": [{"name": "a", "points": [{"position": "x"}]}]}',
            "finite",
        ),
        ('{"format": "pwseg-prompts", "version": 1, "segments": [{"name": "a", "point": []}]}', '"point"'),
        (
            '{"format": "pwseg-prompts", "version": 1, "coordinateSystem": "IJK", "segments": []}',
            "RAS",
        ),
    ],
)
def test_files_that_are_no_prompt_sets_are_refused_with_the_reason(tmp_path, text, sentence):
    file = tmp_path / "p.json"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_prompts(file)


@pytest.mark.parametrize(
    ("place", "entry", "known"),
    [
        ((), "coordinate_system", "coordinateSystem"),
        (("segments", 0), "point", "points"),
        (("segments", 0, "points", 0), "positve", "position, positive"),
        (("segments", 0, "boxes", 0), "rotation", "center, size, orientation"),
        (("segments", 0, "scribbles", 0), "label", "points, radius, positive"),
        (("segments", 0, "strokes", 0), "coordinateSystem", "shape, affine, labels"),
    ],
)
def test_a_misspelt_entry_is_refused_wherever_it_stands(place, entry, known):
    strokes = Strokes.from_labelmap(np.ones((2, 2, 2)), np.eye(4))
    document = prompts_to_dict(liver(Point((1, 2, 3)), Box((1, 2, 3), (9, 9, 9)), Scribble(((1, 2, 3),), 2), strokes))
    prompts_from_dict(document)
    item = document
    for step in place:
        item = item[step]
    item[entry] = False
    with pytest.raises(InputError) as refused:
        prompts_from_dict(document)
    assert f'unknown entry "{entry}"' in str(refused.value) and known in str(refused.value)


@pytest.mark.parametrize("sign", ["false", 0, None])
def test_a_sign_that_is_none_is_refused_and_not_guessed(sign):
    document = prompts_to_dict(liver(Point((1, 2, 3), False)))
    document["segments"][0]["points"][0]["positive"] = sign
    with pytest.raises(InputError, match="true or false"):
        prompts_from_dict(document)


def test_damaged_strokes_are_refused():
    document = prompts_to_dict(liver(Strokes.from_labelmap(np.ones((2, 2, 2)), np.eye(4))))
    document["segments"][0]["strokes"][0]["labels"] = "eJwAAAD//w=="
    with pytest.raises(InputError, match="'liver' has a prompt that cannot be read"):
        prompts_from_dict(document)


def test_a_byte_order_mark_is_no_matter(tmp_path):
    write_prompts(liver(Point((1, 2, 3))), tmp_path / "p.json")
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "p.json").read_bytes())
    assert read_prompts(tmp_path / "bom.json") == liver(Point((1, 2, 3)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json"):
        read_prompts(tmp_path / "nowhere.json")
