"""What the simulated annotator does in patient space: oblique, left-handed, anisotropic."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.annotator.protocols import PROTOCOLS, Noise, Protocol, SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.prompts.checks import check_placement
from PWSegmentationLib.volume.grid import Grid, Region
from Testing.Library.conftest import rotation

SHAPE, CENTER, RADIUS = (60, 50, 24), (30, 26, 12), 18.0


@pytest.fixture(params=["straight", "oblique and left-handed"])
def ball(request) -> Reference:
    """A ball of 18 mm radius in an anisotropic volume."""
    affine = np.diag([1.0, 1.2, 3.0, 1.0])
    if request.param != "straight":
        affine[:3, :3] = rotation(np.random.default_rng(5)) @ np.diag([-1.0, 1.2, 3.0])
    affine[:3, 3] = (-40, 15, 70)
    grid = Grid(SHAPE, affine)
    return Reference.of(inside_ball(grid).astype(np.uint8), (1,), grid)


def inside_ball(grid: Grid) -> np.ndarray:
    away = np.linalg.norm(grid.to_world(np.moveaxis(np.indices(SHAPE), 0, -1)) - grid.to_world(CENTER), axis=-1)
    return away < RADIUS


def distance(reference: Reference, world) -> np.ndarray:
    return np.linalg.norm(np.atleast_2d(world) - reference.grid.to_world(CENTER), axis=1)


@pytest.mark.parametrize("way", PROTOCOLS, ids=lambda p: p.name)
def test_prompts_are_the_same_for_the_same_seed_and_may_be_placed(ball, way):
    first, again = (SimulatedAnnotator(ball, way, seed=3).start() for _ in range(2))
    assert first == again
    assert first.has_positive
    if way.noise == Noise():
        check_placement(first, ball.grid)


def test_another_seed_gives_other_clicks(ball):
    way = protocol("points 5+10")
    assert SimulatedAnnotator(ball, way, seed=1).start() != SimulatedAnnotator(ball, way, seed=2).start()


def test_points_are_inside_and_outside(ball):
    prompts = SimulatedAnnotator(ball, protocol("points 5+10")).start()
    assert sum(p.positive for p in prompts.points) == 5 and len(prompts.points) == 15
    assert (distance(ball, prompts.positions(positive=True)) < RADIUS).all()
    outside = distance(ball, prompts.positions(positive=False)) - RADIUS
    assert ((outside > 2) & (outside < 19)).all()


def test_one_click_is_in_the_middle(ball):
    (point,) = SimulatedAnnotator(ball, protocol("one click")).start()
    assert distance(ball, point.position) < 3


def test_the_box_holds_the_ball_with_three_millimetres_to_spare(ball):
    (box,) = SimulatedAnnotator(ball, protocol("box")).start()
    voxels = ball.grid.to_world(np.argwhere(ball.over(Region.whole(SHAPE))))
    assert box.contains(voxels).all()
    # 36 mm across, 3 mm and at most a voxel on every side.
    assert np.all(np.array(box.size) >= 2 * RADIUS + 3) and np.all(np.array(box.size) <= 2 * RADIUS + 2 * 3 + 4 * 3)


def test_scribbles_are_where_they_were_painted(ball):
    (strokes,) = SimulatedAnnotator(ball, protocol("scribbles")).start()
    assert (distance(ball, strokes.positions(positive=True)) < RADIUS).all()
    assert (distance(ball, strokes.positions(positive=False)) > RADIUS).all()


def test_a_correction_goes_to_the_middle_of_the_largest_error(ball):
    annotator = SimulatedAnnotator(ball, protocol("one click"))
    prompts = annotator.start()
    half = ball.mask.copy()
    half[: half.shape[0] // 2] = False
    corrected = annotator.correct(prompts, ball.region, half)
    assert corrected is not None
    click = corrected.points[-1]
    assert click.positive
    assert ball.grid.to_voxel(click.position)[0] < CENTER[0] - 3
    # What is too much, far from the structure, is found as well.
    everything = np.ones(SHAPE, bool)
    corrected = annotator.correct(prompts, Region.whole(SHAPE), everything)
    assert corrected is not None and not corrected.points[-1].positive


def test_nothing_to_correct(ball):
    annotator = SimulatedAnnotator(ball, protocol("one click"))
    prompts = annotator.start()
    assert annotator.correct(prompts, ball.region, ball.mask) is None
    # The middle was clicked, and the method did not listen.
    assert annotator.correct(prompts, ball.region, np.zeros_like(ball.mask)) is None


def test_a_click_outside_the_box_enlarges_it(ball):
    annotator = SimulatedAnnotator(ball, Protocol("tight", box=True, corrections=1, noise=Noise(jitter_mm=0.0)))
    prompts = annotator.start()
    (box,) = prompts.boxes
    small = type(box)(box.center, (6.0, 6.0, 6.0), box.orientation)
    part = ball.mask.copy()
    part[: part.shape[0] * 3 // 4] = False
    corrected = annotator.correct(type(prompts)("structure", boxes=(small,)), ball.region, part)
    assert corrected is not None
    click, grown = corrected.points[-1], corrected.boxes[0]
    assert not small.contains(click.position) and grown.contains(click.position)
    check_placement(corrected, ball.grid)


def test_jitter_moves_clicks_no_further_than_it_says(ball):
    calm = SimulatedAnnotator(ball, protocol("points 20+20")).start()
    shaky = SimulatedAnnotator(ball, Protocol("shaky", inside=20, outside=20, noise=Noise(jitter_mm=4.0))).start()
    moved = np.linalg.norm(calm.positions(True) - shaky.positions(True)[: len(calm.positions(True))], axis=1)
    assert np.median(moved) > 1.0 and moved.max() <= 4.0 + 1e-6


def test_the_share_of_wrong_clicks():
    grid = Grid((90, 90, 90), np.eye(4))
    mask = np.zeros(grid.shape, np.uint8)
    mask[15:75, 15:75, 15:75] = 1
    reference = Reference.of(mask, (1,), grid)
    way = Protocol("wrong", inside=150, outside=150, noise=Noise(wrong_share=0.2))
    prompts = SimulatedAnnotator(reference, way).start()
    truth = [bool(mask[tuple(grid.to_voxel(p.position))]) for p in prompts.points]
    wrong = np.mean([p.positive != t for p, t in zip(prompts.points, truth, strict=True)])
    assert wrong == pytest.approx(0.2, abs=0.07)


def test_shaky_boxes_and_scribbles_stay_usable(ball):
    for seed in range(5):
        box = SimulatedAnnotator(ball, Protocol("b", box=True, noise=Noise(jitter_mm=5.0)), seed).start().boxes[0]
        assert min(box.size) > 20
        strokes = SimulatedAnnotator(ball, Protocol("s", scribbles=True, noise=Noise(jitter_mm=5.0)), seed).start()
        check_placement(strokes, ball.grid)


def test_ways_of_prompting_have_names():
    assert protocol("points 3+7") == Protocol("points 3+7", inside=3, outside=7)
    for wrong in ("lasso", "points 0+5", "points -1+2", ""):
        with pytest.raises(InputError, match="choose among 'points 5"):
            protocol(wrong)
    with pytest.raises(InputError, match="0 to 50 mm"):
        Noise(jitter_mm=-1)
    with pytest.raises(InputError, match="0 to 1"):
        Noise(wrong_share=1.5)
