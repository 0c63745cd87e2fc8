"""Predictions into segments of a segmentation node, and back out of them."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from typing import Any, get_args

import numpy as np
import slicer
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml.labelmaps import (
    region_extent,
    segment_labelmap,
    segment_within,
)
from PWSegmentationLib.mrml.lattices import coincide, covered, lattice_offset, touched
from PWSegmentationLib.mrml.locks import is_locked
from PWSegmentationLib.mrml.modifying import ALONE, How, OverwriteMode, SegmentModifier
from PWSegmentationLib.mrml.nodes import (
    Node,
    Scene,
    array_to_matrix,
    check_linear,
    name_of,
    node_to_world,
    prepare_scene,
)
from PWSegmentationLib.mrml.segment_history import PART_VOXELS, Left, SegmentHistory, SegmentStep, outermost_first
from PWSegmentationLib.mrml.terminology import set_terminology, terminology_of
from PWSegmentationLib.mrml.volumes import image_grid, local_affine, volume_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import at_once
from PWSegmentationLib.segments.colors import Color
from PWSegmentationLib.segments.colors import color as palette_color
from PWSegmentationLib.segments.terminology import find_term, terminology_entry
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.resampling import resample

UNDO_STEPS = 10


class SegmentWriter:
    """Writes predictions of one volume into one segmentation, and takes them back.

    The segmentation may be new, hold other segments, stand under linear transforms of its own, and have a geometry
    of its own (see `resamples`). A new one is put beside the volume: same parent transform, same geometry.

    Parameters
    ----------
    scene
        The MRML scene that holds the nodes.
    segmentation_node, volume_node
        Where segments go, and the image they were predicted on.
    masking
        A Segment Editor parameter node (vtkMRMLSegmentEditorNode) whose editable area and intensity range are
        honoured; it is only read. By default everything may be edited.

    Raises
    ------
    InputError
        If one of the nodes cannot be used.
    """

    def __init__(
        self, scene: Scene, segmentation_node: Node, volume_node: Node, *, masking: Node | None = None
    ) -> None:
        if segmentation_node is None or not segmentation_node.IsA("vtkMRMLSegmentationNode"):
            raise InputError("Choose a segmentation to write the segments into.")
        if not hasattr(slicer, "vtkSlicerSegmentEditorLogic"):
            raise InputError("This version of 3D Slicer is too old to write segments: install 5.10 or newer.")
        volume_from_node(volume_node)
        check_linear(segmentation_node)
        prepare_scene(scene)
        self.segmentation_node = segmentation_node
        self.volume_node = volume_node
        self.masking = masking
        _prepare_segmentation(segmentation_node, volume_node)
        self._modifier = SegmentModifier(scene, segmentation_node, volume_node)
        # Of the last prediction that was written, voxels that locks and masking kept the segment from.
        self.held_back = 0
        self.history = SegmentHistory(segmentation_node, self._modify_alone)
        self._done: list[SegmentStep] = []
        self._undone: list[SegmentStep] = []

    def close(self) -> None:
        """Give the scene its helper node back."""
        self._modifier.close()

    # ---- where -----------------------------------------------------------------------------------------------

    @property
    def resamples(self) -> bool:
        """Whether the segmentation's voxels are not the image's, so that what is written has to be resampled."""
        return not coincide(self._modifier.lattice(), self._image_in_segmentation(), self._image_shape())

    def _image_in_segmentation(self) -> NDArray[np.float64]:
        """``(4, 4)``, the image's voxel index to the segmentation's own coordinates."""
        to_segmentation = np.linalg.inv(node_to_world(self.segmentation_node))
        return np.asarray(to_segmentation @ image_grid(self.volume_node).affine)

    def _image_shape(self) -> tuple[int, int, int]:
        return image_grid(self.volume_node).shape

    # ---- writing ---------------------------------------------------------------------------------------------

    def writing(
        self,
        prediction: Prediction,
        segment_id: str | None = None,
        *,
        region: Region | None = None,
        since: Prediction | None = None,
        overwrite: OverwriteMode = "all",
        locked: Collection[str] = (),
        color: Color | None = None,
        terminology: str | None = None,
        undo_step: bool = True,
    ) -> Generator[None, None, str]:
        """Make the segment equal to the prediction within ``region``; nothing else of it changes.

        Goes on in parts of a few milliseconds each, so that nobody waits while an organ is written; `write` does not.

        Parameters
        ----------
        prediction
            On the grid of the volume node.
        segment_id
            The segment to write; by default the one with the prediction's name, which is made if there is none.
        region
            What to replace, in voxels of the image; by default `Prediction.changed` for a segment that exists and
            the whole predicted region for a new one. Where the segmentation `resamples`, all its voxels that the
            region has a say in.
        since
            The prediction written before this one. If given, only voxels in which the two differ are written.
        overwrite
            Which other segments lose the voxels that this one gets: "all", the "visible" ones, or "none".
        locked
            IDs of segments that keep their voxels whatever ``overwrite`` says. Segments whose status is
            "completed" do so too.
        color, terminology
            Red, green, blue in [0, 1]; Slicer's serialised terminology entry. By default a new segment gets what its
            name stands for (see `PWSegmentationLib.mrml.terminology`), and an existing one keeps its own.
        undo_step
            Whether `undo` comes back to the state before this call.

        Returns
        -------
        The ID of the segment.

        Raises
        ------
        InputError
            If the segment is locked, or the prediction is of another image.
        """
        if not prediction.grid.same_as(image_grid(self.volume_node)):
            raise InputError(
                f"The prediction of '{prediction.segment}' is not of the image '{name_of(self.volume_node)}' as it is "
                "now: predict again."
            )
        if overwrite not in get_args(OverwriteMode):
            raise InputError(
                f"The overwrite mode must be one of {', '.join(get_args(OverwriteMode))}, not '{overwrite}'."
            )
        if undo_step:
            self.begin_step()
        self.held_back = 0
        found = self.segment_id(prediction.segment) if segment_id is None else segment_id
        is_new = found is None or self._segment(found) is None
        if region is None:
            region = prediction.region if is_new else prediction.changed
        if not is_new and found in self.locked(locked):
            raise InputError(f"Segment '{self._segment(found).GetName()}' is locked: unlock it to change it.")
        name = self._add_segment(prediction.segment, found) if is_new else str(found)
        self._describe(name, color, terminology)
        if region is not None and not region.is_empty:
            yield from self._replacing(name, prediction, since, region, overwrite, locked)
        return name

    write = at_once(writing)
    """`writing`, in one go."""

    @property
    def held_back_ml(self) -> float:
        """How much of the last prediction that was written locks and masking kept out of the segment."""
        return self.held_back * abs(float(np.linalg.det(self._modifier.lattice()[:3, :3]))) / 1000.0

    def segment_id(self, name: str) -> str | None:
        """The ID of the segment called ``name``; None if there is none."""
        found = self.segmentation_node.GetSegmentation().GetSegmentIdBySegmentName(name)
        return str(found) if found else None

    def locked(self, also: Iterable[str] = ()) -> frozenset[str]:
        """IDs of the segments that may not change: ``also`` and those that `is_locked` names."""
        ids = self.segmentation_node.GetSegmentation().GetSegmentIDs()
        return frozenset((*(i for i in ids if is_locked(self.segmentation_node, i)), *also))

    def has(self, segment_id: str) -> bool:
        """Whether there is a segment with this ID."""
        return self._segment(segment_id) is not None

    def name(self, segment_id: str) -> str:
        """The name of a segment; empty if there is none with this ID."""
        segment = self._segment(segment_id)
        return "" if segment is None else str(segment.GetName())

    def add(self, name: str) -> str:
        """Make an empty segment with the colour and code its name stands for; its ID."""
        return self._add_segment(name, None)

    def remove(self, segment_id: str) -> None:
        """Remove a segment."""
        self.history.remove(segment_id, self._modifier.lattice())
        self._modifier.untold.discard(segment_id)

    def _replacing(
        self,
        segment_id: str,
        prediction: Prediction,
        since: Prediction | None,
        region: Region,
        overwrite: OverwriteMode,
        locked: Collection[str],
    ) -> Iterator[None]:
        """Make the segment as predicted within ``region``, a part of it in every step."""
        affine = self._modifier.lattice()
        offset = lattice_offset(affine, self._image_in_segmentation(), self._image_shape())
        if offset is not None:
            where, within = region.shifted(offset), None
        else:
            where, within = touched(region, self._image_in_segmentation(), affine)

        # With a mask, Slicer goes through all of the lattice each time.
        slabs = [where] if How(overwrite, self.masking).is_masked else where.slabs(PART_VOXELS)
        changes = []
        for slab in slabs:
            mask = self._on_lattice(prediction, slab, affine, offset)
            add, remove = mask, ~mask
            if since is not None:
                before = self._on_lattice(since, slab, affine, offset)
                add, remove = add & ~before, remove & before
            if within is not None:
                said = within[slab.relative_to(where).slices]
                add, remove = add & said, remove & said
            remove &= segment_within(self.segmentation_node, segment_id, slab)
            if add.any() or remove.any():
                changes.append((slab, add, remove))
            yield
        self.history.begin_write()
        for slab, add, remove in outermost_first(changes, [[_box(add, slab)] for slab, add, _ in changes]):
            # It may have been removed meanwhile.
            if self.has(segment_id):
                self._replace(segment_id, slab, affine, add, remove, overwrite, self.locked(locked))
            yield
        yield from self._modifier.telling()

    def _replace(
        self,
        segment_id: str,
        where: Region,
        affine: NDArray[np.float64],
        add: NDArray[np.bool_],
        remove: NDArray[np.bool_],
        overwrite: OverwriteMode,
        locked: Collection[str],
    ) -> None:
        """Take voxels of ``where`` away and add others."""
        boxes = [box for box in (Region.around(add), Region.around(remove)) if box is not None]
        # Most of what was looked at stays as it is.
        box = boxes[0].union(boxes[-1])
        where, add, remove = box.shifted(where.start), add[box.slices], remove[box.slices]
        remove = remove & segment_within(self.segmentation_node, segment_id, where)
        wanted = add
        others = self._overwritten(segment_id, overwrite)
        for other in others:
            if other in locked:
                add = add & ~segment_within(self.segmentation_node, other, where)
        losing = [other for other in others if other not in locked]
        known = len(self.history.step.parts)
        with self.history.recording(where, affine):
            how = How(overwrite, self.masking, losing)
            self._modifier.modify(segment_id, remove, where, affine, how, adds=False)
            self._modifier.modify(segment_id, add, where, affine, how, adds=True)
            self._cut(segment_id, add, where, affine, losing)
        if segment_id in self._modifier.untold:
            self._modifier.untold |= self.history.step.changed(known)
        held = wanted & ~segment_within(self.segmentation_node, segment_id, where)
        self.held_back += int(np.count_nonzero(held))

    def _modify_alone(
        self, segment_id: str, change: NDArray[np.bool_], where: Region, affine: NDArray[np.float64], adds: bool
    ) -> None:
        """Change one segment and no other, whatever the masking is; nothing on another lattice than the present one."""
        if np.allclose(affine, self._modifier.lattice(), atol=1e-3):
            self._modifier.modify(segment_id, change, where, affine, ALONE, adds=adds)

    def _cut(
        self,
        segment_id: str,
        added: NDArray[np.bool_],
        where: Region,
        affine: NDArray[np.float64],
        others: Iterable[str],
    ) -> None:
        """Take what was added from the others, where the logic has left it with them."""
        # It does so where one of them shares a labelmap with a segment that keeps its voxels.
        added = added & segment_within(self.segmentation_node, segment_id, where)
        for other in others:
            left = added & segment_within(self.segmentation_node, other, where)
            if left.any():
                self._modifier.modify(other, left, where, affine, ALONE, adds=False)

    def _on_lattice(
        self,
        prediction: Prediction,
        where: Region,
        affine: NDArray[np.float64],
        offset: tuple[int, int, int] | None,
    ) -> NDArray[np.bool_]:
        """The prediction's mask over a part of the lattice; false where it did not look."""
        if offset is not None:
            mask = prediction.region.shifted(offset).fitted(prediction.region_mask, where)
            # As Slicer's own labelmaps, with which it is compared.
            return np.asfortranarray(mask)
        image = Grid(prediction.grid.shape, self._image_in_segmentation())
        start = affine.copy()
        start[:3, 3] = (affine @ [*where.start, 1.0])[:3]
        target = Grid(where.shape, start)
        # With as much around as has a say, so that a part of an answer is what the whole has there.
        step = np.abs(image.inverse[:3, :3] @ affine[:3, :3]).max(axis=1)
        region = covered(target, image.affine).grown(np.ceil(2.0 * step).astype(int) + 1)
        region = region.intersection(Region.whole(image.shape))
        if region.is_empty:
            return np.zeros(where.shape, bool)
        mask = prediction.region.fitted(prediction.region_mask, region)
        return np.asfortranarray(resample(mask, image.crop(region), target, order=1, outside=0.0) >= 0.5)

    def _overwritten(self, segment_id: str, overwrite: OverwriteMode) -> list[str]:
        """IDs of the other segments that the overwrite mode takes voxels from."""
        others = [i for i in self.segmentation_node.GetSegmentation().GetSegmentIDs() if i != segment_id]
        if overwrite == "visible":
            display = self.segmentation_node.GetDisplayNode()
            return [i for i in others if display is not None and display.GetSegmentVisibility(i)]
        return others if overwrite == "all" else []

    # ---- segments --------------------------------------------------------------------------------------------

    def _segment(self, segment_id: str) -> Any:
        return self.segmentation_node.GetSegmentation().GetSegment(segment_id)

    def _add_segment(self, name: str, segment_id: str | None) -> str:
        segmentation = self.segmentation_node.GetSegmentation()
        made = str(segmentation.AddEmptySegment(segment_id or "", name, self._new_color(name)))
        set_terminology(self._segment(made), terminology_entry(name))
        self.history.made(made)
        return made

    def _new_color(self, name: str) -> Color:
        """The colour that ``name`` stands for, or else the first of the palette that no other segment has."""
        taken = [self._segment(i).GetColor() for i in self.segmentation_node.GetSegmentation().GetSegmentIDs()]
        term = find_term(name)
        # Left and right kidney share their term's colour, but must be told apart here.
        candidates = ([] if term is None else [term[0].color]) + [palette_color(n) for n in range(len(taken) + 1)]
        return next((c for c in candidates if not any(np.allclose(c, t, atol=1e-3) for t in taken)), candidates[-1])

    def follow_name(self, segment_id: str) -> None:
        """Give a segment without a standard code the one that its name stands for by now, and the colour of it.

        A colour that somebody chose stays.
        """
        segment = self._segment(segment_id)
        name = str(segment.GetName() or "")
        if find_term(name) is None or terminology_of(segment) not in ("", terminology_entry("")):
            return
        set_terminology(segment, terminology_entry(name))
        count = self.segmentation_node.GetSegmentation().GetNumberOfSegments()
        if any(np.allclose(segment.GetColor(), palette_color(n), atol=1e-3) for n in range(count + 1)):
            segment.SetColor(self._new_color(name))

    def _describe(self, segment_id: str, color: Color | None, terminology: str | None) -> None:
        segment = self._segment(segment_id)
        if color is not None:
            segment.SetColor(color)
        if terminology is not None:
            set_terminology(segment, terminology)

    # ---- undo ------------------------------------------------------------------------------------------------

    def begin_step(self) -> SegmentStep:
        """Let `undo` come back to the state before the next change. `write` does so itself unless told not to."""
        self._settle()
        return self.history.begin()

    @property
    def has_changed(self) -> bool:
        """Whether anything has changed since `begin_step`, so that `undo` takes that step back."""
        return bool(self.history.step.parts)

    def _settle(self) -> None:
        """Count the present step among those that can be taken back, if it has changed anything."""
        step = self.history.step
        if step.parts and step not in self._done and step not in self._undone:
            self._done.append(step)
            del self._done[:-UNDO_STEPS]
            self._undone.clear()

    def undo(self) -> bool:
        """Take back what the last step changed, and nothing else; false if there is none."""
        self._settle()
        if not self._done:
            return False
        self._undone.append(self._done.pop())
        self.take_back(self._undone[-1])
        return True

    def redo(self) -> bool:
        """Do the step undone last again; false if there is none."""
        self._settle()
        if not self._undone:
            return False
        self._done.append(self._undone.pop())
        self.do_again(self._done[-1])
        return True

    def take_back(self, step: SegmentStep, first: int = 0) -> Left:
        """Take back what a step changed (from its part number ``first`` on); what was done elsewhere since stays."""
        left = Left()
        for _ in self.stepping(step, left, first):
            pass
        return left

    def do_again(self, step: SegmentStep) -> Left:
        """Do a step again that was taken back."""
        left = Left()
        for _ in self.stepping(step, left, forward=True):
            pass
        return left

    def stepping(self, step: SegmentStep, left: Left, first: int = 0, *, forward: bool = False) -> Iterator[None]:
        """`take_back`, or `do_again`, in parts of a few milliseconds each; ``left`` is filled.

        At the first ``yield`` all segments are there that the step brings back.
        """
        steps = self.history.doing_again(step, left) if forward else self.history.taking_back(step, left, first)
        yield from steps
        yield from self._modifier.telling()


def write_prediction(
    prediction: Prediction,
    segmentation_node: Node,
    volume_node: Node,
    segment_id: str | None = None,
    *,
    scene: Scene,
    region: Region | None = None,
    overwrite: OverwriteMode = "all",
    locked: Collection[str] = (),
    color: Color | None = None,
    terminology: str | None = None,
    masking: Node | None = None,
) -> str:
    """Write one prediction into a segmentation, without undo; see `SegmentWriter.write`."""
    writer = SegmentWriter(scene, segmentation_node, volume_node, masking=masking)
    try:
        return writer.write(
            prediction,
            segment_id,
            region=region,
            overwrite=overwrite,
            locked=locked,
            color=color,
            terminology=terminology,
            undo_step=False,
        )
    finally:
        writer.close()


def segment_part(
    segmentation_node: Node, segment_id: str, volume_node: Node
) -> tuple[Region, NDArray[np.bool_]] | None:
    """Where on the image's grid a segment has voxels, and these ``[i, j, k]``; None if it has none there.

    Nearest neighbour where the lattices differ; where they do not, voxels far from the segment are not looked at.
    """
    stored = segment_labelmap(segmentation_node, segment_id)
    if stored is None:
        return None
    grid = image_grid(volume_node)
    image = np.linalg.inv(node_to_world(segmentation_node)) @ grid.affine
    offset = lattice_offset(stored.affine, image, grid.shape)
    if offset is not None:
        found, region = stored.array, stored.region.shifted([-v for v in offset])
    else:
        affine = stored.affine.copy()
        affine[:3, 3] = (affine @ [*stored.region.start, 1.0])[:3]
        source = Grid(stored.array.shape, affine)
        found = resample(stored.array, source, Grid(grid.shape, image), order=0, outside=0.0) >= 0.5
        region = Region.whole(grid.shape)
    seen = region.intersection(Region.whole(grid.shape))
    if seen.is_empty:
        return None
    found = found[seen.relative_to(region).slices]
    box = Region.around(found)
    return None if box is None else (box.shifted(seen.start), found[box.slices])


def segment_mask(segmentation_node: Node, segment_id: str, volume_node: Node) -> NDArray[np.bool_]:
    """A segment's voxels as bool ``[i, j, k]`` on the whole of the image's grid: see `segment_part`."""
    mask = np.zeros(image_grid(volume_node).shape, bool)
    part = segment_part(segmentation_node, segment_id, volume_node)
    if part is not None:
        mask[part[0].slices] = part[1]
    return mask


def _prepare_segmentation(segmentation_node: Node, volume_node: Node) -> None:
    """Display, representation and reference geometry, as the Segment Editor sets them up on first use."""
    segmentation_node.CreateDefaultDisplayNodes()
    segmentation = segmentation_node.GetSegmentation()
    converter = slicer.vtkSegmentationConverter
    labelmap = converter.GetSegmentationBinaryLabelmapRepresentationName()
    is_new = segmentation.GetNumberOfSegments() == 0
    if is_new:
        segmentation.SetSourceRepresentationName(labelmap)
    elif segmentation.GetSourceRepresentationName() != labelmap:
        raise InputError(
            f"The segmentation '{name_of(segmentation_node)}' is not made of voxels: make binary labelmap its source "
            "representation (Segmentations module) or choose another one."
        )
    if is_new and segmentation_node.GetParentTransformNode() is None:
        segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    geometry = segmentation.GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    # A geometry that someone chose, or that segments already have, stays.
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    if not geometry and (is_new or not segmentation.DetermineCommonLabelmapGeometry(extent, None)):
        _set_geometry(segmentation_node, volume_node)


def _set_geometry(segmentation_node: Node, volume_node: Node) -> None:
    """Make the image's lattice, in the segmentation's own coordinates, the segmentation's."""
    converter = slicer.vtkSegmentationConverter
    image = np.linalg.inv(node_to_world(segmentation_node)) @ image_grid(volume_node).affine
    if segmentation_node.GetTransformNodeID() == volume_node.GetTransformNodeID():
        # Without rounding through the world, so that the file says exactly what the image's does.
        image = local_affine(volume_node)
    extent = region_extent(Region.whole(image_grid(volume_node).shape))
    text = converter.SerializeImageGeometry(array_to_matrix(image), extent)
    segmentation_node.GetSegmentation().SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), text)
    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    segmentation_node.SetNodeReferenceID(role, volume_node.GetID())


def _box(mask: NDArray[np.bool_], region: Region) -> Region | None:
    """Where in ``region``, which it covers, a mask is true."""
    box = Region.around(mask)
    return None if box is None else box.shifted(region.start)
