"""Where no process of its own can be started, Slicer itself computes, and says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, world


@pytest.fixture
def slicer_with_python(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """The module, loaded anew in a Slicer whose Python program is this script."""

    def start(script: str) -> Any:
        program = tmp_path / "PythonSlicer"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        panel.host.reload()
        return panel

    return start


PROGRAMS = {
    "it is missing": "#!/no/such/interpreter\n",
    "it dies at once": "#!/bin/sh\necho blocked by the administrator >&2\nexit 3\n",
    "it is killed at once": "#!/bin/sh\nkill -9 $$\n",
}
REASONS = {
    "it is missing": "cannot be started",
    "it dies at once": "blocked by the administrator",
    "it is killed at once": "it was killed",
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_without_a_process_slicer_itself_computes(slicer_with_python: Callable[[str], Any], what: str) -> None:
    panel = slicer_with_python(PROGRAMS[what])
    panel.load()

    panel.place(panel.ui.positivePointButton, world(LEFT))

    assert panel.listed() == ["point +"]
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.9
    assert " ml in " in panel.said and "Computed in Slicer itself" in panel.said
    log = panel.ui.logText.plainText
    assert "No computing process can be started" in log and REASONS[what] in log

    # And so it goes on, without trying again.
    one = panel.mask("Segment 1")
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.9
    assert panel.ui.logText.plainText.count("No computing process") == 1
    panel.undo()
    assert np.array_equal(panel.mask("Segment 1"), one)


def test_without_a_process_refining_works_too(slicer_with_python: Callable[[str], Any]) -> None:
    panel = slicer_with_python(PROGRAMS["it dies at once"])
    panel.load()
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.place(panel.ui.positivePointButton, world(LEFT), world(LEFT + [4, 0, 0]), world(LEFT - [0, 4, 0]))
    panel.place(panel.ui.negativePointButton, world(RIGHT), world((LEFT + RIGHT) / 2))
    panel.ui.refineSecondsSpinBox.value = 5

    panel.press(panel.ui.refineButton)
    panel.wait()

    assert "Segment 1: " in panel.ui.logText.plainText and "steps" in panel.ui.logText.plainText
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.8
    assert len(panel.listed()) == 5
