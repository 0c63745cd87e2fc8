"""The segments table, locks, many lesions, overlays, uncertain spots, and the Segment Editor's masking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit

from PWSegmentationLib import read_volume
from PWSegmentationLib.mrml import volume_from_node, write_overlay
from PWSegmentationLib.mrml.terminology import terminology_of
from PWSegmentationLib.mrml.volumes import voxels
from PWSegmentationLib.segments.terminology import TERMS, terminology_entry
from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, reopen, world

BETWEEN = (LEFT + RIGHT) / 2


def test_segments_are_added_named_and_coloured_in_the_table(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.addSegmentButton)
    table = panel.ui.segmentsTable._cpp
    panel.click_cell(table.tableWidget(), 0, table.NAME, double=True)
    editor = table.tableWidget().findChild(QLineEdit)
    panel.write(editor, "liver")
    QTest.keyClick(editor, Qt.Key.Key_Return)

    panel.place(panel.ui.positivePointButton, world(LEFT))

    assert panel.names == ["liver"]
    assert dice(panel.mask("liver"), ball(LEFT)) > 0.9
    assert panel.said.startswith("liver: ")
    segment = panel.segmentation.GetSegmentation().GetSegment(panel.segment_id("liver"))
    assert terminology_of(segment) == terminology_entry("liver")
    assert segment.GetColor() == pytest.approx(TERMS["liver"].color, abs=1e-3)


def test_a_code_or_colour_that_was_chosen_stays_whatever_the_name(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.addSegmentButton)
    segment = panel.segmentation.GetSegmentation().GetSegment(panel.segment_id("Segment 1"))
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetName("liver")
    panel.place(panel.ui.positivePointButton, world(LEFT))
    assert terminology_of(segment) == terminology_entry("liver")
    assert segment.GetColor() == pytest.approx((0.1, 0.2, 0.3), abs=1e-3)

    segment.SetName("spleen")
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert terminology_of(segment) == terminology_entry("liver")


def test_a_segment_renamed_later_keeps_its_prompts_and_history(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    first = panel.mask("Segment 1")
    panel.segmentation.GetSegmentation().GetSegment(panel.segment_id("Segment 1")).SetName("lesion")

    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert panel.names == ["lesion"]
    assert dice(panel.mask("lesion"), ball(LEFT) | ball(RIGHT)) > 0.9
    panel.undo()

    assert np.array_equal(panel.mask(panel.names[0]), first)


def test_a_click_on_the_status_and_the_eye(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    table = panel.ui.segmentsTable._cpp
    segment = panel.segmentation.GetSegmentation().GetSegment(panel.segment_id("Segment 1"))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    before = logic.GetSegmentStatus(segment)

    panel.click_cell(table.tableWidget(), 0, table.STATUS)
    panel.click_cell(table.tableWidget(), 0, table.VISIBILITY)

    assert logic.GetSegmentStatus(segment) != before
    assert not panel.segmentation.GetDisplayNode().GetSegmentVisibility(panel.segment_id("Segment 1"))


def test_two_segments_share_out_what_both_want(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.addSegmentButton)

    panel.place(panel.ui.positivePointButton, world(RIGHT))

    assert panel.names == ["Segment 1", "Segment 2"]
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    assert dice(panel.mask("Segment 2"), ball(RIGHT)) > 0.9
    assert not (panel.mask("Segment 1") & panel.mask("Segment 2")).any()
    colors = [panel.segmentation.GetSegmentation().GetSegment(panel.segment_id(n)).GetColor() for n in panel.names]
    assert colors[0] != colors[1]
    panel.select("Segment 1")
    assert panel.prompts("Segment 1").points[0].position == pytest.approx(world(LEFT))
    assert panel.ui.promptsTable.item(0, 1).text() == f"{world(LEFT)[0]:.1f}"


def test_a_locked_neighbour_never_changes(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    locked = panel.mask("Segment 1")
    panel.press(panel.ui.lockSegmentButton)
    assert panel.ui.lockSegmentButton.text == "Locked"
    panel.press(panel.ui.addSegmentButton)

    panel.place(panel.ui.positivePointButton, world(LEFT + [0, 0, 1]), world(RIGHT))
    assert np.array_equal(panel.mask("Segment 1"), locked)
    assert not (panel.mask("Segment 2") & locked).any()

    panel.select("Segment 1")
    panel.place(panel.ui.positivePointButton, world(BETWEEN))
    assert "'Segment 1' is locked: unlock it" in panel.said
    assert np.array_equal(panel.mask("Segment 1"), locked)


def test_a_removed_segment_comes_back_with_its_prompts(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    before = panel.mask("Segment 1")

    panel.press(panel.ui.removeSegmentButton)
    assert panel.names == []
    assert panel.case.store.nodes() == []
    panel.undo()

    assert panel.names == ["Segment 1"]
    assert np.array_equal(panel.mask("Segment 1"), before)
    panel.select("Segment 1")
    assert panel.listed() == ["point +"]


def test_in_many_lesion_mode_every_click_is_a_segment(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.manyLesionsCheckBox)

    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))

    assert panel.names == ["Lesion 1", "Lesion 2"]
    assert dice(panel.mask("Lesion 1"), ball(LEFT)) > 0.9
    assert dice(panel.mask("Lesion 2"), ball(RIGHT)) > 0.9
    assert [len(panel.prompts(n).points) for n in panel.names] == [1, 1]

    # One undo takes the click back with all that came of it.
    panel.undo()
    assert panel.names == ["Lesion 1"]
    panel.redo()
    assert panel.names == ["Lesion 1", "Lesion 2"]
    assert dice(panel.mask("Lesion 2"), ball(RIGHT)) > 0.9

    # A correction is for the one that is selected.
    panel.select("Lesion 1")
    panel.place(panel.ui.negativePointButton, world(LEFT + [6, 0, 0]))
    assert panel.names == ["Lesion 1", "Lesion 2"]
    assert len(panel.prompts("Lesion 1").points) == 2


def test_the_next_uncertain_spot_is_shown_in_all_views(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    found = panel.case.prediction(panel.segment_id("Segment 1"))

    panel.press(panel.ui.uncertainSpotButton)

    layout = slicer.app.layoutManager()
    places = []
    for view in layout.sliceViewNames():
        to_ras = layout.sliceWidget(view).mrmlSliceNode().GetSliceToRAS()
        places.append([to_ras.GetElement(row, 3) for row in range(3)])
    assert places[0] == places[1] == places[2]
    voxel = tuple(found.grid.to_voxel(places[0]))
    assert found.uncertainty[voxel] > 0.5
    assert "in doubt here" in panel.said
    panel.press(panel.ui.uncertainSpotButton)
    to_ras = layout.sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    assert [to_ras.GetElement(row, 3) for row in range(3)] != places[0]


def test_probability_and_uncertainty_over_the_image(panel: Any) -> None:
    volume = panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()

    panel.ui.overlayComboBox.currentText = "probability"
    panel.wait()
    shown = panel.scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert shown.GetName() == "CT Segment 1 probability"
    assert voxels(shown)[ball(LEFT, 4)].min() > 0.6
    assert "certain" in panel.ui.overlayLegend.text

    panel.ui.overlayOpacitySlider.value = 0.25
    panel.wait()
    assert composite.GetForegroundOpacity() == 0.25

    panel.ui.overlayComboBox.currentText = "uncertainty"
    panel.wait()
    shown = panel.scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert shown.GetName() == "CT Segment 1 uncertainty"
    # One at a time.
    assert panel.scene.GetFirstNodeByName("CT Segment 1 probability") is None
    # It follows the prompts.
    before = voxels(shown).copy()
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert not np.array_equal(voxels(shown), before)

    panel.ui.overlayComboBox.currentText = "none"
    panel.wait()
    assert composite.GetForegroundVolumeID() is None
    assert panel.ui.volumeSelector.currentNode() is volume
    # An overlay is no image to segment.
    assert panel.widget.logic.isOverlay(shown)


def test_an_overlay_gives_back_the_foreground_that_the_user_had(panel: Any) -> None:
    volume = panel.load()
    other = panel.load(name="PET")
    panel.ui.volumeSelector.setCurrentNode(volume)
    slicer.util.setSliceViewerLayers(foreground=other, foregroundOpacity=0.4)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    panel.place(panel.ui.positivePointButton, world(LEFT))

    for kind in ("probability", "uncertainty", "none"):
        panel.ui.overlayComboBox.currentText = kind
        panel.wait()
        assert (composite.GetForegroundVolumeID() == other.GetID()) == (kind == "none")

    assert composite.GetForegroundOpacity() == 0.4


def test_there_is_one_overlay_and_it_is_not_saved(panel: Any, tmp_path: Path) -> None:
    panel.load()
    panel.ui.overlayComboBox.currentText = "uncertainty"
    for position in (LEFT, RIGHT):
        panel.press(panel.ui.addSegmentButton)
        panel.place(panel.ui.positivePointButton, world(position))
    names = [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
    assert names == ["CT", "CT Segment 2 uncertainty"]

    reopen(panel, tmp_path)

    assert [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")] == ["CT"]


def test_an_overlay_of_an_older_scene_is_taken_from_the_views(panel: Any) -> None:
    volume = panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    prediction = panel.case.prediction(panel.segment_id("Segment 1"))
    slicer.util.setSliceViewerLayers(foreground=write_overlay(panel.scene, volume, prediction, "probability"))
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()

    panel.select("Segment 1")
    panel.widget.panel.overlays.refresh()
    panel.wait()

    assert composite.GetForegroundVolumeID() is None


def test_clicks_that_wait_while_slicer_is_busy_are_lesions_of_their_own(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.manyLesionsCheckBox)
    panel.press(panel.ui.positivePointButton)

    for position in (LEFT, RIGHT, LEFT + [2, 14, 0]):
        panel.host.hand.click(world(position))
    panel.wait()

    assert panel.names == ["Lesion 1", "Lesion 2", "Lesion 3"]
    assert [len(panel.prompts(n).points) for n in panel.names] == [1, 1, 1]
    assert dice(panel.mask("Lesion 1"), ball(LEFT)) > 0.9
    assert dice(panel.mask("Lesion 2"), ball(RIGHT)) > 0.9
    panel.undo()
    assert panel.names == ["Lesion 1", "Lesion 2"]


def test_the_segment_editors_intensity_mask_holds(panel: Any) -> None:
    volume = panel.load()
    editor = slicer.vtkMRMLSegmentEditorNode()
    editor.SetSingletonTag("SegmentEditor")
    panel.scene.AddNode(editor)
    editor.SourceVolumeIntensityMaskOn()
    editor.SetSourceVolumeIntensityMaskRange(205, 1000)

    panel.place(panel.ui.positivePointButton, world(LEFT))

    found = panel.mask("Segment 1")
    assert found.any()
    assert voxels(volume)[found].min() >= 205


def test_overwriting_only_visible_segments(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    hidden = panel.mask("Segment 1")
    panel.segmentation.GetDisplayNode().SetSegmentVisibility(panel.segment_id("Segment 1"), False)
    panel.ui.overwriteComboBox.currentText = "visible"
    panel.press(panel.ui.addSegmentButton)

    panel.place(panel.ui.positivePointButton, world(RIGHT))

    # It is answered anew, for the other's point competes with it, and loses nothing to the other.
    assert dice(panel.mask("Segment 1"), hidden) > 0.98
    assert not (hidden & ~panel.mask("Segment 1") & panel.mask("Segment 2")).any()


def test_export_writes_what_is_shown(panel: Any, tmp_path: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.addSegmentButton)
    panel.place(panel.ui.positivePointButton, world(RIGHT))

    # What is given no ending gets that of the kind that is chosen.
    for name, kind in (("both", ""), ("both", "Labelmap (*.nii.gz *.nrrd)")):

        def choose(path: str = str(tmp_path / name), kind: str = kind) -> None:
            dialogs = [w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog) and w.isVisible()]
            if not dialogs:
                QTimer.singleShot(10, choose)
                return
            if kind:
                dialogs[0].filterSelected.emit(kind)
            dialogs[0].findChild(QLineEdit, "fileNameEdit").setText(path)
            dialogs[0].accept()

        QTimer.singleShot(0, choose)
        panel.press(panel.ui.exportButton)

    read_back = read_volume(tmp_path / "both.nii.gz")
    for value, name in ((1, "Segment 1"), (2, "Segment 2")):
        places = read_back.grid.to_world(np.argwhere(read_back.array == value))
        voxels_of_it = volume_from_node(panel.volume).grid.to_voxel(places)
        assert panel.mask(name)[tuple(voxels_of_it.T)].all() and len(places) == panel.mask(name).sum()
    read = panel.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "both.seg.nrrd"))
    assert storage.ReadData(read)
    segments = read.GetSegmentation()
    assert [segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs()] == ["Segment 1", "Segment 2"]


def test_advanced_settings_reach_the_answer(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    aware = panel.mask("Segment 1")

    panel.ui.methodComboBox.currentText = "gaussian"
    panel.press(panel.ui.segmentButton)
    panel.wait()

    assert "gaussian" in panel.said.lower()
    assert not np.array_equal(panel.mask("Segment 1"), aware)


def test_the_log_tells_what_was_done(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))

    lines = panel.ui.logText.plainText.splitlines()
    assert any("Segment 1: " in line and " ml" in line for line in lines)
    assert "GB of memory" in panel.ui.memoryLabel.text
