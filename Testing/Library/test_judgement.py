"""What the label makes of how clicks lie."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.pseudolabel import image_aware
from PWSegmentationLib.pseudolabel.judgement import CUES, circumstances, click_weights
from PWSegmentationLib.volume.grid import Grid
from Testing.Library.conftest import dice, rotation

INSIDE = ((0, 0, 0), (12, 3, 0), (-12, -3, 4), (0, 8, -10))
OUTSIDE = ((34, 0, 0), (-34, 0, 0), (0, 28, 0), (0, -28, 0), (0, 0, 30), (0, 0, -30))


def grid_of(spacing: tuple[float, float, float], axes: np.ndarray | None = None) -> Grid:
    shape = tuple(int(np.ceil(88 / s)) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if axes is None else axes) * spacing
    affine[:3, 3] = -affine[:3, :3] @ (0.5 * np.array(shape) - 0.5)
    return Grid(shape, affine)


def clicks(inside: int = len(INSIDE), outside: int = len(OUTSIDE)) -> SegmentPrompts:
    segment = SegmentPrompts("organ")
    for places, count, positive in ((INSIDE, inside, True), (OUTSIDE, outside, False)):
        for x, y, z in places[:count]:
            segment = segment.with_prompt(Point((x + 0.2, y + 0.1, z - 0.1), positive))
    return segment


def about(grid: Grid, segment: SegmentPrompts) -> tuple[float, ...]:
    seeds = draw(segment, grid)
    return circumstances(seeds.positive, seeds.negative, np.array(grid.spacing))


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 0.7), (1.6, 1.6, 1.6), (0.8, 0.8, 2.4)])
def test_clicks_lie_alike_on_any_grid(spacing: tuple[float, float, float]) -> None:
    usual = about(grid_of((1.0, 1.0, 1.0)), clicks())
    turned = grid_of(spacing, rotation(np.random.default_rng(1)))
    np.testing.assert_allclose(about(turned, clicks()), usual, atol=0.06)


def test_what_differs_is_seen() -> None:
    grid = grid_of((1.0, 1.0, 1.0))
    few, many = about(grid, clicks(2, 2)), about(grid, clicks())
    assert many[1] > few[1] and many[2] > few[2]
    assert 0.0 <= many[3] <= 1.0 and 0.0 <= many[4] <= 1.0
    row = SegmentPrompts("vessel")
    for x in (-30, -15, 0, 15, 30):
        row = row.with_prompt(Point((x, 0.0, 0.0), True)).with_prompt(Point((x, 12.0, 0.0), False))
    assert about(grid, row)[5] < 0.1 < about(grid, clicks())[5], "a row of clicks is no round thing"
    assert set(click_weights(many)) == {*CUES, "constant"}


def test_no_cue_is_taken_for_the_opposite_however_many_clicks_there_are() -> None:
    for inside, outside in ((1, 1), (1, 1000), (1000, 1), (1000, 1000)):
        counts = 0.5 * np.log([inside, outside])
        weights = click_weights((1.0, *counts, 0.0, 0.0, 0.0))
        assert min(weights[name] for name in CUES) >= 0.0


@pytest.mark.parametrize("seed", range(3))
def test_an_organ_clicked_in_its_middle_alone_is_found_to_its_border(seed: int) -> None:
    """Not everybody clicks close to the border; the label must not take it to be half way to the clicks outside."""
    grid = grid_of((1.2, 1.2, 1.2))
    x, y, z = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    radius = np.sqrt((x / 28) ** 2 + (y / 22) ** 2 + (z / 24) ** 2)
    noise = np.random.default_rng(seed).normal(size=grid.shape)
    image = (40 + 100 / (1 + np.exp((radius - 1) * 15)) + 8 * noise).astype(np.float32)
    seeds = draw(clicks(), grid)
    found = image_aware(image, grid.spacing, seeds.positive, seeds.negative)
    assert dice(found.mask, radius < 1) > 0.9
