"""What was done by hand, in other tools, or said of a segment is there after the session has written and undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slicer

from PWSegmentationLib import Session
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import SceneSession, segment_mask, set_locked, volume_from_node
from PWSegmentationLib.mrml.labelmaps import oriented_image
from PWSegmentationLib.mrml.nodes import node_to_world
from PWSegmentationLib.mrml.review import COMMENT_TAG
from PWSegmentationLib.session.engine import FinetuneReport
from PWSegmentationLib.volume.grid import Region
from Testing.Slicer.conftest import OBLIQUE
from Testing.Slicer.test_scene_session import (
    LEFT,
    RIGHT,
    SHAPE,
    GrowingEngine,
    NeighbourlyEngine,
    ball,
    finish,
    mask,
    two_balls,  # noqa: F401 - a fixture
)

MIDDLE = (LEFT + RIGHT) / 2


@pytest.fixture
def on_scene(scene: Any, two_balls: Any, segmentation: Any) -> SceneSession:  # noqa: F811
    return SceneSession(scene, two_balls, segmentation, Session(engine=GrowingEngine()))


def segment(on_scene: SceneSession, name: str) -> Any:
    segments = on_scene.segmentation_node.GetSegmentation()
    return segments.GetSegment(segments.GetSegmentIdBySegmentName(name))


def names(on_scene: SceneSession) -> list[str]:
    segments = on_scene.segmentation_node.GetSegmentation()
    return [segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs()]


def of(on_scene: SceneSession, segment_id: str) -> np.ndarray:
    return segment_mask(on_scene.segmentation_node, segment_id, on_scene.volume_node)


def click(on_scene: SceneSession, segment_id: str, voxel: Sequence[float], positive: bool = True) -> Any:
    """Place a point in the segment and have it answered; what came of it."""
    on_scene.store.add_point(segment_id, OBLIQUE[:3] @ [*voxel, 1.0], positive)
    job = on_scene.start(segment_id)
    finish(job)
    return job.result()


def by_hand(on_scene: SceneSession, segment_id: str, voxels: np.ndarray, *, erase: bool = False) -> None:
    """Paint, or erase, in the Segment Editor."""
    node, scene = on_scene.segmentation_node, on_scene.scene
    editor = scene.AddNode(slicer.vtkMRMLSegmentEditorNode())
    logic = slicer.vtkSlicerSegmentEditorLogic()
    logic.SetMRMLScene(scene)
    logic.SetSegmentEditorNode(editor)
    logic.SetSegmentationNode(node)
    logic.SetSourceVolumeNode(on_scene.volume_node)
    editor.SetSelectedSegmentID(segment_id)
    affine = np.linalg.inv(node_to_world(node)) @ volume_from_node(on_scene.volume_node).grid.affine
    image = oriented_image(voxels, Region.whole(voxels.shape), affine)
    mode = logic.ModificationModeRemove if erase else logic.ModificationModeAdd
    logic.ModifySegmentByLabelmap(node, segment_id, image, mode, False, False)
    logic.SetSegmentEditorNode(None)
    scene.RemoveNode(editor)


def painted(on_scene: SceneSession, name: str, voxels: np.ndarray) -> str:
    """A segment made in the Segment Editor."""
    segment_id = str(on_scene.segmentation_node.GetSegmentation().AddEmptySegment("", name))
    by_hand(on_scene, segment_id, voxels)
    return segment_id


# ---- undo ------------------------------------------------------------------------------------------------------


def test_undo_leaves_segments_alone_that_were_made_elsewhere(on_scene: SceneSession) -> None:
    organ = on_scene.add_segment("organ", for_prompt=True)
    click(on_scene, organ, LEFT)
    tumour = painted(on_scene, "tumour", ball(RIGHT))
    set_locked(on_scene.segmentation_node, tumour, True)

    assert on_scene.undo()

    assert names(on_scene) == ["tumour"]
    assert np.array_equal(of(on_scene, tumour), ball(RIGHT))
    assert on_scene.redo()
    assert np.array_equal(mask(on_scene, "organ"), ball(LEFT))
    assert np.array_equal(of(on_scene, tumour), ball(RIGHT))


def test_undo_leaves_names_colours_and_reviews_alone(on_scene: SceneSession) -> None:
    first, second = on_scene.add_segment("first"), on_scene.add_segment("second")
    click(on_scene, first, LEFT)
    click(on_scene, second, RIGHT)
    done = segment(on_scene, "first")
    done.SetName("liver")
    done.SetColor(1.0, 0.0, 1.0)
    done.SetTag(COMMENT_TAG, "as it should be")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(done, logic.Completed)

    assert on_scene.undo() and on_scene.note == ""

    done = segment(on_scene, "liver")
    assert done.GetColor() == (1.0, 0.0, 1.0) and logic.GetSegmentStatus(done) == logic.Completed
    assert segment(on_scene, "liver").HasTag(COMMENT_TAG)
    assert np.array_equal(of(on_scene, first), ball(LEFT)) and not of(on_scene, second).any()


def test_a_segment_that_undo_removed_comes_back_as_it_was_called_then(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("Segment 1", for_prompt=True)
    click(on_scene, only, LEFT)
    segment(on_scene, "Segment 1").SetName("spleen")
    segment(on_scene, "spleen").SetColor(0.0, 1.0, 1.0)

    assert on_scene.undo() and names(on_scene) == []
    assert on_scene.redo()

    assert names(on_scene) == ["spleen"] and segment(on_scene, "spleen").GetColor() == (0.0, 1.0, 1.0)
    assert np.array_equal(of(on_scene, only), ball(LEFT))


def test_undo_takes_back_only_what_its_step_changed_in_a_segment(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    bump = ball(LEFT - [0, 9, 0], 3.0)
    by_hand(on_scene, only, bump)
    click(on_scene, only, RIGHT)
    corner = np.zeros(SHAPE, bool)
    corner[:3, :3, :3] = True
    by_hand(on_scene, only, corner)

    assert on_scene.undo()

    assert np.array_equal(of(on_scene, only), ball(LEFT) | bump | corner)
    assert on_scene.redo()
    assert np.array_equal(of(on_scene, only), ball(LEFT) | bump | corner | ball(RIGHT))


def test_a_segment_with_hand_work_in_it_is_not_removed_by_undo(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only", for_prompt=True)
    click(on_scene, only, LEFT)
    by_hand(on_scene, only, ball(RIGHT))

    assert on_scene.undo()

    assert np.array_equal(of(on_scene, only), ball(RIGHT) & ~ball(LEFT))
    assert on_scene.note == "What was edited by hand since stays."
    assert on_scene.store.items(only) == []


def test_voxels_go_back_to_who_had_them_but_not_from_a_hand_that_took_them_since(on_scene: SceneSession) -> None:
    organ = painted(on_scene, "organ", ball(LEFT))
    lesion = on_scene.add_segment("lesion")
    click(on_scene, lesion, LEFT + [4, 0, 0])
    cyst = painted(on_scene, "cyst", ball(LEFT + [4, 0, 0], 2.0))

    assert on_scene.undo()

    assert np.array_equal(of(on_scene, cyst), ball(LEFT + [4, 0, 0], 2.0))
    assert np.array_equal(of(on_scene, organ), ball(LEFT) & ~of(on_scene, cyst))
    assert on_scene.note == "What was edited by hand since stays."


def test_the_last_step_of_a_segment_that_is_locked_now_is_not_taken_back(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    set_locked(on_scene.segmentation_node, only, True)

    with pytest.raises(InputError, match="'only' is locked: unlock it to take its last step back"):
        on_scene.undo()

    assert np.array_equal(of(on_scene, only), ball(LEFT)) and len(on_scene.store.items(only)) == 1
    set_locked(on_scene.segmentation_node, only, False)
    assert on_scene.undo() and not of(on_scene, only).any()


def test_what_a_locked_segment_lost_before_stays_lost(on_scene: SceneSession) -> None:
    first, second = on_scene.add_segment("first"), on_scene.add_segment("second")
    click(on_scene, first, LEFT)
    click(on_scene, second, MIDDLE)
    lost = of(on_scene, first)
    set_locked(on_scene.segmentation_node, first, True)

    assert on_scene.undo()

    assert np.array_equal(of(on_scene, first), lost) and not of(on_scene, second).any()
    if not np.array_equal(lost, ball(LEFT)):
        assert on_scene.note == "Locked segments stay as they are: first."


def test_a_removed_segment_comes_back_with_all_that_was_in_it(on_scene: SceneSession) -> None:
    on_scene.add_segment("before")
    only = painted(on_scene, "only", ball(LEFT))
    segment(on_scene, "only").SetTag(COMMENT_TAG, "look again")
    on_scene.add_segment("after")
    on_scene.remove_segment(only)

    assert on_scene.undo()

    assert names(on_scene) == ["before", "only", "after"] and segment(on_scene, "only").HasTag(COMMENT_TAG)
    assert np.array_equal(of(on_scene, only), ball(LEFT))
    assert on_scene.redo() and names(on_scene) == ["before", "after"]


# ---- names -----------------------------------------------------------------------------------------------------


def test_a_removed_segment_comes_back_without_an_error_where_those_before_it_are_gone(on_scene: SceneSession) -> None:
    first, second = on_scene.add_segment("first"), on_scene.add_segment("second")
    on_scene.remove_segment(second)
    segmentation = on_scene.segmentation_node.GetSegmentation()
    segmentation.RemoveSegment(first)
    errors: list[str] = []
    segmentation.AddObserver("ErrorEvent", lambda *_: errors.append("Slicer shows it in red"))

    assert on_scene.undo()

    assert [segmentation.GetSegment(i).GetName() for i in segmentation.GetSegmentIDs()] == ["second"]
    assert errors == []


def test_renamed_while_it_is_computed_a_segment_gets_its_answer(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("Segment 1")
    on_scene.store.add_point(only, OBLIQUE[:3] @ [*LEFT, 1.0])
    job = on_scene.start(only)
    segment(on_scene, "Segment 1").SetName("liver")
    finish(job)

    assert names(on_scene) == ["liver"] and np.array_equal(of(on_scene, only), ball(LEFT))
    assert job.result().prediction.segment == "liver" and job.result().written.keys() == {"liver"}
    assert on_scene.is_answered(only) and on_scene.prediction(only) is not None
    click(on_scene, only, RIGHT)
    assert np.array_equal(of(on_scene, only), ball(LEFT) | ball(RIGHT)) and names(on_scene) == ["liver"]


@pytest.mark.parametrize("seen", ["first", "second"])
def test_renamed_while_neighbours_are_asked_again_segments_keep_masks_and_prompts(
    scene: Any,
    two_balls: Any,  # noqa: F811
    segmentation: Any,
    seen: str,
) -> None:
    on_scene = SceneSession(scene, two_balls, segmentation, Session(engine=NeighbourlyEngine()))
    first, second = (on_scene.add_segment(name) for name in ("first", "second"))
    click(on_scene, first, LEFT)
    on_scene.store.add_point(second, OBLIQUE[:3] @ [*(LEFT + [9.0, 0.0, 0.0]), 1.0])
    job = on_scene.start(second)
    while not of(on_scene, second).any():
        assert not job.poll()
    segment(on_scene, seen).SetName("met segment VII")
    on_scene.prediction(first)
    finish(job)

    assert len(names(on_scene)) == 2 and "met segment VII" in names(on_scene)
    assert not (of(on_scene, first) & ball(LEFT + [9.0, 0.0, 0.0], 4.0)).any() and of(on_scene, first).any()
    assert on_scene.is_answered(first) and on_scene.is_answered(second)
    assert on_scene.session.unanswered() == []


def test_removed_while_it_is_computed_a_segment_stays_removed(on_scene: SceneSession) -> None:
    kept, removed = on_scene.add_segment("kept"), on_scene.add_segment("removed")
    click(on_scene, kept, LEFT)
    on_scene.store.add_point(removed, OBLIQUE[:3] @ [*RIGHT, 1.0])
    job = on_scene.start(removed)
    on_scene.segmentation_node.GetSegmentation().RemoveSegment(removed)
    finish(job)

    with pytest.raises(InputError, match="removed from the scene meanwhile: nothing was written"):
        job.result()
    assert names(on_scene) == ["kept"] and np.array_equal(of(on_scene, kept), ball(LEFT))


def test_segments_that_swap_their_names_keep_their_masks(on_scene: SceneSession) -> None:
    left, right = on_scene.add_segment("left"), on_scene.add_segment("right")
    click(on_scene, left, LEFT)
    click(on_scene, right, RIGHT)
    one, other = segment(on_scene, "left"), segment(on_scene, "right")
    one.SetName("right")
    other.SetName("left")

    done = click(on_scene, left, LEFT + [0, 6, 0])

    assert np.array_equal(of(on_scene, left), ball(LEFT) | ball(LEFT + [0, 6, 0]))
    assert np.array_equal(of(on_scene, right), ball(RIGHT))
    assert done.prediction.segment == "right"
    assert on_scene.undo() and np.array_equal(of(on_scene, left), ball(LEFT))


def test_of_two_segments_of_one_name_the_one_that_was_clicked_is_written(on_scene: SceneSession) -> None:
    segments = on_scene.segmentation_node.GetSegmentation()
    first, second = (str(segments.AddEmptySegment("", "lesion")) for _ in range(2))

    done = click(on_scene, second, LEFT)
    click(on_scene, first, RIGHT)

    assert np.array_equal(of(on_scene, second), ball(LEFT)) and np.array_equal(of(on_scene, first), ball(RIGHT))
    assert done.written.keys() == {"lesion"}
    assert "Another segment is called 'lesion', too: rename one" in done.note


def test_a_segment_without_a_name_can_be_prompted(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    segment(on_scene, "only").SetName("")

    click(on_scene, only, LEFT)

    assert np.array_equal(of(on_scene, only), ball(LEFT))


# ---- segments that hold more than our answers ------------------------------------------------------------------


def test_a_click_inside_adds_to_a_segment_made_elsewhere(on_scene: SceneSession) -> None:
    organ = painted(on_scene, "organ", ball(LEFT, 9.0))

    click(on_scene, organ, RIGHT)

    assert np.array_equal(of(on_scene, organ), ball(LEFT, 9.0) | ball(RIGHT))
    assert on_scene.undo() and np.array_equal(of(on_scene, organ), ball(LEFT, 9.0))


def test_a_click_within_a_segment_made_elsewhere_says_nothing_new(on_scene: SceneSession) -> None:
    organ = painted(on_scene, "organ", ball(LEFT, 4.0))

    click(on_scene, organ, LEFT)

    assert np.array_equal(of(on_scene, organ), ball(LEFT, 4.0))


@pytest.mark.parametrize(("kept", "denied"), [(LEFT, RIGHT), (RIGHT, LEFT)])
def test_a_click_outside_alone_takes_away_from_a_segment_made_elsewhere(
    on_scene: SceneSession, kept: np.ndarray, denied: np.ndarray
) -> None:
    organ = painted(on_scene, "organ", ball(kept, 4.0) | ball(denied, 4.0))

    click(on_scene, organ, denied, positive=False)

    assert np.array_equal(of(on_scene, organ), ball(kept, 4.0))
    click(on_scene, organ, denied + [0, 3, 0], positive=False)
    assert np.array_equal(of(on_scene, organ), ball(kept, 4.0))


def away_mm(voxel: Sequence[float]) -> np.ndarray:
    """How far all voxels are from one, mm."""
    steps = np.moveaxis(np.indices(SHAPE), 0, -1) - voxel
    return np.linalg.norm(steps @ OBLIQUE[:3, :3].T, axis=-1)


@pytest.mark.parametrize("beside", [5, 6, 8])
def test_a_click_changes_a_segment_made_elsewhere_no_farther_than_it_lies_behind_the_border(
    on_scene: SceneSession, beside: int
) -> None:
    before = ball(LEFT, 4.0)
    organ = painted(on_scene, "organ", before)
    place = LEFT + [beside, 0, 0]
    away = away_mm(place)

    click(on_scene, organ, place)

    reach = max(4.0, 4.0 * away[before].min())
    assert np.array_equal(of(on_scene, organ), before | ball(place) & (away <= reach))


@pytest.mark.parametrize("deep", [2, 3, 4])
def test_a_click_outside_takes_as_much_of_a_segment_made_elsewhere_as_it_lies_deep(
    on_scene: SceneSession, deep: int
) -> None:
    before = ball(LEFT) | ball(RIGHT, 8.0)
    organ = painted(on_scene, "organ", before)
    place = LEFT - [0, 7 - deep, 0]
    away = away_mm(place)

    click(on_scene, organ, place, positive=False)

    reach = max(4.0, 2.0 * away[~before].min())
    clearly = np.abs(away - reach) > 1e-6
    expected = before & ~(ball(LEFT) & (away <= reach))
    assert np.array_equal(of(on_scene, organ)[clearly], expected[clearly])


def test_a_prompt_that_is_taken_back_takes_along_what_it_brought_and_no_more(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    click(on_scene, only, LEFT + [5, 0, 0])
    by_hand(on_scene, only, ball(RIGHT, 4.0))
    on_scene.store.delete(on_scene.store.items(only)[1])

    finish(on_scene.start(only))

    assert np.array_equal(of(on_scene, only), ball(LEFT) | ball(RIGHT, 4.0))


def test_a_segment_made_elsewhere_outlives_its_prompts(on_scene: SceneSession) -> None:
    organ = painted(on_scene, "organ", ball(LEFT))
    click(on_scene, organ, RIGHT)
    on_scene.store.delete(on_scene.store.items(organ)[0])

    job = on_scene.start(organ)
    finish(job)

    assert (of(on_scene, organ) & ball(LEFT)).sum() == ball(LEFT).sum()
    assert job.result().note.startswith("Segment 'organ' has no prompts any more, and keeps its voxels")


def test_what_was_erased_does_not_come_back_with_the_next_click(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    half = ball(LEFT) & (np.indices(SHAPE)[1] < LEFT[1] - 2)
    by_hand(on_scene, only, half, erase=True)
    bump = ball(LEFT + [0, 9, 0], 2.0) & ~ball(LEFT)
    by_hand(on_scene, only, bump)

    click(on_scene, only, LEFT + [3, 1, 0])

    assert np.array_equal(of(on_scene, only), ball(LEFT) & ~half | bump)
    click(on_scene, only, RIGHT)
    assert np.array_equal(of(on_scene, only), ball(LEFT) & ~half | bump | ball(RIGHT))


def test_what_was_erased_within_a_box_does_not_come_back_with_the_next_click(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    on_scene.store.add_box(only, OBLIQUE[:3] @ [*LEFT, 1.0], (40.0, 40.0, 40.0))
    click(on_scene, only, LEFT)
    hole = ball(LEFT - [0, 5, 0], 2.0)
    by_hand(on_scene, only, hole, erase=True)

    click(on_scene, only, LEFT + [0, 5, 0])

    assert not (of(on_scene, only) & hole).any()


def test_segments_nobody_has_edited_follow_their_prompts_everywhere(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    click(on_scene, only, RIGHT)
    on_scene.store.delete(on_scene.store.items(only)[0])

    finish(on_scene.start(only))

    assert np.array_equal(of(on_scene, only), ball(RIGHT))


def test_an_edit_of_a_single_voxel_is_told_from_none_wherever_it_is(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    click(on_scene, only, RIGHT)
    history = on_scene._writer.history

    assert not history.has_other_work(only)
    for corner in np.ndindex(2, 2, 2):
        voxel = np.zeros(SHAPE, bool)
        voxel[corner] = True
        by_hand(on_scene, only, voxel)
        assert history.has_other_work(only)
        by_hand(on_scene, only, voxel, erase=True)
        assert not history.has_other_work(only)


def reopened(on_scene: SceneSession) -> SceneSession:
    """Another session on the same nodes, as after loading the scene, going to another image and back, and so on."""
    on_scene.close()
    return SceneSession(
        on_scene.scene, on_scene.volume_node, on_scene.segmentation_node, Session(engine=GrowingEngine())
    )


def test_reopened_a_lesion_can_be_marked_within_an_older_segment(on_scene: SceneSession) -> None:
    organ = on_scene.add_segment("organ")
    click(on_scene, organ, LEFT)
    by_hand(on_scene, organ, ball(LEFT, 9.0))
    again = reopened(on_scene)
    lesion = again.add_segment("lesion")

    click(again, lesion, LEFT + [2, 0, 0])

    assert np.array_equal(of(again, lesion), ball(LEFT + [2, 0, 0]))
    assert np.array_equal(of(again, organ), ball(LEFT, 9.0) & ~of(again, lesion))


def test_reopened_corrections_by_hand_outlive_the_next_click(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    hole, bump = ball(LEFT - [0, 5, 0], 2.0), ball(LEFT + [0, 9, 0], 2.0)
    by_hand(on_scene, only, bump)
    by_hand(on_scene, only, hole, erase=True)
    again = reopened(on_scene)
    corrected = (ball(LEFT) | bump) & ~hole

    finish(again.start(only))
    assert np.array_equal(of(again, only), corrected)
    click(again, only, RIGHT)

    assert np.array_equal(of(again, only), corrected | ball(RIGHT))


class LearningEngine(GrowingEngine):
    """Fits a network that adds a ball above; or none."""

    learns = True

    def finetune(self, tasks: Any, options: Any, budget_s: float, **more: Any) -> Any:
        model = "network" if self.learns else None
        return {t.segment.name: (model, FinetuneReport(t.segment.name, self.learns, "so it is", 1, 0.1)) for t in tasks}

    def predict(self, task: Any, options: Any, *, model: Any = None, **more: Any) -> Any:
        found = super().predict(task, options, **more)
        above = ball(self.grid.to_index(task.segment.points[0].position) + [0, 0, 4], 5.05)
        return found if model is None else replace(found, region_mask=found.region_mask | above)


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("anew", [True, False])
def test_refining_changes_segments_edited_by_hand_only_where_it_has_learnt_something(
    on_scene: SceneSession, anew: bool, learns: bool
) -> None:
    corrected = {}
    for name, at in (("first", LEFT), ("second", RIGHT)):
        segment_id = on_scene.add_segment(name)
        click(on_scene, segment_id, at)
        by_hand(on_scene, segment_id, ball(at - [0, 5, 0], 2.0), erase=True)
        by_hand(on_scene, segment_id, ball(at + [0, 9, 0], 2.0))
        corrected[segment_id] = of(on_scene, segment_id), ball(at + [0, 0, 4], 5.05) & ~ball(at)
    case = reopened(on_scene) if anew else on_scene
    engine = LearningEngine()
    engine.learns = learns
    case.session.use_engine(engine)

    job = case.start_finetune(1.0)
    finish(job)

    for segment_id, (before, learnt) in corrected.items():
        assert np.array_equal(of(case, segment_id), before | learnt if learns else before)
    assert bool(job.result().written) == learns
    if learns:
        assert case.undo()
        assert all(np.array_equal(of(case, i), before) for i, (before, _) in corrected.items())


def test_what_was_put_right_by_hand_in_a_neighbour_outlives_others_prompts(
    scene: Any,
    two_balls: Any,  # noqa: F811
    segmentation: Any,
) -> None:
    on_scene = SceneSession(scene, two_balls, segmentation, Session(engine=NeighbourlyEngine()))
    first, second = (on_scene.add_segment(name) for name in ("first", "second"))
    click(on_scene, first, LEFT)
    by_hand(on_scene, first, ball(LEFT, 9.0))

    # So near that the first one's answer becomes a smaller one.
    click(on_scene, second, LEFT + [9.0, 0.0, 0.0])

    assert np.array_equal(of(on_scene, first), ball(LEFT, 9.0) & ~of(on_scene, second))


# ---- prompts that somebody else removes, or turns round --------------------------------------------------------


def test_a_segment_outlives_that_its_markups_are_tidied_away(on_scene: SceneSession) -> None:
    first, second = on_scene.add_segment("first"), on_scene.add_segment("second")
    click(on_scene, first, LEFT)
    click(on_scene, second, RIGHT)
    for node in on_scene.store.nodes():
        on_scene.scene.RemoveNode(node)
    assert on_scene.note_prompts()

    job = on_scene.start(first)
    finish(job)

    assert job.result().note.startswith("Prompts of 'first' were removed from the scene: the segment stays as it is.")
    third = on_scene.add_segment("third")
    click(on_scene, third, LEFT + [0, 0, 6])
    assert np.array_equal(of(on_scene, second), ball(RIGHT))
    assert np.array_equal(of(on_scene, first), ball(LEFT) & ~of(on_scene, third))
    assert on_scene.undo() and on_scene.undo() and on_scene.undo()
    assert np.array_equal(of(on_scene, first), ball(LEFT))
    assert len(on_scene.store.items(first)) == len(on_scene.store.items(second)) == 1


def test_prompts_of_a_segment_that_was_removed_elsewhere_are_in_no_undos_way(on_scene: SceneSession) -> None:
    kept, removed = on_scene.add_segment("kept"), on_scene.add_segment("removed")
    click(on_scene, kept, LEFT)
    click(on_scene, removed, RIGHT)
    click(on_scene, kept, MIDDLE)
    for node in on_scene.store.nodes(removed):
        on_scene.scene.RemoveNode(node)
    on_scene.segmentation_node.GetSegmentation().RemoveSegment(removed)

    # That they went, and the last click.
    assert on_scene.undo() and on_scene.undo()

    assert np.array_equal(of(on_scene, kept), ball(LEFT)) and names(on_scene) == ["kept"]
    assert len(on_scene.store.items(kept)) == 1


def test_deleting_the_last_prompt_here_empties_the_segment(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    on_scene.store.delete(on_scene.store.items(only)[0])

    job = on_scene.start(only)
    finish(job)

    assert not of(on_scene, only).any()
    assert job.result().note == "The segment has no prompts any more: it is empty."


def test_a_box_that_is_inside_out_says_so_when_it_is_used_and_is_listed_until_then(on_scene: SceneSession) -> None:
    only = on_scene.add_segment("only")
    click(on_scene, only, LEFT)
    box = on_scene.store.add_box(only, OBLIQUE[:3] @ [*LEFT, 1.0], (10.0, 10.0, 10.0))
    on_scene.note_prompts()
    box.SetInsideOut(True)

    assert [i.role for i in on_scene.store.items(only)] == ["inside", "box"] and on_scene.can_undo
    assert on_scene.store.nearest(OBLIQUE[:3] @ [*LEFT, 1.0], 5.0, only) is not None
    with pytest.raises(InputError, match="is inside out: switch that off"):
        on_scene.start(only)
    assert np.array_equal(of(on_scene, only), ball(LEFT))
    on_scene.note_prompts()
    box.SetInsideOut(False)
    finish(on_scene.start(only))
    assert on_scene.undo() and [i.role for i in on_scene.store.items(only)] == ["inside", "box"]


def test_the_prompt_that_is_meant_is_the_nearest_within_reach(on_scene: SceneSession) -> None:
    only, store = on_scene.add_segment("only"), on_scene.store
    store.add_point(only, (0, 0, 0))
    store.add_point(only, (10, 0, 0), positive=False)
    store.add_box(only, (0, 100, 0), (20, 20, 20))
    store.add_scribble(only, [(0, 0, 50), (0, 0, 60), (0, 0, 70)], 2.0)

    # A box is its faces: a click in its middle means what lies there.
    points = {(4, 0, 0): "inside", (6, 0, 0): "outside", (5, 20, 0): None}
    box = {(0, 100, 0): None, (9, 100, 0): "box", (12, 100, 0): "box", (0, 120, 0): None}
    scribble = {(1, 0, 69): "scribble inside", (0, 0, 80): None}
    for place, role in (points | box | scribble).items():
        found = store.nearest(place, 5.5, only)
        assert (None if found is None else found.role) == role, place


# ---- what is said ----------------------------------------------------------------------------------------------


def test_the_volume_that_is_told_is_what_the_segment_has(on_scene: SceneSession) -> None:
    kept = painted(on_scene, "kept", ball(LEFT + [5, 0, 0], 4.0))
    set_locked(on_scene.segmentation_node, kept, True)
    only = on_scene.add_segment("only")

    done = click(on_scene, only, LEFT)

    ml = abs(np.linalg.det(OBLIQUE[:3, :3])) / 1000.0
    assert done.volume_ml == pytest.approx(of(on_scene, only).sum() * ml)
    assert done.held_back_ml == pytest.approx((ball(LEFT) & of(on_scene, kept)).sum() * ml)
    assert done.volume_text == f"{done.volume_ml:.2f} ml ({done.held_back_ml:.1f} ml held back by locks or masking)"
    assert "held back" not in click(on_scene, only, RIGHT).volume_text


# ---- segmentations without a geometry of their own -------------------------------------------------------------


@pytest.mark.parametrize("filled", [True, False])
def test_a_segmentation_that_says_no_geometry_can_be_worked_on(on_scene: SceneSession, filled: bool) -> None:
    node = on_scene.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "made elsewhere")
    node.CreateDefaultDisplayNodes()
    segments = node.GetSegmentation()
    labelmap = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segments.SetSourceRepresentationName(labelmap)
    organ = slicer.vtkSegment()
    organ.SetName("organ")
    if filled:
        grid = volume_from_node(on_scene.volume_node).grid
        organ.AddRepresentation(labelmap, oriented_image(ball(RIGHT), Region.whole(SHAPE), grid.affine))
    segments.AddSegment(organ, "organ")
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    segments.SetConversionParameter(name, "")
    again = SceneSession(on_scene.scene, on_scene.volume_node, node, Session(engine=GrowingEngine()))
    only = again.add_segment("only")

    click(again, only, LEFT)

    assert np.array_equal(of(again, only), ball(LEFT)) and not again.resamples
    assert np.array_equal(of(again, "organ"), ball(RIGHT) if filled else np.zeros(SHAPE, bool))
