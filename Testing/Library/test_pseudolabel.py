"""Pseudo-labels: what a user would notice, on small synthetic scenes."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import ndimage

from PWSegmentationLib import Cancelled
from PWSegmentationLib.pseudolabel import (
    PseudoLabel,
    farthest_points,
    gaussian,
    gaussian_label,
    image_aware,
    region_of_interest,
    working_spacing,
)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2.0 * int((a & b).sum()) / total


def ellipsoid(shape, centre, radii, spacing=(1.0, 1.0, 1.0)) -> np.ndarray:
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((g * s - c) / r) ** 2 for g, s, c, r in zip(grids, spacing, centre, radii, strict=True)) <= 1


def scene(shape=(48, 44, 40), spacing=(1.0, 1.0, 1.0), noise=8.0):
    """An organ (100) in tissue (40) with a bright neighbour (160) and smooth noise, in arbitrary units."""
    extent = np.asarray(shape) * np.asarray(spacing)
    organ = ellipsoid(shape, extent * (0.45, 0.5, 0.5), extent * (0.24, 0.27, 0.25), spacing)
    other = ellipsoid(shape, extent * (0.85, 0.5, 0.5), extent * (0.12, 0.2, 0.2), spacing)
    image = np.full(shape, 40.0)
    image[organ] = 100.0
    image[other & ~organ] = 160.0
    image += noise * np.random.default_rng(0).standard_normal(shape)
    return ndimage.gaussian_filter(image, 0.6 / np.asarray(spacing)).astype(np.float32), organ


def box_around(mask, loose):
    """The bounding box of ``mask``, so many voxels larger on each side, as bool voxels."""
    where = np.argwhere(mask)
    inside = np.zeros(mask.shape, bool)
    sides = zip(where.min(0), where.max(0), strict=True)
    inside[tuple(slice(max(0, a - loose), b + 1 + loose) for a, b in sides)] = True
    return inside


def bent_scene(bright, spacing, loose):
    """A thin arc around a ball that is no part of it, as a rib around a lung, and a box around the arc."""
    shape = tuple(round(n / s) for n, s in zip((64, 60, 40), spacing, strict=True))
    x, y, z = (g * s for g, s in zip(np.ogrid[tuple(slice(0, n) for n in shape)], spacing, strict=True))
    away = np.hypot(x - 32, y - 14)
    arc = (abs(away - 24) < 2.5) & (abs(z - 20 - 0.2 * (x - 32)) < 4) & (y > 16)
    image = np.where(away + 0 * z < 19, -200.0 if bright else 200.0, 40.0)
    image[arc] = 160.0 if bright else -120.0
    image += 12 * np.random.default_rng(0).standard_normal(shape)
    return image.astype(np.float32), arc, box_around(arc, loose)


def ball(shape, middle, radius):
    """A click, as it is drawn."""
    return ellipsoid(shape, middle, (radius,) * 3)


def clicks(organ, spacing, count=(5, 10), seed=0):
    """Clicks well inside, and clicks a few millimetres outside."""
    inner = np.argwhere(ndimage.distance_transform_edt(organ, sampling=spacing) > 3)
    outer_distance = ndimage.distance_transform_edt(~organ, sampling=spacing)
    outer = np.argwhere((outer_distance > 3) & (outer_distance < 10))
    positive, negative = np.zeros(organ.shape, bool), np.zeros(organ.shape, bool)
    for mask, points, n in ((positive, inner, count[0]), (negative, outer, count[1])):
        first = int(np.random.default_rng(seed).integers(len(points)))
        mask[tuple(points[farthest_points(points * np.asarray(spacing), n, first=first)].T)] = True
    return positive, negative


ONE = (1.0, 1.0, 1.0)


class TestGaussian:
    def test_is_the_direct_sum(self):
        rng = np.random.default_rng(1)
        shape, sigma = (30, 24, 20), (5.0, 3.0, 2.5)
        points = rng.uniform(0, 1, (40, 3)) * shape
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
        direct = sum(np.exp(-(((grid - p) / sigma) ** 2).sum(-1) / 2) for p in points)
        direct = (direct - direct.min()) / (direct.max() - direct.min())
        result = gaussian(points, shape, sigma)
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, direct, atol=1e-6)

    @pytest.mark.stopwatch
    def test_200_points_on_a_full_volume_exact_and_100_times_faster(self):
        shape = (256, 256, 160)
        points = np.random.default_rng(2).uniform(0, 1, (200, 3)) * shape
        axes = np.ogrid[tuple(slice(0, n) for n in shape)]
        start = time.perf_counter()
        for p in points[:2]:  # a hundredth of the direct sum
            np.exp(-sum((a - c) ** 2 for a, c in zip(axes, p, strict=True)) / 200.0)
        hundredth = time.perf_counter() - start
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            result = gaussian(points, shape, 10.0)
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < hundredth
        some = np.random.default_rng(3).integers(0, shape, (300, 3))
        raw = np.array([np.exp(-((points - v) ** 2).sum(1) / 200.0).sum() for v in some])
        order = np.argsort(raw)
        slope, offset = np.polyfit(raw, result[tuple(some.T)], 1)
        np.testing.assert_allclose(slope * raw + offset, result[tuple(some.T)], atol=1e-6)
        assert raw[order[-1]] > raw[order[0]]

    def test_width_in_millimetres(self):
        a = gaussian([[5, 6, 7]], (12, 12, 12), (4.0, 2.0, 1.0))
        b = gaussian([[5, 6, 7]], (12, 12, 12), 2.0, spacing=(0.5, 1.0, 2.0))
        np.testing.assert_allclose(a, b, atol=1e-6)

    def test_no_point_is_refused_and_a_single_voxel_is_one(self):
        with pytest.raises(ValueError, match="at least one point"):
            gaussian(np.zeros((0, 3)), (4, 4, 4), 1.0)
        with pytest.raises(ValueError, match="positive"):
            gaussian([[1, 1, 1]], (4, 4, 4), 0.0)
        assert gaussian([[0, 0, 0]], (1, 1, 1), 1.0).item() == 1.0

    def test_label_does_not_claim_to_know_its_own_rim(self):
        label = gaussian_label([[10, 10, 10]], (21, 21, 21), ONE, 4.0)
        values = gaussian([[10, 10, 10]], (21, 21, 21), 4.0)
        assert label.probability[10, 10, 10] == 1.0 and label.probability[0, 0, 0] == 0.0
        assert np.all(label.probability[values < 0.5] == 0)
        assert label.confidence[np.abs(values - 0.5) < 0.05].max() <= 0.11


class TestFarthestPoints:
    def test_spreads_over_the_extremes(self):
        line = np.arange(101.0)[:, None] * [1.0, 0.0, 0.0]
        chosen = line[farthest_points(line, 3, first=0), 0]
        assert chosen.tolist() == [0.0, 100.0, 50.0]

    def test_is_exact_and_never_repeats(self):
        points = np.random.default_rng(0).integers(0, 5, (300, 3)).astype(float)
        chosen = farthest_points(points, 40, first=7)
        assert len(set(chosen.tolist())) == 40
        assert np.array_equal(chosen, farthest_points(points, 40, first=7))
        for n in range(1, 40):
            d = np.linalg.norm(points[:, None] - points[chosen[:n]][None], axis=-1).min(1)
            assert d[chosen[n]] == d.max()
        assert len(farthest_points(points, 1000, first=0)) == 300
        assert len(farthest_points(points[:0], 5, first=0)) == 0


class TestRegion:
    def test_follows_the_prompts_not_the_volume(self):
        low, high = region_of_interest(np.array([[100.0, 100, 100]]))
        assert np.all(high - low <= 120) and np.all(high - low >= 40)
        low, high = region_of_interest(np.zeros((0, 3)), boxes_mm=np.array([[[10, 20, 30], [40, 50, 60]]]))
        assert np.all(low < [10, 20, 30]) and np.all(high > [40, 50, 60]) and np.all(high - low < 60)

    def test_a_single_background_click_does_not_close_the_other_sides(self):
        low, high = region_of_interest(np.array([[100.0, 100, 100]]), np.array([[110.0, 100, 100]]))
        assert np.all(low <= 75) and high[1] >= 125

    def test_working_voxels(self):
        assert working_spacing((40, 40, 40), (1, 1, 1)).tolist() == [1, 1, 1]
        large = working_spacing((300, 300, 300), (0.7, 0.7, 2.5))
        assert np.ptp(large) < 1.0 and np.prod(300 / large) <= 1_500_000
        slices = working_spacing((60, 60, 100), (0.5, 0.5, 10))
        assert slices[2] == 10 and slices[0] == slices[1] >= 0.5


class TestImageAware:
    def test_few_clicks_find_the_organ(self):
        image, organ = scene()
        label = image_aware(image, ONE, *clicks(organ, ONE))
        assert isinstance(label, PseudoLabel)
        assert label.probability.dtype == np.float32 and label.confidence.dtype == np.float32
        assert label.probability.min() >= 0 and label.probability.max() <= 1
        assert dice(label.mask, organ) > 0.9

    def test_seeds_keep_their_label_even_against_the_image(self):
        image, organ = scene()
        positive, negative = clicks(organ, ONE)
        negative[tuple(np.argwhere(organ).mean(0).astype(int))] = True
        positive[1, 1, 1] = True
        label = image_aware(image, ONE, positive, negative & ~positive)
        assert label.mask[positive].all() and not label.mask[negative & ~positive].any()
        assert label.confidence[positive | negative].min() == 1

    def test_one_point_fills_the_organ_and_stops(self):
        image, organ = scene((64, 60, 56))
        positive = np.zeros(image.shape, bool)
        positive[tuple(np.argwhere(organ).mean(0).astype(int))] = True
        label = image_aware(image, ONE, positive, np.zeros_like(positive))
        assert dice(label.mask, organ) > 0.6
        assert label.mask.sum() < 0.3 * label.mask.size

    def test_one_point_in_a_constant_image_stays_bounded(self):
        positive = np.zeros((50, 50, 50), bool)
        positive[25, 25, 25] = True
        label = image_aware(np.zeros(positive.shape, np.float32), ONE, positive, np.zeros_like(positive))
        assert 1 <= label.mask.sum() < 0.25 * label.mask.size

    def test_one_point_in_a_small_lesion(self):
        shape = (50, 50, 50)
        lesion = ellipsoid(shape, (25, 25, 25), (3, 3, 3))
        image = np.where(lesion, 100.0, 40.0) + 4 * np.random.default_rng(0).standard_normal(shape)
        positive = np.zeros(shape, bool)
        positive[25, 25, 25] = True
        label = image_aware(image.astype(np.float32), ONE, positive, np.zeros_like(positive))
        assert dice(label.mask, lesion) > 0.6

    def test_only_a_box(self):
        image, organ = scene()
        inside = box_around(organ, 2)
        nothing = np.zeros_like(inside)
        label = image_aware(image, ONE, nothing, nothing, inside)
        assert not label.probability[~inside].any() and np.all(label.confidence[~inside] == 1)
        assert dice(label.mask, organ) > 0.85

    @pytest.mark.parametrize(
        ("bright", "spacing", "loose"), [(True, ONE, 2), (True, ONE, 0), (True, ONE, 4), (False, (1.0, 1.0, 2.0), 2)]
    )
    def test_only_a_box_around_what_bends_around_its_middle(self, bright, spacing, loose):
        image, arc, inside = bent_scene(bright, spacing, loose)
        nothing = np.zeros_like(inside)
        label = image_aware(image, spacing, nothing, nothing, inside)
        assert dice(label.mask, arc) > 0.7
        # Clicks are believed: this end is not meant; or the ball is.
        end, here = np.zeros_like(inside), np.zeros_like(inside)
        end[tuple(np.argwhere(arc)[0])] = True
        here[tuple(np.argwhere(inside).mean(0).astype(int))] = True
        assert not (image_aware(image, spacing, nothing, end, inside).mask & end).any()
        assert dice(image_aware(image, spacing, here, nothing, inside).mask, arc) < 0.3

    def test_a_click_outside_takes_away_what_it_lies_in_and_leaves_the_rest_of_what_bends(self):
        image, arc, inside = bent_scene(True, ONE, 4)
        # As bright as the arc and grown to it: at its end a lump that is no part of it.
        middle = np.argwhere(arc)[0] + (5, 3, 0)
        lump = ellipsoid(image.shape, middle, (7, 7, 7)) & inside & ~arc
        image[lump] = 160.0
        nothing = np.zeros_like(inside)
        before = image_aware(image, ONE, nothing, nothing, inside).mask
        after = image_aware(image, ONE, nothing, ball(image.shape, np.argwhere(lump).mean(0), 2), inside).mask
        assert (before & lump).sum() > 0.7 * lump.sum()
        assert (after & lump).sum() < 0.4 * (before & lump).sum()
        far = arc & ~ellipsoid(image.shape, middle, (16, 16, 16))
        assert (after & far).sum() > 0.8 * (before & far).sum() > 0.6 * far.sum()

    def test_what_bends_around_the_middle_faintly_is_meant_once_a_click_says_that_something_else_is_not(self):
        image, arc, inside = bent_scene(True, ONE, 2)
        image[arc] -= 65.0
        nothing = np.zeros_like(inside)
        in_the_ball = ball(image.shape, (32, 25, 20), 2)
        assert dice(image_aware(image, ONE, nothing, nothing, inside).mask, arc) < 0.2
        assert dice(image_aware(image, ONE, nothing, in_the_ball, inside).mask, arc) > 0.5
        # But not if something else is clicked.
        here = ball(image.shape, (20, 28, 17), 2)
        assert dice(image_aware(image, ONE, here, in_the_ball, inside).mask, arc) < 0.3

    def test_a_click_inside_that_finds_more_leaves_what_was_found(self):
        image, arc, inside = bent_scene(True, ONE, 4)
        # Its end is cut off.
        end = arc & (np.indices(arc.shape)[0] > 50)
        image[arc & (np.indices(arc.shape)[0] // 2 == 25)] = 40.0
        nothing = np.zeros_like(inside)
        there = ball(image.shape, np.argwhere(end).mean(0), 2)
        mask = image_aware(image, ONE, there, nothing, inside).mask
        assert dice(mask & ~end, arc & ~end) > 0.6 and mask[there].all()

    def test_a_click_that_denies_the_middle_of_a_box_is_believed(self):
        shape = (48, 64, 40)
        organ = ellipsoid(shape, (24, 12, 20), (12, 10, 12)) | ellipsoid(shape, (24, 52, 20), (12, 10, 12))
        image = np.where(organ, 100.0, 40.0)
        image[ellipsoid(shape, (24, 32, 20), (12, 8, 12)) & ~organ] = 160.0
        image += 8 * np.random.default_rng(0).standard_normal(shape)
        positive, negative = np.zeros(shape, bool), np.zeros(shape, bool)
        positive[24, [12, 52], 20] = True
        negative[24, 34, 20] = True
        label = image_aware(image.astype(np.float32), ONE, positive, negative, box_around(organ, 2))
        assert dice(label.mask, organ) > 0.9

    def test_the_middle_of_a_box_is_not_meant_where_it_is_of_the_tissue_of_clicks_outside(self):
        # A plate along one face of its box, and air in the middle.
        shape = (50, 60, 40)
        plate, inside = np.zeros(shape, bool), np.zeros(shape, bool)
        inside[5:45, 8:52, 5:35] = True
        plate[6:44, 9:18, 6:34] = True
        image = np.where(plate, 100.0, -800.0) + 8 * np.random.default_rng(0).standard_normal(shape)
        image = image.astype(np.float32)
        middle = ball(shape, (25, 30, 20), 3)
        here, there = ball(shape, (25, 13, 20), 2), ball(shape, (36, 13, 24), 2)
        # Neither is near the middle.
        one, two = ball(shape, (25, 45, 20), 2), ball(shape, (12, 40, 12), 2)
        for positive, negative in ((here | there, one), (here, one | two)):
            label = image_aware(image, ONE, positive, negative, inside)
            assert (label.mask & middle).any(), "one click may be about a detail"
        label = image_aware(image, ONE, here | there, one | two, inside)
        assert not (label.mask & middle).any() and dice(label.mask, plate) > 0.9

    def test_nothing_is_inside_a_box_whose_middle_is_not_meant(self):
        image, organ = scene()
        inside = box_around(organ, 2)
        nothing = np.zeros_like(inside)
        label = image_aware(image, ONE, nothing, nothing, inside, middle=False)
        assert not label.mask.any() and label.cues is not None and not label.cues.any()
        # What is marked inside is.
        assert image_aware(image, ONE, clicks(organ, ONE)[0], nothing, inside, middle=False).mask.any()

    def test_only_background_is_background(self):
        image, organ = scene()
        nothing = np.zeros(organ.shape, bool)
        assert not image_aware(image, ONE, nothing, clicks(organ, ONE)[1]).mask.any()

    @pytest.mark.parametrize(("gain", "offset"), [(1.0, 1000.0), (0.01, -3.0), (37.0, 0.0), (-1.0, 0.0)])
    def test_units_do_not_matter(self, gain, offset):
        image, organ = scene()
        seeds = clicks(organ, ONE)
        reference = image_aware(image, ONE, *seeds)
        other = image_aware((image * gain + offset).astype(np.float32), ONE, *seeds)
        assert dice(reference.mask, other.mask) > 0.995
        if gain > 0:
            np.testing.assert_allclose(reference.probability, other.probability, atol=1e-3)

    @pytest.mark.parametrize(
        ("order", "flips"), [((0, 1, 2), (0,)), ((0, 1, 2), (1, 2)), ((2, 0, 1), ()), ((1, 0, 2), (2,))]
    )
    def test_orientation_does_not_matter(self, order, flips):
        spacing = (1.0, 1.2, 1.5)
        image, organ = scene((48, 40, 32), spacing)
        seeds = clicks(organ, spacing)
        turn = lambda a: np.flip(a.transpose(order), flips).copy()  # noqa: E731
        reference = image_aware(image, spacing, *seeds)
        turned = image_aware(turn(image), [spacing[a] for a in order], *map(turn, seeds))
        assert dice(turn(reference.mask), turned.mask) >= 0.99

    def test_voxel_size_does_not_matter(self):
        image, organ = scene((48, 44, 40), noise=0.0)
        image = ndimage.gaussian_filter(image, 1.0)
        positive, negative = clicks(organ, ONE)
        label = image_aware(image, ONE, positive, negative)
        fine = ndimage.zoom(image, 1.5, order=1, grid_mode=True, mode="nearest")
        moved = [np.zeros(fine.shape, bool), np.zeros(fine.shape, bool)]
        for target, seeds in zip(moved, (positive, negative), strict=True):
            target[tuple(((np.argwhere(seeds) + 0.5) * 1.5).astype(int).T)] = True
        other = image_aware(fine, (1 / 1.5,) * 3, *moved).probability
        back = ndimage.zoom(other, 1 / 1.5, order=1, grid_mode=True, mode="nearest")
        assert dice(label.mask, back >= 0.5) >= 0.97

    def test_thick_slices(self):
        spacing = (0.5, 0.5, 10.0)
        image, organ = scene((80, 80, 8), spacing)
        label = image_aware(image, spacing, *clicks(organ, spacing))
        assert dice(label.mask, organ) > 0.8

    def test_padding_has_no_say(self):
        image, organ = scene()
        seeds = clicks(organ, ONE)
        valid = np.ones(image.shape, bool)
        valid[:3] = valid[:, :, -3:] = False
        labels = [image_aware(np.where(valid, image, pad), ONE, *seeds, valid=valid) for pad in (0.0, -2048.0)]
        np.testing.assert_allclose(labels[0].probability, labels[1].probability, atol=1e-5)
        assert not labels[0].probability[~valid & ~seeds[0]].any()
        assert dice(labels[0].mask, organ) > 0.85

    def test_same_again(self):
        image, organ = scene()
        seeds = clicks(organ, ONE)
        first, second = image_aware(image, ONE, *seeds), image_aware(image, ONE, *seeds)
        assert np.array_equal(first.probability, second.probability)
        assert np.array_equal(first.confidence, second.confidence)

    def test_corrections_help(self):
        # Noise, and one click on each side: a first answer that leaves something to correct.
        image, organ = scene(noise=40.0)
        positive, negative = clicks(organ, ONE, (1, 1))
        scores = []
        for _ in range(5):
            mask = image_aware(image, ONE, positive, negative).mask
            scores.append(dice(mask, organ))
            parts, count = ndimage.label(mask != organ)
            if not count:
                break
            error = parts == 1 + int(np.argmax(ndimage.sum_labels(parts > 0, parts, range(1, count + 1))))
            voxel = np.unravel_index(ndimage.distance_transform_edt(error).argmax(), error.shape)
            (positive if organ[voxel] else negative)[voxel] = True
        assert scores[-1] > scores[0] + 0.02 and scores[-1] > 0.95

    def test_can_be_cancelled_and_tells_how_far_it_is(self):
        image, organ = scene()
        seen: list[float] = []
        image_aware(image, ONE, *clicks(organ, ONE), progress=lambda done, what: seen.append(done))
        assert seen == sorted(seen) and seen[-1] == 1.0
        with pytest.raises(Cancelled):
            image_aware(image, ONE, *clicks(organ, ONE), cancel=lambda: True)

    def test_shapes_must_match(self):
        with pytest.raises(ValueError, match="shape"):
            image_aware(np.zeros((4, 4, 4), np.float32), ONE, np.ones((3, 4, 4), bool), np.zeros((3, 4, 4), bool))


def test_import_is_light():
    code = "import sys, PWSegmentationLib.pseudolabel; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
