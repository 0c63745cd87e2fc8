"""From clicks in the scene to segments in the scene, and back again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk

from PWSegmentationLib import Cancelled, Session
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import PromptNodes, SceneSession, segment_mask, volume_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.volume.grid import Region
from Testing.Slicer.conftest import OBLIQUE

SHAPE = (40, 36, 20)
LEFT, RIGHT = np.array([11.0, 17.0, 10.0]), np.array([28.0, 17.0, 10.0])


def ball(center: np.ndarray, radius: float = 7.05) -> np.ndarray:
    """Voxels within ``radius`` voxels of ``center``; k counts double, it is thicker."""
    i, j, k = np.indices(SHAPE)
    return (i - center[0]) ** 2 + (j - center[1]) ** 2 + (2 * (k - center[2])) ** 2 <= radius**2


@pytest.fixture
def two_balls(add_volume: Callable[..., Any]) -> Any:
    """A noisy image of two bright balls, on an oblique grid."""
    image = np.random.default_rng(0).normal(100, 8, SHAPE)
    image[ball(LEFT) | ball(RIGHT)] += 100
    return add_volume(image.astype(np.int16), name="phantom")


@pytest.fixture
def click(scene: Any, two_balls: Any) -> Callable[..., Any]:
    """A point list with points at these voxels of the phantom."""

    def add(*voxels: Sequence[float]) -> Any:
        node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        for voxel in voxels:
            node.AddControlPointWorld(vtk.vtkVector3d(*(OBLIQUE @ [*voxel, 1.0])[:3]))
        return node

    return add


class GrowingEngine:
    """Answers with a ball around every positive point, at once: what counts here is what the scene makes of it."""

    certainty = 0.9

    def set_image(self, volume: Any) -> None:
        self.grid = volume.grid

    def relevant(self, task: Any, sight: Any = None) -> tuple[Any, ...]:
        return ()

    def predict(self, task: Any, options: Any, *, model: Any = None, progress: Any = None, cancel: Any = None) -> Any:
        if cancel is not None and cancel():
            raise Cancelled
        mask = np.zeros(SHAPE, bool)
        for point in task.segment.points:
            if point.positive:
                mask |= ball(self.grid.to_index(point.position))
        half = np.where(mask, np.float16(self.certainty), np.float16(0.1))
        return Prediction(task.segment.name, self.grid, Region.whole(SHAPE), mask, half, half)


@pytest.fixture
def on_scene(scene: Any, two_balls: Any, segmentation: Any) -> SceneSession:
    return SceneSession(scene, two_balls, segmentation, Session(engine=GrowingEngine()))


def mask(on_scene: SceneSession, name: str) -> np.ndarray:
    found = on_scene.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name)
    assert found, name
    return segment_mask(on_scene.segmentation_node, found, on_scene.volume_node)


def test_two_clicks_become_a_segment(scene: Any, two_balls: Any, segmentation: Any, click: Callable[..., Any]) -> None:
    on_scene = SceneSession(scene, two_balls, segmentation)

    applied = on_scene.apply(PromptNodes("lesion", positive=[click(LEFT)], negative=[click(RIGHT)]))

    found = mask(on_scene, "lesion")
    assert found[tuple(LEFT.astype(int))]
    assert not found[tuple(RIGHT.astype(int))]
    assert (found & ball(LEFT)).sum() > 0.9 * found.sum()
    assert np.array_equal(found, applied.prediction.mask)
    assert applied.note == ""


def test_a_point_added_later_changes_the_same_segment(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    points = click(LEFT)
    first = on_scene.apply(PromptNodes("lesion", positive=[points]))
    points.AddControlPointWorld(vtk.vtkVector3d(*(OBLIQUE @ [*RIGHT, 1.0])[:3]))

    second = on_scene.apply(PromptNodes("lesion", positive=[points]))

    assert first.segment_id == second.segment_id
    assert np.array_equal(mask(on_scene, "lesion"), ball(LEFT) | ball(RIGHT))
    # Only the new ball is written.
    assert second.written["lesion"] == Region.around(ball(RIGHT))


def test_segments_that_meet_share_the_voxels_out(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    middle = (LEFT + RIGHT) / 2
    on_scene.apply(PromptNodes("first", positive=[click(LEFT)]))

    applied = on_scene.apply(PromptNodes("second", positive=[click(middle)]))

    first, second = mask(on_scene, "first"), mask(on_scene, "second")
    assert np.array_equal(first | second, ball(LEFT) | ball(middle))
    assert not (first & second).any()
    assert np.array_equal(second, applied.prediction.mask)


def test_with_overwrite_none_segments_may_overlap(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    on_scene.apply(PromptNodes("organ", positive=[click(LEFT)]), overwrite="none")

    on_scene.apply(PromptNodes("lesion in it", positive=[click(LEFT)]), overwrite="none")

    assert np.array_equal(mask(on_scene, "organ"), ball(LEFT))
    assert np.array_equal(mask(on_scene, "lesion in it"), ball(LEFT))


def test_a_completed_segment_keeps_its_voxels_and_cannot_be_prompted(
    on_scene: SceneSession, click: Callable[..., Any]
) -> None:
    done = on_scene.apply(PromptNodes("done", positive=[click(LEFT)])).segment_id
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(on_scene.segmentation_node.GetSegmentation().GetSegment(done), logic.Completed)

    on_scene.apply(PromptNodes("next", positive=[click((LEFT + RIGHT) / 2)]))

    assert np.array_equal(mask(on_scene, "done"), ball(LEFT))
    assert not (mask(on_scene, "next") & ball(LEFT)).any()
    with pytest.raises(InputError, match="'done' is locked"):
        on_scene.apply(PromptNodes("done", positive=[click(RIGHT)]))


def test_edits_by_hand_in_other_segments_survive(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    first = on_scene.apply(PromptNodes("first", positive=[click(LEFT)])).segment_id
    stored = on_scene.segmentation_node.GetBinaryLabelmapInternalRepresentation(first)
    i, j, k = (int(v) for v in LEFT)
    stored.SetScalarComponentFromDouble(i, j, k, 0, 0)

    on_scene.apply(PromptNodes("second", positive=[click((LEFT + RIGHT) / 2)]))

    assert not mask(on_scene, "first")[i, j, k]


def test_undo_and_redo_follow_segments_prompts_and_overlays(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    points = click(LEFT)
    on_scene.apply(PromptNodes("lesion", positive=[points]), probability=True)
    overlay = on_scene.overlay("lesion", "probability")
    points.AddControlPointWorld(vtk.vtkVector3d(*(OBLIQUE @ [*RIGHT, 1.0])[:3]))
    on_scene.apply(PromptNodes("lesion", positive=[points]))
    both = ball(LEFT) | ball(RIGHT)
    assert np.array_equal(volume_from_node(overlay).array > 0.5, both)

    assert on_scene.undo()
    assert np.array_equal(mask(on_scene, "lesion"), ball(LEFT))
    assert np.array_equal(volume_from_node(overlay).array > 0.5, ball(LEFT))
    assert len(on_scene.session.prompts["lesion"].points) == 1

    assert on_scene.undo()
    assert on_scene.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0
    assert not volume_from_node(overlay).array.any()
    assert not on_scene.undo()

    assert on_scene.redo()
    assert on_scene.redo()
    assert np.array_equal(mask(on_scene, "lesion"), both)
    assert np.array_equal(volume_from_node(overlay).array > 0.5, both)
    assert not on_scene.redo()


def test_after_undo_a_new_prompt_gives_what_it_should(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    above = LEFT + np.array([0, 9, 0])
    on_scene.apply(PromptNodes("lesion", positive=[click(LEFT)]))
    on_scene.apply(PromptNodes("lesion", positive=[click(LEFT, RIGHT)]))
    on_scene.undo()

    on_scene.apply(PromptNodes("lesion", positive=[click(LEFT, above)]))

    assert np.array_equal(mask(on_scene, "lesion"), ball(LEFT) | ball(above))
    assert not on_scene.can_redo


def test_as_many_steps_as_promised_can_be_taken_back(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    points = click()
    for step in range(10):
        points.AddControlPointWorld(vtk.vtkVector3d(*(OBLIQUE @ [4 + 3 * step, 17, 10, 1.0])[:3]))
        on_scene.apply(PromptNodes("snake", positive=[points]))

    steps = 0
    while on_scene.undo():
        steps += 1

    assert steps == 10
    assert on_scene.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0


def test_applying_the_same_again_changes_nothing(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    nodes = PromptNodes("lesion", positive=[click(LEFT)])
    on_scene.apply(nodes)

    again = on_scene.apply(nodes)

    assert again.written == {}
    assert np.array_equal(mask(on_scene, "lesion"), ball(LEFT))


def test_overlays_appear_when_asked_for_and_come_back_when_deleted(
    scene: Any, on_scene: SceneSession, click: Callable[..., Any]
) -> None:
    nodes = PromptNodes("lesion", positive=[click(LEFT)])
    on_scene.apply(nodes, probability=True)
    assert on_scene.overlay("lesion", "uncertainty") is None
    scene.RemoveNode(on_scene.overlay("lesion", "probability"))

    on_scene.apply(nodes, probability=True, uncertainty=True)

    assert on_scene.overlay("lesion", "probability") is not None
    assert on_scene.overlay("lesion", "uncertainty").GetName() == "phantom lesion uncertainty"


def test_an_overlay_follows_a_probability_that_leaves_the_segment_as_it_is(
    on_scene: SceneSession, click: Callable[..., Any]
) -> None:
    points, outside = click(LEFT), click((2, 2, 2))
    on_scene.apply(PromptNodes("lesion", positive=[points], negative=[outside]), probability=True)
    on_scene.session._engine.certainty = 0.7  # type: ignore[attr-defined]
    outside.AddControlPointWorld(vtk.vtkVector3d(*(OBLIQUE @ [2, 3, 2, 1.0])[:3]))

    applied = on_scene.apply(PromptNodes("lesion", positive=[points], negative=[outside]))

    assert applied.written == {}
    overlay = volume_from_node(on_scene.overlay("lesion", "probability")).array
    assert overlay[tuple(LEFT.astype(int))] == pytest.approx(0.7, abs=1e-3)


def test_an_answer_that_cannot_be_written_leaves_everything_as_it_was(
    on_scene: SceneSession, click: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_scene.apply(PromptNodes("first", positive=[click(LEFT)]))
    writing = on_scene._writer.writing

    def write_then_fail(prediction: Prediction, *arguments: Any, **options: Any) -> Iterator[None]:
        yield from writing(prediction, *arguments, **options)
        raise MemoryError

    monkeypatch.setattr(on_scene._writer, "writing", write_then_fail)
    with pytest.raises(MemoryError):
        on_scene.apply(PromptNodes("second", positive=[click((LEFT + RIGHT) / 2)]))
    monkeypatch.undo()

    assert np.array_equal(mask(on_scene, "first"), ball(LEFT))
    assert on_scene.session.prompts.names == ("first",)
    assert on_scene.undo()
    assert on_scene.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0


def test_cancel_leaves_scene_and_session_alone(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    on_scene.apply(PromptNodes("lesion", positive=[click(LEFT)]))
    before = on_scene.session.prompts

    with pytest.raises(Cancelled):
        on_scene.apply(PromptNodes("lesion", positive=[click(LEFT, RIGHT)]), cancel=lambda: True)

    assert np.array_equal(mask(on_scene, "lesion"), ball(LEFT))
    assert on_scene.session.prompts == before
    assert on_scene.undo()
    assert not on_scene.can_undo


def test_a_segment_without_prompts_is_refused_and_nothing_is_made(
    on_scene: SceneSession, click: Callable[..., Any]
) -> None:
    with pytest.raises(InputError, match="'lesion' has no prompts"):
        on_scene.apply(PromptNodes("lesion", positive=[click()]))

    assert on_scene.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0
    assert "lesion" not in on_scene.session.prompts


def test_a_click_outside_the_volume_is_refused(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="outside the volume"):
        on_scene.apply(PromptNodes("lesion", positive=[click((100, 100, 100))]))


def test_a_moved_or_changed_image_is_noticed(
    on_scene: SceneSession, two_balls: Any, click: Callable[..., Any], put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    assert on_scene.is_current

    put_under(two_balls, np.diag([2.0, 1.0, 1.0, 1.0]))

    assert not on_scene.is_current
    with pytest.raises(InputError, match="'phantom' has changed"):
        on_scene.apply(PromptNodes("lesion", positive=[click(LEFT)]))


def test_new_voxels_in_the_same_node_are_noticed(on_scene: SceneSession, two_balls: Any) -> None:
    two_balls.GetImageData().GetPointData().GetScalars().Fill(0)
    two_balls.GetImageData().GetPointData().GetScalars().Modified()

    assert not on_scene.is_current


def test_work_goes_on_after_the_user_deleted_the_segment(on_scene: SceneSession, click: Callable[..., Any]) -> None:
    nodes = PromptNodes("lesion", positive=[click(LEFT)])
    first = on_scene.apply(nodes).segment_id
    on_scene.segmentation_node.GetSegmentation().RemoveSegment(first)

    on_scene.apply(nodes)

    assert np.array_equal(mask(on_scene, "lesion"), ball(LEFT))


def test_a_segment_deleted_or_renamed_in_the_scene_is_left_alone(
    on_scene: SceneSession, click: Callable[..., Any]
) -> None:
    middle = (LEFT + RIGHT) / 2
    deleted = on_scene.apply(PromptNodes("deleted", positive=[click(LEFT)])).segment_id
    renamed = on_scene.apply(PromptNodes("renamed", positive=[click(RIGHT)])).segment_id
    segmentation = on_scene.segmentation_node.GetSegmentation()
    segmentation.RemoveSegment(deleted)
    segmentation.GetSegment(renamed).SetName("by the user")

    on_scene.apply(PromptNodes("lesion", positive=[click(middle)]), overwrite="visible")

    names = [segmentation.GetSegment(i).GetName() for i in segmentation.GetSegmentIDs()]
    assert names == ["by the user", "lesion"]
    # Nobody competes for these voxels any more.
    assert np.array_equal(mask(on_scene, "lesion"), ball(middle))
    assert np.array_equal(mask(on_scene, "by the user"), ball(RIGHT) & ~ball(middle))


def test_a_name_that_was_given_up_and_is_used_again_says_nothing_of_the_first_segment(on_scene: SceneSession) -> None:
    first = on_scene.add_segment("Segment 1")
    on_scene.store.add_point(first, OBLIQUE[:3] @ [*LEFT, 1.0])
    finish(on_scene.start(first))
    on_scene.segmentation_node.GetSegmentation().GetSegment(first).SetName("aorta")

    second = on_scene.add_segment("Segment 1")

    assert on_scene.prediction(second) is None
    assert on_scene.prediction(first).segment == "aorta"


class NeighbourlyEngine(GrowingEngine):
    """As `GrowingEngine`, but what others have marked is not part of a segment, however far away it is."""

    def relevant(self, task: Any, sight: Any = None) -> tuple[Any, ...]:
        return tuple(task.others)

    def predict(self, task: Any, options: Any, **more: Any) -> Any:
        found = super().predict(task, options, **more)
        taken = np.zeros(SHAPE, bool)
        for other in task.others:
            for point in other.points:
                taken |= ball(self.grid.to_index(point.position), 4.0)
        return replace(found, region_mask=found.region_mask & ~taken)


def test_the_segment_asked_for_is_shown_before_its_neighbours_are_asked_again(
    scene: Any, two_balls: Any, segmentation: Any
) -> None:
    on_scene = SceneSession(scene, two_balls, segmentation, Session(engine=NeighbourlyEngine()))
    near = LEFT + [9.0, 0.0, 0.0]
    first, second = (on_scene.add_segment(name) for name in ("first", "second"))
    on_scene.store.add_point(first, OBLIQUE[:3] @ [*LEFT, 1.0])
    finish(on_scene.start(first))
    before = mask(on_scene, "first")

    on_scene.store.add_point(second, OBLIQUE[:3] @ [*near, 1.0])
    job = on_scene.start(second)
    while not mask(on_scene, "second").any():
        assert not job.poll()
    assert on_scene.session.unanswered() == ["first"]
    finish(job)

    assert on_scene.session.unanswered() == []
    assert not (mask(on_scene, "first") & ball(near, 4.0)).any() and mask(on_scene, "first").any()
    assert job.result().written.keys() == {"first", "second"}
    assert on_scene.undo()
    assert np.array_equal(mask(on_scene, "first"), before) and not mask(on_scene, "second").any()
    assert on_scene.redo() and mask(on_scene, "second").any()


def test_a_prompt_that_comes_while_neighbours_are_written_is_a_step_of_its_own(
    scene: Any, two_balls: Any, segmentation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it is with large segments: they are not written within one turn.
    monkeypatch.setattr("PWSegmentationLib.mrml.scene_job.TURN_S", 0.0)
    on_scene = SceneSession(scene, two_balls, segmentation, Session(engine=NeighbourlyEngine()))
    first, second = (on_scene.add_segment(name) for name in ("first", "second"))
    on_scene.store.add_point(first, OBLIQUE[:3] @ [*LEFT, 1.0])
    finish(on_scene.start(first))
    before = mask(on_scene, "first")
    on_scene.store.add_point(second, OBLIQUE[:3] @ [*(LEFT + [9.0, 0.0, 0.0]), 1.0])
    job = on_scene.start(second)
    while np.array_equal(mask(on_scene, "first"), before) or not mask(on_scene, "second").any():
        assert not job.poll()
    while on_scene.session.unanswered():
        assert not job.poll()
    on_scene.store.add_point(second, OBLIQUE[:3] @ [*RIGHT, 1.0])
    on_scene.note_prompts()
    finish(job)
    after = mask(on_scene, "first")

    assert on_scene.undo()
    assert np.array_equal(mask(on_scene, "first"), after) and mask(on_scene, "second").any()
    assert len(on_scene.store.items(second)) == 1
    assert on_scene.undo()
    assert np.array_equal(mask(on_scene, "first"), before) and not mask(on_scene, "second").any()


@pytest.fixture
def slow_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are written, and taken back, in many turns, as large ones are."""
    monkeypatch.setattr("PWSegmentationLib.mrml.scene_job.TURN_S", 0.0)
    for room in ("segments", "segment_history"):
        monkeypatch.setattr(f"PWSegmentationLib.mrml.{room}.PART_VOXELS", 600)


@pytest.mark.usefixtures("slow_writing")
def test_a_prompt_placed_while_a_step_is_taken_back_is_a_step_of_its_own(on_scene: SceneSession) -> None:
    segment = on_scene.add_segment("balls")
    on_scene.store.add_point(segment, OBLIQUE[:3] @ [*LEFT, 1.0])
    finish(on_scene.start(segment))
    one = mask(on_scene, "balls")
    on_scene.store.add_point(segment, OBLIQUE[:3] @ [*RIGHT, 1.0])
    finish(on_scene.start(segment))
    both = mask(on_scene, "balls")

    job = on_scene.start_undo()
    assert job is not None
    # The prompt is gone at once, the voxels after a while.
    assert len(on_scene.store.items(segment)) == 1
    while np.array_equal(mask(on_scene, "balls"), both):
        assert not job.poll()
    assert not np.array_equal(mask(on_scene, "balls"), one)
    beside = RIGHT + [1.0, 0.0, 0.0]
    on_scene.store.add_point(segment, OBLIQUE[:3] @ [*beside, 1.0])
    finish(on_scene.start(segment))

    assert np.array_equal(mask(on_scene, "balls"), ball(LEFT) | ball(beside))
    assert on_scene.undo()
    assert np.array_equal(mask(on_scene, "balls"), one) and len(on_scene.store.items(segment)) == 1


@pytest.mark.usefixtures("slow_writing")
def test_steps_asked_for_while_others_are_taken_back_come_after_them(on_scene: SceneSession) -> None:
    segment = on_scene.add_segment("balls")
    masks = [mask(on_scene, "balls")]
    for place in (LEFT, RIGHT):
        on_scene.store.add_point(segment, OBLIQUE[:3] @ [*place, 1.0])
        finish(on_scene.start(segment))
        masks.append(mask(on_scene, "balls"))

    jobs = [on_scene.start_undo(), on_scene.start_undo(), on_scene.start_redo()]
    last = jobs[-1]
    assert last is not None
    last.poll()
    # Given up, as a front end does with a job in the way of another, it is brought to its end.
    last.cancel()

    assert np.array_equal(mask(on_scene, "balls"), masks[1])
    assert on_scene.redo() and np.array_equal(mask(on_scene, "balls"), masks[2])


def half_written(on_scene: SceneSession) -> tuple[str, Any]:
    """A segment of which a part has been written, and the job that goes on with it."""
    segment = on_scene.add_segment("balls")
    on_scene.store.add_point(segment, OBLIQUE[:3] @ [*LEFT, 1.0])
    job = on_scene.start(segment)
    while not mask(on_scene, "balls").any():
        assert not job.poll()
    return segment, job


@pytest.mark.usefixtures("slow_writing")
def test_nobody_keeps_half_a_segment(on_scene: SceneSession) -> None:
    _, job = half_written(on_scene)
    assert not np.array_equal(mask(on_scene, "balls"), ball(LEFT))

    on_scene.finish_writing()

    assert np.array_equal(mask(on_scene, "balls"), ball(LEFT))
    finish(job)
    assert on_scene.undo() and not mask(on_scene, "balls").any()


@pytest.mark.usefixtures("slow_writing")
def test_a_segment_removed_while_it_is_written_stays_removed(on_scene: SceneSession) -> None:
    segment, job = half_written(on_scene)

    on_scene.segmentation_node.GetSegmentation().RemoveSegment(segment)
    finish(job)

    assert on_scene.segmentation_node.GetSegmentation().GetNumberOfSegments() == 0


def finish(job: Any) -> None:
    while not job.poll():
        pass
