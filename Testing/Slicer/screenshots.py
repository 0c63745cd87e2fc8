"""Makes the pictures of the panel for the tutorial: ``python -m Testing.Slicer.screenshots FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QApplication

from PWSegmentationLib.mrml import segment_mask
from PWSegmentationLib.mrml.volumes import voxels
from Testing.host import start
from Testing.Slicer.panel_driver import LEFT, RIGHT, Driver, world

VIEW_WIDTH = 480


def make(folder: Path) -> None:
    """Drive the panel through its main states, and keep a picture of each."""
    folder.mkdir(parents=True, exist_ok=True)
    host = start()
    host.open()
    panel = Driver(host)
    panel.load(name="Phantom")
    save(panel, folder / "panel-start.png")

    panel.place(panel.ui.positivePointButton, world(LEFT))
    save(panel, folder / "panel-first-point.png")

    panel.press(panel.ui.addSegmentButton)
    panel.place(panel.ui.positivePointButton, world(RIGHT))
    panel.place(panel.ui.negativePointButton, world((LEFT + RIGHT) / 2))
    panel.ui.overlayComboBox.currentText = "uncertainty"
    panel.wait()
    save(panel, folder / "panel-uncertainty.png")

    panel.ui.refineSecondsSpinBox.value = 20
    panel.press(panel.ui.refineButton)
    panel.wait(until=lambda: panel.ui.progressBar.value > 10)
    save(panel, folder / "panel-refine.png")
    panel.press(panel.ui.cancelButton)
    panel.wait()

    for button in (panel.ui.segmentsCollapsibleButton, panel.ui.promptsCollapsibleButton):
        button.collapsed = True
    for button in (panel.ui.advancedCollapsibleButton, panel.ui.shortcutsCollapsibleButton):
        button.collapsed = False
    save(panel, folder / "panel-advanced.png")
    host.close()


def save(panel: Any, path: Path) -> None:
    """The panel, and the slice through the image's middle beside it."""
    for _ in range(5):
        QApplication.processEvents()
    window = panel.host.app.window
    shown = window.grab().toImage()
    view = picture(panel)
    both = QImage(shown.width() + view.width(), shown.height(), QImage.Format.Format_RGB32)
    both.fill(Qt.GlobalColor.black)
    painter = QPainter(both)
    painter.drawImage(0, 0, shown)
    painter.drawImage(shown.width(), (shown.height() - view.height()) // 2, view)
    painter.end()
    both.save(str(path))


def picture(panel: Any) -> QImage:
    """One slice with the overlay that is shown, the segments in their colours, and the prompts."""
    image = voxels(panel.volume)
    k = int(LEFT[2])
    grey = np.clip((image[:, :, k].astype(float) - 60) / 180, 0, 1)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    if panel.segmentation is not None:
        segments = panel.segmentation.GetSegmentation()
        for segment_id in segments.GetSegmentIDs():
            mask = segment_mask(panel.segmentation, segment_id, panel.volume)[:, :, k]
            rgb[mask] = 0.55 * rgb[mask] + 0.45 * np.array(segments.GetSegment(segment_id).GetColor())
    lay_over(rgb, k)
    pixels = np.ascontiguousarray((255 * rgb.transpose(1, 0, 2)).astype(np.uint8))
    height, width = pixels.shape[:2]
    made = QImage(pixels.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
    return made.scaledToWidth(VIEW_WIDTH, Qt.TransformationMode.FastTransformation)


def lay_over(rgb: np.ndarray, k: int) -> None:
    """The foreground of the slice views, in the colours of its table, as opaque as they show it."""
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    node = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    if node is None:
        return
    values, table = voxels(node)[:, :, k], node.GetDisplayNode().GetColorNode().GetLookupTable()
    colors = np.array([table.GetTableValue(n)[:3] for n in range(256)])
    shown = values >= node.GetDisplayNode().GetLowerThreshold()
    opacity = composite.GetForegroundOpacity()
    over = colors[np.clip(255 * values[shown], 0, 255).astype(int)]
    rgb[shown] = (1 - opacity) * rgb[shown] + opacity * over


if __name__ == "__main__":
    make(Path(sys.argv[1]))
