"""Makes the pictures of the panel for the tutorial: ``python -m Testing.Slicer.screenshots FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication

from PWSegmentationLib.demo.case import DemoCase, chest_ct
from PWSegmentationLib.drawing.slices import (
    BACKGROUND,
    PLANES,
    DisplayVolume,
    SlicePanel,
    draw_contour,
    draw_overlay,
    draw_prompts,
    draw_slice,
)
from PWSegmentationLib.mrml import segment_mask, volume_from_node
from PWSegmentationLib.mrml.volumes import voxels
from PWSegmentationLib.samples.catalogue import CHEST_CT
from PWSegmentationLib.samples.packages import default_cache, fetch
from Testing.host import start
from Testing.Slicer.panel_driver import Driver

# The views beside the panel: width and height of each, pixels, and mm from their middle to their edge.
VIEW_PIXELS, HALF_MM = 416, 90.0
DPI = 100


def make(folder: Path) -> None:
    """Drive the panel through its main states, and keep a picture of each."""
    folder.mkdir(parents=True, exist_ok=True)
    files = fetch(CHEST_CT, default_cache())
    prompts = chest_ct(files)
    host = start()
    host.open()
    panel = Driver(host)
    panel.ui.volumeSelector.setCurrentNode(panel.load_file(files / "cxr.nii.gz", "Chest CT"))
    spleen, kidney = (places(prompts, name, positive=True) for name in ("spleen", "left kidney"))
    views = Views(panel)
    views.jump(spleen[0])
    views.save(folder / "panel-start.png")

    panel.press(panel.ui.addSegmentButton)
    rename(panel, "Segment 1", "spleen")
    panel.place(panel.ui.positivePointButton, spleen[0])
    views.save(folder / "panel-first-point.png")

    panel.press(panel.ui.addSegmentButton)
    rename(panel, "Segment 1", "left kidney")
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.place(panel.ui.positivePointButton, *kidney)
    panel.place(panel.ui.negativePointButton, *places(prompts, "left kidney", positive=False))
    panel.press(panel.ui.autoSegmentCheckBox)
    panel.press(panel.ui.segmentButton)
    panel.wait()
    panel.ui.overlayComboBox.currentText = "uncertainty"
    panel.wait()
    views.jump(kidney[0])
    views.save(folder / "panel-uncertainty.png")

    panel.ui.refineSecondsSpinBox.value = 60
    panel.press(panel.ui.refineButton)
    panel.wait(until=lambda: panel.ui.progressBar.value > 10)
    views.save(folder / "panel-refine.png")
    panel.press(panel.ui.cancelButton)
    panel.wait()

    for button in (panel.ui.segmentsCollapsibleButton, panel.ui.promptsCollapsibleButton):
        button.collapsed = True
    for button in (panel.ui.advancedCollapsibleButton, panel.ui.shortcutsCollapsibleButton):
        button.collapsed = False
    views.save(folder / "panel-advanced.png")
    host.close()


def places(case: DemoCase, segment: str, *, positive: bool) -> list[tuple[float, float, float]]:
    """The points that come with the case."""
    return [p.position for p in case.prompts[segment].points if p.positive == positive]


def rename(panel: Driver, name: str, new: str) -> None:
    panel.segmentation.GetSegmentation().GetSegment(panel.segment_id(name)).SetName(new)


class Views:
    """Three slices through a place: segments in their colours, prompts, and the overlay that is shown."""

    def __init__(self, panel: Driver) -> None:
        self._panel = panel
        self._scene = DisplayVolume.of(volume_from_node(panel.volume))

    def jump(self, place: tuple[float, float, float]) -> None:
        """Move all three to a place, world mm."""
        self._middle = tuple(int(v) for v in self._scene.grid.to_voxel(place))
        self._centre = self._scene.places(place)[0]

    def save(self, path: Path) -> None:
        """The panel as it is, with the views beside it."""
        for _ in range(5):
            QApplication.processEvents()
        shown, views = self._panel.host.app.window.grab().toImage(), self._picture()
        both = QImage(shown.width() + views.width(), max(shown.height(), views.height()), QImage.Format.Format_RGB32)
        both.fill(Qt.GlobalColor.black)
        painter = QPainter(both)
        painter.drawImage(0, 0, shown)
        painter.drawImage(shown.width(), 0, views)
        painter.end()
        both.save(str(path))

    def _picture(self) -> QImage:
        inches = VIEW_PIXELS / DPI
        figure = Figure(figsize=(inches, 3 * inches), dpi=DPI, facecolor=BACKGROUND)
        overlay = self._overlay()
        for row, plane in enumerate(PLANES):
            ax = figure.add_axes((0.005, (2 - row) / 3 + 0.002, 0.99, 1 / 3 - 0.004))
            view = SlicePanel(ax, self._scene, plane, self._middle)  # type: ignore[arg-type]
            draw_slice(view, self._centre, HALF_MM)
            if overlay is not None:
                draw_overlay(view, overlay)
            self._draw_segments(view, filled=overlay is None)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba()))
        height, width = pixels.shape[:2]
        return QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()

    def _draw_segments(self, view: SlicePanel, *, filled: bool) -> None:
        panel = self._panel
        if panel.segmentation is None:
            return
        segments = panel.segmentation.GetSegmentation()
        for segment_id in segments.GetSegmentIDs():
            color = segments.GetSegment(segment_id).GetColor()
            mask = segment_mask(panel.segmentation, segment_id, panel.volume)
            draw_contour(view, self._scene.turned(mask), color, filled=filled)
            draw_prompts(view, panel.case.store.prompts(segment_id), color, faint=False)

    def _overlay(self) -> Any:
        """The values of the foreground of the slice views, turned as the image is; None without one."""
        composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
        node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        return None if node is None else self._scene.turned(voxels(node).astype(np.float32))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
