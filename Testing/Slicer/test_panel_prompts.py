"""Prompts placed in the views become segments in the scene, and are taken back, corrected and deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from PWSegmentationLib.mrml import volume_from_node
from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, world


def test_a_point_becomes_a_segment_beside_its_image(panel: Any) -> None:
    volume = panel.load()

    panel.place(panel.ui.positivePointButton, world(LEFT))

    assert panel.names == ["Segment 1"]
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    assert not panel.mask("Segment 1")[ball(RIGHT)].any()
    assert panel.listed() == ["point +"]
    assert " ml in " in panel.said
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(panel.scene)
    parent = {n: tree.GetItemParent(tree.GetItemByDataNode(n)) for n in (volume, panel.segmentation)}
    assert parent[volume] == parent[panel.segmentation]
    list_node = panel.case.store.nodes()[0]
    assert tree.GetItemName(tree.GetItemParent(tree.GetItemByDataNode(list_node))) == "CT prompts"


def test_negative_points_correct_it(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))
    both = panel.mask("Segment 1")
    assert dice(both, ball(LEFT) | ball(RIGHT)) > 0.9

    panel.place(panel.ui.negativePointButton, world(RIGHT + [3, 0, 0]))

    assert panel.listed() == ["point +", "point +", "point −"]
    assert not np.array_equal(panel.mask("Segment 1"), both)
    assert not panel.mask("Segment 1")[tuple((RIGHT + [3, 0, 0]).astype(int))]


def test_a_box_of_two_corners(panel: Any) -> None:
    panel.load()
    corners = [world(LEFT + sign * np.array([11, 11, 6])) for sign in (-1, 1)]
    panel.press(panel.ui.boxButton)

    for corner in corners:
        panel.host.hand.click(corner)
    panel.wait()

    assert panel.listed() == ["box"]
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.85
    # Placed, the tool is put away.
    assert not panel.ui.boxButton.checked
    assert not panel.host.hand.click(world(RIGHT))


def test_a_box_is_a_prompt_only_when_its_second_corner_is_placed(panel: Any) -> None:
    panel.load()
    first, second = (world(LEFT + sign * np.array([11, 11, 6])) for sign in (-1, 1))
    panel.press(panel.ui.boxButton)
    panel.host.hand.click(first)

    panel.host.hand.hover(second)
    panel.wait()

    assert panel.listed() == [] and panel.ui.boxButton.checked
    assert not panel.case.store.snapshot() and not panel.mask("Segment 1").any()
    # Given up, nothing is left of it.
    panel.press(panel.ui.boxButton)
    assert panel.case.store.nodes() == []


def test_a_scribble_drawn_in_an_oblique_view(panel: Any) -> None:
    panel.load()
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    along, normal = (np.array(world(LEFT + d)) - world(LEFT) for d in ([5, 0, 0], [0, 0, 1]))
    node.SetSliceToRASByNTP(*normal, *along, *world(LEFT), 0)

    panel.draw(panel.ui.positiveScribbleButton, "Red", [world(LEFT + [d, 0, 0]) for d in np.linspace(-5, 5, 30)])

    assert panel.listed() == ["scribble +"]
    scribble = panel.prompts("Segment 1").scribbles[0]
    voxels = volume_from_node(panel.volume).grid.to_index(np.array(scribble.points))
    assert np.abs(voxels[:, 2] - LEFT[2]).max() < 0.4
    assert np.ptp(voxels[:, 0]) > 7
    assert scribble.radius == panel.ui.brushRadiusSlider.value
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.85


def test_two_quick_clicks_are_two_presses_and_none_is_the_views(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(LEFT + [1, 0, 0]))
    panel.press(panel.ui.deletePromptButton)
    panel.host.hand.point_at("Red", world(LEFT))

    taken = [panel.host.hand.drag("Red", [world(LEFT)], double=double) for double in (False, True)]
    panel.wait()

    # A double click of the view's would fill the window with it.
    assert taken == [True, True]
    assert panel.listed() == []


def test_with_shift_the_mouse_moves_the_image_and_draws_nothing(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.positiveScribbleButton)
    path = [world(LEFT + [d, 0, 0]) for d in np.linspace(-5, 5, 9)]
    panel.host.hand.point_at("Red", path[0])

    assert not panel.host.hand.drag("Red", path, shift=True)
    panel.wait()

    assert panel.listed() == []
    assert panel.host.hand.drag("Red", path)


def test_a_view_that_comes_with_another_layout_can_be_drawn_in(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.positiveScribbleButton)
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutCompareView)

    panel.draw(panel.ui.positiveScribbleButton, "Compare1", [world(LEFT + [d, 0, 0]) for d in (-3, 0, 3)])
    panel.press(panel.ui.positiveScribbleButton)

    assert panel.listed() == ["scribble +"]
    # Put away, the mouse is the view's again.
    assert not panel.host.hand.drag("Compare1", [world(LEFT)])


def test_a_negative_scribble(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))

    panel.draw(panel.ui.negativeScribbleButton, "Red", [world(RIGHT + [d, 0, 0]) for d in np.linspace(3, 6, 20)])

    assert panel.listed()[-1] == "scribble −"
    assert not panel.mask("Segment 1")[tuple((RIGHT + [5, 0, 0]).astype(int))]


def test_undo_and_redo_take_prompts_and_masks_together(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    one = panel.mask("Segment 1")
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    two = panel.mask("Segment 1")

    panel.undo()
    assert panel.listed() == ["point +"]
    assert np.array_equal(panel.mask("Segment 1"), one)

    panel.undo()
    assert panel.listed() == []
    assert not panel.mask("Segment 1").any()

    panel.redo()
    panel.redo()
    assert panel.listed() == ["point +", "point +"]
    assert np.array_equal(panel.mask("Segment 1"), two)
    assert panel.prompts("Segment 1").points[1].position == pytest.approx(world(RIGHT))

    # And it goes on from there.
    panel.place(panel.ui.negativePointButton, world((LEFT + RIGHT) / 2))
    assert panel.listed() == ["point +", "point +", "point −"]


def test_a_prompt_is_deleted_by_tool_and_by_list(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))

    panel.press(panel.ui.deletePromptButton)
    panel.host.hand.point_at("Red", world(RIGHT))
    panel.host.hand.drag("Red", [world(RIGHT + [1, 0, 0])])
    panel.wait()
    assert [p.position for p in panel.prompts("Segment 1").points] == [pytest.approx(world(LEFT))]
    assert not panel.mask("Segment 1")[ball(RIGHT)].any()

    panel.press(panel.ui.removePromptButton)
    panel.wait()
    assert panel.listed() == []
    assert not panel.mask("Segment 1").any()

    panel.undo()
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9


def test_all_prompts_are_deleted_and_come_back(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(LEFT + [2, 0, 0]))
    panel.place(panel.ui.negativePointButton, world(RIGHT))

    panel.press(panel.ui.clearPromptsButton)
    panel.wait()
    assert panel.listed() == []
    panel.undo()

    assert panel.listed() == ["point +", "point +", "point −"]


def test_the_list_moves_all_views_to_a_prompt(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))

    panel.click_cell(panel.ui.promptsTable._cpp, 1, 0, double=True)

    layout = slicer.app.layoutManager()
    for view in layout.sliceViewNames():
        to_ras = layout.sliceWidget(view).mrmlSliceNode().GetSliceToRAS()
        assert [to_ras.GetElement(row, 3) for row in range(3)] == pytest.approx(world(RIGHT))


def test_on_demand_prompts_wait_for_segment(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))
    assert not panel.mask("Segment 1").any()
    assert "Press Segment" in panel.said

    panel.press(panel.ui.segmentButton)
    panel.wait()

    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_a_key_segments_but_not_while_something_is_typed(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.place(panel.ui.positivePointButton, world(LEFT))
    seconds = panel.ui.refineSecondsSpinBox
    panel.write(seconds._cpp, "45")
    QTest.keyClick(seconds._cpp, Qt.Key.Key_Return)
    assert seconds.value == 45 and panel.widget.panel.jobs.kind != "segment"

    panel.ui.segmentButton._cpp.setFocus()
    panel.key(Qt.Key.Key_C)
    panel.wait()

    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9


def test_clicks_faster_than_the_answers_are_all_answered(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.positivePointButton)
    for position in (LEFT, RIGHT, LEFT + [0, 3, 0]):
        panel.host.hand.click(world(position))
        for _ in range(3):
            slicer.app.processEvents()
    panel.wait()

    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9
    assert len(panel.listed()) == 3


def test_a_click_outside_the_image_is_no_prompt(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    before = panel.mask("Segment 1")

    panel.place(panel.ui.positivePointButton, (500.0, 0.0, 0.0))

    assert panel.said == "Outside the image: ignored."
    assert panel.listed() == ["point +"]
    assert np.array_equal(panel.mask("Segment 1"), before)
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


@pytest.mark.parametrize("many", [False, True])
def test_a_double_click_is_one_prompt(panel: Any, many: bool) -> None:
    panel.load()
    if many:
        panel.press(panel.ui.manyLesionsCheckBox)
    panel.press(panel.ui.positivePointButton)
    for _ in range(2):
        panel.host.hand.click(world(LEFT))
    panel.wait()
    assert len(panel.names) == 1 and panel.listed() == ["point +"]

    panel.place(panel.ui.positivePointButton, world(LEFT))
    assert len(panel.names) == 1 and panel.said == "There is a point already: ignored."

    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert dice(panel.mask(panel.names[-1]), ball(RIGHT) if many else ball(LEFT) | ball(RIGHT)) > 0.9


@pytest.mark.parametrize("what", ["a box outside the image", "a voxel inside and outside"])
def test_what_cannot_be_meant_is_said_and_nothing_is_lost(panel: Any, what: str) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    before = panel.mask("Segment 1")

    if what == "a box outside the image":
        panel.press(panel.ui.boxButton)
        for corner in ((500.0, 0.0, 0.0), (520.0, 20.0, 20.0)):
            panel.host.hand.click(corner)
        panel.wait()
        assert "outside the volume" in panel.said
    else:
        panel.place(panel.ui.negativePointButton, world(LEFT))
        assert "same voxel" in panel.said
    assert np.array_equal(panel.mask("Segment 1"), before)
    # Nor does it stand in the way of another segment.
    panel.press(panel.ui.addSegmentButton)
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert dice(panel.mask("Segment 2"), ball(RIGHT)) > 0.9
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    panel.select("Segment 1")
    panel.press(panel.ui.removePromptButton)
    panel.wait()
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9


def test_a_prompt_that_is_dragged_is_answered_anew(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    node = panel.case.store.nodes()[0]

    node.SetNthControlPointPositionWorld(0, *world(RIGHT))
    node.InvokeEvent(node.PointEndInteractionEvent)
    panel.wait()

    assert dice(panel.mask("Segment 1"), ball(RIGHT)) > 0.9
    panel.undo()
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9


def place_a_line(panel: Any) -> Any:
    """What the button of Slicer's markups toolbar does."""
    line = panel.scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "L")
    line.CreateDefaultDisplayNodes()
    logic = slicer.app.applicationLogic()
    # vtkSlicerMarkupsLogic.cxx, SetActiveList, and qSlicerMarkupsPlaceWidget.cxx, setPlaceModeEnabled.
    logic.GetSelectionNode().SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsLineNode")
    logic.GetSelectionNode().SetActivePlaceNodeID(line.GetID())
    logic.GetInteractionNode().SetCurrentInteractionMode(logic.GetInteractionNode().Place)
    return line


@pytest.mark.parametrize("tool", ["positivePoint", "box", "positiveScribble", "deletePrompt"])
def test_what_is_placed_from_slicers_toolbar_is_no_prompt_and_goes_on(panel: Any, tool: str) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.positivePointButton)
    button = getattr(panel.ui, f"{tool}Button")
    panel.press(button)

    line = place_a_line(panel)

    assert not button.checked
    assert not panel.host.hand.drag("Red", [world(LEFT)]), "the tool has the mouse still"
    for position in (world(LEFT), world(RIGHT)):
        assert panel.host.hand.click(position)
    panel.wait()
    assert line.GetNumberOfDefinedControlPoints() == 2
    # One line, as before the tool, which goes on placing points.
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert panel.listed() == ["point +"]


def test_a_tool_of_the_mouse_ends_placing(panel: Any) -> None:
    panel.load()
    line = place_a_line(panel)

    panel.draw(panel.ui.positiveScribbleButton, "Red", [world(LEFT), world(LEFT + [2, 0, 0])])

    assert not panel.host.hand.click(world(RIGHT))
    assert line.GetNumberOfDefinedControlPoints() == 0
    assert panel.listed() == ["scribble +"]


def test_without_an_image_a_tool_says_what_to_do(panel: Any) -> None:
    panel.press(panel.ui.positivePointButton)

    assert panel.said == "Choose an image first."
    assert not panel.ui.positivePointButton.checked


def test_shortcuts_work_while_the_module_is_shown(panel: Any) -> None:
    panel.load()
    panel.key(Qt.Key.Key_P)
    assert panel.ui.positivePointButton.checked
    panel.host.hand.click(world(LEFT))
    panel.wait()
    panel.key(Qt.Key.Key_Escape)
    assert not panel.ui.positivePointButton.checked
    panel.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert panel.listed() == []

    panel.host.leave()
    panel.key(Qt.Key.Key_P)
    assert not panel.ui.positivePointButton.checked
    panel.host.enter()

    assert "[P]" in panel.ui.positivePointButton.toolTip
    table = panel.ui.shortcutsTable
    keys = [table.item(row, 0).text() for row in range(table.rowCount)]
    assert len(keys) == len(set(keys)) and {"P", "N", "B", "S", "D", "X", "U", "R", "Ctrl+Z", "Ctrl+Y"} <= set(keys)
