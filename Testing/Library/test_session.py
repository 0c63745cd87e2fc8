"""What a front end relies on: prompts in, segments out, undo, locks, competition, determinism."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from PWSegmentationLib import Cancelled, InputError, Point, PromptSet, SegmentPrompts, Session
from PWSegmentationLib.session.engine import FinetuneReport
from Testing.Library.conftest import bright_ellipsoid, dice

AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])


@pytest.fixture
def two_lesions():
    """Two bright lesions, 35 mm apart, and a session on them."""
    image = np.random.default_rng(0).normal(20, 4, (60, 40, 30)).astype(np.float32)
    masks = {}
    for name, center in (("left", (18, 20, 15)), ("right", (42, 20, 15))):
        away = np.linalg.norm((np.moveaxis(np.indices(image.shape), 0, -1) - center) * [1.5, 1.5, 2.0], axis=-1)
        image += 80 * np.clip(9 - away, 0, 1)
        masks[name] = away < 8.5
    session = Session("cpu")
    session.set_image(image, AFFINE)
    return session, masks


LEFT, RIGHT = (27.0, 30.0, 30.0), (63.0, 30.0, 30.0)


def prompt_both(session: Session) -> None:
    session.add_point("left", LEFT)
    session.add_point("left", (45.0, 30.0, 30.0), positive=False)
    session.add_point("right", RIGHT)
    session.add_point("right", (45.0, 31.5, 30.0), positive=False)


def test_a_few_clicks_give_the_lesion(two_lesions):
    session, masks = two_lesions
    prompt_both(session)
    left, right = session.predict("left"), session.predict("right")
    assert dice(left.mask, masks["left"]) > 0.8
    assert dice(right.mask, masks["right"]) > 0.8
    assert left.mask.shape == left.probability.shape == left.uncertainty.shape == (60, 40, 30)
    assert left.volume_ml == pytest.approx(left.mask.sum() * 4.5 / 1000)
    np.testing.assert_array_equal(left.mask, (left.probability >= 0.5) & left.mask)
    assert left.uncertainty.min() >= 0 and left.uncertainty.max() <= 1


def test_every_prompt_is_obeyed(two_lesions):
    session, _ = two_lesions
    session.add_point("a", LEFT)
    session.add_point("a", (30.0, 30.0, 30.0), positive=False)
    session.add_scribble("a", [(45, 15, 20), (48, 18, 20)], 1.5)
    mask = session.predict().mask
    assert mask[18, 20, 15] and not mask[20, 20, 15] and mask[30, 10, 10] and mask[32, 12, 10]


def test_one_click_alone_never_takes_the_whole_volume(lesion):
    image, mask, affine, center = lesion
    session = Session("cpu")
    session.set_image(image, affine)
    session.add_point("lesion", center)
    found = session.predict().mask
    assert found[32, 32, 32]
    assert 0.2 * mask.sum() < found.sum() < 4 * mask.sum()


def test_a_click_on_the_outermost_face_is_obeyed(two_lesions):
    session, _ = two_lesions
    for method in ("network", "image-aware"):
        session.options = replace(session.options, method=method)
        # The image's last voxel ends at 59.5 * 1.5 mm, and its first one begins at -0.75 mm.
        for place, voxel in (((89.25, 30.0, 30.0), (59, 20, 15)), ((-0.75001, 30.0, 30.0), (0, 20, 15))):
            session.prompts = PromptSet().with_prompt("a", Point(place))
            assert session.predict("a").mask[voxel]
        session.add_point("a", LEFT)
        session.add_point("a", (89.25, 30.0, 30.0), positive=False)
        assert not session.predict("a").mask[59, 20, 15]


@pytest.mark.parametrize("method", ["auto", "image-aware"])
def test_a_box_around_the_whole_image_is_a_box_like_any_other(lesion, method):
    image, mask, affine, center = lesion
    session = Session("cpu", method=method)
    part = slice(16, 48)
    session.set_image(image[part, part, part], affine)
    session.add_box("lesion", center - 16, (80.0, 80.0, 80.0))
    assert dice(session.predict().mask, mask[part, part, part]) > 0.7


@pytest.mark.parametrize("outside", [False, True])
def test_what_the_gaussian_label_needs_is_said(two_lesions, outside):
    session, _ = two_lesions
    session.options = replace(session.options, method="gaussian")
    session.add_box("left", LEFT, (20.0, 20.0, 20.0))
    if outside:
        session.add_point("left", (45.0, 30.0, 30.0), positive=False)
    with pytest.raises(InputError, match="needs more than a box"):
        session.predict()
    session.add_point("left", LEFT)
    assert session.predict().mask[18, 20, 15]


def test_the_last_prompted_segment_is_answered(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    assert session.predict().segment == "right"
    session.add_point("left", (27.0, 33.0, 30.0))
    assert session.predict().segment == "left"
    assert session.segments == ("left", "right")


def test_undo_and_redo_take_prompts_and_masks_together(two_lesions):
    session, _ = two_lesions
    session.add_point("left", LEFT)
    first = session.predict()
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    second = session.predict()
    assert (first.mask != second.mask).any()
    assert session.undo()
    np.testing.assert_array_equal(session.predict().mask, first.mask)
    assert session.redo()
    np.testing.assert_array_equal(session.predict().mask, second.mask)
    assert not session.redo()
    assert session.undo() and session.undo() and not session.undo()
    with pytest.raises(InputError, match="no prompts"):
        session.predict()


def test_after_undo_and_another_step_there_is_nothing_to_redo(two_lesions):
    session, _ = two_lesions
    session.add_point("left", LEFT)
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    assert session.undo() and session.can_redo
    session.add_point("right", RIGHT)
    assert not session.can_redo and not session.redo()
    assert [len(session.prompts[name]) for name in session.segments] == [1, 1]


def test_removing_another_segment_leaves_the_one_that_is_worked_on(two_lesions):
    session, _ = two_lesions
    for name in ("left", "right", "third"):
        session.add_segment(name)
    session.add_point("left", LEFT)
    session.remove_segment("right")
    assert session.active == "left"
    session.remove_segment("left")
    assert session.active == "third"
    with pytest.raises(InputError, match="already is a segment 'third'"):
        session.add_segment("third")


def test_changed_holds_exactly_what_changed(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    before = session.labelmap() * 0
    for step in (lambda: None, lambda: session.add_point("left", (30.0, 36.0, 30.0)), session.undo, session.redo):
        step()
        changed = session.predict("left").changed
        after = session.labelmap()
        different = np.argwhere(before != after)
        if changed is None:
            assert len(different) == 0
        else:
            assert changed.start == tuple(different.min(axis=0))
            assert changed.stop == tuple(different.max(axis=0) + 1)
        before = after
    assert session.predict("left").changed is None


def test_segments_do_not_overlap_unless_asked_to(two_lesions):
    session, _ = two_lesions
    for other in (Session("cpu"), Session("cpu", allow_overlap=True)):
        other.set_volume(session.volume)
        other.add_box("a", (33, 30, 30), (30, 30, 30))
        other.add_box("b", (24, 30, 30), (30, 30, 30))
        both = other.predict("a").mask & other.predict("b").mask
        assert both.any() == other.allow_overlap


def test_the_order_of_predictions_does_not_matter(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    session.predict("left")
    again = Session("cpu")
    again.set_volume(session.volume)
    again.prompts = session.prompts
    np.testing.assert_array_equal(again.labelmap(), session.labelmap())


def test_a_locked_segment_never_changes(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    left = session.predict("left").mask
    session.lock("left")
    for refused in (
        lambda: session.add_point("left", (20.0, 20.0, 20.0)),
        lambda: session.remove_segment("left"),
        lambda: session.clear("left"),
        lambda: setattr(session, "prompts", PromptSet()),
    ):
        with pytest.raises(InputError, match="locked"):
            refused()
    session.add_box("right", (40, 30, 30), (60, 30, 30))
    right = session.predict("right").mask
    np.testing.assert_array_equal(session.predict("left").mask, left)
    assert not (left & right).any()
    session.lock("left", False)
    session.add_point("left", (27.0, 36.0, 30.0))


def test_a_segment_that_was_made_anew_is_locked_as_it_is_now(two_lesions):
    session, _ = two_lesions
    session.add_point("left", LEFT)
    assert session.predict().mask.any()
    session.clear("left")
    session.lock("left")
    assert not session.labelmap().any()
    with pytest.raises(InputError, match="locked and empty"):
        session.predict("left")
    session.lock("left", False)
    session.remove_segment("left")
    session.add_point("left", RIGHT)
    session.lock("left")
    mask = session.predict("left").mask
    assert mask[42, 20, 15] and not mask[18, 20, 15]


def test_locking_keeps_what_was_shown_and_answers_what_was_not(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    shown = session.predict("left").mask
    # A prompt of its neighbour would change it, were it not locked.
    session.add_scribble("right", [(24.0, 30.0, 30.0), (24.0, 33.0, 30.0)], 1.5)
    session.lock("left")
    np.testing.assert_array_equal(session.predict("left").mask, shown)
    session.lock("left", False)
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    session.lock("left")
    assert not session.predict("left").mask[22, 20, 15]


def test_locked_after_names_were_exchanged_a_segment_holds_its_own_prompts(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    session.predict("left")
    session.rename_segment("left", "other")
    session.rename_segment("right", "left")
    session.lock("left")
    mask = session.predict("left").mask
    assert mask[42, 20, 15] and not mask[18, 20, 15]


def test_a_prompt_far_away_changes_nothing_here(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    left = session.predict("left")
    session.add_point("right", (80.0, 50.0, 50.0), positive=False)
    session.predict("right")
    assert session.predict("left").region_mask is left.region_mask, "it was not even computed again"


def test_removing_and_clearing(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    session.predict()
    session.clear("left")
    assert session.segments == ("left", "right") and not (session.labelmap() == 1).any()
    session.remove_segment("left")
    assert session.segments == ("right",)
    session.undo()
    session.undo()
    assert (session.labelmap() == 1).any()


def test_a_labelmap_holds_any_number_of_segments():
    session = Session("cpu", method="image-aware")
    session.set_image(np.zeros((9, 9, 9)), np.eye(4))
    empty = PromptSet(tuple(SegmentPrompts(f"empty {number}") for number in range(256)))
    session.prompts = empty.with_prompt("last", Point((4, 4, 4)))
    assert session.labelmap()[4, 4, 4] == 257


def test_renaming_keeps_everything(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    before, prompts = session.labelmap(), session.prompts["left"]
    session.lock("left")
    session.rename_segment("left", "metastasis")
    assert session.segments == ("metastasis", "right") and session.locked == {"metastasis"}
    assert session.prompts["metastasis"].points == prompts.points
    np.testing.assert_array_equal(session.labelmap(), before)
    with pytest.raises(InputError, match="already is a segment"):
        session.rename_segment("metastasis", "right")


def test_a_single_prompt_can_be_taken_back(two_lesions):
    session, _ = two_lesions
    session.add_point("left", LEFT)
    first = session.predict().mask
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    session.add_point("left", (27.0, 36.0, 30.0))
    for point in session.prompts["left"].points[1:]:
        session.remove_prompt("left", point)
    np.testing.assert_array_equal(session.predict().mask, first)


def test_the_same_seed_gives_the_same_mask_twice(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    expected = session.predict("left")
    again = Session("cpu", seed=0)
    again.set_image(session.volume.array.copy(), AFFINE)
    again.prompts = session.prompts
    np.testing.assert_array_equal(again.predict("left").mask, expected.mask)
    np.testing.assert_array_equal(again.predict("left").probability, expected.probability)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda s: s.predict(), "no prompts"),
        (lambda s: s.predict("nobody"), "no segment 'nobody'"),
        (lambda s: s.add_point("a", (1e4, 0, 0)), "outside the volume"),
        (lambda s: s.add_point("a", (np.nan, 0, 0)), "finite"),
        (lambda s: (s.add_point("a", LEFT), s.add_point("a", LEFT)), "same point twice"),
        (lambda s: (s.add_point("a", LEFT), s.add_point("a", LEFT, False)), "positive and a negative"),
        (lambda s: (s.add_point("a", LEFT, False), s.predict()), "only negative"),
        (lambda s: (s.add_point("a", LEFT), s.add_point("b", LEFT)), "both 'a' and 'b'"),
        (lambda s: s.add_strokes("a", np.ones((2, 2, 2))), "give the labelmap's own affine"),
        (lambda s: s.finetune(0), "positive seconds"),
        (lambda s: s.finetune(5), "nothing to fine-tune"),
    ],
)
def test_a_wrong_step_is_refused_and_nothing_is_lost(two_lesions, act, sentence):
    session, _ = two_lesions
    session.add_point("kept", RIGHT)
    session.lock("kept")
    kept = session.prompts["kept"]
    if "no prompts" in sentence:
        session.set_volume(session.volume)
    with pytest.raises(InputError, match=sentence):
        act(session)
    assert "no prompts" in sentence or session.prompts["kept"] == kept


def test_without_an_image_the_sentence_says_so():
    with pytest.raises(InputError, match="no image yet"):
        Session("cpu").add_point("a", (0, 0, 0))


def test_an_unknown_device_is_refused_with_a_sentence(two_lesions):
    session, _ = two_lesions
    other = Session("cuda:99")
    other.set_volume(session.volume)
    other.add_point("a", LEFT)
    with pytest.raises(InputError, match="cuda:99"):
        other.predict()


def test_cancel_leaves_everything_as_it_was(two_lesions):
    session, _ = two_lesions
    session.add_point("left", LEFT)
    before = session.predict().mask
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    with pytest.raises(Cancelled):
        session.predict(cancel=lambda: True)
    session.undo()
    np.testing.assert_array_equal(session.predict().mask, before)


def test_progress_goes_from_nothing_to_all(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    seen: list[float] = []
    session.predict(progress=lambda done, what: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_strokes_are_prompts_too(two_lesions):
    session, masks = two_lesions
    strokes = np.zeros((60, 40, 30), np.uint8)
    strokes[16:21, 20, 15], strokes[30, 10:30, 15] = 1, 2
    session.add_strokes("left", strokes)
    mask = session.predict().mask
    assert mask[16:21, 20, 15].all() and not mask[30, 10:30, 15].any()
    assert dice(mask, masks["left"]) > 0.7


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_any_real_type_will_do(dtype):
    affine = np.diag([0.5, 0.5, 10, 1.0])
    image, mask, center = bright_ellipsoid((80, 80, 12), affine, (15, 15, 35))
    session = Session("cpu")
    session.set_image(np.clip(image, 0, 255).astype(dtype), affine)
    session.add_point("a", center)
    session.add_point("a", center + [10, 0, 0])
    session.add_point("a", center + [18.2, 0, 0], positive=False)
    session.add_point("a", center - [18.2, 0, 0], positive=False)
    assert dice(session.predict().mask, mask) > 0.6


@pytest.mark.stopwatch
def test_fine_tuning_says_whether_it_is_used_and_one_undo_takes_it_back(two_lesions):
    session, masks = two_lesions
    prompt_both(session)
    # Some are kept to judge by.
    for inside, outside in (((27.0, 36.0, 30.0), (27.0, 46.0, 30.0)), ((21.0, 30.0, 30.0), (9.0, 30.0, 30.0))):
        session.add_point("left", inside)
        session.add_point("left", outside, positive=False)
    before = session.predict("left").mask
    seen: list[float] = []
    reports = session.finetune(6, progress=lambda done, what: seen.append(done), segments=["left"])
    assert list(reports) == ["left"]
    assert reports["left"].reason
    assert reports["left"].steps > 0
    after = session.predict("left")
    assert ("adapted" in after.method) == reports["left"].accepted
    assert dice(after.mask, masks["left"]) > 0.8
    assert seen == sorted(seen)
    assert session.undo()
    np.testing.assert_array_equal(session.predict("left").mask, before)


def test_a_network_never_passes_to_another_structure_of_its_name(two_lesions, monkeypatch):
    session, _ = two_lesions
    network = object()
    report = FinetuneReport("left", True, "It is used.", 1, 1.0)
    monkeypatch.setattr(session._engine, "finetune", lambda *_, **__: {"left": (network, report)})
    click = Point((45.0, 30.0, 30.0), positive=False)
    of_left = PromptSet().with_prompt("left", Point(LEFT)).with_prompt("left", click)
    session.prompts = of_left
    session.finetune(1.0)
    session.add_point("left", (27.0, 33.0, 30.0))
    session.prompts = of_left
    assert session.models == {"left": network}, "all that it learnt from is still there"

    # As front ends do where a segment is removed and another one made.
    session.prompts = PromptSet()
    session.prompts = PromptSet().with_prompt("left", Point(RIGHT))
    assert not session.models
    assert session.undo() and session.undo()
    assert session.models == {"left": network}
    session.remove_prompt("left", click)
    assert not session.models


def test_cancelling_a_fine_tune_ends_it_soon(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    started = time.monotonic()
    with suppress(Cancelled):
        session.finetune(60, cancel=lambda: time.monotonic() - started > 1)
    assert time.monotonic() - started < 30
    assert session.predict("left").mask.any()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: s.add_point("x", None), "three finite numbers"),
        (lambda s: s.add_box("x", None, (9, 9, 9)), "three finite numbers"),
        (lambda s: s.add_box("x", (0, 0, 0), (9, 9, 9), "a"), "orientation"),
        (lambda s: s.add_scribble("x", None, 1.0), "at least one point"),
        (lambda s: s.add_scribble("x", [1, 2], 1.0), "three finite numbers"),
        (lambda s: s.finetune("x"), "positive seconds"),
        (lambda s: Session("cpu", method="foo"), "no method 'foo'"),
        (lambda s: Session("cpu", samples=-1), "samples must be a whole number that is not negative"),
        (lambda s: Session("cpu", seed=-1), "seed must be a whole number that is not negative"),
        (lambda s: Session("cpu", seed=None), "seed must be a whole number"),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(call, said):
    session = Session("cpu")
    session.set_image(np.zeros((9, 9, 9)), np.eye(4))
    with pytest.raises(InputError, match=said):
        call(session)
    assert session.segments == ()


def test_a_device_that_cannot_compute_is_refused():
    session = Session("meta")
    session.set_image(NOISE, np.eye(4))
    session.add_point("x", (20, 20, 20))
    with pytest.raises(InputError, match="'meta' cannot be used"):
        session.predict()


NOISE = np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32)
HOLES = np.where(np.arange(40)[:, None, None] % 2, NOISE, np.inf)
PADDED = np.where(np.arange(40)[:, None, None] < 10, -2048, NOISE * 30).astype(np.int16)


@pytest.mark.parametrize(
    ("image", "point"),
    [
        (NOISE[:, :, :1], (20, 20, 0)),
        (np.zeros((40, 40, 40)), (20, 20, 20)),
        (np.full((40, 40, 40), np.nan), (20, 20, 20)),
        (HOLES, (20, 20, 20)),
        (PADDED, (3, 20, 20)),
        (NOISE[:2, :3, :2], (1, 1, 1)),
    ],
    ids=["one slice", "constant", "all NaN", "infinities", "a click in padding", "a dozen voxels"],
)
@pytest.mark.filterwarnings("error")
def test_strange_images_give_something_small_and_finite(image, point):
    session = Session("cpu")
    session.set_image(image, np.eye(4))
    session.add_point("a", point)
    found = session.predict()
    assert found.mask[point]
    assert np.isfinite(found.probability).all()
    assert found.mask.sum() < 2000


def test_a_click_in_padding_is_told():
    session = Session("cpu")
    session.set_image(PADDED, np.eye(4))
    session.add_point("a", (3, 20, 20))
    assert "is padding" in session.predict().note
    session.add_point("a", (30, 20, 20))
    assert session.predict().note == ""


@pytest.mark.parametrize("method", ["auto", "image-aware"])
@pytest.mark.parametrize("fill", [np.nan, -3024.0])
def test_a_click_far_from_all_that_was_measured_is_told(fill: float, method: str) -> None:
    """Nothing that is looked at then holds a measurement, as beside a body that was cut out of a large image."""
    image = np.full((48, 48, 60), fill, np.float32)
    image[..., :10] = np.random.default_rng(0).normal(50, 10, (48, 48, 10))
    session = Session("cpu", method=method)
    session.set_image(image, np.diag([2.0, 2.0, 5.0, 1.0]))
    session.add_point("a", (50, 50, 250))
    found = session.predict()
    assert "is padding" in found.note
    assert found.mask.sum() < 50


@pytest.mark.parametrize("fill", [1e20, 3.4028234e38, 1e300])
@pytest.mark.filterwarnings("error")
def test_a_huge_fill_value_is_as_good_as_none(fill):
    def answer(value):
        session = Session("cpu")
        image = NOISE.astype(np.float64 if fill > 1e39 else np.float32) * 10
        image[15:25, 15:25, 15:25] += 100
        image[:10] = value
        session.set_image(image, np.eye(4))
        session.add_point("a", (20, 20, 20))
        return session.predict().mask

    found = answer(fill)
    assert np.array_equal(found, answer(np.nan))
    assert 500 < found.sum() < 1500


class TestCutOut:
    """What was cut out of an image lies in nothing: that is its background, whatever value it has."""

    INDEX = np.indices((40, 40, 40)) - 19.5
    ORGAN = (INDEX**2).sum(axis=0) < 12**2
    TISSUE = 100 + 10 * NOISE

    @pytest.mark.parametrize("method", ["auto", "image-aware"])
    @pytest.mark.parametrize(
        "image",
        [
            *(np.where(ORGAN, TISSUE, 0.0), np.where(ORGAN, TISSUE, -1000.0)),
            *(np.where(ORGAN, TISSUE, -300.0), np.where(ORGAN, TISSUE, np.nan), np.where(ORGAN, TISSUE, 4000.0)),
            *(ORGAN.astype(np.uint8), np.where(ORGAN, 100, -2000), np.where(ORGAN, 40, 300)),
        ],
        ids=["in 0", "in air of CT", "in padding", "in NaN", "in bright padding", "mask", "two values", "darker"],
    )
    def test_one_click_finds_it(self, image, method):
        session = Session("cpu", method=method)
        session.set_image(image, np.eye(4))
        session.add_point("organ", (19, 19, 19))
        assert dice(session.predict().mask, self.ORGAN) > 0.95

    @pytest.mark.parametrize("fill", [-1000.0, -1024.0])
    def test_what_differs_little_within_it_is_told_apart_in_air_of_ct(self, fill):
        """A nucleus of 4 mm, 4 units brighter: nothing where the air is a thousand units darker."""
        inner = (self.INDEX**2).sum(axis=0) < 5**2
        tissue = 30 + NOISE + 4 * inner

        def answer(around):
            session = Session("cpu")
            session.set_image(np.where(self.ORGAN, tissue, around), np.eye(4))
            session.add_point("nucleus", (19, 19, 19))
            session.add_point("nucleus", (27, 19, 19), False)
            return session.predict().mask

        assert dice(answer(fill), answer(0.0)) > 0.9

    def test_clicks_in_what_seemed_padding_tell_the_background(self):
        session = Session("cpu")
        session.set_image(np.where(self.ORGAN, self.TISSUE, -300.0), np.eye(4))
        session.add_point("organ", (19, 19, 19))
        for away in ((2, 19, 19), (37, 19, 19), (19, 2, 19), (19, 19, 37)):
            session.add_point("organ", away, False)
        assert dice(session.predict().mask, self.ORGAN) > 0.9


class TestSmallLesions:
    """A lesion of 8 mm in noise, where prompts cover more than they say."""

    @staticmethod
    def scene():
        index = np.indices((60, 60, 60)) - 30.0
        lesion = (index**2).sum(axis=0) < 16
        noise = np.random.default_rng(0).normal(0, 8, lesion.shape)
        session = Session("cpu")
        session.set_image(np.where(lesion, 100.0, 40.0) + noise, np.eye(4))
        return session, lesion

    @staticmethod
    def dice(session, lesion):
        mask = session.predict().mask
        return 2 * (mask & lesion).sum() / (mask.sum() + lesion.sum())

    def test_many_clicks_are_no_worse_than_one(self):
        session, lesion = self.scene()
        session.add_point("lesion", (30, 30, 30), True)
        one = self.dice(session, lesion)
        rng = np.random.default_rng(1)
        for direction in rng.normal(size=(19, 3)):
            unit = direction / np.linalg.norm(direction)
            session.add_point("lesion", 30 + 2.5 * unit, True)
            session.add_point("lesion", 30 - 13.0 * unit, False)
        assert one > 0.7
        assert self.dice(session, lesion) > one - 0.1

    def test_a_click_beside_the_border_does_not_take_the_tissue_beyond_it(self):
        session, lesion = self.scene()
        session.add_point("lesion", (30, 30, 30), True)
        before = session.predict().mask
        session.add_point("lesion", (30, 30, 35), False)
        after = session.predict().mask
        assert not after[30, 30, 35]
        far = np.linalg.norm(np.indices(lesion.shape) - np.array([30, 30, 35])[:, None, None, None], axis=0) > 20
        assert not (before != after)[far].any()
        assert self.dice(session, lesion) > 0.7

    def test_a_positive_click_in_a_box_keeps_what_the_box_says(self):
        session, lesion = self.scene()
        session.add_box("lesion", (30, 30, 30), (14, 14, 14))
        before = self.dice(session, lesion)
        session.add_point("lesion", (30, 30, 33), True)
        assert self.dice(session, lesion) > before - 0.05


def test_names_that_are_followed_may_swap_and_are_no_step(two_lesions):
    session, _ = two_lesions
    prompt_both(session)
    left, right = session.predict("left").mask, session.predict("right").mask

    session.follow_names({"left": "right", "right": "left"})

    assert set(session.segments) == {"left", "right"} and session.unanswered() == []
    assert np.array_equal(session.predict("right").mask, left) and np.array_equal(session.predict("left").mask, right)
    while session.undo():
        pass
    assert session.segments == ()
