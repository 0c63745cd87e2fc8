"""What was right before a correction stays: the answer before the last prompts is a part of the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from PWSegmentationLib import Session
from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.labels import load_case
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prediction.view import View, look_at
from PWSegmentationLib.prompts.prompts import Box, Point, PromptSet, SegmentPrompts
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.samples.development import development_cases
from PWSegmentationLib.session import session as session_module
from PWSegmentationLib.session.transcripts import request_from_parts, request_parts
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.conftest import bright_ellipsoid, random_affine
from Testing.Library.test_promptable import network

SHAPE = (48, 40, 32)
CENTRE, FAR = (24.0, 20.0, 16.0), (40.0, 20.0, 16.0)
CLICK = SegmentPrompts("organ", (Point(CENTRE),))


def seen(segment: SegmentPrompts) -> View:
    """A view of everything."""
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return look_at(Volume.from_array(image, np.eye(4)), segment, (), Region.whole(SHAPE))


def said(probability: np.ndarray | float, segment: SegmentPrompts = CLICK, grid: Grid | None = None) -> EarlierAnswer:
    grid = grid or Grid(SHAPE, np.eye(4))
    return EarlierAnswer(segment, (), grid, np.broadcast_to(np.float16(probability), grid.shape))


def label(value: float) -> PseudoLabel:
    return PseudoLabel(np.full(SHAPE, value, np.float32), np.ones(SHAPE, np.float32))


def slab(start: int, stop: int) -> np.ndarray:
    """Surely inside between two planes, surely outside elsewhere."""
    inside = np.full(SHAPE, 0.01)
    inside[start:stop] = 0.99
    return inside


def test_what_was_sure_stays_away_from_a_correction_and_not_around_it():
    corrected = CLICK.with_prompt(Point(FAR, positive=False))
    found = said(slab(4, 43)).into(label(0.1), seen(corrected), corrected).probability
    assert found[6:22, 4:36, 4:28].min() > 0.5, "the label alone would have dropped it"
    assert found[39:42, 18:23, 14:19].max() < 0.5, "the user says that it was wrong here"
    assert found[40, 20, 16] == 0 and found[24, 20, 16] == 1


def test_the_deeper_a_correction_lies_the_more_was_wrong():
    corrected = CLICK.with_prompt(Point(FAR, positive=False))
    given_up = []
    for end in (42, 48):
        found = said(slab(4, end)).into(label(0.1), seen(corrected), corrected).probability
        given_up.append(np.count_nonzero(found[:42] < 0.5))
    assert given_up[1] > 4 * given_up[0]


def test_a_click_that_only_confirms_changes_nothing():
    confirmed = CLICK.with_prompt(Point((34.0, 20.0, 16.0)))
    found = said(slab(4, 43)).into(label(0.1), seen(confirmed), confirmed).probability
    assert found[4:43].min() > 0.5 and found[:3].max() < 0.5


def test_where_nothing_was_found_the_label_stands():
    missed = CLICK.with_prompt(Point(FAR))
    found = said(0.01).into(label(0.9), seen(missed), missed).probability
    assert found.min() > 0.85


def test_who_is_unsure_is_outvoted():
    corrected = CLICK.with_prompt(Point(FAR, positive=False))
    assert said(0.5).into(label(0.9), seen(corrected), corrected).probability[10, 10, 10] > 0.5


def test_where_it_did_not_look_the_label_stands():
    part = Grid(SHAPE, np.eye(4)).crop(Region((0, 0, 0), (20, 40, 32)))
    found = said(0.99, grid=part).into(label(0.1), seen(CLICK), CLICK).probability
    assert found[5, 20, 16] > 0.5
    assert found[30, 10, 10] < 0.1 + 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_it_is_found_again_on_any_other_grid(seed):
    """Its own grid and the view's may be turned, mirrored and sampled differently."""
    affine = random_affine(seed)
    image, mask, center = bright_ellipsoid((40, 44, 36), affine, 10 * np.linalg.norm(affine[:3, :3], axis=0))
    volume = Volume.from_array(image, affine)
    click = SegmentPrompts("organ", (Point(tuple(center)),))
    earlier = said(np.where(mask, 0.98, 0.02), click, volume.grid)
    view = look_at(volume, click, (), Region.whole(volume.grid.shape), budget=30_000)
    half = PseudoLabel(np.full(view.grid.shape, 0.5, np.float32), np.ones(view.grid.shape, np.float32))
    found = view.to_fine(earlier.into(half, view, click).probability) >= 0.5
    assert 2 * np.count_nonzero(found & mask) / (found.sum() + mask.sum()) > 0.93


BOX = Box(CENTRE, (20.0, 20.0, 20.0))
OTHER = SegmentPrompts("other", (Point(FAR),))


@pytest.mark.parametrize(
    ("then", "now", "counts"),
    [
        ((CLICK, ()), (CLICK, ()), True),
        ((CLICK, ()), (CLICK.with_prompt(Point(FAR, positive=False)), ()), True),
        ((CLICK, ()), (SegmentPrompts("organ", (Point(FAR),)), ()), False),
        ((replace(CLICK, boxes=(BOX,)), ()), (CLICK, ()), False),
        ((CLICK, ()), (replace(CLICK, boxes=(BOX,)), ()), True),
        ((replace(CLICK, boxes=(BOX,)), ()), (replace(CLICK, boxes=(BOX,)), ()), True),
        ((CLICK, ()), (CLICK, (OTHER,)), True),
        ((CLICK, (OTHER,)), (CLICK, ()), False),
        ((CLICK, (OTHER,)), (CLICK, (replace(OTHER, name="renamed"),)), True),
        ((CLICK, ()), (replace(CLICK, name="renamed"), ()), True),
    ],
)
def test_what_somebody_has_taken_back_does_not_live_on(then, now, counts):
    grid = Grid(SHAPE, np.eye(4))
    assert EarlierAnswer(*then, grid, np.zeros(SHAPE, np.float16)).counts_for(*now) is counts


def test_what_was_said_of_a_box_counts_once_something_was_marked_inside():
    around = Box(CENTRE, (60.0, 60.0, 60.0))
    alone, boxed = SegmentPrompts("organ", boxes=(around,)), replace(CLICK, boxes=(around,))
    more = boxed.with_prompt(Point(FAR))

    def after(then: SegmentPrompts, now: SegmentPrompts) -> float:
        return float(said(0.99, then).into(label(0.1), seen(now), now).probability[1, 1, 1])

    assert after(alone, boxed) == np.float32(0.1)
    # A box that is drawn later says anew what is meant.
    assert after(CLICK, boxed) == np.float32(0.1)
    assert after(boxed, more) > 0.5


def stands(then: SegmentPrompts, now: SegmentPrompts, answer: np.ndarray | float) -> bool:
    return said(answer, then).middle_stands(seen(now), now)


def test_a_click_in_the_very_middle_of_what_a_box_found_says_that_all_of_it_is_wrong():
    alone = SegmentPrompts("organ", boxes=(Box(CENTRE, (40.0, 36.0, 28.0)),))
    found = slab(14, 34)
    here, there = (alone.with_prompt(Point(at, positive=False)) for at in (CENTRE, (16.0, 20.0, 16.0)))
    assert not stands(alone, here, found)
    # Beside its border something else is wrong; and what was marked inside is not.
    assert stands(alone, there, found) and stands(alone, here.with_prompt(Point(FAR)), found)
    # It is remembered: the answer was empty, or what was marked inside is elsewhere.
    assert not stands(here, here.with_prompt(Point(FAR)), 0.01)
    beside = here.with_prompt(Point(FAR))
    assert not stands(beside, beside.with_prompt(Point((41.0, 20.0, 16.0))), slab(36, 44))
    # Another box is another guess; without a click inside, what is beside the middle was one.
    assert stands(alone, replace(here, boxes=(Box(CENTRE, (44.0, 36.0, 28.0)),)), found)
    assert stands(alone, there, slab(36, 44))


def test_after_that_the_later_answer_stands_alone():
    alone = SegmentPrompts("organ", boxes=(Box(CENTRE, (40.0, 36.0, 28.0)),))
    later = np.where(slab(36, 44) > 0.5, 0.9, 0.1).astype(np.float32)
    for at, kept_there in ((CENTRE, 0.9), ((16.0, 20.0, 16.0), 0.01)):
        now = alone.with_prompt(Point(at, positive=False))
        found = said(slab(14, 34), alone).kept_in(later, seen(now), now, ())
        assert found[40, 20, 16] == pytest.approx(kept_there, abs=0.01)


def kept(later: float, now: SegmentPrompts, others: tuple[SegmentPrompts, ...] = ()) -> np.ndarray:
    """A later answer, the same everywhere, to ``now``, where a slab was said before."""
    return said(slab(4, 43)).kept_in(np.full(SHAPE, later, np.float32), seen(now), now, others)


def test_a_prompt_inside_takes_nothing_away_and_one_outside_adds_nothing():
    more, less = CLICK.with_prompt(Point(FAR)), CLICK.with_prompt(Point(FAR, positive=False))
    assert kept(0.1, more)[4:43].min() > 0.9 and np.all(kept(0.1, more)[:4] == np.float32(0.1))
    assert kept(0.9, less)[:4].max() < 0.1 and np.all(kept(0.9, less)[4:43] == np.float32(0.9))
    # What is added anew, or taken away anew, stands.
    assert np.all(kept(0.9, more)[:4] == np.float32(0.9)) and np.all(kept(0.1, less)[4:43] == np.float32(0.1))


def test_after_prompts_of_both_signs_or_a_new_box_the_later_answer_stands():
    both = CLICK.with_prompt(Point(FAR)).with_prompt(Point((2.0, 2.0, 2.0), positive=False))
    boxed = replace(CLICK.with_prompt(Point(FAR)), boxes=(BOX,))
    for now, others in ((both, ()), (boxed, ()), (CLICK, ()), (CLICK.with_prompt(Point(FAR)), (OTHER,))):
        assert np.all(kept(0.1, now, others) == np.float32(0.1))
    # Another segment's claim takes away, and adds nothing.
    assert kept(0.9, CLICK, (OTHER,))[:4].max() < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_clicks_inside_never_shrink_a_mask_whatever_the_network_says(seed):
    """A large object from clicks inside alone: answered anew each time, the mask once shrank at every click."""
    affine = random_affine(seed)
    image, mask, center = bright_ellipsoid((40, 44, 36), affine, 10 * np.linalg.norm(affine[:3, :3], axis=0))
    volume, model = Volume.from_array(image, affine), PromptableModel(network(spread=0.5))
    prompts, earlier = SegmentPrompts("organ", (Point(tuple(center)),)), None
    inside = volume.grid.to_world(np.argwhere(mask))
    for voxel in np.random.default_rng(seed).permutation(inside)[:4]:
        found = predict(volume, prompts, model=model, earlier=earlier)
        before = np.zeros(mask.shape, bool)
        before[found.region.slices] = found.region_mask
        earlier = EarlierAnswer(prompts, (), found.working_grid, found.working_probability)
        prompts = prompts.with_prompt(Point(tuple(voxel)))
        now = predict(volume, prompts, model=model, earlier=earlier)
        lost = before[now.region.slices] & ~now.region_mask
        # The grids that are worked on differ, and with them the outermost voxels.
        assert lost.sum() <= 0.03 * before.sum() + 5


def test_a_box_whose_middle_is_denied_is_empty_says_so_and_finds_what_is_clicked_then():
    """A plate along one face of its box, air in the middle: the air came back at every click outside."""
    plate = np.zeros(SHAPE, bool)
    plate[6:42, 6:14, 6:26] = True
    image = np.where(plate, 100.0, -800.0) + 8 * np.random.default_rng(0).standard_normal(SHAPE)
    session = Session("cpu")
    session.set_image(image.astype(np.float32), np.eye(4))
    session.add_box("plate", (24.0, 20.0, 16.0), (38.0, 30.0, 24.0))
    air = session.predict()
    assert air.mask.any() and not (air.mask & plate).any() and air.note == ""
    deepest = np.unravel_index(int(ndimage.distance_transform_edt(air.mask).argmax()), SHAPE)
    session.add_point("plate", tuple(float(v) for v in deepest), positive=False)
    empty = session.predict()
    assert not empty.mask.any() and "click inside" in empty.note
    session.add_point("plate", (24.0, 10.0, 16.0))
    found = session.predict()
    assert 2 * (found.mask & plate).sum() > 0.85 * (found.mask.sum() + plate.sum()) and found.note == ""


def session_on_a_lesion() -> Session:
    image, _, center = bright_ellipsoid(SHAPE, np.eye(4), (12, 9, 8))
    session = Session("cpu")
    session.set_image(image, np.eye(4))
    session.add_point("organ", center)
    session.predict()
    return session


def answered_at_once(session: Session) -> np.ndarray:
    """The probability that a session without a past gives for the same prompts."""
    alone = Session("cpu", method=session.options.method)
    alone.set_volume(session.volume)
    alone.prompts = session.prompts
    return alone.predict().probability


def test_undo_gives_the_same_answer_even_where_it_must_be_computed_again(monkeypatch):
    session = session_on_a_lesion()
    session.add_point("organ", (33.0, 20.0, 16.0))
    second = session.predict().probability
    # Nothing is kept.
    monkeypatch.setattr(session_module, "_HISTORY_BYTES", 0)
    session.add_point("organ", (24.0, 35.0, 16.0), positive=False)
    session.predict()
    session.undo()
    assert session.unanswered() == ["organ"]
    np.testing.assert_array_equal(session.predict().probability, second)


def test_a_prompt_taken_back_leaves_nothing_behind():
    session = session_on_a_lesion()
    wrong = Point((24.0, 36.0, 28.0))
    session.add_prompt("organ", wrong)
    session.predict()
    session.remove_prompt("organ", wrong)
    session.add_point("organ", (33.0, 20.0, 16.0))
    np.testing.assert_array_equal(session.predict().probability, answered_at_once(session))


def test_a_segment_that_comes_again_starts_anew():
    session = session_on_a_lesion()
    first, prompts = session.predict().probability, session.prompts
    session.prompts = PromptSet()
    session.prompts = prompts
    np.testing.assert_array_equal(session.predict().probability, first)
    session.remove_segment("organ")
    session.add_point("organ", (33.0, 20.0, 16.0))
    np.testing.assert_array_equal(session.predict().probability, answered_at_once(session))


def test_another_method_is_not_told_what_the_first_one_said():
    session = session_on_a_lesion()
    session.options = replace(session.options, method="image-aware")
    session.add_point("organ", (33.0, 20.0, 16.0))
    np.testing.assert_array_equal(session.predict().probability, answered_at_once(session))


def test_it_goes_to_another_process_and_arrives():
    session = session_on_a_lesion()
    session.add_point("organ", (33.0, 20.0, 16.0))
    request = session._question("organ").request
    assert request.earlier is not None
    document, arrays = request_parts(request)
    body = np.concatenate([np.ascontiguousarray(a).reshape(-1).view(np.uint8) for a in arrays])
    there = request_from_parts(document, body)
    assert there == request and there.earlier is not None
    assert there.earlier.segment == request.earlier.segment and there.earlier.grid.same_as(request.earlier.grid)
    np.testing.assert_array_equal(there.earlier.probability, request.earlier.probability)


def test_no_correction_costs_what_was_right():
    """Answered anew at every click, the third one costs half of this kidney."""
    chest = load_case(next(files for files in development_cases() if files.name == "chest CT"))
    reference = Reference.of(chest.labels, chest.structures["kidney_left"], chest.volume.grid)
    annotator = SimulatedAnnotator(reference, protocol("one click"))
    session = Session("cpu")
    session.set_volume(chest.volume)
    prompts = annotator.start()
    reached: list[float] = []
    for _ in range(6):
        session.prompts = PromptSet((prompts,))
        found = session.predict()
        both = np.count_nonzero(found.region_mask & reference.over(found.region))
        reached.append(2 * both / (np.count_nonzero(found.region_mask) + reference.voxels))
        corrected = annotator.correct(prompts, found.region, found.region_mask)
        assert corrected is not None
        prompts = corrected
    assert min(np.diff(reached)) > -0.1, reached
    assert reached[-1] > 0.75, reached
