"""Probability and uncertainty as volume nodes that can be laid over the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.nodes import Node, Scene, name_of
from PWSegmentationLib.mrml.volumes import image_grid, voxels
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.volume.grid import Region

OverlayKind: TypeAlias = Literal["probability", "uncertainty"]

# Below this the overlay is transparent, so that the image shows where the segment is not.
TRANSPARENT_BELOW = 0.05

# The voxels that may be other than zero, so that an update clears them without reading the rest.
_REGION_ATTRIBUTE = "PWSegmentation.Region"

# Voxels that are written in one go: a few milliseconds.
_STEP_VOXELS = 200_000

# Slicer's perceptually uniform tables where the application has loaded them, and anchors (every quarter, from 0 to 1)
# to build one where there is only a bare scene: viridis for what is likely, magma for what is doubtful.
_TABLES: dict[OverlayKind, tuple[str, tuple[str, ...]]] = {
    "probability": ("vtkMRMLColorTableNodeFileViridis.txt", ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")),
    "uncertainty": ("vtkMRMLColorTableNodeFileMagma.txt", ("#000004", "#51127c", "#b73779", "#fc8961", "#fcfdbf")),
}


def write_overlay(
    scene: Scene, volume_node: Node, prediction: Prediction, kind: OverlayKind, node: Node | None = None
) -> Node:
    """Put a prediction's probability or uncertainty into a scalar volume node on the image's grid.

    With ``node`` that one is updated in place, and only where the old and the new values can differ from zero;
    otherwise a node named "<image> <segment> probability" is made.

    Raises
    ------
    InputError
        If ``node`` or the prediction has another grid than the image.
    """
    node = overlay_node(scene, volume_node, prediction, kind, node)
    for _ in writing_overlay(node, prediction, kind):
        pass
    return node


def overlay_node(
    scene: Scene, volume_node: Node, prediction: Prediction, kind: OverlayKind, node: Node | None = None
) -> Node:
    """``node`` if it can hold the prediction, or a new node, with nothing in it. Raises as `write_overlay`."""
    grid = image_grid(volume_node)
    if not prediction.grid.same_as(grid):
        raise InputError(f"The prediction is not of the image '{name_of(volume_node)}' as it is now: predict again.")
    if node is None:
        return _make(scene, volume_node, prediction, kind)
    if not node.IsA("vtkMRMLScalarVolumeNode") or not image_grid(node).same_as(grid):
        raise InputError(f"'{name_of(node)}' is not on the grid of '{name_of(volume_node)}': choose another node.")
    return node


def writing_overlay(node: Node, prediction: Prediction | None, kind: OverlayKind) -> Iterator[None]:
    """`write_overlay` in parts of a few milliseconds each; without a prediction the overlay becomes zero.

    Given up in between, it may be begun again at any time.
    """
    nowhere = Region((0, 0, 0), (0, 0, 0))
    if prediction is None:
        return _updating(node, nowhere, np.zeros((0, 0, 0), np.float32))
    part = prediction.region_probability if kind == "probability" else prediction.region_uncertainty
    return _updating(node, prediction.region, part)


def clear_overlay(node: Node) -> None:
    """Make an overlay zero again, touching only what was written."""
    for _ in writing_overlay(node, None, "probability"):
        pass


def is_overlay(node: Node) -> bool:
    """Whether a volume node is a probability or uncertainty written here."""
    return node.GetAttribute(_REGION_ATTRIBUTE) is not None


def overlay_name(volume_node: Node, segment: str, kind: OverlayKind) -> str:
    """What an overlay is called in the scene."""
    return f"{name_of(volume_node)} {segment} {kind}"


def _make(scene: Scene, volume_node: Node, prediction: Prediction, kind: OverlayKind) -> Node:
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", overlay_name(volume_node, prediction.segment, kind))
    image = vtk.vtkImageData()
    image.SetExtent(*volume_node.GetImageData().GetExtent())
    # zeros() costs no memory until written to; VTK's own allocation would fill it at once.
    empty = np.zeros(image.GetNumberOfPoints(), np.float32)
    image.GetPointData().SetScalars(numpy_to_vtk(empty, deep=False))
    node.CopyOrientation(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.SetAttribute(_REGION_ATTRIBUTE, "0 0 0 0 0 0")
    # Before there are voxels, which a display node would read all of to guess a window.
    _show(scene, node, kind)
    node.SetAndObserveImageData(image)
    return node


def _updating(node: Node, region: Region, part: NDArray[np.floating]) -> Iterator[None]:
    target = voxels(node)
    before = _written(node, target.shape)
    both = region if before.is_empty else before if region.is_empty else before.union(region)
    # Until all is written, all of it may hold something.
    _set_written(node, both)
    slices = max(1, _STEP_VOXELS // max(1, both.shape[0] * both.shape[1]))
    for low in range(both.start[2], both.stop[2], slices):
        slab = Region((*both.start[:2], low), (*both.stop[:2], min(low + slices, both.stop[2])))
        _write_slab(target, slab, region, part)
        yield
    _set_written(node, region)
    node.GetImageData().GetPointData().GetScalars().Modified()
    node.GetImageData().Modified()


def _write_slab(target: NDArray[np.floating], slab: Region, region: Region, part: NDArray[np.floating]) -> None:
    """The voxels of ``slab``: the new values in ``region``, zero elsewhere."""
    common = slab.intersection(region)
    if common != slab:
        target[slab.slices] = 0.0
    if not common.is_empty:
        target[common.slices] = part[common.relative_to(region).slices]


def _set_written(node: Node, region: Region) -> None:
    node.SetAttribute(_REGION_ATTRIBUTE, " ".join(str(v) for v in (*region.start, *region.stop)))


def _written(node: Node, shape: tuple[int, ...]) -> Region:
    text = node.GetAttribute(_REGION_ATTRIBUTE)
    if text is None:
        return Region.whole(shape)
    numbers = [int(v) for v in text.split()]
    return Region(tuple(numbers[:3]), tuple(numbers[3:]))  # type: ignore[arg-type]


def _show(scene: Scene, node: Node, kind: OverlayKind) -> None:
    """Window 0 to 1, transparent near 0, a perceptually uniform colour table."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.SetAutoThreshold(False)
    display.SetThreshold(TRANSPARENT_BELOW, 1.0)
    display.SetApplyThreshold(True)
    display.SetAndObserveColorNodeID(_color_table(scene, kind).GetID())


def _color_table(scene: Scene, kind: OverlayKind) -> Node:
    loaded, anchors = _TABLES[kind]
    name = f"PWSegmentation {kind}"
    table = scene.GetNodeByID(loaded) or scene.GetFirstNodeByName(name)
    if table is not None:
        return table
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    table.SetTypeToUser()
    table.SetNumberOfColors(256)
    rgb = np.array([[int(code[n : n + 2], 16) / 255 for n in (1, 3, 5)] for code in anchors])
    values = np.arange(256) / 255
    colors = [np.interp(values, np.linspace(0, 1, len(rgb)), channel).tolist() for channel in rgb.T]
    for index, color in enumerate(zip(*colors, strict=True)):
        table.SetColor(index, f"{values[index]:.2f}", *color, 1.0)
    table.GetLookupTable().SetRange(0, 255)
    return table
