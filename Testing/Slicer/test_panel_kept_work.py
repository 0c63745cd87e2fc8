"""Work of others that the panel must keep, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer

from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, world


def test_markups_tidied_away_leave_the_segments(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.addSegmentButton)
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    panel.press(panel.ui.positivePointButton)
    masks = {name: panel.mask(name) for name in panel.names}

    for node in panel.case.store.nodes():
        panel.scene.RemoveNode(node)
    panel.wait()

    assert all(np.array_equal(panel.mask(name), mask) for name, mask in masks.items())
    assert "were removed from the scene: the segment stays as it is" in panel.said
    panel.undo()
    assert len(panel.case.store.nodes()) == 2


def test_masking_counts_whenever_the_segment_editor_was_opened(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    editor = panel.scene.AddNode(editor)
    editor.SetSourceVolumeIntensityMask(True)
    editor.SetSourceVolumeIntensityMaskRange(500, 600)
    panel.press(panel.ui.addSegmentButton)

    panel.place(panel.ui.positivePointButton, world(RIGHT))
    panel.press(panel.ui.positivePointButton)

    assert not panel.mask("Segment 2").any()
    assert panel.said.startswith("Segment 2: 0.0 ml (") and "held back by locks or masking" in panel.said


def test_a_box_turned_inside_out_is_said_once_and_the_panel_lives(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.addSegmentButton)
    panel.press(panel.ui.boxButton)
    for sign in (-1, 1):
        panel.host.hand.click(world(RIGHT + sign * np.array([11, 11, 6])))
    panel.wait()
    panel.case.store.nodes()[0].SetInsideOut(True)
    panel.widget.panel.refresh()
    assert panel.listed() == ["box"]

    panel.place(panel.ui.positivePointButton, world(RIGHT))

    assert "is inside out: switch that off" in panel.said
    panel.press(panel.ui.addSegmentButton)
    assert panel.names == ["Segment 1", "Segment 2"]


def test_undo_says_that_it_stops_refining(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(LEFT + [4, 0, 0]))
    panel.press(panel.ui.positivePointButton)
    panel.ui.refineSecondsSpinBox.value = 60
    panel.press(panel.ui.refineButton)
    panel.wait(until=lambda: panel.widget.panel.jobs.kind == "refine")

    panel.undo()

    assert panel.said == "Undone. Refining was stopped: start it again."


def test_a_file_that_was_exported_can_be_worked_on(panel: Any, tmp_path: Path) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    panel.press(panel.ui.positivePointButton)
    panel.widget.panel.segments.export(str(tmp_path / "a.seg.nrrd"))
    panel.scene.Clear(False)
    panel.wait()
    panel.load()
    node = panel.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "a")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    panel.scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(node)
    node.CreateDefaultDisplayNodes()
    panel.ui.segmentationSelector.setCurrentNode(node)
    panel.press(panel.ui.addSegmentButton)

    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.positivePointButton)

    assert dice(panel.mask("Segment 2"), ball(LEFT)) > 0.9 and dice(panel.mask("Segment 1"), ball(RIGHT)) > 0.9
    geometry = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    assert node.GetSegmentation().GetConversionParameter(geometry)
