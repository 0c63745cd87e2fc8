"""Segments as surfaces in the 3D view.

They are models of their own beside the segmentation: surfaces within it would be made anew in every step of writing a
segment, where one at its end is enough. They are not saved with the scene; Slicer makes its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk

from PWSegmentationLib.mrml.labelmaps import segment_labelmap
from PWSegmentationLib.mrml.nodes import Node, Scene, array_to_matrix, node_to_world
from PWSegmentationLib.volume.grid import Region

# Finer surfaces take longer than they are better.
_VOXELS = 1_500_000
_SMOOTHING = 16


class Surfaces:
    """The surfaces of the segments of one segmentation."""

    def __init__(self, scene: Scene, segmentation_node: Node) -> None:
        self._scene = scene
        self._segmentation_node = segmentation_node
        self._models: dict[str, Node] = {}

    def close(self) -> None:
        """Take all surfaces away."""
        for node in self._models.values():
            self._scene.RemoveNode(node)
        self._models = {}

    def update(self, segment_id: str) -> None:
        """Make the surface of a segment what its voxels are now."""
        node = self._models.get(segment_id)
        if self._segmentation_node.GetSegmentation().GetSegment(segment_id) is None:
            if node is not None:
                self._scene.RemoveNode(self._models.pop(segment_id))
            return
        stored = segment_labelmap(self._segmentation_node, segment_id)
        if node is None:
            node = self._models[segment_id] = self._new()
        affine = np.eye(4)
        if stored is not None:
            affine = node_to_world(self._segmentation_node) @ stored.affine
        mesh = vtk.vtkPolyData() if stored is None else surface(stored.array, stored.region, affine)
        node.SetAndObservePolyData(mesh)
        self.restyle(segment_id)

    def forget_removed(self) -> None:
        """Take surfaces of segments away that are gone."""
        for segment_id in list(self._models):
            if self._segmentation_node.GetSegmentation().GetSegment(segment_id) is None:
                self.update(segment_id)

    def restyle(self, segment_id: str) -> None:
        """Colour, visibility and opacity as the segment has them."""
        node = self._models.get(segment_id)
        segment = self._segmentation_node.GetSegmentation().GetSegment(segment_id)
        shown = self._segmentation_node.GetDisplayNode()
        if node is None or segment is None:
            return
        display = node.GetDisplayNode()
        display.SetColor(*segment.GetColor())
        display.SetVisibility(bool(shown.GetSegmentVisibility(segment_id)))
        display.SetOpacity(shown.GetSegmentOpacity3D(segment_id))

    def _new(self) -> Node:
        node = self._scene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
        node.SetSaveWithScene(False)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetVisibility2D(False)
        display.SetSpecular(0.25)
        display.SetPower(12)
        return node


def surface(mask: NDArray[np.bool_], region: Region, affine: NDArray[np.float64]) -> Any:
    """The smooth surface, mm RAS, of ``mask`` ``[i, j, k]`` over ``region`` of the lattice ``affine``."""
    box = Region.around(mask)
    if box is None:
        return vtk.vtkPolyData()
    mask, start = mask[box.slices], np.add(region.start, box.start)
    steps = _steps(mask.shape, np.linalg.norm(affine[:3, :3], axis=0))
    thinned = mask[:: steps[0], :: steps[1], :: steps[2]]
    # A border of nothing, so that the surface is closed.
    padded = np.pad(thinned, 1).astype(np.uint8)
    image = vtk.vtkImageData()
    image.SetDimensions(*padded.shape)
    flat = np.ascontiguousarray(padded.T).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat))
    nets = vtk.vtkSurfaceNets3D()
    nets.SetInputData(image)
    nets.SetValue(0, 1)
    nets.SetNumberOfIterations(_SMOOTHING)
    nets.SetOutputMeshTypeToTriangles()
    to_lattice = np.diag([*steps, 1.0])
    to_lattice[:3, 3] = start - np.array(steps)
    transform = vtk.vtkTransform()
    transform.SetMatrix(array_to_matrix(affine @ to_lattice))
    placed = vtk.vtkTransformPolyDataFilter()
    placed.SetTransform(transform)
    placed.SetInputConnection(nets.GetOutputPort())
    normals = vtk.vtkPolyDataNormals()
    normals.SetInputConnection(placed.GetOutputPort())
    normals.SplittingOff()
    normals.AutoOrientNormalsOn()
    normals.Update()
    return normals.GetOutput()


def _steps(shape: tuple[int, ...], spacing: NDArray[np.float64]) -> tuple[int, int, int]:
    """Every how many voxels to look, so that there are not too many: along fine axes first."""
    steps, spacing = [1, 1, 1], np.array(spacing)
    while np.prod([-(-n // s) for n, s in zip(shape, steps, strict=True)]) > _VOXELS:
        axis = int(np.argmin(spacing * steps))
        steps[axis] += 1
    return (steps[0], steps[1], steps[2])
