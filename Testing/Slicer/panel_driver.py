"""Drives the module's panel as a user does: real mouse and key events on real widgets, clicks in the views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QTableView, QWidget
from vtk.util.numpy_support import numpy_to_vtk

from PWSegmentationLib.mrml import segment_mask, volume_from_node
from PWSegmentationLib.mrml.nodes import array_to_matrix
from PWSegmentationLib.volume.grid import Grid
from Testing.host.application import Host
from Testing.Slicer.bundles import read_bundle
from Testing.timing import wait_until

# Two bright balls in noise, on an oblique, left-handed, anisotropic grid.
SHAPE = (44, 40, 22)
LEFT, RIGHT = np.array([12.0, 19.0, 11.0]), np.array([31.0, 19.0, 11.0])
RADIUS = 7.0


def oblique() -> np.ndarray:
    angle = np.radians(25)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ np.diag([-0.9, 1.0, 2.0, 1.0])
    affine[:3, 3] = (30.0, -12.0, 15.0)
    return affine


AFFINE = oblique()


def ball(center: np.ndarray, radius: float = RADIUS) -> np.ndarray:
    i, j, k = np.indices(SHAPE)
    return (i - center[0]) ** 2 + (j - center[1]) ** 2 + (2 * (k - center[2])) ** 2 <= radius**2


def two_balls() -> np.ndarray:
    image = np.random.default_rng(0).normal(100, 8, SHAPE)
    image[ball(LEFT) | ball(RIGHT)] += 100
    return image.astype(np.int16)


def world(voxel: Sequence[float]) -> tuple[float, float, float]:
    return tuple(float(v) for v in (AFFINE @ [*voxel, 1.0])[:3])  # type: ignore[return-value]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


class Driver:
    """One open module, and the hand of the user."""

    def __init__(self, host: Host) -> None:
        self.host = host

    # ---- what there is

    @property
    def widget(self) -> Any:
        return self.host.widget

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def case(self) -> Any:
        return self.widget.logic.case

    @property
    def scene(self) -> Any:
        return self.host.scene

    @property
    def segmentation(self) -> Any:
        return self.widget._parameterNode.segmentation

    @property
    def volume(self) -> Any:
        return self.widget._parameterNode.inputVolume

    @property
    def said(self) -> str:
        return str(self.ui.statusLabel.text)

    @property
    def names(self) -> list[str]:
        segments = self.segmentation.GetSegmentation()
        return [segments.GetSegment(i).GetName() for i in segments.GetSegmentIDs()]

    def segment_id(self, name: str) -> str:
        return str(self.segmentation.GetSegmentation().GetSegmentIdBySegmentName(name))

    def mask(self, name: str) -> np.ndarray:
        return segment_mask(self.segmentation, self.segment_id(name), self.volume)

    def mask_as_loaded(self, name: str) -> np.ndarray:
        """`mask` in the voxels of the image as it was loaded: Slicer turns left-handed images round on reading."""
        places = volume_from_node(self.volume).grid.to_world(np.argwhere(self.mask(name)))
        out = np.zeros(SHAPE, bool)
        out[tuple(Grid(SHAPE, AFFINE).to_voxel(places).T)] = True
        return out

    def prompts(self, name: str) -> Any:
        return self.case.store.prompts(self.segment_id(name))

    def listed(self) -> list[str]:
        table = self.ui.promptsTable
        return [table.item(row, 0).text() for row in range(table.rowCount)]

    # ---- the image

    def load(
        self, image: np.ndarray | None = None, affine: np.ndarray = AFFINE, name: str = "CT", *, choose: bool = True
    ) -> Any:
        """Load an image, as the Data module does, and choose it."""
        array = two_balls() if image is None else image
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        data = vtk.vtkImageData()
        data.SetDimensions(*array.shape)
        data.GetPointData().SetScalars(numpy_to_vtk(np.asfortranarray(array).ravel(order="F"), deep=True))
        node.SetIJKToRASMatrix(array_to_matrix(affine))
        node.SetAndObserveImageData(data)
        if choose:
            self.ui.volumeSelector.setCurrentNode(node)
        return node

    def load_file(self, path: Path, name: str) -> Any:
        """Drop a file on Slicer."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(path))
        assert storage.ReadData(node)
        return node

    # ---- the hand

    def press(self, button: Any) -> None:
        """Click a widget of the panel."""
        widget: QWidget = button._cpp
        assert widget.isEnabled(), f"{widget.objectName()} is disabled"
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(8, widget.height() // 2))

    def key(self, sequence: Any, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        """Press a key in Slicer's main window."""
        QTest.keyClick(self._active_window(), sequence, modifier)

    def write(self, field: QWidget, text: str) -> None:
        """Write into a field, instead of what is in it; the window's shortcuts may take what it does not keep."""
        self._active_window()
        field.setFocus()
        assert QApplication.focusWidget() is field, f"{field.objectName()} cannot be written in"
        field.selectAll()  # type: ignore[attr-defined]
        QTest.keyClicks(field, text)

    def _active_window(self) -> QWidget:
        window = self.host.app.window
        window.activateWindow()
        # Told by an event: until that has come, the window's shortcuts are off.
        assert QTest.qWaitForWindowActive(window), "the main window does not become the active one"
        return window

    def click_cell(self, table: QTableView, row: int, column: int, *, double: bool = False) -> None:
        at = table.visualRect(table.model().index(row, column)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)
        if double:
            QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=at)

    def select(self, name: str) -> None:
        """Click a segment in the table."""
        table = self.ui.segmentsTable._cpp
        self.click_cell(table.tableWidget(), table.rowForSegmentID(self.segment_id(name)), table.NAME)

    def place(self, button: Any, *positions: Sequence[float]) -> None:
        """Take a tool of the place mode, click in a view, and wait for the answer each time."""
        if not button.checked:
            self.press(button)
        for position in positions:
            assert self.host.hand.click(position), "the views are not in place mode"
            self.wait()

    def draw(self, button: Any, view: str, path: Iterable[Sequence[float]]) -> None:
        """Take a scribble tool and draw in a slice view."""
        if not button.checked:
            self.press(button)
        positions = list(path)
        self.host.hand.point_at(view, positions[0])
        assert self.host.hand.drag(view, positions), "the view got the mouse, not the tool"
        self.wait()

    def undo(self) -> None:
        """Press Undo and wait: prompts are back at once, voxels in as many turns as it takes."""
        self.press(self.ui.undoButton)
        self.wait()

    def redo(self) -> None:
        """Press Redo and wait, as `undo`."""
        self.press(self.ui.redoButton)
        self.wait()

    # ---- time

    @property
    def is_idle(self) -> bool:
        """Nothing is computed, or is about to be."""
        panel = self.widget.panel
        return not (panel.jobs.isRunning or panel._settling.active or panel.review.isRunning)

    def wait(
        self, until: Callable[[], bool] | None = None, turn: Callable[[], Any] = QApplication.processEvents
    ) -> None:
        """Let the application take turns until nothing is computed, or until a condition holds."""

        def is_so() -> bool:
            turn()
            return self.is_idle if until is None else until()

        wait_until(is_so, lambda: f"the panel, which says: {self.said}", every_s=0.003)


def reopen(panel: Driver, folder: Path) -> None:
    """File / Save as .mrb, close the scene, open the file."""
    scene = panel.scene
    assert scene.WriteToMRB(str(folder / "case.mrb"))
    scene.Clear(False)
    read_bundle(scene, folder / "case.mrb")
    panel.wait()
