"""Whatever is pressed in whatever order: the panel shows no error, and then works as before."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
import slicer
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from PWSegmentationLib.mrml import set_locked
from Testing.Slicer.panel_driver import LEFT, RIGHT, SHAPE, Driver, world

STEPS = 60
# What is done more often than the rest.
OFTEN = {"point": 8, "undo": 4, "redo": 3, "soon": 6, "wait": 3, "box": 2, "scribble": 2, "cancel": 2}


class Monkey:
    """Presses whatever there is, and does what other modules do meanwhile."""

    def __init__(self, panel: Driver, seed: int) -> None:
        self.panel, self.ui, self.chance = panel, panel.ui, random.Random(seed)
        self.done: list[str] = []

    def act(self) -> None:
        every: dict[str, Callable[[], None]] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }
        name = self.chance.choices(list(every), [OFTEN.get(n, 1) for n in every])[0]
        self.done.append(name)
        every[name]()
        QApplication.processEvents()

    def press(self, *buttons: Any) -> Any:
        button = self.chance.choice(buttons)
        if button._cpp.isEnabled() and button._cpp.isVisible():
            self.panel.press(button)
        return button

    def voxel(self) -> Any:
        return self.chance.choice([LEFT, RIGHT, np.array([self.chance.randint(2, n - 3) for n in SHAPE], float)])

    def segment(self) -> tuple[Any, str] | None:
        node = self.panel.segmentation
        ids = [] if node is None else list(node.GetSegmentation().GetSegmentIDs())
        return (node, self.chance.choice(ids)) if ids else None

    def nodes(self, of_class: str) -> list[Any]:
        return list(slicer.util.getNodesByClass(of_class))

    # ---- in the panel

    def do_point(self) -> None:
        if self.press(self.ui.positivePointButton, self.ui.positivePointButton, self.ui.negativePointButton).checked:
            self.panel.host.hand.click(world(self.voxel()))

    def do_box(self) -> None:
        if self.press(self.ui.boxButton).checked:
            for _ in range(self.chance.choice([1, 2, 2])):
                self.panel.host.hand.click(world(self.voxel()))

    def do_scribble(self) -> None:
        if self.press(self.ui.positiveScribbleButton, self.ui.negativeScribbleButton).checked:
            start = self.voxel()
            path = [world(start + [d, 0, 0]) for d in range(5)]
            self.panel.host.hand.point_at("Red", path[0])
            self.panel.host.hand.drag("Red", path)

    def do_undo(self) -> None:
        self.press(self.ui.undoButton)

    def do_redo(self) -> None:
        self.press(self.ui.redoButton)

    def do_cancel(self) -> None:
        self.press(self.ui.cancelButton)

    def do_buttons(self) -> None:
        ui = self.ui
        self.press(ui.segmentButton, ui.addSegmentButton, ui.removeSegmentButton, ui.lockSegmentButton)
        self.press(ui.manyLesionsCheckBox, ui.autoSegmentCheckBox, ui.uncertainSpotButton, ui.removePromptButton)

    def do_refine(self) -> None:
        self.panel.widget._parameterNode.refineSeconds = 5
        self.press(self.ui.refineButton)

    def do_overlay(self) -> None:
        self.ui.overlayComboBox.currentText = self.chance.choice(["none", "probability", "uncertainty"])

    def do_escape(self) -> None:
        self.panel.key(Qt.Key.Key_Escape)

    def do_soon(self) -> None:
        for _ in range(self.chance.randint(1, 30)):
            QApplication.processEvents()
            time.sleep(0.003)

    def do_wait(self) -> None:
        self.panel.wait()

    def do_switch(self) -> None:
        self.ui.volumeSelector.setCurrentNode(self.chance.choice([*self.nodes("vtkMRMLScalarVolumeNode"), None]))

    def do_other_segmentation(self) -> None:
        others = [*self.nodes("vtkMRMLSegmentationNode"), None]
        self.ui.segmentationSelector.setCurrentNode(self.chance.choice(others))

    # ---- elsewhere

    def do_load(self) -> None:
        if len(self.nodes("vtkMRMLScalarVolumeNode")) < 4:
            self.panel.load(name="MR")

    def do_leave(self) -> None:
        self.panel.widget.exit()
        self.do_soon()
        self.panel.widget.enter()

    def do_rename(self) -> None:
        if found := self.segment():
            found[0].GetSegmentation().GetSegment(found[1]).SetName(self.chance.choice(["liver", "spleen"]))

    def do_lock(self) -> None:
        if found := self.segment():
            set_locked(*found, self.chance.random() < 0.5)

    def do_remove(self) -> None:
        if found := self.segment():
            found[0].GetSegmentation().RemoveSegment(found[1])

    def do_remove_node(self) -> None:
        node = self.chance.choice([self.panel.volume, self.panel.segmentation, None, None])
        if node is not None:
            self.panel.scene.RemoveNode(node)

    def do_close_scene(self) -> None:
        if self.chance.random() < 0.3:
            self.panel.scene.Clear(False)

    def do_kill(self) -> None:
        """The computing process dies."""
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if self.chance.random() < 0.3 and "session.worker" in " ".join(child.cmdline()):
                    child.kill()


@pytest.mark.parametrize("seed", [4, 38, 100])
def test_whatever_is_pressed_the_panel_goes_on(panel: Any, seed: int) -> None:
    monkey = Monkey(panel, seed)
    panel.load()
    panel.ui.methodComboBox.currentText = "image-aware"
    try:
        for _ in range(STEPS):
            if panel.volume is None:
                monkey.do_load()
                monkey.do_switch()
            monkey.act()
        panel.wait()
        panel.scene.Clear(False)
        panel.load()
        panel.place(panel.ui.positivePointButton, world(LEFT))
        assert panel.mask("Segment 1").any(), panel.said
    except BaseException as error:
        error.add_note(f"After: {', '.join(monkey.done)}; the panel said: {panel.said}")
        raise
