"""What happens to users: processes die, scenes are closed, nodes vanish, the module is left or reloaded, mid-work."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.session.worker import PAUSE_VARIABLE
from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, two_balls, world


def kill_worker(panel: Any) -> int:
    pid = panel.widget.logic._engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return int(pid)


def begin(panel: Any, *positions: Any) -> None:
    """Place points without waiting for the answer."""
    if not panel.ui.positivePointButton.checked:
        panel.press(panel.ui.positivePointButton)
    for position in positions:
        assert panel.host.hand.click(position)
    panel.wait(until=lambda: panel.widget.panel.jobs.kind == "segment")


@pytest.mark.parametrize("stage", ["predicting", "writing"])
def test_a_worker_killed_while_it_computes_or_answers_is_started_again(
    panel: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    first = panel.mask("Segment 1")
    # The next worker stands still there, so that it is killed there however fast it is.
    panel.widget.logic._engine.close()
    monkeypatch.setenv(PAUSE_VARIABLE, stage)
    begin(panel, world(RIGHT))
    panel.wait(until=lambda: f"standing still: {stage}" in panel.ui.remainingLabel.toolTip)
    assert np.array_equal(panel.mask("Segment 1"), first)
    monkeypatch.delenv(PAUSE_VARIABLE)

    pid = kill_worker(panel)
    panel.wait()

    # The panel says so, starts it again by itself, and the prompt is answered.
    assert "Starting again" in panel.ui.logText.plainText
    assert panel.widget.logic._engine.pid not in (None, pid)
    assert panel.listed() == ["point +", "point +"]
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9
    panel.undo()
    assert np.array_equal(panel.mask("Segment 1"), first)


def test_a_worker_killed_while_its_answer_is_written_to_the_scene(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    begin(panel, world(RIGHT))
    before = panel.mask("Segment 1")
    panel.wait(until=lambda: not np.array_equal(panel.mask("Segment 1"), before))

    kill_worker(panel)
    panel.wait()

    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9
    panel.place(panel.ui.negativePointButton, world(RIGHT))
    assert " ml in " in panel.said or "same voxel" in panel.said


def test_a_worker_killed_while_idle(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))

    kill_worker(panel)
    panel.place(panel.ui.positivePointButton, world(RIGHT))

    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_a_worker_killed_while_it_refines(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT), world(RIGHT))
    before = panel.mask("Segment 1")
    panel.press(panel.ui.refineButton)
    panel.wait(until=lambda: panel.ui.progressBar.value > 0)

    kill_worker(panel)
    panel.wait()

    assert np.array_equal(panel.mask("Segment 1"), before)
    assert len(panel.listed()) == 2
    panel.place(panel.ui.positivePointButton, world(LEFT + [2, 0, 0]))
    assert " ml in " in panel.said


def test_cancel_leaves_prompts_and_segments(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    before = panel.mask("Segment 1")
    begin(panel, world(RIGHT))

    panel.press(panel.ui.cancelButton)
    panel.wait()

    assert panel.listed() == ["point +", "point +"]
    if "Stopped" in panel.said:
        assert np.array_equal(panel.mask("Segment 1"), before)
    panel.press(panel.ui.segmentButton)
    panel.wait()
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_the_scene_is_closed_while_a_job_runs(panel: Any) -> None:
    panel.load()
    begin(panel, world(LEFT))

    panel.scene.Clear(False)
    panel.wait()

    assert panel.case is None
    assert not panel.ui.positivePointButton.checked
    panel.load()
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert dice(panel.mask("Segment 1"), ball(RIGHT)) > 0.9


def test_the_image_is_switched_while_a_job_runs(panel: Any) -> None:
    panel.load()
    begin(panel, world(LEFT))

    panel.load(two_balls(), name="another")
    panel.wait()

    assert not panel.mask("Segment 1").any()
    # The prompt is still there, now for this image.
    panel.select("Segment 1")
    panel.press(panel.ui.segmentButton)
    panel.wait()
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9


def test_nodes_are_removed_while_a_job_runs(panel: Any) -> None:
    for which in ("volume", "segmentation", "prompts"):
        panel.load()
        begin(panel, world(LEFT))
        node = panel.case.store.nodes()[0] if which == "prompts" else getattr(panel, which)

        panel.scene.RemoveNode(node)
        panel.wait()

        panel.scene.Clear(False)
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9


def test_a_prompt_list_removed_elsewhere_is_noticed(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.positivePointButton)

    panel.scene.RemoveNode(panel.case.store.nodes()[0])
    panel.wait()

    assert panel.listed() == []
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    # Who tidies markups away keeps what they have made.
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_the_module_is_left_while_a_job_runs(panel: Any) -> None:
    panel.load()
    begin(panel, world(LEFT))

    panel.host.leave()
    panel.wait()

    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    assert not panel.host.hand.click(world(RIGHT))
    panel.host.enter()
    assert panel.listed() == ["point +"]


def test_the_module_is_reloaded_while_a_job_runs(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    mask = panel.mask("Segment 1")
    begin(panel, world(RIGHT))

    panel.host.reload()
    panel.wait()

    assert np.array_equal(panel.mask("Segment 1"), mask)
    panel.select("Segment 1")
    assert panel.listed() == ["point +", "point +"]
    panel.place(panel.ui.positivePointButton, world(RIGHT + [2, 0, 0]))
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9


def test_a_segment_deleted_in_another_module(panel: Any) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    panel.press(panel.ui.addSegmentButton)
    panel.place(panel.ui.positivePointButton, world(RIGHT))

    panel.segmentation.GetSegmentation().RemoveSegment(panel.segment_id("Segment 1"))
    panel.select("Segment 2")
    panel.place(panel.ui.positivePointButton, world(RIGHT + [2, 0, 0]))

    assert panel.names == ["Segment 2"]
    assert dice(panel.mask("Segment 2"), ball(RIGHT)) > 0.9
