"""A real case from its file to the exported segment, in the panel: the spleen in a CT of chest and upper abdomen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from scipy import ndimage

from PWSegmentationLib import read_volume
from PWSegmentationLib.mrml import volume_from_node
from PWSegmentationLib.mrml.volumes import voxels
from PWSegmentationLib.samples.catalogue import CHEST_CT
from PWSegmentationLib.samples.packages import default_cache, fetch
from Testing.Slicer.panel_driver import dice
from Testing.Slicer.test_panel_scene import reopen

SPLEEN = 1
MOST_CORRECTIONS = 4


class Reader:
    """Somebody who knows where the spleen is: `mask` in the voxels of the loaded image."""

    def __init__(self, mask: np.ndarray, grid: Any) -> None:
        self.mask, self.grid = mask, grid
        self._box = ndimage.find_objects(mask.astype(np.uint8))[0]

    def world(self, voxel: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(v) for v in self.grid.to_world(np.asarray(voxel, float)))

    def deepest(self, where: np.ndarray) -> np.ndarray:
        """The voxel of a mask, near the spleen, that is furthest from its surface."""
        box = tuple(slice(max(0, s.start - 30), s.stop + 30) for s in self._box)
        depth = ndimage.distance_transform_edt(where[box], sampling=self.grid.spacing)
        return np.array(np.unravel_index(depth.argmax(), depth.shape)) + [s.start for s in box]

    def stroke(self, start: np.ndarray) -> np.ndarray:
        """The longest straight line from ``start`` that stays 3 mm inside: voxels ``(n, 3)``."""
        inside = ndimage.distance_transform_edt(self.mask[self._box], sampling=self.grid.spacing) > 3.0
        begin = start - [s.start for s in self._box]
        steps = np.linspace(0, 1, 40)[:, None]
        ends = np.argwhere(inside)[::97]
        lines = [begin + steps * (end - begin) for end in ends]
        kept = [line for line in lines if inside[tuple(np.rint(line).astype(int).T)].all()]
        longest = max(kept, key=lambda line: np.linalg.norm((line[-1] - line[0]) * self.grid.spacing))
        return longest + [s.start for s in self._box]

    def worst_error(self, found: np.ndarray) -> tuple[tuple[float, ...], bool]:
        """Where a correction is most due, and whether it belongs to the spleen."""
        voxel = self.deepest(found ^ self.mask)
        return self.world(voxel), bool(self.mask[tuple(voxel)])


@pytest.fixture
def spleen(panel: Any) -> Reader:
    """The CT is loaded and chosen in the panel."""
    folder = fetch(CHEST_CT, default_cache())
    reference = panel.load_file(folder / "mask.nii.gz", "reference")
    mask = np.array(voxels(reference) == SPLEEN)
    panel.scene.RemoveNode(reference)
    panel.ui.volumeSelector.setCurrentNode(panel.load_file(folder / "cxr.nii.gz", "chest"))
    return Reader(mask, volume_from_node(panel.volume).grid)


def turn_view_to(view: str, line: np.ndarray) -> None:
    """An oblique slice that holds the line, world ``(n, 3)``."""
    along = line[-1] - line[0]
    normal = np.cross(along, [0.3, 1.0, 0.2])
    node = slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    node.SetSliceToRASByNTP(*normal / np.linalg.norm(normal), *along / np.linalg.norm(along), *line[0], 0)


def test_the_spleen_from_the_file_to_the_export(panel: Any, spleen: Reader, tmp_path: Path) -> None:
    center = spleen.deepest(spleen.mask)
    voxel_ml = float(np.prod(spleen.grid.spacing)) / 1000

    panel.place(panel.ui.positivePointButton, spleen.world(center))
    clicked = panel.mask("Segment 1")
    assert dice(clicked, spleen.mask) > 0.8
    assert 0.7 < clicked.sum() / spleen.mask.sum() < 1.3
    assert f"{clicked.sum() * voxel_ml:.1f} ml" in panel.said

    line = np.array([spleen.world(v) for v in spleen.stroke(center)])
    turn_view_to("Red", line)
    panel.draw(panel.ui.positiveScribbleButton, "Red", line)
    scribbled = panel.mask("Segment 1")
    assert panel.listed() == ["point +", "scribble +"]
    assert scribbled[tuple(spleen.grid.to_voxel(line).T)].all()
    assert dice(scribbled, spleen.mask) > 0.6

    corrected = scribbled
    for _ in range(MOST_CORRECTIONS):
        before, (place, inside) = corrected, spleen.worst_error(corrected)
        panel.place(panel.ui.positivePointButton if inside else panel.ui.negativePointButton, place)
        corrected = panel.mask("Segment 1")
        assert corrected[tuple(spleen.grid.to_voxel(place))] == inside
        if dice(corrected, spleen.mask) > 0.8:
            break
    assert dice(corrected, spleen.mask) > 0.8

    panel.undo()
    assert np.array_equal(panel.mask("Segment 1"), before)
    panel.redo()
    assert np.array_equal(panel.mask("Segment 1"), corrected)
    listed = panel.listed()

    reopen(panel, tmp_path)
    grid = volume_from_node(panel.volume).grid
    back = panel.mask("Segment 1")
    places = grid.to_world(np.argwhere(back))
    assert back.sum() == corrected.sum() and corrected[tuple(spleen.grid.to_voxel(places).T)].all()
    panel.select("Segment 1")
    assert panel.listed() == listed

    panel.widget.panel.segments.export(str(tmp_path / "spleen.nii.gz"))
    written = read_volume(tmp_path / "spleen.nii.gz")
    places = written.grid.to_world(np.argwhere(written.array == 1))
    assert len(places) == corrected.sum() and corrected[tuple(spleen.grid.to_voxel(places).T)].all()
