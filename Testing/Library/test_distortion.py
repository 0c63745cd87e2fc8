"""Distorted real structures: still structures, and never the same twice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.pretraining.distortion import distorted
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.training_data import scene


def ball() -> tuple[Volume, Reference]:
    image, labels, grid = scene(0, edge=40)
    return Volume(image, grid), Reference.of(labels, (1,), grid)


def test_a_distorted_structure_is_in_one_piece_of_about_its_size() -> None:
    volume, reference = ball()
    for seed in range(12):
        made = distorted(volume, reference, np.random.default_rng(seed))
        assert made is not None
        image, found = made
        parts, count = ndimage.label(found.mask)
        assert np.bincount(parts.ravel())[1:].max() > 0.95 * found.voxels, count
        assert 0.4 * reference.volume_ml < found.volume_ml < 2.5 * reference.volume_ml
        assert image.valid().mean() > 0.3


def test_the_image_is_distorted_with_the_structure() -> None:
    """Its border is still where the image changes: inside and outside differ by more than the noise."""
    volume, reference = ball()
    clear = 0
    for seed in range(12):
        made = distorted(volume, reference, np.random.default_rng(seed))
        assert made is not None
        image, found = made
        values = np.nan_to_num(image.array)
        region = found.region.grown(3).intersection(type(found.region).whole(image.grid.shape))
        mask, values = found.over(region), values[region.slices]
        shell = ndimage.binary_dilation(mask, iterations=2) & ~ndimage.binary_dilation(mask)
        core = ndimage.binary_erosion(mask)
        if core.any() and shell.any():
            clear += abs(np.median(values[core]) - np.median(values[shell])) > 0.05
    assert clear >= 9


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    volume, reference = ball()
    first, again, other = (distorted(volume, reference, np.random.default_rng(s)) for s in (3, 3, 4))
    assert first is not None and again is not None and other is not None
    assert np.array_equal(first[0].array, again[0].array, equal_nan=True)
    assert first[0].array.shape != other[0].array.shape or not np.array_equal(first[0].array, other[0].array)
