"""Voxels and millimetres agree on any grid."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from PWSegmentationLib import Grid, InputError, Region, Volume
from PWSegmentationLib.volume import resample
from Testing.Library.conftest import random_affine

grids = st.integers(0, 10_000).map(lambda seed: Grid((12, 7, 9), random_affine(seed)))


@given(grids, st.integers(0, 11), st.integers(0, 6), st.integers(0, 8))
def test_a_position_at_a_voxel_centre_is_in_that_voxel(grid, i, j, k):
    world = grid.to_world((i, j, k))
    assert tuple(grid.to_voxel(world)) == (i, j, k)
    assert grid.contains(world)
    # ... and anywhere else in the voxel, too.
    assert tuple(grid.to_voxel(grid.to_world((i + 0.49, j - 0.49, k + 0.49)))) == (i, j, k)


@given(grids)
def test_positions_outside_every_voxel_are_outside(grid):
    assert grid.contains(grid.to_world((-0.49, 6.49, 8.49)))
    assert not grid.contains(grid.to_world((-0.6, 3, 3)))
    assert not grid.contains(grid.to_world((3, 3, 8.6)))


@given(grids, st.floats(-0.500005, 6.500005), st.sampled_from([-0.500005, -0.5, 11.5, 11.500005]))
def test_a_position_on_the_outermost_face_is_in_the_voxel_there(grid, j, i):
    world = grid.to_world((i, j, 8.5))
    voxel = grid.to_voxel(world)
    assert grid.contains(world)
    assert voxel[0] in (0, 11) and 0 <= voxel[1] <= 6 and voxel[2] == 8


@given(grids)
def test_spacing_and_volume_survive_rotation(grid):
    lengths = np.linalg.norm(np.diff(grid.to_world([(0, 0, 0), (1, 0, 0)]), axis=0))
    assert grid.spacing[0] == pytest.approx(lengths)
    assert grid.voxel_volume == pytest.approx(np.prod(grid.spacing))


@given(grids)
def test_a_crop_keeps_voxels_where_they_are(grid):
    crop = grid.crop(Region((2, 1, 3), (9, 5, 8)))
    assert crop.shape == (7, 4, 5)
    np.testing.assert_allclose(crop.to_world((0, 0, 0)), grid.to_world((2, 1, 3)), atol=1e-9)


@given(grids, st.floats(0.4, 6.0))
def test_a_resampled_grid_has_the_same_outer_faces(grid, spacing):
    other = grid.resampled((spacing,) * 3)
    for corner in np.ndindex(2, 2, 2):
        mine = grid.to_world(np.where(corner, np.array(grid.shape) - 0.5, -0.5))
        theirs = other.to_world(np.where(corner, np.array(other.shape) - 0.5, -0.5))
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    assert max(other.spacing) <= spacing + 1e-6


@given(grids, st.floats(0, 20))
def test_the_region_of_positions_holds_them_and_the_margin(grid, margin):
    world = grid.to_world([(3, 3, 3), (6, 4, 5)])
    region = grid.region_of(world, margin)
    inside = np.argwhere(np.ones(grid.shape))
    near = np.linalg.norm(grid.to_world(inside) - world[0], axis=1) <= margin
    assert ((inside[near] >= region.start) & (inside[near] < region.stop)).all()
    assert grid.region_of(world) == Region((3, 3, 3), (7, 5, 6))


places = st.tuples(*[st.integers(-2, 4)] * 3)
regions = st.builds(lambda start, size: Region(start, tuple(np.add(start, size))), places, places)


def voxels_of(region: Region) -> set[tuple[int, ...]]:
    return set(product(*map(range, region.start, region.stop)))


@given(regions, regions, places)
def test_regions_are_sets_of_voxels(a, b, offset):
    assert voxels_of(a.intersection(b)) == voxels_of(a) & voxels_of(b)
    assert voxels_of(a.shifted(offset)) == {tuple(np.add(v, offset)) for v in voxels_of(a)}
    either = np.array(sorted(voxels_of(a) | voxels_of(b))).reshape(-1, 3)
    assert a.union(b).is_empty == (len(either) == 0)
    if len(either):
        assert a.union(b) == Region(tuple(either.min(axis=0)), tuple(either.max(axis=0) + 1))
    values = np.random.default_rng(0).random(a.shape)
    fitted = a.fitted(values, b)
    assert fitted.shape == b.shape
    for voxel in voxels_of(b):
        expected = values[tuple(np.subtract(voxel, a.start))] if voxel in voxels_of(a) else 0
        assert fitted[tuple(np.subtract(voxel, b.start))] == expected


@settings(max_examples=25)
@given(grids, st.booleans())
def test_resampling_a_linear_ramp_gives_the_ramp(grid, parallel):
    """Linear interpolation is exact for a ramp, on a parallel grid and on a turned one."""
    slope = np.array([0.3, -0.2, 0.5])
    ramp = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) @ slope
    spread = np.ptp(ramp)
    affine = grid.affine.copy() if parallel else random_affine(7)
    affine[:3, :3] *= 0.2 if parallel else 0.01
    affine[:3, 3] = grid.to_world((5, 3, 4))
    target = Grid((6, 5, 4), affine)
    expected = target.to_world(np.moveaxis(np.indices(target.shape), 0, -1)) @ slope
    assert np.abs(resample(ramp, grid, target) - expected).max() < 1e-4 * max(spread, 1)


def test_resampling_to_the_same_grid_changes_nothing():
    grid = Grid((5, 6, 7), random_affine(3))
    values = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    np.testing.assert_allclose(resample(values, grid, grid), values, atol=1e-6)


@settings(max_examples=25)
@given(grids, st.sampled_from([None, 0.0, -5.0]), st.sampled_from("CF"))
def test_resampling_beyond_the_image_is_the_same_on_a_grid_that_is_turned_by_a_hair(grid, outside, order):
    values = np.asarray(np.random.default_rng(1).normal(size=grid.shape), np.float32, order=order)
    affine = grid.affine.copy()
    affine[:3, :3] *= 0.7
    affine[:3, 3] = grid.to_world((-2.4, -1.7, -3.1))
    turned = affine @ np.array([[1, 1e-5, 0, 0], [-1e-5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])

    straight, oblique = (resample(values, grid, Grid((26, 17, 22), a), outside=outside) for a in (affine, turned))

    np.testing.assert_allclose(straight, oblique, atol=2e-3)
    if outside is not None:
        assert (straight[0] == outside).all() and (straight[-1] == outside).all()


def test_a_coarser_grid_averages_instead_of_picking():
    grid = Grid((40, 40, 40), np.eye(4))
    stripes = np.zeros(grid.shape, np.float32)
    stripes[::2] = 1
    coarse = resample(stripes, grid, grid.resampled((4, 4, 4)))
    assert np.abs(coarse[1:-1] - 0.5).max() < 0.1


@pytest.mark.parametrize(
    ("affine", "word"),
    [(np.zeros((4, 4)), "0 0 0 1"), (np.diag([1.0, 1, 0, 1]), "singular"), (np.full((4, 4), np.nan), "finite")],
)
def test_an_unusable_affine_is_refused_with_a_sentence(affine, word):
    with pytest.raises(InputError, match=word):
        Grid((4, 4, 4), affine)


def test_unusable_images_are_refused_with_a_sentence():
    with pytest.raises(InputError, match="three axes"):
        Volume.from_array(np.zeros((4, 4, 4, 3)), np.eye(4))
    with pytest.raises(InputError, match="at least one voxel"):
        Volume.from_array(np.zeros((4, 0, 4)), np.eye(4))
    with pytest.raises(InputError, match="real numbers"):
        Volume.from_array(np.zeros((4, 4, 4), complex), np.eye(4))


def test_a_volume_is_a_view_of_the_callers_memory():
    array = np.zeros((5, 5, 5), np.int16)
    volume = Volume.from_array(array, np.eye(4))
    assert np.shares_memory(volume.array, array)
    assert np.shares_memory(volume.crop(Region((1, 1, 1), (3, 3, 3))).array, array)


def test_a_grid_stays_in_its_place_whatever_becomes_of_the_array_that_it_was_made_of():
    affine = np.eye(4)
    grid = Grid((4, 4, 4), affine)
    affine[:3, 3] = 100
    assert grid.contains((1, 1, 1)) and not grid.contains((101, 101, 101))


@pytest.mark.parametrize("spacing", [1e-5, 1e5])
def test_voxels_of_any_size_have_a_grid(spacing):
    grid = Grid((4, 5, 6), np.diag([spacing, spacing, spacing, 1]))
    assert tuple(grid.to_voxel(grid.to_world((3, 2, 1)))) == (3, 2, 1)
    with pytest.raises(InputError, match="singular"):
        Grid(
            (4, 5, 6),
            np.diag([spacing, spacing, spacing, 1]) @ [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        )
