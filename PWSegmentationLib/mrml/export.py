"""Segments of the scene into files, as they are shown: edits by hand and segments of others among them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.file_names import own_file_names
from PWSegmentationLib.export.provenance import provenance as provenance_of
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.files import in_short, replacing
from PWSegmentationLib.mrml.labelmaps import segment_labelmap
from PWSegmentationLib.mrml.lattices import coincide
from PWSegmentationLib.mrml.nodes import Node, Scene, name_of, node_to_world
from PWSegmentationLib.mrml.segments import segment_part
from PWSegmentationLib.mrml.terminology import terminology_of
from PWSegmentationLib.mrml.volumes import image_grid, volume_from_node
from PWSegmentationLib.progress import finished
from PWSegmentationLib.segments.segmentation import Segment, Segmentation, Status
from PWSegmentationLib.session.session import Session
from PWSegmentationLib.volume.grid import Region

# Voxels that are read in one go.
_STEP_VOXELS = 2**20


def export_segments(
    segmentation_node: Node,
    volume_node: Node,
    path: str | Path,
    *,
    session: Session | None = None,
    provenance: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Path, ...]:
    """Write all segments of a segmentation to ``path``, on the image's grid, and how they came about beside it.

    The k-th segment of the table has the value k. A ``.seg.nrrd`` keeps names, colours, terminology, status and
    overlaps; where segments were drawn on finer or other voxels than the image's, Slicer's own code writes it, so that
    nothing of them is lost.

    Parameters
    ----------
    session
        What predicted the segments, for the provenance; nothing is computed.
    provenance
        By default, what the session knows; without one, versions and the image.
    options
        See `PWSegmentationLib.export.writing.write_segmentation`.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        If there is nothing to write, or a file cannot be written.
    """
    path = Path(path)
    segmentation = segmentation_node.GetSegmentation()
    ids = [str(i) for i in segmentation.GetSegmentIDs()]
    if not any(segment_labelmap(segmentation_node, i) is not None for i in ids):
        raise InputError(f"'{name_of(segmentation_node)}' has no voxels yet: segment something before exporting it.")
    if provenance is None:
        provenance = provenance_of(volume_from_node(volume_node)) if session is None else session.provenance()
    try:
        if path.name.lower().endswith(".seg.nrrd") and not _is_on_image(segmentation_node, volume_node):
            return (_as_it_is(segmentation_node, path),)
        found = segmentation_from_node(segmentation_node, volume_node)
        return write_segmentation(found, path, provenance=provenance, **options)
    except OSError as error:
        raise InputError(
            f"'{path}' could not be written ({in_short(error)}): choose another folder, or free some disk space."
        ) from error


def export_scene(scene: Scene, folder: str | Path, ending: str = ".seg.nrrd") -> dict[str, tuple[Path, ...]]:
    """Write every segmentation of the scene that has voxels and knows its image into ``folder``.

    Files are called as the nodes are; the files written, by node name. Raises `InputError` as `export_segments`, and
    if there is none.
    """
    there = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    there.UnRegister(None)
    nodes = [there.GetItemAsObject(index) for index in range(there.GetNumberOfItems())]
    nodes = [n for n in nodes if _image_of(n) is not None]
    nodes = [n for n in nodes if any(_has_voxels(n, i) for i in n.GetSegmentation().GetSegmentIDs())]
    if not nodes:
        raise InputError("There is no segmentation to export: segment something first.")
    names = _own_names([name_of(node) for node in nodes])
    files = own_file_names(Path(folder), ending, names)
    return {n: export_segments(node, _image_of(node), files[n]) for node, n in zip(nodes, names, strict=True)}


def _own_names(found: Sequence[str]) -> list[str]:
    """A name for each: its own, or with a number where others have it, too."""
    names: list[str] = []
    for number, name in enumerate(found, start=1):
        own = name
        while found.count(own) > 1 or own in names or (own != name and own in found):
            own, number = f"{name} {number}", number + 1
        names.append(own)
    return names


def segmentation_from_node(segmentation_node: Node, volume_node: Node) -> Segmentation:
    """The segments of a node on the image's grid; the k-th has the value k.

    Raises `InputError` if two have one name.
    """
    ids = segmentation_node.GetSegmentation().GetSegmentIDs()
    found = (segment_from_node(segmentation_node, i, volume_node, value) for value, i in enumerate(ids, start=1))
    return Segmentation(image_grid(volume_node), tuple(found))


def segment_from_node(segmentation_node: Node, segment_id: str, volume_node: Node, value: int) -> Segment:
    """One segment of a node on the image's grid, with this value."""
    return finished(reading_segment(segmentation_node, segment_id, volume_node, value))


def reading_segment(
    segmentation_node: Node, segment_id: str, volume_node: Node, value: int
) -> Generator[None, None, Segment]:
    """`segment_from_node` in parts of a few milliseconds each."""
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    part = segment_part(segmentation_node, segment_id, volume_node)
    found = Segment(
        segment.GetName(),
        value,
        segment.GetColor(),
        terminology=terminology_of(segment),
        status=segment_status(segment),
    )
    if part is None:
        return found
    # A copy, for a view would hold on to all that the segment shares its labelmap with.
    region, stored = part
    mask = np.empty(region.shape, bool)
    for slab in Region.whole(region.shape).slabs(_STEP_VOXELS):
        mask[slab.slices] = stored[slab.slices]
        yield
    return replace(found, region=region, mask=mask)


def segment_status(segment: Any) -> Status:
    """How far the work on a vtkSegment is; "" where nothing was said."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not segment.HasTag(logic.GetStatusTagName()):
        return ""
    status: Status = logic.GetSegmentStatusAsMachineReadableString(logic.GetSegmentStatus(segment))
    return status


def _is_on_image(segmentation_node: Node, volume_node: Node) -> bool:
    """Whether the segments are made of the image's voxels."""
    grid = image_grid(volume_node)
    image = np.linalg.inv(node_to_world(segmentation_node)) @ grid.affine
    stored = [segment_labelmap(segmentation_node, str(i)) for i in segmentation_node.GetSegmentation().GetSegmentIDs()]
    return all(coincide(s.affine, image, grid.shape) for s in stored if s is not None)


def _as_it_is(segmentation_node: Node, path: Path) -> Path:
    with replacing(path) as temporary:
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(temporary))
        if not storage.WriteData(segmentation_node):
            raise OSError("Slicer could not write the segmentation")
    return path


def _has_voxels(segmentation_node: Node, segment_id: str) -> bool:
    return segment_labelmap(segmentation_node, str(segment_id)) is not None


def _image_of(segmentation_node: Node) -> Node | None:
    return segmentation_node.GetNodeReference(segmentation_node.GetReferenceImageGeometryReferenceRole())
