"""Refining on the case: progress, remaining time, cancel, prompts meanwhile, undo."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.progress import Cancelled
from PWSegmentationLib.session.jobs import SteppedJob
from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, world

PROMPTS = [LEFT, LEFT + [4, 0, 0], LEFT + [0, -4, 0], LEFT + [0, 0, 2], RIGHT, RIGHT + [3, 0, 0]]
OUTSIDE = [(LEFT + RIGHT) / 2, LEFT + [0, 12, 0], RIGHT + [0, 12, 0], LEFT + [0, 0, 8], RIGHT - [0, 12, 0]]


def place_prompts(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.place(panel.ui.positivePointButton, *map(world, PROMPTS))
    panel.place(panel.ui.negativePointButton, *map(world, OUTSIDE))
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.press(panel.ui.segmentButton)
    panel.wait()


def test_refining_tells_how_far_it_is_and_what_came_of_it(panel: Any) -> None:
    place_prompts(panel)
    before = panel.mask("Segment 1")
    panel.ui.refineSecondsSpinBox.value = 5
    progress = []

    panel.press(panel.ui.refineButton)
    assert not panel.ui.refineButton.enabled

    def look() -> bool:
        progress.append(panel.ui.progressBar.value)
        return panel.widget.panel.jobs.kind != "refine"

    panel.wait(until=look)
    panel.wait()

    while_it_ran = progress[:-1]
    assert max(while_it_ran) > 0 and while_it_ran == sorted(while_it_ran)
    assert panel.said.startswith(("Refined: Segment 1", "Nothing was changed"))
    assert "Segment 1: " in panel.ui.logText.plainText and "steps" in panel.ui.logText.plainText
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9

    # One step of its own: the prompts stay.
    panel.undo()
    assert np.array_equal(panel.mask("Segment 1"), before)
    assert len(panel.listed()) == len(PROMPTS) + len(OUTSIDE)


def test_a_cancelled_refinement_loses_nothing(panel: Any) -> None:
    place_prompts(panel)
    before = panel.mask("Segment 1")
    panel.ui.refineSecondsSpinBox.value = 300
    panel.press(panel.ui.refineButton)
    panel.wait(until=lambda: panel.ui.progressBar.value > 0)

    panel.press(panel.ui.cancelButton)
    panel.wait()

    assert not panel.ui.cancelButton.enabled
    assert len(panel.listed()) == len(PROMPTS) + len(OUTSIDE)
    assert dice(panel.mask("Segment 1"), before) > 0.9
    panel.place(panel.ui.positivePointButton, world(RIGHT + [0, 3, 0]))
    assert " ml in " in panel.said


def test_a_prompt_meanwhile_is_answered_afterwards(panel: Any) -> None:
    place_prompts(panel)
    panel.ui.refineSecondsSpinBox.value = 5
    panel.press(panel.ui.refineButton)
    panel.wait(until=lambda: panel.ui.progressBar.value > 0)

    panel.press(panel.ui.positivePointButton)
    panel.host.hand.click(world(RIGHT + [0, 3, 0]))
    panel.wait(until=lambda: "answered when refining has ended" in panel.said)
    panel.wait()

    assert len(panel.listed()) == len(PROMPTS) + len(OUTSIDE) + 1
    assert panel.case.is_answered(panel.segment_id("Segment 1"))


class Countdown(SteppedJob[str]):
    """A job of a known pace."""

    stopped = False

    def _work(self) -> Iterator[None]:
        for number in range(1, 101):
            if self.stopped:
                raise Cancelled
            self._tell(number / 100, f"step {number}")
            time.sleep(0.01)
            yield
        self._result = "done"

    def cancel(self) -> None:
        self.stopped = True


def test_progress_and_remaining_time_are_shown_and_cancel_stops(panel: Any) -> None:
    ended: list[Any] = []
    panel.widget.panel.jobs.start("refine", Countdown(), ended.append)
    panel.wait(until=lambda: panel.ui.progressBar.value >= 20)
    assert panel.ui.remainingLabel.text.endswith(" s left")
    assert panel.ui.remainingLabel.toolTip.startswith("step ")

    panel.press(panel.ui.cancelButton)
    panel.wait()

    assert len(ended) == 1
    with pytest.raises(Cancelled):
        ended[0].result()
    assert panel.ui.progressBar.value == 0 and not panel.ui.cancelButton.enabled


def test_without_prompts_there_is_nothing_to_refine(panel: Any) -> None:
    panel.load()
    panel.press(panel.ui.addSegmentButton)

    assert not panel.ui.refineButton.enabled
