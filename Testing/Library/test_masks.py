"""Parts of masks, the depth in them, and how far two agree."""

from __future__ import annotations

import numpy as np

from PWSegmentationLib.volume.masks import depth_mm, dice, largest_part, parts_of


def cubes() -> np.ndarray:
    """Cubes of 3³ and 2³ voxels that touch with a corner."""
    mask = np.zeros((6, 6, 6), bool)
    mask[:3, :3, :3] = mask[3:5, 3:5, 3:5] = True
    return mask


def test_what_touches_with_a_corner_is_one_part_unless_faces_are_asked_for():
    assert parts_of(cubes())[1] == 1
    assert largest_part(cubes()).sum() == 27
    assert largest_part(cubes(), corners=True).sum() == 35
    assert not largest_part(np.zeros((2, 2, 2), bool)).any()


def test_what_lies_beyond_the_array_is_outside():
    depth = depth_mm(np.ones((3, 5, 7), bool), (2.0, 1.0, 1.0))
    assert depth.shape == (3, 5, 7)
    assert depth[0, 0, 0] == 1.0 and depth[1, 2, 3] == 3.0
    assert depth_mm(~np.ones((3, 3, 3), bool), (1.0, 1.0, 1.0)).max() == 0.0


def test_two_empty_masks_agree():
    assert dice(cubes(), cubes()) == dice(~cubes() & cubes(), ~cubes() & cubes()) == 1.0
    assert dice(cubes(), ~cubes()) == 0.0
    assert dice(cubes(), largest_part(cubes())) == 2 * 27 / (27 + 35)
