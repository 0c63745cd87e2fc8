"""The prompts of all segments as nodes of the scene: made, found, read, listed, deleted, and put back for undo.

Each segment has a list of points inside and one of points outside; each box and each scribble is a node of its own.
They say themselves whose they are (attributes and node references), so a scene that was saved has them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import slicer
import vtk

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.markups import box_from_node, is_drawn, points_from_node
from PWSegmentationLib.mrml.nodes import Node, Scene, name_of
from PWSegmentationLib.mrml.subject_hierarchy import place_in_folder
from PWSegmentationLib.prompts.prompts import (
    IDENTITY,
    Box,
    Point,
    Position,
    Prompt,
    PromptSet,
    Scribble,
    SegmentPrompts,
)

Role: TypeAlias = Literal["inside", "outside", "box", "scribble inside", "scribble outside"]

ROLES: tuple[Role, ...] = ("inside", "outside", "box", "scribble inside", "scribble outside")

_CLASSES: dict[Role, str] = {
    "inside": "vtkMRMLMarkupsFiducialNode",
    "outside": "vtkMRMLMarkupsFiducialNode",
    "box": "vtkMRMLMarkupsROINode",
    "scribble inside": "vtkMRMLMarkupsCurveNode",
    "scribble outside": "vtkMRMLMarkupsCurveNode",
}
# Green and red that stay apart for those who see them badly, and blue for the box.
_COLORS: dict[Role, tuple[float, float, float]] = {
    "inside": (0.0, 0.75, 0.3),
    "outside": (0.9, 0.2, 0.1),
    "box": (0.2, 0.5, 1.0),
    "scribble inside": (0.0, 0.75, 0.3),
    "scribble outside": (0.9, 0.2, 0.1),
}

_ROLE = "PWSegmentation.Role"
_SEGMENT = "PWSegmentation.Segment"
_RADIUS = "PWSegmentation.Radius"
_KEY = "PWSegmentation.Key"
_SEGMENTATION_REFERENCE = "PWSegmentation.Segmentation"

# Points nearer to each other are one that was placed twice.
_SAME_MM = 1e-3


@dataclass(frozen=True)
class PromptItem:
    """One prompt of a segment, as a list shows it: its kind, where it is (mm, RAS), and what it is made of."""

    role: Role
    position: Position
    key: str
    index: int = 0

    @property
    def positive(self) -> bool:
        """Whether it says where the segment is."""
        return self.role not in ("outside", "scribble outside")


@dataclass(frozen=True)
class _Kept:
    """All there is to know about a prompt node, so that it can be put back."""

    key: str
    role: Role
    segment_id: str
    points: tuple[Position, ...]
    radius: float = 0.0
    size: Position = (0.0, 0.0, 0.0)
    axes: tuple[float, ...] = ()


Snapshot: TypeAlias = tuple[_Kept, ...]
"""The prompts at one moment; equal if they are the same prompts."""


class PromptStore:
    """The prompt nodes of the segments of one segmentation node.

    Parameters
    ----------
    scene, segmentation_node
        The scene, and the segmentation whose segments are prompted.
    volume_node
        The image; prompts lie beside it in the subject hierarchy.
    """

    def __init__(self, scene: Scene, segmentation_node: Node, volume_node: Node) -> None:
        self.scene = scene
        self.segmentation_node = segmentation_node
        self.volume_node = volume_node
        self._last_key = 0
        # Of nodes that were removed here.
        self._removed: set[str] = set()

    # ---- nodes -----------------------------------------------------------------------------------------------

    def nodes(self, segment_id: str | None = None) -> list[Node]:
        """The prompt nodes of one segment, or of all of them, in the order they were made."""
        return [n for n in self._all() if segment_id is None or n.GetAttribute(_SEGMENT) == segment_id]

    def _all(self) -> Iterator[Node]:
        wanted = self.segmentation_node.GetID()
        found = self.scene.GetNodesByClass("vtkMRMLMarkupsNode")
        found.UnRegister(None)
        for number in range(found.GetNumberOfItems()):
            node = found.GetItemAsObject(number)
            if node.GetAttribute(_ROLE) in ROLES and node.GetNodeReferenceID(_SEGMENTATION_REFERENCE) == wanted:
                yield node

    def point_list(self, segment_id: str, positive: bool = True) -> Node:
        """The list of a segment's points inside (or outside) it, made if there is none."""
        role: Role = "inside" if positive else "outside"
        for node in self.nodes(segment_id):
            if node.GetAttribute(_ROLE) == role:
                return node
        return self.make(segment_id, role)

    def make(self, segment_id: str, role: Role, *, radius: float = 0.0, key: str = "") -> Node:
        """A new, empty prompt node. Raises `InputError` if there is no such segment."""
        name = self._segment_name(segment_id)
        node = self.scene.AddNewNodeByClass(_CLASSES[role], f"{name} {role}")
        node.SetAttribute(_ROLE, role)
        node.SetAttribute(_SEGMENT, segment_id)
        node.SetAttribute(_KEY, key or self._new_key())
        node.SetNodeReferenceID(_SEGMENTATION_REFERENCE, self.segmentation_node.GetID())
        if radius > 0:
            node.SetAttribute(_RADIUS, repr(float(radius)))
        if role in ("scribble inside", "scribble outside"):
            node.SetCurveTypeToLinear()
        _show(node, role)
        place_in_folder(self.scene, node, self.volume_node)
        return node

    def add_point(self, segment_id: str, position: Sequence[float], positive: bool = True) -> None:
        """Place a point, mm RAS."""
        self.point_list(segment_id, positive).AddControlPointWorld(vtk.vtkVector3d(*position))

    def add_scribble(
        self, segment_id: str, path: Sequence[Sequence[float]], radius: float, positive: bool = True
    ) -> Node:
        """Keep a brush stroke along ``path`` (mm, RAS)."""
        node = self.make(segment_id, "scribble inside" if positive else "scribble outside", radius=radius)
        _set_points(node, path)
        return node

    def add_box(
        self, segment_id: str, center: Sequence[float], size: Sequence[float], axes: Sequence[float] = IDENTITY
    ) -> Node:
        """Keep a box: its middle and edge lengths, mm RAS; the columns of ``axes`` (row by row) are its directions."""
        node = self.make(segment_id, "box")
        position = tuple(float(v) for v in center)
        size_mm = tuple(float(v) for v in size)
        _put_back(node, _Kept("", "box", segment_id, (position,), 0.0, size_mm, tuple(axes)))  # type: ignore[arg-type]
        return node

    def add_prompt(self, segment_id: str, prompt: Prompt) -> None:
        """Make nodes for any prompt but strokes, which no markup can hold (raises `InputError`)."""
        if isinstance(prompt, Point):
            self.add_point(segment_id, prompt.position, prompt.positive)
        elif isinstance(prompt, Box):
            self.add_box(segment_id, prompt.center, prompt.size, prompt.orientation)
        elif isinstance(prompt, Scribble):
            self.add_scribble(segment_id, prompt.points, prompt.radius, prompt.positive)
        else:
            raise InputError("Painted strokes cannot be shown as prompts here: use points, boxes or scribbles.")

    def _new_key(self) -> str:
        taken = [int(n.GetAttribute(_KEY) or 0) for n in self._all()]
        # Keys of nodes that were deleted may come back through undo.
        self._last_key = max([*taken, self._last_key]) + 1
        return str(self._last_key)

    def _segment_name(self, segment_id: str) -> str:
        segment = self.segmentation_node.GetSegmentation().GetSegment(segment_id)
        if segment is None:
            raise InputError(f"'{name_of(self.segmentation_node)}' has no such segment any more: choose another one.")
        return str(segment.GetName())

    # ---- reading ---------------------------------------------------------------------------------------------

    def is_prompt(self, node: Node) -> bool:
        """Whether ``node`` holds prompts of this segmentation."""
        return node.GetAttribute(_ROLE) in ROLES and (
            node.GetNodeReferenceID(_SEGMENTATION_REFERENCE) == self.segmentation_node.GetID()
        )

    def segment_of(self, node: Node) -> str:
        """The ID of the segment that a prompt node belongs to."""
        return str(node.GetAttribute(_SEGMENT))

    def role_of(self, node: Node) -> Role:
        """What a prompt node says."""
        return node.GetAttribute(_ROLE)  # type: ignore[no-any-return]

    def prompts(self, segment_id: str, name: str = "") -> SegmentPrompts:
        """The prompts of one segment under its present name, or ``name``; nodes that are not placed yet add nothing."""
        found = SegmentPrompts(name or self._segment_name(segment_id))
        for node in self.nodes(segment_id):
            for prompt in _prompts_of(node):
                found = found.with_prompt(prompt)
        return found

    def prompts_in(self, snapshot: Snapshot, segment_id: str, name: str) -> SegmentPrompts:
        """The prompts of one segment as they were, called ``name``."""
        found = SegmentPrompts(name)
        for kept in snapshot:
            for prompt in _prompts_in(kept) if kept.segment_id == segment_id else []:
                found = found.with_prompt(prompt)
        return found

    def prompt_set(self, segment_ids: Sequence[str] | None = None) -> PromptSet:
        """The prompts of the segments that have any. Raises `InputError` if two segments have one name."""
        ids = self.prompted() if segment_ids is None else segment_ids
        return PromptSet(tuple(p for p in (self.prompts(i) for i in ids) if len(p)))

    def prompted(self) -> list[str]:
        """IDs of the segments that have prompt nodes, in the segmentation's order."""
        used = {n.GetAttribute(_SEGMENT) for n in self._all()}
        return [str(i) for i in self.segmentation_node.GetSegmentation().GetSegmentIDs() if i in used]

    def items(self, segment_id: str) -> list[PromptItem]:
        """The prompts of a segment one by one."""
        found: list[PromptItem] = []
        for node in self.nodes(segment_id):
            role, key = self.role_of(node), str(node.GetAttribute(_KEY))
            positions = _defined(node)
            if role in ("inside", "outside"):
                found += [PromptItem(role, at, key, index) for index, at in positions]
            elif role == "box":
                found += [PromptItem(role, _center(node), key)] if is_drawn(node) else []
            elif positions:
                found.append(PromptItem(role, positions[len(positions) // 2][1], key))
        return found

    def has_point(self, segment_id: str, point: Point) -> bool:
        """Whether a segment has this very point already."""
        role = "inside" if point.positive else "outside"
        return any(i.role == role and _same(i.position, point.position) for i in self.items(segment_id))

    def repeated_points(self, segment_id: str) -> list[PromptItem]:
        """Points that lie where another of their list was placed before, as the second one of a double click."""
        points = [i for i in self.items(segment_id) if i.role in ("inside", "outside")]
        return [
            item
            for number, item in enumerate(points)
            if any(other.key == item.key and _same(other.position, item.position) for other in points[:number])
        ]

    def node_of(self, item: PromptItem) -> Node | None:
        """The node that an item of the list is in; None if it is gone."""
        return next((n for n in self._all() if n.GetAttribute(_KEY) == item.key), None)

    # ---- changing --------------------------------------------------------------------------------------------

    def delete(self, item: PromptItem) -> bool:
        """Delete one prompt; false if it is gone already."""
        node = self.node_of(item)
        if node is None:
            return False
        if item.role in ("inside", "outside"):
            if item.index >= node.GetNumberOfControlPoints():
                return False
            node.RemoveNthControlPoint(item.index)
        else:
            self._remove(node)
        return True

    def delete_segment(self, segment_id: str) -> None:
        """Delete all prompts of a segment."""
        for node in self.nodes(segment_id):
            self._remove(node)

    def _remove(self, node: Node) -> None:
        self._removed.add(str(node.GetAttribute(_KEY)))
        self.scene.RemoveNode(node)

    def removed_elsewhere(self, before: Snapshot) -> set[str]:
        """IDs of segments of which somebody else has removed nodes from the scene since ``before``."""
        there = {str(n.GetAttribute(_KEY)) for n in self._all()} | self._removed
        return {kept.segment_id for kept in before if kept.key not in there}

    def nearest(self, position: Sequence[float], within: float, segment_id: str) -> PromptItem | None:
        """The prompt of a segment nearest to a world position, if one is within so many mm."""
        best: tuple[float, PromptItem] | None = None
        for item in self.items(segment_id):
            distance = self._distance(item, np.asarray(position, float))
            if distance <= within and (best is None or distance < best[0]):
                best = distance, item
        return None if best is None else best[1]

    def _distance(self, item: PromptItem, position: np.ndarray) -> float:
        node = self.node_of(item)
        if item.role == "box" and node is not None and _keep(node) != _Kept(item.key, "box", self.segment_of(node), ()):
            box = box_from_node(node)
            outside = np.abs((position - np.array(box.center)) @ box.axes) - 0.5 * np.array(box.size)
            # From its faces: a click in the middle of a box means what lies in it.
            return float(np.linalg.norm(np.maximum(outside, 0)) + abs(min(0.0, outside.max())))
        if item.role in ("scribble inside", "scribble outside") and node is not None:
            return min(float(np.linalg.norm(np.subtract(at, position))) for _, at in _defined(node))
        return float(np.linalg.norm(np.subtract(item.position, position)))

    # ---- undo ------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The prompts as they are now."""
        kept = (_keep(n) for n in self._all())
        return tuple(sorted((k for k in kept if k is not None), key=lambda k: int(k.key)))

    def restore(self, snapshot: Snapshot) -> None:
        """Make the prompts what they were; only nodes that differ are touched."""
        self._removed -= {k.key for k in snapshot}
        wanted = {k.key: k for k in snapshot}
        for node in list(self._all()):
            kept = _keep(node)
            if kept is not None and kept.key not in wanted:
                if kept.role in ("inside", "outside"):
                    # The list stays, for a tool may be placing into it.
                    node.RemoveAllControlPoints()
                else:
                    self._remove(node)
        there = {n.GetAttribute(_KEY): n for n in self._all()}
        segments = set(self.segmentation_node.GetSegmentation().GetSegmentIDs())
        for key, kept in wanted.items():
            node = there.get(key)
            if node is None and kept.segment_id in segments:
                node = self._remade(kept)
            if node is not None and _keep(node) != kept:
                _put_back(node, kept)

    def _remade(self, kept: _Kept) -> Node:
        if kept.role in ("inside", "outside"):
            node = self.point_list(kept.segment_id, kept.role == "inside")
            node.SetAttribute(_KEY, kept.key)
            return node
        return self.make(kept.segment_id, kept.role, radius=kept.radius, key=kept.key)


def _same(a: Position, b: Position) -> bool:
    return math.dist(a, b) < _SAME_MM


def _prompts_of(node: Node) -> list[Prompt]:
    role: Role = node.GetAttribute(_ROLE)
    if role in ("inside", "outside"):
        points: list[Prompt] = []
        points.extend(points_from_node(node, role == "inside"))
        return points
    if role == "box":
        return [box_from_node(node)] if is_drawn(node) else []
    path = tuple(at for _, at in _defined(node))
    return [Scribble(path, _radius(node), role == "scribble inside")] if path else []


def _center(node: Node) -> Position:
    center = [0.0] * 3
    node.GetCenterWorld(center)
    return (center[0], center[1], center[2])


def _prompts_in(kept: _Kept) -> list[Prompt]:
    if kept.role == "box":
        return [Box(at, kept.size, kept.axes) for at in kept.points]  # type: ignore[arg-type]
    if kept.role in ("inside", "outside"):
        return [Point(at, kept.role == "inside") for at in kept.points]
    return [Scribble(kept.points, kept.radius, kept.role == "scribble inside")] if kept.points else []


def _radius(node: Node) -> float:
    return float(node.GetAttribute(_RADIUS) or 2.0)


def _defined(node: Node) -> list[tuple[int, Position]]:
    """Index and world position of the control points that the user has placed."""
    placed = slicer.vtkMRMLMarkupsNode.PositionDefined
    numbers = [n for n in range(node.GetNumberOfControlPoints()) if node.GetNthControlPointPositionStatus(n) == placed]
    return [(n, tuple(node.GetNthControlPointPositionWorld(n))) for n in numbers]  # type: ignore[misc]


def _keep(node: Node) -> _Kept | None:
    """What a node holds; None where nothing is placed yet."""
    role: Role = node.GetAttribute(_ROLE)
    key, segment_id = str(node.GetAttribute(_KEY)), str(node.GetAttribute(_SEGMENT))
    if role == "box":
        try:
            box = next((b for b in _prompts_of(node) if isinstance(b, Box)), None)
        except InputError:
            # It says why when it is asked for.
            return _Kept(key, role, segment_id, ())
        return None if box is None else _Kept(key, role, segment_id, (box.center,), 0.0, box.size, box.orientation)
    points = tuple(at for _, at in _defined(node))
    radius = _radius(node) if role.startswith("scribble") else 0.0
    return _Kept(key, role, segment_id, points, radius) if points else None


def _put_back(node: Node, kept: _Kept) -> None:
    if not kept.points:
        return
    if kept.role != "box":
        _set_points(node, kept.points)
        return
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(kept.axes).reshape(3, 3)
    matrix[:3, 3] = kept.points[0]
    # The box's own coordinates are the world's: prompt nodes are made outside any transform.
    for row in range(4):
        for column in range(4):
            node.GetObjectToNodeMatrix().SetElement(row, column, float(matrix[row, column]))
    node.SetSizeWorld(*kept.size)
    node.SetCenterWorld(*kept.points[0])


def _set_points(node: Node, positions: Sequence[Sequence[float]]) -> None:
    points = vtk.vtkPoints()
    # Single precision would make other prompts of them, with other answers.
    points.SetDataTypeToDouble()
    for position in positions:
        points.InsertNextPoint(*(float(v) for v in position))
    node.SetControlPointPositionsWorld(points)


def _show(node: Node, role: Role) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*_COLORS[role])
    display.SetColor(*_COLORS[role])
    display.SetActiveColor(*_COLORS[role])
    display.SetPointLabelsVisibility(False)
    display.SetPropertiesLabelVisibility(False)
    if role == "box":
        display.SetFillVisibility(False)
    if role.startswith("scribble"):
        # Dozens of handles along a stroke would hide it, and catch clicks meant for the image.
        node.SetLocked(True)
        display.SetGlyphScale(0.5)
