"""The files that a session is kept in. `session.json` says what there is; all of them lie in the session's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import is_locked
from PWSegmentationLib.mrml.export import segment_status
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.mrml.review import comment

DOCUMENT = "session.json"
SEGMENTS = "segments.seg.nrrd"
REVIEWED = "reviewed.seg.nrrd"
IMAGE = "image"
ASIDE = "aside"

_VERSION = 1
_ENTRIES = {"name": str, "source": str, "segments": list, "prompts": dict, "prompted": list}


def read_document(folder: Path) -> dict[str, Any] | None:
    """What `session.json` says; None where there is none.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("The file of the session is damaged.") from error
    is_ours = isinstance(document, dict) and document.get("version") == _VERSION
    if not is_ours or not all(isinstance(document.get(name), kind) for name, kind in _ENTRIES.items()):
        raise InputError("The file of the session is damaged, or of another version of the program.")
    return document


def put_aside(folder: Path) -> Path:
    """Move a session that could not be brought back out of the way; where it lies then."""
    aside = folder / ASIDE
    aside.mkdir(exist_ok=True)
    target = next(p for n in range(1, 10_000) if not (p := aside / str(n)).exists())
    target.mkdir()
    # What tells of the others comes last.
    for name in (IMAGE, REVIEWED, SEGMENTS, DOCUMENT):
        if (folder / name).exists():
            (folder / name).rename(target / name)
    return target


def words_of(segmentation_node: Node, segment_id: str) -> tuple[object, ...]:
    """All that the file says of a segment besides its voxels and the user can change."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    said = (segment_status(segment), comment(segmentation_node, segment_id))
    return (segment_id, segment.GetName(), segment.GetColor(), is_locked(segmentation_node, segment_id), *said)


def looks_of(segmentation_node: Node, segment_id: str) -> tuple[bool, float]:
    """Whether a segment is shown, and how opaque it is."""
    display = segmentation_node.GetDisplayNode()
    return bool(display.GetSegmentVisibility(segment_id)), round(float(display.GetSegmentOpacity3D(segment_id)), 2)


def give_looks(segmentation_node: Node, segment_id: str, is_shown: bool, opacity: float) -> None:
    """The inverse of `looks_of`."""
    display = segmentation_node.GetDisplayNode()
    display.SetSegmentVisibility(segment_id, is_shown)
    display.SetSegmentOpacity(segment_id, opacity)


def write_segmentation(node: Node, path: Path) -> None:
    """Write a segmentation, tags and all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    storage = slicer.vtkMRMLSegmentationStorageNode()
    # The page waits meanwhile.
    storage.SetUseCompression(False)
    storage.SetFileName(str(path))
    if not storage.WriteData(_twin(node)):
        raise InputError("the segments cannot be written, the disk may be full")


def _twin(node: Node) -> Node:
    """A copy of a segmentation: Slicer packs the labelmaps of what it writes anew, as if they had changed.

    Of the labelmaps, too, for a segmentation that goes wipes them; segments that share one share its copy.
    """
    twin = slicer.vtkMRMLSegmentationNode()
    twin.SetName(node.GetName())
    source, target = node.GetSegmentation(), twin.GetSegmentation()
    target.SetSourceRepresentationName(source.GetSourceRepresentationName())
    target.CopyConversionParameters(source)
    copies: dict[Any, Any] = {}
    for segment_id in source.GetSegmentIDs():
        segment = slicer.vtkSegment()
        segment.DeepCopyMetadata(source.GetSegment(segment_id))
        labelmap = node.GetBinaryLabelmapInternalRepresentation(segment_id)
        if labelmap is not None:
            if labelmap not in copies:
                copies[labelmap] = slicer.vtkOrientedImageData()
                copies[labelmap].DeepCopy(labelmap)
            segment.AddRepresentation(source.GetSourceRepresentationName(), copies[labelmap])
        target.AddSegment(segment, segment_id)
    return twin


def read_segmentation(node: Node, path: Path) -> None:
    """Fill a node with what was written. Raises `InputError` if that is damaged."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise InputError("The file of the segments is damaged.")
