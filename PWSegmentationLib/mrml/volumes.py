"""Volume nodes as volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.nodes import Node, Scene, array_to_matrix, matrix_to_array, name_of, node_to_world
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.volume import Volume


def volume_from_node(node: Node) -> Volume:
    """The image of a scalar volume node, in world coordinates: its parent transforms are taken into account.

    Nothing is copied: the array ``[i, j, k]`` is a read-only view of the node's voxels and keeps them alive.

    Raises
    ------
    InputError
        If there is no node or no image in it, if it is a labelmap or has several components, or if it stands under
        a transform that is not linear.
    """
    if node is None:
        raise InputError("There is no image: choose a volume.")
    if not node.IsA("vtkMRMLVolumeNode"):
        raise InputError(f"'{name_of(node)}' is not an image: choose a volume.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{name_of(node)}' is a labelmap, not an image: choose the image that it belongs to.")
    array = voxels(node)
    array.setflags(write=False)
    return Volume.from_array(array, image_grid(node).affine)


def add_volume(scene: Scene, volume: Volume, name: str) -> Node:
    """A new scalar volume node that shows ``volume``; voxels that lie as VTK wants them are not copied."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.grid.shape)
    flat = np.ascontiguousarray(volume.array.T).ravel()
    image.GetPointData().SetScalars(numpy_to_vtk(flat.astype(np.float32) if flat.dtype == np.float16 else flat))
    node.SetIJKToRASMatrix(array_to_matrix(volume.grid.affine))
    node.SetAndObserveImageData(image)
    return node


def memory_need(node: Node) -> tuple[int, int | None]:
    """Bytes that predicting on the image of a volume node takes, and bytes that are free; None if not known."""
    from PWSegmentationLib.prediction.memory_need import memory_need as of_grid

    array = voxels(node)
    return of_grid(Grid(array.shape, local_affine(node)), array.dtype.itemsize)


def voxels(node: Node) -> NDArray[Any]:
    """A view ``[i, j, k]`` of a volume node's voxels. Raises `InputError` where there are none to be had."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise InputError(f"The volume '{name_of(node)}' holds no image: load its data or choose another volume.")
    scalars = image.GetPointData().GetScalars()
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(
            f"The volume '{name_of(node)}' has {scalars.GetNumberOfComponents()} components a voxel: "
            "extract one of them into a scalar volume (Vector to Scalar Volume module)."
        )
    # VTK holds i fastest, so the last numpy axis is i; the transposed view is [i, j, k].
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]).T


def image_grid(node: Node) -> Grid:
    """The grid of a volume node in world, mm RAS. Raises `InputError` for transforms that are not linear."""
    return Grid(node.GetImageData().GetDimensions(), node_to_world(node) @ local_affine(node))


def local_affine(node: Node) -> NDArray[np.float64]:
    """``(4, 4)``, voxel index ``[i, j, k]`` to the node's own coordinates, without its parent transforms."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = matrix_to_array(matrix)
    # An image cut by a VTK filter need not begin at index 0.
    first = node.GetImageData().GetExtent()[::2]
    affine[:3, 3] += affine[:3, :3] @ np.array(first, dtype=float)
    return affine
