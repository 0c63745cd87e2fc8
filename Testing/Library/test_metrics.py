"""Metrics on shapes where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.evaluation.metrics import CALIBRATION_MARGIN_MM, Answer, calibration, dice, overlap
from PWSegmentationLib.volume.grid import Grid, Region

SPACING = (1.0, 2.0, 3.0)
GRID = Grid((40, 30, 20), np.diag([*SPACING, 1.0]))
WHOLE = Region.whole(GRID.shape)


def block(start, stop) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


BLOCK = block((10, 10, 5), (20, 20, 15))


@pytest.fixture
def reference() -> Reference:
    return Reference.of(BLOCK.astype(np.int16) * 7, (7,), GRID)


def test_the_reference_is_its_bounding_box(reference):
    assert reference.region == Region((10, 10, 5), (20, 20, 15))
    assert reference.voxels == 1000 and reference.volume_ml == pytest.approx(6.0)
    np.testing.assert_array_equal(reference.over(WHOLE), BLOCK)
    both = Reference.of(np.where(BLOCK, 2, 0) + block((0, 0, 0), (2, 2, 2)) * 3, (2, 3), GRID)
    assert both.voxels == 1008
    with pytest.raises(InputError, match="No voxel has the label 9"):
        Reference.of(BLOCK.astype(np.int16), (9,), GRID)


def test_a_perfect_answer(reference):
    found = overlap(Answer(reference.region, reference.mask), reference)
    assert (found.dice, found.surface_dice, found.hd95_mm) == (1.0, 1.0, 0.0)


def test_a_block_shifted_along_one_axis(reference):
    shifted = block((14, 10, 5), (24, 20, 15))
    found = overlap(Answer(WHOLE, shifted), reference)
    assert found.dice == pytest.approx(0.6)
    # The two faces across the shift, 600 of 2200 mm² each, are 4 mm off; the others are right but for their ends.
    assert found.hd95_mm == pytest.approx(4.0)
    assert 0.36 < found.surface_dice < 0.55
    near = overlap(Answer(WHOLE, block((11, 10, 5), (21, 20, 15))), reference)
    assert near.surface_dice == pytest.approx(1.0), "one millimetre is within the tolerance of two"


def test_where_the_answer_is_stored_does_not_matter(reference):
    shifted = block((14, 8, 5), (24, 18, 15))
    part = Region((12, 6, 3), (30, 22, 18))
    assert overlap(Answer(part, shifted[part.slices]), reference) == overlap(Answer(WHOLE, shifted), reference)


def test_an_empty_answer_has_no_surface(reference):
    found = overlap(Answer(WHOLE, np.zeros(GRID.shape, bool)), reference)
    assert (found.dice, found.surface_dice, found.hd95_mm) == (0.0, 0.0, None)


def test_structures_at_the_border_of_the_volume_have_a_surface_there():
    mask = block((0, 0, 0), (10, 10, 20))
    reference = Reference.of(mask.astype(np.uint8), (1,), GRID)
    found = overlap(Answer(WHOLE, block((0, 0, 0), (10, 10, 16))), reference)
    assert found.hd95_mm == pytest.approx(12.0)


def test_dice_alone_is_cheap(reference):
    found = overlap(Answer(WHOLE, BLOCK), reference, surfaces=False)
    assert found.dice == 1.0 and found.surface_dice is None and found.hd95_mm is None


def test_dice():
    a, b = BLOCK, block((15, 10, 5), (25, 20, 15))
    assert dice(a, b) == pytest.approx(0.5)
    nothing = np.zeros_like(a)
    assert dice(nothing, nothing) == 1.0 and dice(a, nothing) == 0.0


def test_a_probability_that_tells_the_truth_is_calibrated():
    """Voxels are inside as often as is said; what is less certain is more often wrong."""
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, GRID.shape)
    truth = rng.uniform(0, 1, GRID.shape) < said
    reference = Reference.of(truth.astype(np.uint8), (1,), GRID)
    answer = Answer(WHOLE, said >= 0.5, said.astype(np.float16), (1 - np.abs(2 * said - 1)).astype(np.float16))
    found = calibration(answer, reference)
    assert sum(found.voxels) == truth.size
    assert found.error < 0.03
    # Uncertainty u is uniform and wrong with probability u/2: the integral of 2u (4u - u²)/3 over [0, 1].
    assert found.auroc == pytest.approx(13 / 18, abs=0.02)


def test_overconfidence_is_found(reference):
    sure = np.where(block((10, 10, 5), (30, 20, 15)), np.float16(1.0), np.float16(0.0))
    answer = Answer(WHOLE, sure > 0.5, sure, np.zeros_like(sure))
    found = calibration(answer, reference)
    region, near = reference.within(CALIBRATION_MARGIN_MM)
    voxels = int(near.sum())
    wrong = int((block((10, 10, 5), (30, 20, 15)) & ~BLOCK)[region.slices][near].sum())
    assert found.error == pytest.approx(wrong / voxels, abs=1e-6)
    assert found.auroc == 0.5, "an uncertainty that is the same everywhere tells nothing"


def test_far_away_voxels_do_not_flatter_the_calibration(reference):
    region, near = reference.within(CALIBRATION_MARGIN_MM)
    assert near.shape == region.shape
    index = np.argwhere(near) + region.start
    gap = np.maximum(
        np.maximum(np.array(reference.region.start) - index, index - np.array(reference.region.stop) + 1), 0
    )
    assert np.linalg.norm(gap * SPACING, axis=1).max() <= 10.0


def test_without_a_probability_there_is_no_calibration(reference):
    assert calibration(Answer(WHOLE, BLOCK), reference) is None
