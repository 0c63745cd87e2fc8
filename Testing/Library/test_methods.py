"""What is compared: every method on one simple lesion, on the same prompts."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.evaluation.methods import OURS, PEERS, methods
from PWSegmentationLib.evaluation.metrics import overlap
from PWSegmentationLib.evaluation.peers import draw_seeds
from PWSegmentationLib.prompts.prompts import Box, Point, SegmentPrompts
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.conftest import bright_ellipsoid, rotation

SHAPE = (44, 40, 26)


@pytest.fixture(scope="module")
def lesion() -> tuple[Volume, Reference]:
    """In an oblique, left-handed volume."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.random.default_rng(2)) @ np.diag([-1.0, 1.1, 2.0])
    image, mask, _ = bright_ellipsoid(SHAPE, affine, (11, 9, 10))
    volume = Volume.from_array(image, affine)
    return volume, Reference.of(mask.astype(np.uint8), (1,), volume.grid)


@pytest.mark.parametrize("key", [*OURS[:3], *PEERS])
def test_every_method_finds_a_bright_lesion(lesion, key):
    volume, reference = lesion
    ours = key in OURS[:3] and key not in PEERS
    (method,) = methods([key], []) if ours else methods([], [key])
    method.open(volume)
    answer = method.answer(SimulatedAnnotator(reference, protocol("points 5+10")).start(), reference)
    assert answer is not None and answer.seconds > 0
    assert overlap(answer, reference).dice > 0.7, method.name
    if answer.probability is not None:
        assert answer.probability.min() >= 0 and answer.probability.max() <= 1


@pytest.mark.parametrize("key", ["growcut", "random-walk"])
def test_a_box_alone_is_enough_for_peers(lesion, key):
    volume, reference = lesion
    (method,) = methods([], [key])
    method.open(volume)
    answer = method.answer(SimulatedAnnotator(reference, protocol("box")).start(), reference)
    assert answer is not None and overlap(answer, reference).dice > 0.5


@pytest.mark.parametrize("key", ["growcut", "random-walk"])
def test_one_click_is_no_question_for_peers_that_need_both_kinds(lesion, key):
    volume, reference = lesion
    (method,) = methods([], [key])
    method.open(volume)
    assert method.answer(SimulatedAnnotator(reference, protocol("one click")).start(), reference) is None


def test_the_gaussian_label_knows_no_box(lesion):
    (method,) = methods([], ["gaussian"])
    method.open(lesion[0])
    assert method.answer(SimulatedAnnotator(lesion[1], protocol("box")).start(), lesion[1]) is None


def test_seeds_of_a_box():
    """Outside it is outside; its centre is inside unless a click beside it says otherwise."""
    grid = Grid((20, 20, 20), np.eye(4))
    box = Box((10, 10, 10), (10, 10, 10))
    seeds = draw_seeds(SegmentPrompts("s", boxes=(box,)), grid)
    assert seeds[10, 10, 10] == 1 and seeds[1, 10, 10] == 2 and seeds[6, 6, 6] == 0
    seeds = draw_seeds(SegmentPrompts("s", (Point((6, 6, 6)), Point((11, 10, 10), False)), (box,)), grid)
    assert seeds[6, 6, 6] == 1 and seeds[10, 10, 10] == 2


def test_unknown_methods_are_refused():
    with pytest.raises(InputError, match="choose among auto"):
        methods(["growcut"], [])
    with pytest.raises(InputError, match="choose among growcut"):
        methods([], ["auto"])
