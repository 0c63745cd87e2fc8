"""Scenes made up at random: what holds in every one of them, and that together they vary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from PWSegmentationLib.procedural import appearance, artefacts, scene, shapes
from PWSegmentationLib.procedural.arrangement import SMALLEST, settled
from PWSegmentationLib.volume.intensity import find_padding

EDGE = 64
CUBE = np.ones((3, 3, 3))


@pytest.fixture(scope="module")
def scenes():
    return [scene(seed, edge=EDGE) for seed in range(12)]


@pytest.fixture(scope="module")
def affines():
    """Of many scenes: how they lie does not need much of a volume."""
    return [scene(seed, edge=16).volume.grid.affine[:3, :3] for seed in range(60)]


def masks(made):
    return {name: np.isin(made.labels, values) for name, values in made.structures.items()}


def length(mask, spacing):
    """Extent along the longest axis, in the finest voxels, and the ratio of the longest axis to the shortest."""
    places = np.argwhere(mask) * np.array(spacing) / min(spacing)
    values, axes = np.linalg.eigh(np.cov(places.T) + np.eye(3) / 12)
    return np.ptp(places @ axes[:, 2]) + 1, np.sqrt(values[2] / values[0])


def seen(image, mask):
    """The share of a structure's border at which it looks different from what is around, in 2 voxels either side.

    That is: the local means are further apart than the local standard deviation; or the standard deviations differ;
    or the border itself differs from what is behind it, as a septum does.
    """
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    box = tuple(slice(max(0, s.start - 5), s.stop + 5) for s in box)
    mask, image = mask[box], image[box] - image[mask].mean()
    behind = ndimage.binary_erosion(mask, CUBE, 2, border_value=1)
    border = mask & ndimage.binary_dilation(~mask)
    if not border.any():
        return 1.0

    def local(side):
        weight = ndimage.gaussian_filter(side.astype(np.float32), 1.5, truncate=2.5) + 1e-6
        mean = ndimage.gaussian_filter(image * side, 1.5, truncate=2.5) / weight
        square = ndimage.gaussian_filter(image**2 * side, 1.5, truncate=2.5) / weight
        return mean[border], np.maximum(square - mean**2, 1e-9)[border], weight[border]

    within, spread_within, _ = local(mask & ~behind)
    around, spread_around, _ = local(ndimage.binary_dilation(mask, CUBE, 2) & ~mask)
    deep, spread_deep, enough = local(behind)
    seam, _, _ = local(border | (ndimage.binary_dilation(mask) & ~mask))
    other_mean = np.abs(within - around) > np.sqrt((spread_within + spread_around) / 2)
    other_texture = np.abs(np.log(spread_within / spread_around)) > np.log(3)
    septum = (enough > 1e-3) & (np.abs(seam - deep) > np.sqrt(spread_deep))
    return (other_mean | other_texture | septum).mean()


def test_a_seed_says_everything(scenes):
    again = scene(3, edge=EDGE)
    assert np.array_equal(again.volume.array, scenes[3].volume.array)
    assert np.array_equal(again.labels, scenes[3].labels)
    assert np.array_equal(again.volume.grid.affine, scenes[3].volume.grid.affine)
    assert again.structures == scenes[3].structures
    assert len({made.volume.array.sum() for made in scenes}) == len(scenes)


def test_volume_and_labels_lie_on_one_grid(scenes):
    for made in scenes:
        assert made.volume.array.shape == made.labels.shape == made.volume.grid.shape
        assert made.volume.array.dtype == np.float32 and made.labels.dtype == np.uint8
        assert np.isfinite(made.volume.array).all()


def test_each_structure_is_there_and_in_one_piece(scenes):
    for made in scenes:
        named = {value for values in made.structures.values() for value in values}
        assert named == set(np.unique(made.labels)) - {0}
        for name, mask in masks(made).items():
            assert np.count_nonzero(mask) >= SMALLEST, name
            assert ndimage.label(mask, CUBE)[1] == 1, name


def test_lesions_are_part_of_what_they_are_in_and_walls_part_of_the_whole(scenes):
    values = [set(v) for made in scenes for v in made.structures.values() if len(v) > 1]
    inside = [set(v) for made in scenes for v in made.structures.values() if len(v) == 1]
    assert len(values) > 5 and all(any(one < whole for one in inside) for whole in values)


def test_there_is_enough_and_of_every_kind(scenes):
    assert np.median([len(made.structures) for made in scenes]) >= 8
    kinds = {name.split()[0] for made in scenes for name in made.structures}
    assert kinds >= {"organ", "lesion", "tube", "sheet", "chain", "divided", "wall", "core", "shell"}


def test_sizes_and_shapes_vary(scenes):
    measured = [length(mask, made.volume.grid.spacing) for made in scenes for mask in masks(made).values()]
    sizes, ratios = np.array(measured).T
    assert np.percentile(sizes, 97) > 10 * np.percentile(sizes, 3)
    assert (ratios < 1.6).mean() > 0.1 and (ratios > 3).mean() > 0.15


def test_nearly_every_structure_can_be_told_from_what_is_around_it(scenes):
    shares = [seen(made.volume.array, mask) for made in scenes for mask in masks(made).values()]
    assert np.mean(np.array(shares) > 0.6) >= 0.9
    # The measure itself: a mask that is not where the structure is has no such border.
    moved = [
        seen(made.volume.array, np.roll(mask, (7, 11, 5), (0, 1, 2)))
        for made in scenes
        for mask in masks(made).values()
    ]
    assert np.mean(np.array(moved) > 0.6) < 0.35


def test_grids_are_straight_turned_and_mirrored(affines):
    turned = [np.abs(a / np.linalg.norm(a, axis=0)).max(axis=0).min() for a in affines]
    assert 0.3 < np.mean(np.array(turned) > 0.9999) < 0.7
    assert any(0.95 < t < 0.9999 for t in turned) and any(t < 0.9 for t in turned)
    assert 0.25 < np.mean([np.linalg.det(a) < 0 for a in affines]) < 0.75


def test_spacings_are_those_of_scanners(affines):
    spacings = np.array([np.linalg.norm(a, axis=0) for a in affines])
    assert spacings.min() >= 0.5 and spacings.min(axis=1).max() <= 3.0
    thick = spacings.max(axis=1) / spacings.min(axis=1)
    assert 0.1 < np.mean(thick > 1.5) < 0.5 and thick.max() > 3


@pytest.mark.parametrize("seed", range(4))
def test_padding_far_below_the_data_is_recognised(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 100, (30, 40, 20)).astype(np.float32)
    labels = np.ones(image.shape, np.uint8)
    padded, kept = artefacts.padded(rng, image, labels, [-2000.0])
    assert find_padding(image) is None
    limit = find_padding(padded)
    assert limit is not None and -2000 < limit < -300
    assert np.array_equal(padded < limit, kept == 0) and 0 < np.mean(kept == 0) < 0.7


def test_some_scenes_have_padding_and_no_structure_lies_in_it(scenes):
    padded = [made for made in (scene(seed, edge=24) for seed in range(80)) if made.volume.padding[0] is not None]
    assert len(padded) >= 3
    for made in padded:
        assert not made.labels[~made.volume.valid()].any()


def test_thick_slices_are_means_and_most_frequent_labels():
    image = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((8, 2, 3), np.float32)
    labels = np.array([1, 1, 2, 3, 0, 0, 4, 4], np.uint8)[:, None, None] * np.ones((8, 2, 3), np.uint8)
    thin, named = artefacts.thickened(image, labels, 0, 3)
    assert thin.shape == named.shape == (2, 2, 3)
    assert thin[:, 0, 0].tolist() == [1, 4] and named[:, 0, 0].tolist() == [1, 0]


def test_what_fell_to_pieces_is_left_out():
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[2:10, 2:10, 2:10] = 1
    labels[20:28, 20:28, 20:28] = 1
    labels[12:18, 12:18, 12:18] = 2
    labels[2:4, 20, 20] = 2
    labels[0, 0, 0] = 3
    after, named = settled(labels, {"broken 1": (1,), "organ 2": (2,), "speck 3": (3,)})
    assert named == {"organ 2": (2,)}
    assert np.unique(after).tolist() == [0, 2] and (after == 2).sum() == 6**3


def test_what_does_not_show_is_left_out():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[2:8, 2:8, 2:8], labels[12:18, 12:18, 12:18] = 1, 2
    image = np.where(labels == 2, 1.0, 0.0).astype(np.float32)
    shown = appearance.visible(image, labels, {"grey 1": (1,), "white 2": (2,)}, noise=0.5)
    assert shown == {"white 2": (2,)}


def test_metal_is_brighter_than_all_and_nothing_else():
    rng = np.random.default_rng(0)
    image, labels = rng.normal(size=(40, 40, 40)).astype(np.float32), np.ones((40, 40, 40), np.uint8)
    spoilt, left = artefacts.with_metal(rng, image, labels, 1.0)
    metal = left == 0
    assert metal.any() and spoilt[metal].min() > np.percentile(image, 99)


@pytest.mark.parametrize("elongation", [1.0, 3.0, 10.0])
def test_a_blob_is_as_long_and_as_thin_as_asked_for(elongation):
    measured = [length(shapes.blob(np.random.default_rng(n), 60.0, elongation) > 0, (1, 1, 1)) for n in range(8)]
    lengths, ratios = np.median(measured, axis=0)
    assert lengths == pytest.approx(60, rel=0.2)
    assert ratios == pytest.approx(elongation, rel=0.35)


def test_the_parts_of_a_chain_are_apart_and_alike():
    for seed in range(6):
        stamp = shapes.chain(np.random.default_rng(seed), 60.0, limit=80)
        sizes = np.bincount(stamp.ravel())[1:]
        assert len(sizes) >= 3 and sizes.max() < 2 * sizes.min()
        assert ndimage.label(stamp > 0)[1] >= len(sizes)
