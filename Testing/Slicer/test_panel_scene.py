"""The scene is saved and comes back: prompts, settings, segments; and the work goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import vtk

from Testing.Slicer.panel_driver import AFFINE, LEFT, RIGHT, ball, dice, reopen, two_balls, world


def everything(panel: Any) -> None:
    """A point, a box with a negative point, a scribble, in two segments, with settings of one's own."""
    panel.load()
    panel.ui.brushRadiusSlider.value = 2.5
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.draw(panel.ui.positiveScribbleButton, "Red", [world(LEFT + [d, 0, 0]) for d in np.linspace(-4, 4, 20)])
    panel.press(panel.ui.positiveScribbleButton)
    panel.press(panel.ui.addSegmentButton)
    panel.press(panel.ui.boxButton)
    for sign in (-1, 1):
        panel.host.hand.click(world(RIGHT + sign * np.array([11, 11, 6])))
    panel.wait()
    panel.place(panel.ui.negativePointButton, world((LEFT + RIGHT) / 2))
    panel.press(panel.ui.negativePointButton)
    panel.press(panel.ui.manyLesionsCheckBox)


def test_a_saved_scene_comes_back_whole(panel: Any, tmp_path: Path) -> None:
    everything(panel)
    masks = {name: panel.mask(name) for name in panel.names}
    prompts = {name: panel.prompts(name) for name in panel.names}

    reopen(panel, tmp_path)

    assert panel.names == ["Segment 1", "Segment 2"]
    for name in panel.names:
        assert np.array_equal(panel.mask_as_loaded(name), masks[name])
        came = panel.prompts(name)
        assert [p.position for p in came.points] == [pytest.approx(p.position, abs=1e-3) for p in prompts[name].points]
        assert [p.positive for p in came.points] == [p.positive for p in prompts[name].points]
        assert [s.radius for s in came.scribbles] == [s.radius for s in prompts[name].scribbles]
        assert [b.size for b in came.boxes] == [pytest.approx(b.size, abs=1e-3) for b in prompts[name].boxes]
    assert panel.ui.brushRadiusSlider.value == 2.5
    assert panel.ui.manyLesionsCheckBox.checked
    panel.select("Segment 1")
    assert panel.listed() == ["point +", "scribble +"]


def test_after_reopening_a_prompt_changes_only_its_segment(panel: Any, tmp_path: Path) -> None:
    everything(panel)
    reopen(panel, tmp_path)
    untouched = panel.mask("Segment 1")
    panel.press(panel.ui.manyLesionsCheckBox)
    panel.select("Segment 2")

    panel.place(panel.ui.positivePointButton, world(RIGHT + [2, 0, 0]))

    assert np.array_equal(panel.mask("Segment 1"), untouched)
    assert dice(panel.mask_as_loaded("Segment 2"), ball(RIGHT)) > 0.85
    assert len(panel.case.store.nodes()) == 5
    panel.select("Segment 1")
    panel.place(panel.ui.positivePointButton, world(LEFT + [0, 2, 0]))
    assert dice(panel.mask_as_loaded("Segment 1"), ball(LEFT)) > 0.85


def test_a_scene_opened_while_another_module_is_shown_is_left_alone_until_this_one_is(
    panel: Any, tmp_path: Path
) -> None:
    everything(panel)
    panel.host.leave()

    reopen(panel, tmp_path)
    assert panel.case is None

    panel.host.enter()
    assert panel.names == ["Segment 1", "Segment 2"]
    panel.select("Segment 1")
    assert panel.listed() == ["point +", "scribble +"]


def test_under_a_transform_prompts_and_segment_are_where_the_image_is(panel: Any) -> None:
    volume = panel.load()
    transform = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    turned = np.eye(4)
    turned[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turned[:3, 3] = (40, 5, -8)
    slicer.util.updateTransformMatrixFromArray(transform, turned)
    volume.SetAndObserveTransformNodeID(transform.GetID())

    panel.place(panel.ui.positivePointButton, tuple((turned @ AFFINE @ [*LEFT, 1])[:3]))

    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    assert panel.segmentation.GetTransformNodeID() == transform.GetID()


def test_moving_the_transform_starts_anew_and_keeps_the_segment(panel: Any) -> None:
    volume = panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    before = panel.mask("Segment 1")
    transform = panel.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
    moved = np.eye(4)
    moved[:3, 3] = (100.0, 0.0, 0.0)
    slicer.util.updateTransformMatrixFromArray(transform, moved)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    panel.segmentation.SetAndObserveTransformNodeID(transform.GetID())
    panel.press(panel.ui.positivePointButton)
    panel.press(panel.ui.addSegmentButton)

    panel.place(panel.ui.positivePointButton, tuple((moved @ AFFINE @ [*RIGHT, 1])[:3]))

    assert dice(panel.mask("Segment 2"), ball(RIGHT)) > 0.9
    assert np.array_equal(panel.mask("Segment 1"), before)


def test_the_first_image_that_is_loaded_is_chosen(panel: Any) -> None:
    volume = panel.load(choose=False)
    assert panel.volume is None
    panel.wait()
    assert panel.volume is volume and "GB of memory" in panel.ui.memoryLabel.text

    panel.load(name="MR", choose=False)
    panel.wait()

    assert panel.volume is volume


def test_an_overlay_is_no_image_to_segment(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.positivePointButton)
    panel.ui.overlayComboBox.currentText = "probability"
    panel.wait()

    panel.ui.volumeSelector.setCurrentNode(panel.scene.GetFirstNodeByName("CT Segment 1 probability"))
    panel.press(panel.ui.positivePointButton)

    assert "choose the image" in panel.said and "choose the image" in panel.ui.memoryLabel.text
    assert panel.case is None and not panel.ui.positivePointButton.checked


def test_an_image_that_changes_while_a_tool_is_on_is_gone_on_with(panel: Any) -> None:
    volume = panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    # As the Sequences module does it when another frame is shown.
    frame = vtk.vtkImageData()
    frame.DeepCopy(volume.GetImageData())
    volume.SetAndObserveImageData(frame)
    panel.wait()

    for position in (RIGHT, RIGHT + [2, 0, 0]):
        assert panel.ui.positivePointButton.checked
        panel.place(panel.ui.positivePointButton, world(position))

    assert panel.listed() == ["point +"] * 3
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_an_image_that_changes_while_the_pen_is_out_is_drawn_on(panel: Any) -> None:
    volume = panel.load()
    panel.press(panel.ui.positiveScribbleButton)
    panel.draw(panel.ui.positiveScribbleButton, "Red", [world(LEFT + [d, 0, 0]) for d in np.linspace(-4, 4, 20)])
    frame = vtk.vtkImageData()
    frame.DeepCopy(volume.GetImageData())
    volume.SetAndObserveImageData(frame)
    panel.wait()

    panel.draw(panel.ui.positiveScribbleButton, "Red", [world(RIGHT + [d, 0, 0]) for d in np.linspace(-4, 4, 20)])

    assert panel.ui.positiveScribbleButton.checked and panel.listed() == ["scribble +"] * 2
    first, second = (len(s.points) for s in panel.prompts("Segment 1").scribbles)
    assert first == second > 1
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_segmentations_are_switched_between(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    first = panel.segmentation
    panel.ui.segmentationSelector.setCurrentNode(None)
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    panel.press(panel.ui.addSegmentButton)
    second = panel.segmentation

    for node, names in ((first, ["Segment 1"]), (second, ["Segment 1", "Segment 2"]), (first, ["Segment 1"])):
        panel.ui.segmentationSelector.setCurrentNode(node)
        assert panel.segmentation is node and panel.names == names


def test_another_image_has_prompts_of_its_own(panel: Any) -> None:
    first = panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    mask = panel.mask("Segment 1")
    segmentation = panel.segmentation

    panel.load(two_balls()[::-1].copy(), name="MR")
    panel.ui.segmentationSelector.setCurrentNode(None)
    panel.place(panel.ui.positivePointButton, world(LEFT))
    assert panel.segmentation.GetName() == "MR segmentation"

    panel.ui.volumeSelector.setCurrentNode(first)
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    assert np.array_equal(panel.mask("Segment 1"), mask)
    assert panel.listed() == ["point +"]
