"""What is brought back to the volume's voxels slab by slab is what it is in one piece, and takes little memory."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import numpy as np
import pytest

from PWSegmentationLib.prediction import view
from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.promptable import promptable_model
from PWSegmentationLib.prompts.prompts import Box, Point, Scribble, SegmentPrompts
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.resampling import resample, resampled_slabs
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.conftest import bright_ellipsoid, random_affine

SHAPES = ((120, 70, 64), (64, 120, 70), (70, 64, 120))


def prompted(shape: tuple[int, int, int], seed: int) -> tuple[Volume, SegmentPrompts, SegmentPrompts]:
    """An ellipsoid on a random grid with a box, clicks and a scribble around its middle; and another's click."""
    affine = random_affine(seed)
    affine[:3, :3] *= 0.7 / np.linalg.norm(affine[:3, :3], axis=0)
    image, _, center = bright_ellipsoid(shape, affine, (13, 14, 15), seed)
    volume = Volume.from_array(image, affine)
    middle = np.array(shape) / 2
    size = 0.9 * np.array(shape) * volume.grid.spacing
    axes = tuple((affine[:3, :3] / volume.grid.spacing).ravel())

    def at(*share: float) -> tuple[float, float, float]:
        return tuple(volume.grid.to_world(middle * share))  # type: ignore[return-value]

    prompts = (Point(tuple(center)), Point(at(0.2, 0.9, 1.0), positive=False))
    scribble = Scribble((at(1.0, 0.8, 0.9), at(1.1, 1.0, 1.0)), 1.0)
    own = SegmentPrompts("ball", prompts, (Box(tuple(center), tuple(size), axes),), (scribble,))
    return volume, own, SegmentPrompts("other", (Point(at(1.8, 1.0, 1.0)),))


def answer(shape: tuple[int, int, int], seed: int, *, network: bool) -> Prediction:
    volume, own, other = prompted(shape, seed)
    return predict(volume, own, [other], model=promptable_model()[0] if network else None)


@pytest.mark.parametrize("network", [False, True], ids=["label", "network"])
@pytest.mark.parametrize("shape", SHAPES)
def test_slabs_change_no_voxel(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], network: bool) -> None:
    whole = answer(shape, 3, network=network)
    assert 0.02 < whole.region_mask.mean() < 0.7
    monkeypatch.setattr(view, "SLAB_VOXELS", 30_000)
    slabs = answer(shape, 3, network=network)
    np.testing.assert_array_equal(slabs.region_mask, whole.region_mask)
    np.testing.assert_allclose(slabs.region_probability, whole.region_probability, atol=1e-3)
    np.testing.assert_allclose(slabs.region_uncertainty, whole.region_uncertainty, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_slabs_are_the_parts_of_what_is_resampled_at_once(shape: tuple[int, int, int]) -> None:
    target = Grid(shape, random_affine(5))
    source = target.resampled(2.7 * np.array(target.spacing))
    values = np.random.default_rng(0).random(source.shape).astype(np.float32)
    whole = resample(values, source, target)
    found = np.full(shape, np.nan, np.float32)
    for region, slab in resampled_slabs(values, source, target, 20_000):
        assert slab.size < 40_000
        found[region.slices] = slab
    np.testing.assert_allclose(found, whole, rtol=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_was_measured_costs_one_copy(order: Literal["C", "F"]) -> None:
    array = np.asarray(np.random.default_rng(0).integers(-900, 900, (150, 140, 130)), np.int16, order=order)
    array[:20] = -3000
    volume = Volume.from_array(array, np.eye(4))
    assert volume.padding[0] is not None
    tracemalloc.start()
    values, valid = volume.measured()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not valid[:20].any() and valid[20:].all()
    np.testing.assert_array_equal(values[:20], array[20:].min())
    np.testing.assert_array_equal(values[20:], array[20:])
    # Four bytes, one that says whether it was measured, another for a moment.
    assert peak < 6.5 * array.size
    assert values.flags.c_contiguous == array.flags.c_contiguous


def test_a_large_box_takes_few_bytes_a_voxel(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (200, 190, 180)
    volume = Volume.from_array(np.zeros(shape, np.int16), np.eye(4))
    center = volume.grid.to_world(np.array(shape) / 2)
    box = Box(tuple(center), (190.0, 180.0, 170.0))
    own = SegmentPrompts("all", (Point(tuple(center)),), (box,))
    monkeypatch.setattr(view, "SLAB_VOXELS", 300_000, raising=False)
    tracemalloc.start()
    found = predict(volume, own, method="gaussian")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.region_mask.size > 5_000_000
    # Mask, two maps of 16 bits, the drawn prompts, and the working grid's arrays; in one piece it was 77 bytes a voxel.
    assert peak < 16 * found.region_mask.size
