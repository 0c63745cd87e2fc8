"""Reviewing in the panel: what it says of a segment, and accept, fix, flag, next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from PWSegmentationLib.app.kept_files import write_segmentation
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.mrml import export_scene, export_segments, segment_mask
from PWSegmentationLib.mrml.labelmaps import oriented_image
from PWSegmentationLib.mrml.review import SceneReview, comment, set_comment, set_status
from PWSegmentationLib.mrml.reviewed import CHANGES_ROLE, KEPT_ROLE, segment_stamp
from PWSegmentationLib.mrml.volumes import image_grid
from PWSegmentationLib.volume.grid import Region
from Testing.Slicer.conftest import box_mask, predicted, save_node, saved_and_loaded
from Testing.Slicer.panel_driver import LEFT, RADIUS, RIGHT, ball, world

LOGIC = slicer.vtkSlicerSegmentationsModuleLogic


def two_segments(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.addSegmentButton)
    panel.place(panel.ui.positivePointButton, world(RIGHT))


def status(panel: Any, name: str) -> int:
    return LOGIC.GetSegmentStatus(panel.segmentation.GetSegmentation().GetSegment(panel.segment_id(name)))


def erase(panel: Any, name: str) -> None:
    """What a slip of the eraser does: all of the segment is gone from its own click on."""
    node, segment_id = panel.segmentation, panel.segment_id(name)
    mask = panel.mask(name)
    mask[:, : int(np.argwhere(mask)[:, 1].mean()) + 2] = False
    image = oriented_image(mask, Region.whole(mask.shape), image_grid(panel.volume).affine)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_REPLACE)


def test_nothing_to_review_is_said(panel: Any) -> None:
    panel.load()
    buttons = (panel.ui.reviewButton, panel.ui.nextReviewButton, panel.ui.acceptSegmentButton)
    assert not any(button.enabled for button in buttons)
    panel.press(panel.ui.addSegmentButton)

    panel.press(panel.ui.nextReviewButton)
    panel.wait()

    assert "It is empty" in panel.ui.reviewLabel.text


def test_a_segment_against_its_prompts_is_found_and_gone_to(panel: Any) -> None:
    two_segments(panel)
    erase(panel, "Segment 1")
    panel.select("Segment 2")
    panel.press(panel.ui.reviewButton)
    panel.wait()
    assert "1 of 2 segments should be looked at" in panel.said
    assert "⚠" not in panel.ui.reviewLabel.text

    panel.press(panel.ui.nextReviewButton)

    assert "1 of 1 prompt says otherwise" in panel.ui.reviewLabel.text


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at segments takes many turns, however fast the machine is."""
    monkeypatch.setattr("PWSegmentationLib.mrml.scene_job.TURN_S", 0.0)


@pytest.mark.usefixtures("unhurried")
def test_next_does_not_lead_away_from_a_segment_chosen_meanwhile(panel: Any) -> None:
    two_segments(panel)
    panel.select("Segment 2")
    panel.press(panel.ui.nextReviewButton)
    assert panel.widget.panel.review.isRunning
    panel.select("Segment 1")
    panel.wait()
    assert panel.widget.panel.segments.current() == panel.segment_id("Segment 1")


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("begun", ["fix", "prompt"])
def test_whoever_goes_on_with_a_segment_is_not_led_away_from_it(panel: Any, begun: str) -> None:
    two_segments(panel)
    panel.select("Segment 1")
    panel.press(panel.ui.flagSegmentButton)
    assert panel.widget.panel.review.isRunning
    if begun == "fix":
        panel.press(panel.ui.fixSegmentButton)
    else:
        panel.place(panel.ui.negativePointButton, world(LEFT + [0, RADIUS - 1, 0]))
    panel.wait()
    assert panel.widget.panel.segments.current() == panel.segment_id("Segment 1")


def test_accept_flag_and_fix_by_keys(panel: Any) -> None:
    two_segments(panel)
    panel.select("Segment 1")
    panel.key(Qt.Key.Key_A, Qt.KeyboardModifier.ShiftModifier)
    assert status(panel, "Segment 1") == LOGIC.Completed
    panel.wait()
    # The next one is selected, and the accepted one is locked.
    panel.key(Qt.Key.Key_F, Qt.KeyboardModifier.ShiftModifier)
    assert status(panel, "Segment 2") == LOGIC.Flagged
    before = panel.mask("Segment 1")
    panel.select("Segment 1")
    panel.key(Qt.Key.Key_X, Qt.KeyboardModifier.ShiftModifier)
    assert status(panel, "Segment 1") == LOGIC.InProgress
    assert np.array_equal(panel.mask("Segment 1"), before)


def test_all_accepted(panel: Any) -> None:
    two_segments(panel)
    panel.select("Segment 1")
    panel.press(panel.ui.acceptSegmentButton)
    panel.wait()
    # The next one is selected now.
    panel.press(panel.ui.acceptSegmentButton)
    panel.wait()
    assert "All segments are completed" in panel.said


def test_all_accepted_but_one_is_empty(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.addSegmentButton)
    panel.press(panel.ui.acceptSegmentButton)
    panel.wait()
    assert panel.said == "All segments are completed. Empty: Segment 1."


def test_what_has_changed_since_it_was_accepted_is_told_and_shown(panel: Any, tmp_path: Any) -> None:
    two_segments(panel)
    panel.select("Segment 1")
    panel.press(panel.ui.acceptSegmentButton)
    panel.wait()
    before = panel.mask("Segment 1")
    panel.select("Segment 1")
    assert "since it was reviewed" not in panel.ui.reviewLabel.text
    assert not panel.ui.showChangesButton.enabled

    panel.press(panel.ui.fixSegmentButton)
    erase(panel, "Segment 1")
    panel.widget.panel.refresh()
    assert panel.ui.reviewLabel.text == "Not checked as it is now."
    panel.press(panel.ui.reviewButton)
    panel.wait()

    gone = before & ~panel.mask("Segment 1")
    removed = gone.sum() * image_grid(panel.volume).voxel_volume / 1000
    assert f"0.00 ml added, {removed:.2f} ml removed" in panel.ui.reviewLabel.text
    panel.press(panel.ui.showChangesButton)
    shown = panel.segmentation.GetNodeReference(CHANGES_ROLE)
    assert np.array_equal(segment_mask(shown, "removed", panel.volume), gone)
    assert not segment_mask(shown, "added", panel.volume).any()
    # Of the other segment there is nothing to show; and what was kept is no segmentation to export or to choose.
    panel.select("Segment 2")
    assert panel.segmentation.GetNodeReference(CHANGES_ROLE) is None
    assert len(export_scene(panel.scene, tmp_path)) == 1
    assert panel.segmentation.GetNodeReference(KEPT_ROLE).GetHideFromEditors()


def test_what_was_accepted_is_known_after_saving_and_loading(
    scene: Any, oblique_ct: Any, segmentation: Any, writer: Any, paint: Callable[..., str], tmp_path: Path
) -> None:
    whole, part = box_mask((2, 2, 2), (10, 9, 8)), box_mask((2, 2, 2), (7, 9, 8))
    kept, other = paint("liver", whole), paint("spleen", box_mask((11, 2, 2), (13, 9, 8)))
    set_status(segmentation, kept, "flagged")
    grid = image_grid(oblique_ct)
    writer.write(predicted("liver", part, grid, changed=Region.whole(grid.shape)))

    loaded = saved_and_loaded(scene, tmp_path)
    review = SceneReview(loaded.GetFirstNodeByName("Segmentation"), loaded.GetFirstNodeByName("CT"), None)
    job = review.start()
    while not job.poll():
        pass

    found = job.result()
    removed = (whole.sum() - part.sum()) * grid.voxel_volume / 1000
    assert found[kept].changes.removed_ml == pytest.approx(removed)
    assert found[kept].changes.added_ml == 0
    assert found[other].changes is None


@pytest.mark.usefixtures("unhurried")
def test_a_segment_that_changes_after_its_turn_is_looked_at_again(
    oblique_ct: Any, segmentation: Any, writer: Any, paint: Callable[..., str]
) -> None:
    liver = paint("liver", box_mask((2, 2, 2), (10, 9, 8)))
    spleen = paint("spleen", box_mask((11, 2, 2), (13, 9, 8)))
    review = SceneReview(segmentation, oblique_ct, None)
    job = review.start()
    while review.of(liver) is None:
        assert not job.poll()

    grid, smaller = image_grid(oblique_ct), box_mask((2, 2, 2), (7, 9, 8))
    writer.write(predicted("liver", smaller, grid, changed=Region.whole(grid.shape)))
    while not job.poll():
        pass

    assert set(job.result()) == {liver, spleen}
    assert job.result()[liver].segment.voxels == smaller.sum()


def test_what_is_known_of_a_segment_outlasts_saving(panel: Any, tmp_path: Path) -> None:
    two_segments(panel)
    panel.select("Segment 1")
    panel.press(panel.ui.flagSegmentButton)
    panel.press(panel.ui.fixSegmentButton)
    erase(panel, "Segment 1")
    panel.press(panel.ui.reviewButton)
    panel.wait()
    panel.select("Segment 1")
    known = panel.ui.reviewLabel.text
    assert "removed" in known

    save_node(panel.segmentation, tmp_path / "segments.seg.nrrd")
    save_node(panel.segmentation.GetNodeReference(KEPT_ROLE), tmp_path / "kept.seg.nrrd")
    panel.widget.panel.refresh()
    assert panel.ui.reviewLabel.text == known
    assert panel.scene.WriteToMRB(str(tmp_path / "case.mrb"))
    panel.widget.panel.refresh()
    assert panel.ui.reviewLabel.text == known

    # What was edited before it was saved is another segment.
    erase(panel, "Segment 1")
    save_node(panel.segmentation, tmp_path / "segments.seg.nrrd")
    panel.widget.panel.refresh()
    assert panel.ui.reviewLabel.text == "Not checked as it is now."


@pytest.mark.parametrize("lesion", [(2, 2, 2), (10, 2, 2)], ids=["two layers", "one layer"])
def test_keeping_a_session_changes_nothing_in_it(
    segmentation: Any,
    paint: Callable[..., str],
    mask_of: Callable[[str], np.ndarray],
    tmp_path: Path,
    lesion: tuple[int, int, int],
) -> None:
    ids = [paint("liver", box_mask((2, 2, 2), (10, 9, 8))), paint("lesion", box_mask(lesion, (12, 5, 5)))]
    ids.append(segmentation.GetSegmentation().AddEmptySegment("none", "nothing"))
    masks = {i: mask_of(i) for i in ids}
    set_comment(segmentation, ids[0], "too small")
    stamps = [segment_stamp(segmentation, i) for i in ids]

    write_segmentation(segmentation, tmp_path / "kept.seg.nrrd")

    assert [segment_stamp(segmentation, i) for i in ids] == stamps
    assert all(np.array_equal(mask_of(i), mask) for i, mask in masks.items())
    segmentation.AddDefaultStorageNode()
    segmentation.GetStorageNode().SetUseCompression(False)
    save_node(segmentation, tmp_path / "saved.seg.nrrd")
    assert (tmp_path / "kept.seg.nrrd").read_bytes() == (tmp_path / "saved.seg.nrrd").read_bytes()


def test_comment_and_status_go_into_the_file(panel: Any, tmp_path: Any) -> None:
    two_segments(panel)
    panel.select("Segment 1")
    line = panel.ui.reviewCommentLineEdit
    line.text = "Rand prüfen | sonst gut"
    line.editingFinished()
    panel.press(panel.ui.flagSegmentButton)
    panel.wait()
    panel.select("Segment 1")
    assert line.text == "Rand prüfen / sonst gut"

    files = export_segments(panel.segmentation, panel.volume, tmp_path / "out.seg.nrrd")

    found = read_segmentation(files[0])
    assert [s.status for s in found.segments] == ["flagged", "inprogress"]
    assert [p.name for p in files] == ["out.seg.nrrd", "out.seg.nrrd.provenance.json"]
    assert ball(LEFT)[tuple(np.argwhere(found.segments[0].over(Region.whole(found.grid.shape))).T)].mean() > 0.9


def test_return_ends_a_comment_and_starts_nothing(panel: Any) -> None:
    two_segments(panel)
    panel.ui.reviewCollapsibleButton.collapsed = False
    panel.select("Segment 1")
    said, line = panel.said, panel.ui.reviewCommentLineEdit
    panel.write(line._cpp, "too small at C")
    # What happens meanwhile takes nothing of it.
    panel.widget.panel.refresh()
    assert line.text == "too small at C"

    QTest.keyClick(line._cpp, Qt.Key.Key_Return)

    assert panel.widget.panel.jobs.kind != "segment" and panel.said == said
    assert comment(panel.segmentation, panel.segment_id("Segment 1")) == "too small at C"


def test_a_comment_goes_to_the_segment_it_was_begun_for(panel: Any) -> None:
    two_segments(panel)
    panel.ui.reviewCollapsibleButton.collapsed = False
    panel.select("Segment 1")
    panel.write(panel.ui.reviewCommentLineEdit._cpp, "too small")

    panel.key(Qt.Key.Key_Tab)
    panel.write(panel.ui.reviewCommentLineEdit._cpp, "much too small")
    panel.widget.panel.segments.select(panel.segment_id("Segment 2"))

    assert panel.ui.reviewCommentLineEdit.text == ""
    assert comment(panel.segmentation, panel.segment_id("Segment 1")) == "much too small"
    assert comment(panel.segmentation, panel.segment_id("Segment 2")) == ""


def test_a_whole_scene_is_exported(panel: Any, tmp_path: Any) -> None:
    two_segments(panel)
    written = export_scene(panel.scene, tmp_path, ".nii.gz")
    assert len(written) == 1
    (files,) = written.values()
    assert [s.name for s in read_segmentation(files[0]).segments] == ["Segment 1", "Segment 2"]
