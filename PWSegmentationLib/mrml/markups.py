"""Markups as prompts: points, ROI boxes, lines and curves, in world mm RAS."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.nodes import Node, check_linear, matrix_to_array, name_of
from PWSegmentationLib.prompts.prompts import Box, Point, Position, Scribble


def points_from_node(node: Node, positive: bool = True) -> tuple[Point, ...]:
    """A point for every *defined* control point of a point list.

    Control points that are being placed (preview) or were skipped (missing, undefined) are no prompts. Any parent
    transform is taken into account, also one that is not linear.
    """
    _check_class(node, "vtkMRMLMarkupsFiducialNode", "a point list")
    return tuple(Point(position, positive) for position in _defined_positions(node))


def is_drawn(node: Node) -> bool:
    """Whether an ROI has been drawn: one that was only created, or of which a corner follows the mouse, is not yet."""
    numbers = range(node.GetNumberOfControlPoints())
    follows = any(node.GetNthControlPointPositionStatus(n) == node.PositionPreview for n in numbers)
    return not follows and min(node.GetSize()) > 0


def box_from_node(node: Node) -> Box:
    """The box of an ROI, as Slicer shows it in world.

    Rotating and scaling parent transforms move and stretch the box. Under a shearing one Slicer shows, and this
    returns, the box whose axes are made perpendicular again.

    Raises
    ------
    InputError
        If the ROI is not placed yet, is inside out, or stands under a transform that is not linear.
    """
    _check_class(node, "vtkMRMLMarkupsROINode", "a region of interest")
    check_linear(node)
    if node.GetInsideOut():
        raise InputError(f"The ROI '{name_of(node)}' is inside out: switch that off, the box must hold the structure.")
    center, size = [0.0] * 3, [0.0] * 3
    node.GetCenterWorld(center)
    node.GetSizeWorld(size)
    if not is_drawn(node) or min(size) <= 0:
        raise InputError(f"The ROI '{name_of(node)}' is not placed yet: draw it around the structure.")
    axes = matrix_to_array(node.GetObjectToWorldMatrix())[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    return Box(_position(center), _position(size), tuple(axes.ravel()))  # type: ignore[arg-type]


def scribble_from_node(node: Node, radius: float, positive: bool = True) -> Scribble | None:
    """The brush stroke along a line, a curve or a closed curve; None while nothing is placed.

    ``radius`` of the brush in mm. Curves are followed as they are drawn (spline, shortest path, ...), not from
    control point to control point.
    """
    _check_class(node, ("vtkMRMLMarkupsCurveNode", "vtkMRMLMarkupsLineNode"), "a line or curve")
    placed = _defined_positions(node)
    if len(placed) < 2:
        return Scribble(placed, radius, positive) if placed else None
    curve = node.GetCurvePointsWorld()
    if curve is None or curve.GetNumberOfPoints() < 2:
        return Scribble(placed, radius, positive)
    path = [_position(curve.GetPoint(n)) for n in range(curve.GetNumberOfPoints())]
    if node.IsA("vtkMRMLMarkupsClosedCurveNode") and path[0] != path[-1]:
        path.append(path[0])
    return Scribble(tuple(path), radius, positive)


def _defined_positions(node: Node) -> tuple[Position, ...]:
    """World positions of the control points that the user has placed."""
    defined = slicer.vtkMRMLMarkupsNode.PositionDefined
    return tuple(
        _position(node.GetNthControlPointPositionWorld(n))
        for n in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(n) == defined
    )


def _position(values: list[float] | tuple[float, ...] | vtk.vtkVector3d) -> Position:
    return (float(values[0]), float(values[1]), float(values[2]))


def _check_class(node: Node, classes: str | tuple[str, ...], what: str) -> None:
    classes = (classes,) if isinstance(classes, str) else classes
    if node is None or not any(node.IsA(c) for c in classes):
        given = "nothing" if node is None else f"'{name_of(node)}'"
        raise InputError(f"Choose {what} (Markups) here, not {given}.")
