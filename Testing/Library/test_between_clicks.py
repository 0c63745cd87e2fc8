"""Clicks along something thin and bent belong together, and what lies between them is found in the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from PWSegmentationLib.pseudolabel import image_aware
from PWSegmentationLib.pseudolabel.between_clicks import ways_between
from PWSegmentationLib.pseudolabel.judgement import along_strand
from Testing.Library.conftest import dice

SPACING = (1.0, 1.2, 1.5)


def tube(spacing=SPACING, noise=6.0):
    """A tube of 4 mm radius bent to a half circle, in noise, and the places along it by their angle."""
    shape = tuple(round(n / s) for n, s in zip((84, 60, 30), spacing, strict=True))
    x, y, z = (g * s for g, s in zip(np.ogrid[tuple(slice(0, n) for n in shape)], spacing, strict=True))
    away = np.hypot(np.hypot(x - 42, y - 10) - 32, z - 15)
    inside = (away < 4) & (y > 10)
    image = np.where(inside, 100.0, 40.0) + noise * np.random.default_rng(0).standard_normal(shape)

    def at(degrees: float, radius: float = 32.0) -> tuple[int, ...]:
        angle = np.radians(degrees)
        place = (42 + radius * np.cos(angle), 10 + radius * np.sin(angle), 15.0)
        return tuple(round(p / s) for p, s in zip(place, spacing, strict=True))

    return image.astype(np.float32), inside, at


def marked(shape, voxels):
    mask = np.zeros(shape, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def view(image):
    return torch.from_numpy(np.tanh((image - 100.0) / 60.0).astype(np.float32))


def nothing(image):
    return torch.zeros(image.shape, dtype=torch.bool)


@pytest.mark.parametrize("angles", [(10, 90, 170), (10, 60, 95, 170)])
def test_ways_follow_what_was_clicked_and_join_all_of_it(angles):
    image, inside, at = tube()
    # As an annotator's clicks, small balls: a few voxels tell the noise.
    clicks = ndimage.binary_dilation(marked(image.shape, [at(a) for a in angles])) & inside
    ways, joined = ways_between(clicks, view(image), nothing(image), SPACING)
    assert joined == 1.0 and ways[clicks].all()
    assert ndimage.label(ways, np.ones((3, 3, 3)))[1] == 1
    assert inside[ways].mean() > 0.98


def test_a_tree_needs_no_circle():
    image = np.zeros((30, 30, 5), np.float32)
    clicks = marked(image.shape, [(5, 5, 2), (5, 25, 2), (25, 5, 2), (25, 25, 2)])
    ways, joined = ways_between(clicks, torch.from_numpy(image), nothing(image), (1, 1, 1))
    assert joined == 1.0
    # Three sides of the square, not four.
    assert 58 <= np.count_nonzero(ways) <= 66


def test_one_click_has_no_way():
    image, _, at = tube()
    clicks = marked(image.shape, [at(90)])
    ways, joined = ways_between(clicks, view(image), nothing(image), SPACING)
    assert joined == 0.0 and np.array_equal(ways, clicks)


def test_a_way_leads_around_what_is_barred():
    image = np.zeros((31, 31, 3), np.float32)
    barred = np.zeros(image.shape, bool)
    barred[5:31, 15] = True
    clicks = marked(image.shape, [(20, 5, 1), (20, 25, 1)])
    ways, joined = ways_between(clicks, torch.from_numpy(image), torch.from_numpy(barred), (1.0, 1.0, 1.0))
    assert joined == 1.0 and not (ways & barred).any()
    assert ways[:5].any()


@pytest.mark.parametrize("between", ["barred", "something else"])
def test_where_there_is_no_way_none_is_made_up(between):
    image = np.zeros((31, 31, 3), np.float32)
    wall = np.zeros(image.shape, bool)
    wall[:, 10:21] = True
    clicks = marked(image.shape, [(5, 5, 1), (25, 5, 1), (15, 25, 1)])
    barred = torch.from_numpy(wall) if between == "barred" else nothing(image)
    image[wall] = 0.0 if between == "barred" else -0.9
    ways, joined = ways_between(clicks, torch.from_numpy(image), barred, (1.0, 1.0, 1.0))
    assert joined == 0.5 and not (ways & wall).any()
    assert ways[5:26, 5, 1].all(), "the two on the same side are joined all the same"


def test_mirrored_images_have_mirrored_ways():
    image, _, at = tube()
    clicks = marked(image.shape, [at(a) for a in (10, 80, 170)])
    ways, _ = ways_between(clicks, view(image), nothing(image), SPACING)
    flipped, _ = ways_between(
        np.ascontiguousarray(clicks[::-1]), view(np.ascontiguousarray(image[::-1])), nothing(image), SPACING
    )
    apart = ndimage.distance_transform_edt(~flipped[::-1])
    assert np.percentile(apart[ways], 95) <= 2


def test_four_clicks_along_a_bent_tube_find_it_among_many_beside_it():
    image, inside, at = tube(noise=30.0)
    positive = marked(image.shape, [at(a) for a in (12, 60, 120, 168)])
    # Nearer to most of the tube than any click inside; without the ways .75 of Dice.
    beside = [at(a, r) for a in (25, 36, 47, 78, 90, 102, 133, 144, 155) for r in (24, 40)]
    balls = [ndimage.binary_dilation(marks) for marks in (positive, marked(image.shape, beside))]
    mask = image_aware(image, SPACING, balls[0] & inside, balls[1] & ~inside).mask
    parts, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    assert dice(mask, inside) > 0.85
    assert len(set(parts[positive])) == 1


def test_a_click_outside_is_never_overruled_by_a_way():
    image, _, at = tube()
    positive = marked(image.shape, [at(a) for a in (12, 40, 140, 168)])
    negative = marked(image.shape, [at(90), *(at(a, r) for a in (30, 150) for r in (24, 40))])
    label = image_aware(image, SPACING, positive, negative)
    assert not label.mask[negative].any() and label.mask[positive].all()


def test_only_rows_of_clicks_with_wide_gaps_are_strands():
    four = 0.5 * np.log(4)
    assert along_strand((1.0, four, 1.0, 0.6, 0.5, 0.2)) == 1.0
    assert along_strand((1.0, four, 1.0, 0.6, 0.5, 0.7)) == 0.0, "spread in two directions"
    assert along_strand((1.0, four, 1.0, 0.3, 0.5, 0.2)) == 0.0, "densely clicked"
    assert along_strand((1.0, 0.5 * np.log(3), 1.0, 0.6, 0.5, 0.2)) == 0.0, "three clicks lie in a row by chance"
    assert 0.0 < along_strand((1.0, four, 1.0, 0.48, 0.5, 0.2)) < 1.0, "no sudden change"
