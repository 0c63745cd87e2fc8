"""Padding, NaN and outliers do not poison normalisation."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from PWSegmentationLib import Region, Volume
from PWSegmentationLib.volume import normalise
from PWSegmentationLib.volume.intensity import robust_range


def ct_like(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(
        rng.random((40, 40, 20)) < 0.4, rng.normal(-900, 50, (40, 40, 20)), rng.normal(40, 30, (40, 40, 20))
    )


@pytest.mark.parametrize("padding", [-2048, -3024, -32768])
def test_padding_is_found_and_left_out(padding):
    image = ct_like().astype(np.int16)
    image[:8] = padding
    volume = Volume.from_array(image, np.eye(4))
    assert not volume.valid()[:8].any()
    assert volume.valid()[8:].all()
    plain = normalise(ct_like().astype(np.int16)[8:])
    np.testing.assert_allclose(normalise(image, volume.valid())[8:], plain, atol=0.02)


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint16, 63536), (np.int16, 32767), (np.float32, 65535.0)])
def test_padding_above_all_others_is_found_too(dtype, fill):
    image = (ct_like() + 1100).astype(dtype)
    image[:8] = fill
    volume = Volume.from_array(image, np.eye(4))
    assert not volume.valid()[:8].any() and volume.valid()[8:].all()
    values, _ = volume.measured()
    assert values.max() == image[8:].max()


def test_metal_is_no_padding():
    """Saturated at one value, also where the image ends, with a soft border."""
    away = np.linalg.norm(np.indices((40, 40, 20)) - np.array([0, 20, 10]).reshape(3, 1, 1, 1), axis=0)
    image = np.minimum(ct_like() + 30000 / (1 + np.exp((away - 6) / 0.7)), 20000.0)
    assert (image == 20000).mean() > 1e-3
    assert Volume.from_array(image, np.eye(4)).valid().all()


@pytest.mark.parametrize("value", [-3000.0, 30000.0])
def test_what_lies_within_the_image_is_no_padding(value):
    away = np.linalg.norm(np.indices((40, 40, 20)) - np.array([20, 20, 10]).reshape(3, 1, 1, 1), axis=0)
    assert Volume.from_array(np.where(away < 6, value, ct_like()), np.eye(4)).valid().all()


def cut_out(around: float) -> np.ndarray:
    """An organ of 100 ± 10 in nothing but ``around``."""
    index = np.indices((40, 40, 20)) - np.array([20, 20, 10]).reshape(3, 1, 1, 1)
    organ = (index**2).sum(axis=0) < 81
    return np.where(organ, 100 + 10 * np.random.default_rng(0).normal(size=organ.shape), around)


@pytest.mark.parametrize(
    "image",
    [
        *(ct_like(), np.abs(ct_like()) / 900, np.maximum(ct_like(), 0), np.full((9, 9, 9), 7.0)),
        *(cut_out(0.0), cut_out(-1000.0), cut_out(-1024.0)),
        *((cut_out(0.0) > 0).astype(np.uint8), np.round(cut_out(0.0) / 100) * 100, (cut_out(0.0) > 0) - 2000.0),
    ],
)
def test_an_ordinary_background_is_no_padding(image):
    assert Volume.from_array(image, np.eye(4)).valid().all()


def test_a_crop_of_padding_knows_that_it_is_padding():
    image = ct_like()
    image[:8] = -2048
    crop = Volume.from_array(image, np.eye(4)).crop(Region((0, 0, 0), (4, 9, 9)))
    assert not crop.valid().any()


def test_nan_and_infinity_do_not_poison():
    image = ct_like().astype(np.float32)
    clean = normalise(image)
    image[0, 0, 0], image[1, 1, 1], image[2, 2, 2] = np.nan, np.inf, -np.inf
    volume = Volume.from_array(image, np.eye(4))
    assert volume.valid().sum() == image.size - 3
    got = normalise(image, volume.valid())
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[3:], clean[3:], atol=0.01)


@pytest.mark.parametrize("fill", [3.4028234e38, 1e20, 1e30, 1e300, -1e300])
@pytest.mark.filterwarnings("error")
def test_huge_values_are_no_measurements(fill):
    image = ct_like().astype(np.float64 if abs(fill) > 1e39 else np.float32)
    clean = normalise(image[3:])
    image[:3] = fill
    volume = Volume.from_array(image, np.eye(4))
    assert not volume.valid()[:3].any() and volume.valid()[3:].all()
    values, valid = volume.measured()
    assert np.isfinite(values).all() and np.abs(values).max() < 5000
    np.testing.assert_allclose(normalise(image, valid)[3:], clean, atol=0.01)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_values_far_from_0_are_told_apart(dtype):
    image = ct_like().round()
    values, valid = Volume.from_array((image + 1e11).astype(dtype), np.eye(4)).measured()
    assert valid.all()
    np.testing.assert_array_equal(values - values.min(), image - image.min())


@pytest.mark.filterwarnings("error")
def test_half_precision_is_measured_as_any_other():
    assert Volume.from_array(ct_like().astype(np.float16), np.eye(4)).valid().all()


def test_scanner_units_do_not_matter():
    image = ct_like()
    np.testing.assert_allclose(normalise(image * 3.7 + 1000), normalise(image), atol=1e-5)


@pytest.mark.parametrize("order", ["C", "F"])
def test_looking_for_padding_copies_no_large_image(order):
    image = np.full((300, 300, 300), -3024, np.int16, order=order)
    image[20:] = (np.arange(280) % 60).astype(np.int16)[:, None, None]
    volume = Volume.from_array(image, np.eye(4))
    tracemalloc.start()
    assert volume.padding[0] is not None
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A sample of a million voxels is looked at.
    assert most < image.nbytes


def test_the_range_of_a_small_object_in_much_padding_is_that_of_all_its_voxels():
    image = np.full((128, 128, 128), -3024, np.int16)
    image[50:55, 50:55, 50:55] = np.arange(125).reshape(5, 5, 5)
    assert robust_range(image, image > -3000) == tuple(np.percentile(np.arange(125), [0.5, 99.5]))
