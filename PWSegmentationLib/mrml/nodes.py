"""What all nodes have in common: the transform they stand under, their name, and the scene they are in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError

# MRML classes carry no type information.
Node: TypeAlias = Any
Scene: TypeAlias = Any


def name_of(node: Node) -> str:
    """The node's name, for people."""
    return str(node.GetName() or node.GetID() or "unnamed")


def matrix_to_array(matrix: Any) -> NDArray[np.float64]:
    """A vtkMatrix4x4 as ``(4, 4)``."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def array_to_matrix(array: NDArray[np.float64]) -> Any:
    """``(4, 4)`` as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(v) for v in np.asarray(array).ravel()])
    return matrix


def node_to_world(node: Node) -> NDArray[np.float64]:
    """``(4, 4)``, the node's own coordinates to world, mm RAS: its parent transforms multiplied.

    Raises
    ------
    InputError
        If one of the parent transforms is not linear.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    check_linear(node)
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return matrix_to_array(matrix)


def check_linear(node: Node) -> None:
    """Raise `InputError` if ``node`` stands under a transform that is not linear."""
    transform = node.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise InputError(
            f"'{name_of(node)}' is under the non-linear transform '{name_of(transform)}': "
            "harden the transform (Transforms module) or take the node out of it."
        )


def prepare_scene(scene: Scene) -> None:
    """Let ``scene`` hold segmentations: in Slicer nothing is left to do, a scene of slicer-core starts bare."""
    if not scene.IsNodeClassRegistered("vtkMRMLSegmentEditorNode"):
        # Registers node classes and representation converters; it need not outlive the call.
        slicer.vtkSlicerSegmentationsModuleLogic().SetMRMLScene(scene)
    # Creates the subject hierarchy if there is none; the Segment Editor's logic wants it.
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
