"""A volume node is the image that the user sees, where the user sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import volume_from_node
from Testing.Slicer.conftest import OBLIQUE, SHAPE, rotation


def test_the_voxels_are_indexed_i_j_k_and_shared_with_the_node(oblique_ct: Any) -> None:
    volume = volume_from_node(oblique_ct)

    image = oblique_ct.GetImageData()
    assert volume.array.shape == SHAPE
    assert volume.array[3, 7, 2] == image.GetScalarComponentAsDouble(3, 7, 2, 0)
    image.SetScalarComponentFromDouble(3, 7, 2, 0, -77)
    assert volume.array[3, 7, 2] == -77


def test_the_node_cannot_be_changed_through_the_volume(oblique_ct: Any) -> None:
    with pytest.raises(ValueError, match="read-only"):
        volume_from_node(oblique_ct).array[0, 0, 0] = 1


def test_an_oblique_left_handed_grid_keeps_its_affine(oblique_ct: Any) -> None:
    assert np.linalg.det(OBLIQUE[:3, :3]) < 0
    assert np.allclose(volume_from_node(oblique_ct).grid.affine, OBLIQUE)


def test_a_chain_of_linear_transforms_moves_the_grid(
    oblique_ct: Any, put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    inner, outer = rotation(x=20, z=-50), np.diag([-1.5, 1.0, 2.0, 1.0])
    outer[:3, 3] = (4, 5, 6)

    put_under(put_under(oblique_ct, inner), outer)

    assert np.allclose(volume_from_node(oblique_ct).grid.affine, outer @ inner @ OBLIQUE)


def test_a_non_linear_transform_is_refused_by_name(oblique_ct: Any, bend: Callable[[Any], Any]) -> None:
    bend(oblique_ct)

    with pytest.raises(InputError, match=r"'CT' is under the non-linear transform 'deformation'.*[Hh]arden"):
        volume_from_node(oblique_ct)


def test_a_volume_without_data_is_refused(scene: Any) -> None:
    with pytest.raises(InputError, match="'MR' holds no image"):
        volume_from_node(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MR"))


def test_no_volume_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="choose a volume"):
        volume_from_node(None)


def test_a_colour_image_is_refused(add_volume: Callable[..., Any]) -> None:
    node = add_volume(np.zeros((*SHAPE, 3), np.uint8), kind="vtkMRMLVectorVolumeNode")

    with pytest.raises(InputError, match="3 components"):
        volume_from_node(node)


def test_a_labelmap_is_not_taken_for_an_image(add_volume: Callable[..., Any]) -> None:
    node = add_volume(np.zeros(SHAPE, np.uint8), name="labels", kind="vtkMRMLLabelMapVolumeNode")

    with pytest.raises(InputError, match="'labels' is a labelmap"):
        volume_from_node(node)


def test_something_else_is_not_taken_for_an_image(scene: Any) -> None:
    with pytest.raises(InputError, match="'F' is not an image"):
        volume_from_node(scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F"))
