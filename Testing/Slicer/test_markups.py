"""Markups mean what they show: the place in the patient, whatever transforms they stand under."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import (
    PromptNodes,
    box_from_node,
    points_from_node,
    prompt_set,
    scribble_from_node,
    segment_prompts,
    volume_from_node,
)
from PWSegmentationLib.mrml.nodes import array_to_matrix
from Testing.Slicer.conftest import SHAPE, rotation, saved_and_loaded

MOVE = rotation(x=10, y=-25, z=40)
MOVE[:3, 3] = (3, -8, 21)


@pytest.fixture
def add_markups(scene: Any) -> Callable[..., Any]:
    """A markups node of a kind with control points at these world positions."""

    def add(kind: str, *positions: Sequence[float]) -> Any:
        node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", kind)
        for position in positions:
            node.AddControlPointWorld(vtk.vtkVector3d(*position))
        return node

    return add


def test_points_are_where_they_were_placed(add_markups: Callable[..., Any]) -> None:
    node = add_markups("Fiducial", (1, 2, 3), (-4, 5, 6.5))

    points = points_from_node(node, positive=False)

    assert [p.position for p in points] == [(1, 2, 3), (-4, 5, 6.5)]
    assert not any(p.positive for p in points)


def test_points_move_with_their_transform(
    add_markups: Callable[..., Any], put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    node = add_markups("Fiducial", (1, 2, 3))

    put_under(node, MOVE)

    assert np.allclose(points_from_node(node)[0].position, (MOVE @ [1, 2, 3, 1])[:3])


def test_points_under_a_non_linear_transform_are_where_they_are_shown(
    add_markups: Callable[..., Any], bend: Callable[[Any], Any]
) -> None:
    node = add_markups("Fiducial", (40, 2, 3))
    shown = bend(node).GetTransformToParent().TransformPoint(40, 2, 3)

    assert np.allclose(points_from_node(node)[0].position, shown)


def test_only_placed_points_count(add_markups: Callable[..., Any]) -> None:
    node = add_markups("Fiducial", (1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12))
    node.SetNthControlPointPositionMissing(1)
    node.UnsetNthControlPointPosition(2)
    preview = slicer.vtkMRMLMarkupsNode.PositionPreview
    node.SetNthControlPointPositionWorld(3, 0.0, 0.0, 0.0, preview)

    assert [p.position for p in points_from_node(node)] == [(1, 2, 3)]


def test_an_roi_is_the_box_that_it_shows(scene: Any, put_under: Callable[[Any, np.ndarray], Any]) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetCenter(5, 6, 7)
    roi.SetSize(10, 20, 30)
    stretch = MOVE @ np.diag([2.0, 1.0, 0.5, 1.0])
    put_under(roi, stretch)

    box = box_from_node(roi)

    corners = np.array(np.meshgrid((0, 10), (-4, 16), (-8, 22))).reshape(3, -1)
    expected = (stretch @ np.vstack([corners, np.ones(8)]))[:3].T
    assert np.allclose(sorted(box.corners.tolist()), sorted(expected.tolist()))


def test_an_roi_rotated_by_its_handles_is_the_box_that_it_shows(scene: Any) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetSize(10, 20, 30)
    roi.SetAndObserveObjectToNodeMatrix(array_to_matrix(MOVE))

    box = box_from_node(roi)

    assert np.allclose(box.center, MOVE[:3, 3])
    assert np.allclose(box.axes, MOVE[:3, :3])
    assert np.allclose(box.size, (10, 20, 30))


def test_under_shear_the_box_has_right_angles_as_slicer_shows_it(
    scene: Any, put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetSize(10, 20, 30)
    shear = np.eye(4)
    shear[0, 1] = 0.5
    put_under(roi, shear)

    box = box_from_node(roi)

    shown = [0.0] * 3
    roi.GetSizeWorld(shown)
    assert np.allclose(box.size, shown)
    assert np.allclose(box.axes.T @ box.axes, np.eye(3))


def test_an_roi_that_means_the_outside_is_refused(scene: Any) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetSize(10, 20, 30)
    roi.SetInsideOut(True)

    with pytest.raises(InputError, match="'R' is inside out"):
        box_from_node(roi)


def test_an_roi_under_a_non_linear_transform_is_refused(scene: Any, bend: Callable[[Any], Any]) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetSize(10, 20, 30)
    bend(roi)

    with pytest.raises(InputError, match="non-linear transform"):
        box_from_node(roi)


def test_an_roi_not_placed_yet_adds_nothing(scene: Any) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")

    assert segment_prompts(PromptNodes("liver", boxes=[roi])).boxes == ()
    with pytest.raises(InputError, match="not placed yet"):
        box_from_node(roi)


def test_a_box_whose_second_corner_follows_the_mouse_is_not_placed_yet(add_markups: Callable[..., Any]) -> None:
    roi = add_markups("ROI", (0, 0, 0))
    roi.CreateDefaultDisplayNodes()
    mouse = slicer.vtkMRMLInteractionEventData()
    mouse.SetWorldPosition((20, 20, 20))
    turned = np.eye(3).ravel()
    roi.GetDisplayNode().UpdateActiveControlPointWorld(1, mouse, turned, None, None, roi.PositionPreview)
    assert min(roi.GetSize()) > 0

    assert segment_prompts(PromptNodes("liver", boxes=[roi])).boxes == ()
    with pytest.raises(InputError, match="not placed yet"):
        box_from_node(roi)


def test_a_curve_is_followed_as_it_is_drawn(
    add_markups: Callable[..., Any], put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    corner = [(0, 0, 0), (10, 0, 0), (10, 10, 0)]
    node = add_markups("Curve", *corner)
    put_under(node, MOVE)

    scribble = scribble_from_node(node, 1.5, positive=False)

    assert scribble is not None
    assert (scribble.radius, scribble.positive) == (1.5, False)
    placed = [(MOVE @ [*p, 1])[:3] for p in corner]
    path = np.array(scribble.points)
    # It begins and ends at, and passes near, what was placed, and is round where a polyline has a corner.
    assert np.allclose(path[[0, -1]], np.array(placed)[[0, -1]])
    assert np.linalg.norm(path - placed[1], axis=1).min() < 0.5
    assert len(path) > 10


def test_a_closed_curve_returns_to_its_start(add_markups: Callable[..., Any]) -> None:
    scribble = scribble_from_node(add_markups("ClosedCurve", (0, 0, 0), (10, 0, 0), (10, 10, 0)), 1.0)

    assert scribble is not None
    assert scribble.points[0] == scribble.points[-1]


def test_a_line_is_a_stroke_between_its_ends(add_markups: Callable[..., Any]) -> None:
    scribble = scribble_from_node(add_markups("Line", (0, 0, 0), (9, 0, 3)), 1.0)

    assert scribble is not None
    assert np.allclose((scribble.points[0], scribble.points[-1]), ((0, 0, 0), (9, 0, 3)))


def test_a_curve_of_one_click_is_a_dab_and_of_none_nothing(add_markups: Callable[..., Any]) -> None:
    dab = scribble_from_node(add_markups("Curve", (1, 2, 3)), 1.0)

    assert dab is not None
    assert dab.points == ((1, 2, 3),)
    assert scribble_from_node(add_markups("Curve"), 1.0) is None


def test_the_wrong_kind_of_node_is_named(scene: Any, add_markups: Callable[..., Any]) -> None:
    points = add_markups("Fiducial", (1, 2, 3))

    with pytest.raises(InputError, match=r"region of interest .*not 'Fiducial'"):
        box_from_node(points)
    with pytest.raises(InputError, match=r"line or curve .*not 'Fiducial'"):
        scribble_from_node(points, 1.0)
    with pytest.raises(InputError, match=r"point list .*not nothing"):
        points_from_node(None)
    with pytest.raises(InputError, match=r"point list .*not 'R'"):
        points_from_node(scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R"))


def test_all_nodes_of_several_segments_become_one_prompt_set(scene: Any, add_markups: Callable[..., Any]) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetSize(10, 20, 30)
    inside = add_markups("Fiducial", (1, 2, 3), (2, 2, 3))
    outside = add_markups("Fiducial", (9, 9, 9))
    curve = add_markups("Curve", (0, 0, 0), (4, 0, 0))

    prompts = prompt_set(
        [
            PromptNodes("liver", positive=[inside], negative=[outside], boxes=[roi]),
            PromptNodes("spleen", scribbles=[curve], negative_scribbles=[curve], radius=3.0),
        ]
    )

    assert prompts.names == ("liver", "spleen")
    assert [p.positive for p in prompts["liver"].points] == [True, True, False]
    assert len(prompts["liver"].boxes) == 1
    assert [(s.radius, s.positive) for s in prompts["spleen"].scribbles] == [(3.0, True), (3.0, False)]


def test_prompts_survive_saving_the_scene(
    scene: Any, add_markups: Callable[..., Any], tmp_path: Any, put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    points = add_markups("Fiducial", (1.25, 2, 3), (4, 5, 6))
    points.SetNthControlPointPositionMissing(1)
    curve = add_markups("Curve", (0, 0, 0), (10, 0, 0), (10, 10, 0))
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetSize(10, 20, 30)
    put_under(roi, MOVE)
    nodes = PromptNodes("liver", positive=[points], boxes=[roi], scribbles=[curve])
    before = segment_prompts(nodes)

    loaded = saved_and_loaded(scene, tmp_path)

    def found(name: str) -> Any:
        return loaded.GetFirstNodeByName(name)

    after = segment_prompts(
        PromptNodes("liver", positive=[found("Fiducial")], boxes=[found("ROI")], scribbles=[found("Curve")])
    )
    assert after.points == before.points
    assert np.allclose(after.boxes[0].corners, before.boxes[0].corners)
    assert np.allclose(after.scribbles[0].points, before.scribbles[0].points)


affines = st.builds(
    lambda angles, spacing, signs, origin: _affine(angles, spacing, signs, origin),
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(0.3, 6.0)] * 3),
    st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
    st.tuples(*[st.floats(-400, 400)] * 3),
)


def _affine(angles: Sequence[float], spacing: Sequence[float], signs: Sequence[float], origin: Any) -> np.ndarray:
    out = rotation(*angles) @ np.diag([*np.multiply(spacing, signs), 1.0])
    out[:3, 3] = origin
    return out


@given(
    image=affines,
    above_image=affines,
    above_points=affines,
    voxel=st.tuples(*[st.integers(0, n - 1) for n in SHAPE]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_click_on_a_voxel_lands_in_that_voxel(
    scene: Any,
    add_volume: Callable[..., Any],
    put_under: Callable[[Any, np.ndarray], Any],
    image: np.ndarray,
    above_image: np.ndarray,
    above_points: np.ndarray,
    voxel: tuple[int, int, int],
) -> None:
    volume = add_volume(affine=image)
    put_under(volume, above_image)
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    put_under(points, above_points)
    shown_at = above_image @ image @ [*voxel, 1.0]
    points.AddControlPointWorld(vtk.vtkVector3d(*shown_at[:3]))

    landed = volume_from_node(volume).grid.to_voxel(points_from_node(points)[0].position)

    assert tuple(landed) == voxel
