"""The same scene gives the same segment, however the scanner happened to sample it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PWSegmentationLib import Grid, Point, PromptSet, Session
from PWSegmentationLib.session.engine import Method
from Testing.Library.conftest import dice, rotation


def scene(world: np.ndarray) -> np.ndarray:
    """A smooth scene in mm: a kidney-sized ellipsoid on a textured background."""
    x, y, z = np.moveaxis(np.asarray(world), -1, 0)
    radius = np.sqrt((x / 30) ** 2 + (y / 22) ** 2 + (z / 25) ** 2)
    return 40 + 100 / (1 + np.exp((radius - 1) * 12)) + 3 * np.sin(x / 9) * np.cos(y / 11 + z / 7)


def organ(grid: Grid) -> np.ndarray:
    x, y, z = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    return (x / 30) ** 2 + (y / 22) ** 2 + (z / 25) ** 2 < 1


def off_the_faces(place):
    """Not on a voxel's face, where the least rounding decides which voxel is meant."""
    return (place[0] + 0.13, place[1] + 0.17, place[2] - 0.11)


INSIDE = ((0, 0, 0), (15, 5, 0), (-15, -5, 5), (0, 8, -12), (0, -8, 12))
OUTSIDE = (
    *((40, 0, 0), (-40, 0, 0), (0, 32, 0), (0, -32, 0), (0, 0, 35), (0, 0, -35)),
    *((28, 22, 0), (-28, -22, 0), (20, 0, 28), (-20, 0, -28)),
)
PROMPTS = PromptSet()
for place in INSIDE:
    PROMPTS = PROMPTS.with_prompt("organ", Point(off_the_faces(place)))
for place in OUTSIDE:
    PROMPTS = PROMPTS.with_prompt("organ", Point(off_the_faces(place), positive=False))


def centred_grid(axes: np.ndarray, spacing: tuple[float, float, float], size_mm: float = 120.0) -> Grid:
    shape = tuple(int(np.ceil(size_mm / s)) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = -affine[:3, :3] @ (0.5 * np.array(shape) - 0.5)
    return Grid(shape, affine)


def segment(grid: Grid, method: Method) -> np.ndarray:
    session = Session("cpu", method=method)
    session.set_image(scene(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))), grid.affine)
    session.prompts = PROMPTS
    return session.predict("organ").mask


def compared_in_world(mask: np.ndarray, grid: Grid, other: np.ndarray, on: Grid) -> float:
    """Dice of two masks on different grids, judged at the voxels of the first."""
    index = np.moveaxis(on.to_index(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))), -1, 0)
    there = ndimage.map_coordinates(other.astype(np.float32), index, order=1, mode="nearest") >= 0.5
    return dice(mask, there)


@pytest.fixture(scope="module", params=["image-aware", "network"])
def reference(request):
    grid = centred_grid(np.eye(3), (1.5, 1.5, 1.5))
    mask = segment(grid, request.param)
    assert dice(mask, organ(grid)) > 0.88, "the scene itself must be solved, or equal answers mean nothing"
    return grid, mask, request.param


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_the_order_and_direction_of_axes_do_not_matter(reference, order, flips):
    grid, mask, method = reference
    other = centred_grid(np.eye(3)[:, order] * flips, (1.5, 1.5, 1.5))
    assert compared_in_world(mask, grid, segment(other, method), other) >= 0.98


# Sampling the same scene on other voxels moves the border by a tenth of a millimetre or two. The aim is 0.98; these are
# the floors of what is reached today (docs/accuracy.md). In slices thrice as thick as the pixels the network finds the
# organ better than on the voxels compared with (Dice with the truth .94 and .91), and so not the same.
FLOORS = {
    "image-aware": {"oblique": 0.94, "voxels": 0.97, "thick slices": 0.96},
    "network": {"oblique": 0.95, "voxels": 0.97, "thick slices": 0.93},
}


@pytest.mark.parametrize("seed", range(4))
def test_an_oblique_scan_gives_the_same_segment(reference, seed):
    grid, mask, method = reference
    other = centred_grid(rotation(np.random.default_rng(seed)), (1.5, 1.5, 1.5))
    assert compared_in_world(mask, grid, segment(other, method), other) >= FLOORS[method]["oblique"]


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (2.0, 1.2, 1.5)])
def test_another_voxel_size_gives_the_same_segment(reference, spacing):
    grid, mask, method = reference
    other = centred_grid(np.eye(3), spacing)
    found = segment(other, method)
    floor = FLOORS[method]["thick slices" if max(spacing) > 2 * min(spacing) else "voxels"]
    assert compared_in_world(mask, grid, found, other) >= floor
    assert dice(found, organ(other)) >= dice(mask, organ(grid)) - 0.01, "and no worse a one"


def test_a_scan_turned_in_the_scanner_gives_the_very_same_voxels(reference):
    """The same array under a rotated affine, with prompts rotated along: for the label nothing at all may differ.

    The network sees the patient's right, anterior and superior always in the same order, and so another scene.
    """
    grid, mask, method = reference
    turn = np.eye(4)
    turn[:3, :3], turn[:3, 3] = rotation(np.random.default_rng(5)), (100, -50, 30)
    session = Session("cpu", method=method)
    session.set_image(scene(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))), turn @ grid.affine)
    for point in PROMPTS["organ"].points:
        session.add_point("organ", (turn @ [*point.position, 1])[:3], point.positive)
    assert dice(session.predict().mask, mask) >= (0.98 if method == "network" else 0.999)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, -1000.0), (0.01, 0.0), (7.3, 120.0)])
def test_scanner_units_do_not_matter(reference, scale, shift):
    grid, mask, method = reference
    session = Session("cpu", method=method)
    image = scene(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)))
    session.set_image((image * scale + shift).astype(np.float32), grid.affine)
    session.prompts = PROMPTS
    assert dice(session.predict().mask, mask) >= 0.99
