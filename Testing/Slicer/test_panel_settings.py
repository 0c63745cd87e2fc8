"""The advanced settings: how prompts become a segment, and which network is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit

from PWSegmentationLib.files import sha256
from PWSegmentationLib.networks import ProbabilisticUNETR, UNETRConfig
from PWSegmentationLib.networks.model_files import save_model
from PWSegmentationLib.prediction.network_inputs import CHANNELS
from Testing.Slicer.panel_driver import LEFT, RIGHT, ball, dice, world
from Testing.Slicer.test_panel_scene import reopen

TINY = UNETRConfig(window=32, patch=8, stem=2, hidden=32, heads=2, mlp=64, depth=2, skips=(0,), features=8)


def model_file(folder: Path) -> Path:
    """A network that says what the label says."""
    torch.manual_seed(0)
    made = ProbabilisticUNETR(TINY, in_channels=len(CHANNELS))
    for parameter in made.out.parameters():
        torch.nn.init.zeros_(parameter)
    path = folder / "tiny.safetensors"
    save_model(made.eval(), path, {"channels": list(CHANNELS)})
    return path


def type_path(panel: Any, path: str) -> None:
    editor = panel.ui.modelFileLineEdit._cpp.findChild(QLineEdit)
    editor.clear()
    QTest.keyClicks(editor, path)


def segment(panel: Any) -> None:
    panel.press(panel.ui.segmentButton)
    panel.wait()


def test_all_sections_fit_a_narrow_panel(panel: Any) -> None:
    sections = ("segments", "prompts", "work", "overlay", "review", "advanced", "shortcuts", "log")
    widths = {}
    for section in sections:
        button = getattr(panel.ui, f"{section}CollapsibleButton")
        before, button.collapsed = button.collapsed, False
        widths[section] = button._cpp.minimumSizeHint().width()
        button.collapsed = before

    assert {s: w for s, w in widths.items() if w > 320} == {}


@pytest.mark.parametrize("method", ["network", "image-aware", "gaussian"])
def test_every_method_answers_and_says_so(panel: Any, method: str) -> None:
    panel.load()
    panel.ui.methodComboBox.currentText = method
    panel.place(panel.ui.positivePointButton, world(LEFT), world(LEFT + [4, 0, 0]))

    assert f"({method}" in panel.said.lower()
    found = panel.mask("Segment 1")
    assert found[tuple(LEFT.astype(int))] and not found[tuple(RIGHT.astype(int))]


def test_a_chosen_model_file_is_used_and_comes_back_with_the_scene(panel: Any, tmp_path: Path) -> None:
    panel.load()
    path = model_file(tmp_path)
    type_path(panel, str(path))
    panel.place(panel.ui.positivePointButton, world(LEFT))
    assert "(network)" in panel.said
    # Which one it was stands in the log.
    assert panel.ui.logText.plainText.count(f"network {sha256(path)[:8]}") == 1
    assert dice(panel.mask("Segment 1"), ball(LEFT)) > 0.8
    panel.ui.methodComboBox.currentText = "image-aware"
    segment(panel)
    assert "(image-aware" in panel.said

    reopen(panel, tmp_path)

    assert panel.ui.modelFileLineEdit.currentPath == str(tmp_path / "tiny.safetensors")
    assert panel.ui.methodComboBox.currentText == "image-aware"
    panel.ui.methodComboBox.currentText = "network"
    panel.place(panel.ui.positivePointButton, world(LEFT + [0, 2, 0]))
    assert panel.ui.logText.plainText.count(f"network {sha256(path)[:8]}") == 2


def test_a_new_scene_has_no_model_file(panel: Any, tmp_path: Path) -> None:
    panel.load()
    type_path(panel, str(tmp_path))

    panel.scene.Clear(False)

    assert panel.ui.modelFileLineEdit.currentPath == ""
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    assert " ml in " in panel.said


def test_a_wrong_model_file_is_said_and_nothing_is_lost(panel: Any, tmp_path: Path) -> None:
    panel.load()
    panel.place(panel.ui.positivePointButton, world(LEFT))
    before = panel.mask("Segment 1")
    text = tmp_path / "notes.txt"
    text.write_text("no network")
    empty = tmp_path / "empty.safetensors"
    empty.write_bytes(b"")
    damaged = model_file(tmp_path)
    damaged.write_bytes(damaged.read_bytes()[:-100])

    for path, sentence in (
        (tmp_path / "none.safetensors", "There is no model file"),
        (text, "is no model"),
        (empty, "Cannot read the model card"),
        (damaged, "it was damaged or changed"),
    ):
        type_path(panel, str(path))
        panel.place(panel.ui.positivePointButton, world(RIGHT))
        assert sentence in panel.said and path.name.partition(".")[0] in panel.said
        assert panel.said.count(". ") == 0, "one sentence"
        assert np.array_equal(panel.mask("Segment 1"), before)
        assert panel.listed() == ["point +", "point +"]
        panel.undo()

    type_path(panel, "")
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    assert " ml in " in panel.said
    assert dice(panel.mask("Segment 1"), ball(LEFT) | ball(RIGHT)) > 0.8
