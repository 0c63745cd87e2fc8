"""The simulated annotator on shapes where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib.annotator import placement

SPACING = (1.0, 2.0, 4.0)


@pytest.fixture
def ball():
    index = np.moveaxis(np.indices((60, 40, 20)), 0, -1) * SPACING
    return np.linalg.norm(index - [30, 40, 40], axis=-1) < 20


def test_the_centre_of_a_ball_is_its_centre(ball):
    voxel, depth = placement.centre(ball, SPACING)
    assert tuple(voxel) == (30, 20, 10)
    assert depth.max() == pytest.approx(20, abs=2)


def test_clicks_fall_inside_and_into_the_shell_outside(ball):
    inside, outside = placement.points(ball, SPACING, 5, 10)
    assert len(inside) == 5 and len(outside) == 10
    assert tuple(inside[0]) == (30, 20, 10)
    assert ball[tuple(inside.T)].all() and not ball[tuple(outside.T)].any()
    away = np.linalg.norm(outside * SPACING - [30, 40, 40], axis=1) - 20
    assert ((away > 1) & (away < 17)).all()


def test_clicks_are_the_same_for_the_same_seed(ball):
    for a, b in zip(placement.points(ball, SPACING, 5, 10, 3), placement.points(ball, SPACING, 5, 10, 3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_scribbles_lie_on_three_slices(ball):
    strokes = placement.scribbles(ball, SPACING)
    assert ball[strokes == 1].all() and not ball[strokes == 2].any()
    on_a_slice = np.zeros_like(ball)
    on_a_slice[30], on_a_slice[:, 20], on_a_slice[:, :, 10] = True, True, True
    assert not strokes[~on_a_slice].any()


def test_the_box_is_three_millimetres_loose(ball):
    box = placement.box(ball, SPACING)
    assert box.start == (11 - 3, 11 - 2, 6 - 1)
    assert box.stop == (50 + 3, 30 + 2, 15 + 1)


def test_the_next_click_is_in_the_middle_of_the_largest_error(ball):
    missing = ball.copy()
    missing[:30] = False
    missing[55, 5, 5] = True
    voxel, inside = placement.next_click(missing, ball, SPACING)
    assert inside and ball[tuple(voxel)] and voxel[0] < 30
    assert placement.next_click(ball, ball, SPACING) is None


def test_a_hand_misses_by_at_most_the_jitter_and_in_every_direction():
    missed = placement.jitter(4000, 5.0, np.random.default_rng(0))
    length = np.linalg.norm(missed, axis=1)
    assert length.max() <= 5.0
    # Uniform in the ball: half of the misses are beyond the cube root of one half of the radius.
    assert np.median(length) == pytest.approx(5.0 * 0.5 ** (1 / 3), rel=0.02)
    assert np.abs(missed.mean(axis=0)).max() < 0.15
