"""All the nodes that say where one segment is, collected into its prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.markups import box_from_node, is_drawn, points_from_node, scribble_from_node
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.strokes import strokes_from_labelmap_node, strokes_from_segmentation
from PWSegmentationLib.prompts.prompts import Prompt, PromptSet, SegmentPrompts


@dataclass(frozen=True)
class PromptNodes:
    """The nodes that hold the prompts of the segment called ``segment``.

    Parameters
    ----------
    segment
        Name of the segment.
    positive, negative
        Point lists inside and outside it.
    boxes
        ROIs around it.
    scribbles, negative_scribbles
        Lines and curves inside and outside it, painted with a brush of ``radius`` mm.
    strokes
        Segmentation nodes whose segments are strokes (see `strokes_from_segmentation`), and labelmap volumes of 1
        and 2.
    """

    segment: str
    positive: Sequence[Node] = ()
    negative: Sequence[Node] = ()
    boxes: Sequence[Node] = ()
    scribbles: Sequence[Node] = ()
    negative_scribbles: Sequence[Node] = ()
    strokes: Sequence[Node] = ()
    radius: float = 2.0


def segment_prompts(nodes: PromptNodes) -> SegmentPrompts:
    """The prompts of one segment, as they are in the scene now; nodes that are still empty add nothing."""
    prompts: list[Prompt] = []
    for lists, sign in ((nodes.positive, True), (nodes.negative, False)):
        for node in lists:
            prompts += points_from_node(node, sign)
    prompts += [box_from_node(node) for node in nodes.boxes if _is_placed(node)]
    for curves, sign in ((nodes.scribbles, True), (nodes.negative_scribbles, False)):
        for node in curves:
            scribble = scribble_from_node(node, nodes.radius, sign)
            prompts += [] if scribble is None else [scribble]
    for node in nodes.strokes:
        if node is not None and node.IsA("vtkMRMLSegmentationNode"):
            prompts += strokes_from_segmentation(node)
        else:
            prompts.append(strokes_from_labelmap_node(node))
    segment = SegmentPrompts(nodes.segment)
    for prompt in prompts:
        segment = segment.with_prompt(prompt)
    return segment


def prompt_set(segments: Iterable[PromptNodes]) -> PromptSet:
    """The prompts of several segments. Raises `InputError` if two of them have one name."""
    return PromptSet(tuple(segment_prompts(nodes) for nodes in segments))


def _is_placed(node: Node) -> bool:
    """Whether an ROI has been drawn; one that was only created is not meant yet."""
    if node is None:
        raise InputError("Choose a region of interest (Markups) here, not nothing.")
    return not node.IsA("vtkMRMLMarkupsROINode") or is_drawn(node)
