"""Prompts land in the voxels they were placed in."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from PWSegmentationLib import Box, Grid, Point, Scribble, SegmentPrompts, Strokes
from PWSegmentationLib.prompts import draw
from Testing.Library.conftest import random_affine, rotation

grids = st.integers(0, 10_000).map(lambda seed: Grid((14, 11, 9), random_affine(seed)))
voxels = st.tuples(st.integers(0, 13), st.integers(0, 10), st.integers(0, 8))


@settings(deadline=None)
@given(grids, voxels, voxels, st.floats(0, 10))
def test_a_point_marks_its_voxel_whatever_else_is_near(grid, a, b, radius):
    points = [Point(tuple(grid.to_world(a)), True)] + ([Point(tuple(grid.to_world(b)), False)] if a != b else [])
    seeds = draw(SegmentPrompts("x", tuple(points)), grid, point_radius=radius)
    assert seeds.positive[a]
    assert a == b or seeds.negative[b]
    assert not (seeds.positive & seeds.negative).any()


@settings(deadline=None)
@given(grids, voxels, st.floats(0.5, 10))
def test_a_point_marks_a_ball_in_millimetres(grid, voxel, radius):
    center = grid.to_world(voxel)
    seeds = draw(SegmentPrompts("x", (Point(tuple(center)),)), grid, point_radius=radius)
    away = np.linalg.norm(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - center, axis=-1)
    ball = away <= radius
    ball[voxel] = True
    assert np.count_nonzero(seeds.positive != ball) <= np.count_nonzero(np.abs(away - radius) < 1e-9)


@settings(deadline=None)
@given(grids, voxels, voxels, st.floats(0.05, 5))
def test_a_scribble_is_an_unbroken_line_between_its_ends(grid, a, b, radius):
    ends = grid.to_world([a, b])
    seeds = draw(SegmentPrompts("x", scribbles=(Scribble(tuple(map(tuple, ends)), radius),)), grid)
    assert seeds.positive[a] and seeds.positive[b]
    # The voxels under the line alone hang together; those the brush covers lie around them.
    assert ndimage.label(seeds.positive, np.ones((3, 3, 3)))[1] == 1


@settings(deadline=None)
@given(grids, st.integers(0, 100))
def test_strokes_on_the_same_grid_are_taken_voxel_by_voxel(grid, seed):
    painted = np.random.default_rng(seed).integers(0, 3, grid.shape).astype(np.uint8)
    seeds = draw(SegmentPrompts("x", strokes=(Strokes.from_labelmap(painted, grid.affine),)), grid)
    np.testing.assert_array_equal(seeds.positive, painted == 1)
    np.testing.assert_array_equal(seeds.negative, painted == 2)


def test_strokes_leave_no_gaps_on_a_finer_grid_and_survive_a_coarser_one():
    painted = np.zeros((10, 10, 10), np.uint8)
    painted[5, :, 5] = 1
    strokes = (Strokes.from_labelmap(painted, np.eye(4)),)
    coarse = Grid((10, 10, 10), np.eye(4))
    fine = draw(SegmentPrompts("x", strokes=strokes), coarse.resampled((0.4, 0.4, 0.4))).positive
    assert fine.any(axis=(0, 2)).all()
    assert draw(SegmentPrompts("x", strokes=strokes), coarse.resampled((5, 5, 5))).positive.any(axis=(0, 2)).all()


@settings(deadline=None)
@given(grids, st.integers(0, 1000))
def test_a_turned_box_limits_where_the_segment_may_be(grid, seed):
    axes = rotation(np.random.default_rng(seed))
    box = Box(tuple(grid.to_world((7, 5, 4))), (20, 15, 10), tuple(axes.ravel()))
    inside = draw(SegmentPrompts("x", boxes=(box,)), grid).inside
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    expected = (np.abs((world - box.center) @ axes) <= [10, 7.5, 5]).all(axis=-1)
    expected[7, 5, 4] = True
    assert np.count_nonzero(inside != expected) <= 2


def test_the_later_scribble_and_the_point_win():
    grid = Grid((20, 20, 20), np.eye(4))
    first = Scribble(((2, 10, 10), (18, 10, 10)), 1, positive=True)
    second = Scribble(((10, 2, 10), (10, 18, 10)), 1, positive=False)
    click = Point((10, 10, 10), positive=True)
    seeds = draw(SegmentPrompts("x", (click,), scribbles=(first, second)), grid, point_radius=0)
    assert seeds.negative[10, 11, 10] and seeds.positive[10, 10, 10] and seeds.positive[4, 10, 10]


def test_what_others_claim_is_negative_here():
    grid = Grid((20, 20, 20), np.eye(4))
    other = SegmentPrompts("o", (Point((15, 10, 10)), Point((3, 3, 3), False)))
    seeds = draw(SegmentPrompts("x", (Point((5, 10, 10)),)), grid, others=[other], point_radius=0)
    assert seeds.negative[15, 10, 10]
    assert not seeds.negative[3, 3, 3], "what is not the other segment says nothing about this one"


def test_a_line_is_drawn_as_far_as_the_grid_goes():
    grid = Grid((14, 11, 9), np.eye(4))
    wanted = draw(SegmentPrompts("x", scribbles=(Scribble(((3, 5, 4), (50, 5, 4)), 2.0),)), grid).positive
    for far in (1e4, 1e7):
        scribble = Scribble(((3, 5, 4), (far, 5, 4), (3, far, far), (-far, far, 4)), 2.0)
        assert np.array_equal(draw(SegmentPrompts("x", scribbles=(scribble,)), grid).positive, wanted)


def test_the_thinnest_brush_still_draws_its_line():
    grid = Grid((14, 11, 9), np.eye(4))
    scribble = Scribble(((-5, 5, 4), (20, 5, 4)), 1e-9)
    assert np.argwhere(draw(SegmentPrompts("x", scribbles=(scribble,)), grid).positive).tolist() == [
        [i, 5, 4] for i in range(14)
    ]


@settings(deadline=None)
@given(grids, st.integers(0, 2), st.floats(0.01, 0.9), st.floats(-0.45, 0.45))
def test_a_box_thinner_than_a_voxel_holds_the_layer_it_lies_in(grid, axis, thin, off):
    axes = grid.affine[:3, :3] / np.array(grid.spacing)
    voxels = np.array([6.0, 4.0, 4.0])
    voxels[axis] = thin
    place = np.array([7.0, 5.0, 4.0])
    place[axis] += off
    size = tuple(voxels * grid.spacing * (1 - 1e-6))
    inside = draw(
        SegmentPrompts("x", boxes=(Box(tuple(grid.to_world(place)), size, tuple(axes.ravel())),)), grid
    ).inside
    others = [n for n in range(3) if n != axis]
    assert np.flatnonzero(inside.any(axis=tuple(others))).tolist() == [7 if axis == 0 else 5 if axis == 1 else 4]
    assert inside.sum() >= np.prod([voxels[n] - 1 for n in others])
