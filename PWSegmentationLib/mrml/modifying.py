"""Adding voxels to segments and taking them away: in place where that can be, else by Slicer's Segment Editor logic.

How `vtkSlicerSegmentEditorLogic.ModifySegmentByLabelmap` behaves, as its source says and the tests check:

* "add" and "remove" leave every voxel outside the modifier labelmap's extent alone; "set" replaces the *whole*
  segment, so it is of no use for writing a part.
* "add" takes the added voxels away from other segments as the overwrite mode says; "remove" never gives them back
  (except when editing is confined to one segment, which then gets them).
* With the mode "visible" a visible segment keeps voxels where it shares its labelmap with a hidden one; they are
  taken away afterwards.
* It goes through all voxels of the segment, however small the modifier is, and makes its surface anew. Where it can be,
  voxels are therefore changed in place, a part of them in every turn, and only the last one by Slicer, which then tells
  the views.
* It knows no locks. Voxels of locked segments are therefore taken out of the modifier beforehand.
* The modifier must be on the lattice of the segmentation's reference geometry for intensity masks to apply.
* With a mask of either kind it goes through the whole lattice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import slicer
from numpy.typing import NDArray

from PWSegmentationLib.mrml.labelmaps import (
    Index,
    Labelmap,
    changed_in_place,
    free_voxel,
    image_affine,
    oriented_image,
    segment_labelmap,
    voxel_of,
)
from PWSegmentationLib.mrml.nodes import Node, Scene
from PWSegmentationLib.volume.grid import Region

OverwriteMode: TypeAlias = Literal["all", "visible", "none"]


@dataclass(frozen=True)
class How:
    """How Slicer is to modify a segment; ``over``: IDs of the segments that lose what it gets."""

    overwrite: OverwriteMode
    masking: Node | None = None
    over: Collection[str] = ()

    @property
    def is_masked(self) -> bool:
        """Whether not everything may be edited."""
        everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
        masking = self.masking
        return masking is not None and (
            masking.GetMaskMode() != everywhere or bool(masking.GetSourceVolumeIntensityMask())
        )


ALONE = How("none")


class SegmentModifier:
    """Changes voxels of the segments of one segmentation, whose reference geometry may come from ``volume_node``."""

    def __init__(self, scene: Scene, segmentation_node: Node, volume_node: Node) -> None:
        self._node = segmentation_node
        self._editor = slicer.vtkMRMLSegmentEditorNode()
        self._editor.SetSaveWithScene(False)
        scene.AddNode(self._editor)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.SetMRMLScene(scene)
        self._logic.SetSegmentEditorNode(self._editor)
        self._logic.SetSegmentationNode(segmentation_node)
        self._logic.SetSourceVolumeNode(volume_node)
        # Segments that were changed in place, which Slicer does not know of yet.
        self.untold: set[str] = set()

    def close(self) -> None:
        """Give the scene its helper node back."""
        self._logic.SetSegmentEditorNode(None)
        scene = self._editor.GetScene()
        if scene is not None:
            scene.RemoveNode(self._editor)

    def lattice(self) -> NDArray[np.float64]:
        """The segmentation's lattice, in its own coordinates."""
        image = slicer.vtkOrientedImageData()
        geometry = self._logic.GetReferenceImageGeometryString()
        slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, image, False)
        return image_affine(image)

    def modify(
        self,
        segment_id: str,
        change: NDArray[np.bool_],
        where: Region,
        affine: NDArray[np.float64],
        how: How,
        *,
        adds: bool,
    ) -> None:
        """Add or remove voxels: in place where that can be, for Slicer goes through the whole segment every time."""
        box = Region.around(change)
        if box is None:
            return
        change, where = change[box.slices], box.shifted(where.start)
        if not how.is_masked and changed_in_place(self._node, segment_id, change, where, adds=adds, over=how.over):
            self.untold.add(segment_id)
            return
        self._set_up(segment_id, how)
        self._ask_slicer(segment_id, oriented_image(change, where, affine), adds)

    def _ask_slicer(self, segment_id: str, modifier: Any, adds: bool) -> None:
        mode = self._logic.ModificationModeAdd if adds else self._logic.ModificationModeRemove
        self._logic.ModifySegmentByLabelmap(self._node, segment_id, modifier, mode, False, False)

    def telling(self) -> Iterator[None]:
        """Let Slicer know of what was changed in place, segment by segment: views, surfaces and extents follow."""
        while self.untold:
            segment_id = self.untold.pop()
            stored = segment_labelmap(self._node, segment_id)
            if stored is not None:
                self._tell(segment_id, stored)
                yield

    def _tell(self, segment_id: str, stored: Labelmap) -> None:
        """Slicer tells of what it changes itself: one voxel, which is put the other way before."""
        held = voxel_of(stored)
        voxel, lender = held or free_voxel(self._node, segment_id), ""
        if voxel is None:
            # It is empty, and others fill the labelmap.
            lent = self._lent(segment_id)
            if lent is None:
                return
            voxel, lender = lent
        where = Region(voxel, (voxel[0] + 1, voxel[1] + 1, voxel[2] + 1))
        one = np.ones((1, 1, 1), bool)
        if lender:
            changed_in_place(self._node, lender, one, where, adds=False)
        changed_in_place(self._node, segment_id, one, where, adds=held is None)
        self._set_up(segment_id, ALONE)
        self._ask_slicer(segment_id, oriented_image(one, where, stored.affine), held is not None)
        if lender:
            self.modify(lender, one, where, stored.affine, ALONE, adds=True)

    def _lent(self, segment_id: str) -> tuple[Index, str] | None:
        """A voxel of another segment that shares a segment's labelmap, and which that is; None if there is none."""
        node = self._node
        image = node.GetBinaryLabelmapInternalRepresentation(segment_id)
        for other in node.GetSegmentation().GetSegmentIDs():
            stored = segment_labelmap(node, other)
            voxel = None if stored is None else voxel_of(stored)
            if voxel is not None and node.GetBinaryLabelmapInternalRepresentation(other) is image:
                return voxel, other
        return None

    def _set_up(self, segment_id: str, how: How) -> None:
        editor = self._editor
        modes = {
            "all": editor.OverwriteAllSegments,
            "visible": editor.OverwriteVisibleSegments,
            "none": editor.OverwriteNone,
        }
        masking = how.masking
        editor.SetOverwriteMode(modes[how.overwrite])
        editor.SetSelectedSegmentID(segment_id)
        everywhere = slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere
        editor.SetMaskMode(everywhere if masking is None else masking.GetMaskMode())
        editor.SetSourceVolumeIntensityMask(masking is not None and masking.GetSourceVolumeIntensityMask())
        if masking is not None:
            editor.SetMaskSegmentID(masking.GetMaskSegmentID() or "")
            editor.SetSourceVolumeIntensityMaskRange(masking.GetSourceVolumeIntensityMaskRange())
