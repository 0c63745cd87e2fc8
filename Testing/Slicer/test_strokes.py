"""What was painted in the Segment Editor, or comes as a labelmap, is where it was painted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import (
    STROKE_TAG,
    PromptNodes,
    segment_prompts,
    strokes_from_labelmap_node,
    strokes_from_segmentation,
)
from Testing.Slicer.conftest import OBLIQUE, SHAPE, box_mask, rotation

INSIDE = box_mask((2, 3, 4), (5, 4, 5))
OUTSIDE = box_mask((9, 9, 1), (10, 12, 2))


def world(mask: np.ndarray, affine: np.ndarray = OBLIQUE) -> list[tuple[float, ...]]:
    """Where the voxels of a mask are, rounded, in order."""
    index = np.argwhere(mask)
    return rounded(index @ affine[:3, :3].T + affine[:3, 3])


def rounded(positions: np.ndarray) -> list[tuple[float, ...]]:
    return sorted(tuple(p) for p in (np.round(positions, 3) + 0.0).tolist())


def painted(strokes: Any, positive: bool) -> list[tuple[float, ...]]:
    return rounded(np.concatenate([s.positions(positive) for s in strokes]))


def test_segments_mean_what_they_are_called(segmentation: Any, paint: Callable[..., str]) -> None:
    paint("tumour", INSIDE)
    paint("Background", OUTSIDE)

    strokes = strokes_from_segmentation(segmentation)

    assert painted(strokes, True) == world(INSIDE)
    assert painted(strokes, False) == world(OUTSIDE)


def test_a_tag_says_more_than_the_name(segmentation: Any, paint: Callable[..., str]) -> None:
    made = paint("tumour", OUTSIDE)
    segmentation.GetSegmentation().GetSegment(made).SetTag(STROKE_TAG, "background")

    assert painted(strokes_from_segmentation(segmentation), False) == world(OUTSIDE)


def test_segments_can_be_named_one_by_one(segmentation: Any, paint: Callable[..., str]) -> None:
    first, second = paint("a", INSIDE), paint("b", OUTSIDE)
    paint("c", box_mask((0, 0, 0), (2, 2, 2)))

    strokes = strokes_from_segmentation(segmentation, positive=[second], negative=[first])

    assert painted(strokes, True) == world(OUTSIDE)
    assert painted(strokes, False) == world(INSIDE)
    with pytest.raises(InputError, match="no segment 'gone'"):
        strokes_from_segmentation(segmentation, positive=["gone"])


def test_strokes_move_with_their_transform(
    segmentation: Any, paint: Callable[..., str], put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    paint("tumour", INSIDE)
    move = rotation(x=40, z=10)
    put_under(segmentation, move)

    assert painted(strokes_from_segmentation(segmentation), True) == world(INSIDE, move @ OBLIQUE)


def test_an_empty_segmentation_has_no_strokes(segmentation: Any, paint: Callable[..., str]) -> None:
    paint("tumour", np.zeros(SHAPE, bool))

    assert strokes_from_segmentation(segmentation) == ()


def test_a_labelmap_of_one_and_two_is_inside_and_outside(
    add_volume: Callable[..., Any], put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    labels = add_volume(INSIDE + 2 * OUTSIDE.astype(np.int16), kind="vtkMRMLLabelMapVolumeNode", name="strokes")
    move = rotation(y=33)
    put_under(labels, move)

    strokes = strokes_from_labelmap_node(labels)

    assert painted([strokes], True) == world(INSIDE, move @ OBLIQUE)
    assert painted([strokes], False) == world(OUTSIDE, move @ OBLIQUE)


def test_other_labels_are_refused_by_name(add_volume: Callable[..., Any]) -> None:
    labels = add_volume(7 * INSIDE.astype(np.int16), kind="vtkMRMLLabelMapVolumeNode", name="organs")

    with pytest.raises(InputError, match="'organs': A stroke labelmap may only hold"):
        strokes_from_labelmap_node(labels)


def test_strokes_are_collected_with_the_other_prompts(
    segmentation: Any, paint: Callable[..., str], add_volume: Callable[..., Any]
) -> None:
    paint("tumour", INSIDE)
    labels = add_volume(OUTSIDE * np.uint8(2), kind="vtkMRMLLabelMapVolumeNode")

    prompts = segment_prompts(PromptNodes("tumour", strokes=[segmentation, labels]))

    assert painted(prompts.strokes, True) == world(INSIDE)
    assert painted(prompts.strokes, False) == world(OUTSIDE)
