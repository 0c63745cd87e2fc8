"""Probability and uncertainty can be seen over the image, and follow the prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import clear_overlay, volume_from_node, write_overlay
from PWSegmentationLib.volume.grid import Grid
from Testing.Slicer.conftest import OBLIQUE, SHAPE, box_mask, predicted, region, rotation, saved_and_loaded

GRID = Grid(SHAPE, OBLIQUE)
FIRST = predicted("liver", box_mask((1, 1, 1), (5, 5, 5)), GRID, where=region((0, 0, 0), (7, 7, 7)))
SECOND = predicted("liver", box_mask((6, 6, 6), (9, 9, 9)), GRID, where=region((5, 5, 5), (10, 10, 10)))


@pytest.mark.parametrize("kind", ["probability", "uncertainty"])
def test_the_overlay_holds_the_map_on_the_images_grid(scene: Any, oblique_ct: Any, kind: Any) -> None:
    node = write_overlay(scene, oblique_ct, FIRST, kind)

    shown = volume_from_node(node)
    assert node.GetName() == f"CT liver {kind}"
    assert shown.grid.same_as(GRID)
    assert np.array_equal(shown.array, getattr(FIRST, kind))


def test_the_overlay_lets_the_image_through_where_the_segment_is_not(scene: Any, oblique_ct: Any) -> None:
    display = write_overlay(scene, oblique_ct, FIRST, "probability").GetDisplayNode()

    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
    assert not display.GetAutoWindowLevel()
    assert display.GetApplyThreshold()
    assert 0 < display.GetLowerThreshold() <= 0.1
    assert display.GetColorNode().GetNumberOfColors() == 256


def test_both_maps_can_be_told_apart_and_share_their_tables(scene: Any, oblique_ct: Any) -> None:
    nodes = [write_overlay(scene, oblique_ct, FIRST, kind) for kind in ("probability", "uncertainty", "probability")]

    tables = [n.GetDisplayNode().GetColorNodeID() for n in nodes]
    assert tables[0] != tables[1]
    assert tables[0] == tables[2]


def test_an_update_replaces_the_old_map_in_the_same_node(scene: Any, oblique_ct: Any) -> None:
    node = write_overlay(scene, oblique_ct, FIRST, "probability")

    assert write_overlay(scene, oblique_ct, SECOND, "probability", node) is node

    assert np.array_equal(volume_from_node(node).array, SECOND.probability)


def test_an_update_touches_only_where_the_maps_are(scene: Any, oblique_ct: Any) -> None:
    node = write_overlay(scene, oblique_ct, FIRST, "probability")
    node.GetImageData().SetScalarComponentFromDouble(12, 0, 9, 0, 0.5)

    write_overlay(scene, oblique_ct, SECOND, "probability", node)

    assert volume_from_node(node).array[12, 0, 9] == 0.5


def test_viewers_are_told(scene: Any, oblique_ct: Any) -> None:
    node = write_overlay(scene, oblique_ct, FIRST, "probability")
    before = node.GetImageData().GetMTime()

    write_overlay(scene, oblique_ct, SECOND, "probability", node)

    assert node.GetImageData().GetMTime() > before


def test_a_cleared_overlay_is_empty(scene: Any, oblique_ct: Any) -> None:
    node = write_overlay(scene, oblique_ct, FIRST, "probability")

    clear_overlay(node)

    assert not volume_from_node(node).array.any()


def test_the_overlay_moves_with_the_image(
    scene: Any, oblique_ct: Any, put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    move = rotation(z=30)
    put_under(oblique_ct, move)
    moved = predicted("liver", FIRST.mask, volume_from_node(oblique_ct).grid)

    node = write_overlay(scene, oblique_ct, moved, "probability")

    assert np.allclose(volume_from_node(node).grid.affine, move @ OBLIQUE)


def test_a_node_on_another_grid_is_refused(scene: Any, oblique_ct: Any, add_volume: Callable[..., Any]) -> None:
    other = add_volume(np.zeros((4, 4, 4), np.float32), name="other")

    with pytest.raises(InputError, match="'other' is not on the grid of 'CT'"):
        write_overlay(scene, oblique_ct, FIRST, "probability", other)


def test_overlays_survive_saving_the_scene(scene: Any, oblique_ct: Any, tmp_path: Path) -> None:
    write_overlay(scene, oblique_ct, FIRST, "probability")

    loaded = saved_and_loaded(scene, tmp_path)

    node = loaded.GetFirstNodeByName("CT liver probability")
    # Slicer turns left-handed images round when it reads them.
    assert np.array_equal(volume_from_node(node).array[:, :, ::-1], FIRST.probability)
    assert node.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.05)
    assert node.GetDisplayNode().GetColorNode().GetNumberOfColors() == 256
