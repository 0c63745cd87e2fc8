"""What steps changed in the segments of a segmentation, kept so that this, and nothing else, can be taken back.

Slicer's own history goes back to whole states of a segmentation: what other tools did since, in any segment, and names,
colours and reviews would go with them. Here only voxels that a step changed go back, and segments that it made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import slicer
from numpy.typing import NDArray

from PWSegmentationLib.mrml.labelmaps import labels_within, segment_labelmap
from PWSegmentationLib.mrml.locks import is_locked
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.volume.grid import Region

# Segment, voxels of a part of the lattice, that part, the lattice, and whether to add them (or take them away).
Modify: TypeAlias = Callable[[str, NDArray[np.bool_], Region, NDArray[np.float64], bool], None]


@dataclass(frozen=True)
class _Packed:
    """Voxels of a box, in little memory."""

    shape: tuple[int, int, int]
    data: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Packed:
        return cls(mask.shape, zlib.compress(np.packbits(mask).tobytes(), 1))

    @property
    def mask(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(zlib.decompress(self.data), np.uint8)
        return np.unpackbits(bits, count=int(np.prod(self.shape))).astype(bool).reshape(self.shape)


@dataclass(frozen=True)
class _Voxels:
    """What one write changed within a box of the lattice: of each segment, voxels gained and lost.

    ``others``: voxels that segments had which did not change there.
    """

    region: Region
    affine: NDArray[np.float64]
    changed: tuple[tuple[str, _Packed, _Packed], ...]
    others: _Packed


@dataclass(eq=False)
class _Existence:
    """A segment that was made, or removed; ``description`` is its name, colour and tags when it was last removed."""

    segment_id: str
    made: bool
    index: int = 0
    description: Any = None


@dataclass(eq=False)
class SegmentStep:
    """All that one step changed, in that order."""

    parts: list[_Voxels | _Existence] = field(default_factory=list)

    def concerns(self, segment_id: str) -> bool:
        """Whether a segment was made or removed by it."""
        return any(isinstance(part, _Existence) and part.segment_id == segment_id for part in self.parts)


@dataclass
class Left:
    """What was not taken back, or done again: voxels that were edited elsewhere since, and segments now locked."""

    by_hand: bool = False
    locked: set[str] = field(default_factory=set)

    @property
    def note(self) -> str:
        """A sentence for the user; empty where all was done."""
        said = [f"Locked segments stay as they are: {', '.join(sorted(self.locked))}."] if self.locked else []
        return " ".join([*said, *(["What was edited by hand since stays."] if self.by_hand else [])])


class SegmentHistory:
    """Records what is done to the segments of ``segmentation_node`` in steps, and takes steps back.

    ``modify`` changes voxels of one segment, and of no other.
    """

    def __init__(self, segmentation_node: Node, modify: Modify) -> None:
        self._node = segmentation_node
        self._modify = modify
        self._step = SegmentStep()
        # What a segment would be if only recorded changes had been made to it, as `_sum` tells.
        self._ours: dict[str, int] = {}

    @property
    def step(self) -> SegmentStep:
        """The step that changes belong to now."""
        return self._step

    def begin(self) -> SegmentStep:
        """Let the next changes be a step of their own."""
        self._step = SegmentStep()
        return self._step

    def go_on(self, step: SegmentStep) -> None:
        """Let the next changes be a part of ``step``."""
        self._step = step

    def has_other_work(self, segment_id: str) -> bool:
        """Whether a segment's voxels are not just what was recorded: edited elsewhere, or there from the start."""
        stored = segment_labelmap(self._node, segment_id)
        now = 0 if stored is None else _sum(stored.array, stored.region)
        return now != self._ours.get(segment_id, 0)

    # ---- recording -------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, region: Region, affine: NDArray[np.float64]) -> Iterator[None]:
        """Record what is done meanwhile to the voxels of ``region`` of the lattice."""
        before = _Look(self._node, region)
        try:
            yield
        finally:
            self._record(before, _Look(self._node, region), affine)

    def made(self, segment_id: str) -> None:
        """A segment has been made."""
        self._step.parts.append(_Existence(segment_id, made=True))

    def remove(self, segment_id: str, affine: NDArray[np.float64]) -> None:
        """Remove a segment."""
        stored = segment_labelmap(self._node, segment_id)
        box = None if stored is None else Region.around(stored.array)
        if stored is not None and box is not None:
            with self.recording(box.shifted(stored.region.start), affine):
                self._modify(segment_id, stored.array[box.slices], box.shifted(stored.region.start), affine, False)
        gone = _Existence(segment_id, made=False)
        self._step.parts.append(gone)
        self._take_away(gone, Left())

    def _record(self, before: _Look, after: _Look, affine: NDArray[np.float64]) -> None:
        found = after.changes_since(before)
        if not found:
            return
        gained_by = sum((gained.astype(np.uint8) for _, gained, _ in found), np.zeros(after.region.shape, np.uint8))
        changed = tuple((i, _Packed.of(gained), _Packed.of(lost)) for i, gained, lost in found)
        others = _Packed.of(after.holders > gained_by)
        self._step.parts.append(_Voxels(after.region, affine.copy(), changed, others))
        self._count(found, after.region)

    def _count(self, changes: list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]], region: Region) -> None:
        for segment_id, gained, lost in changes:
            total = self._ours.get(segment_id, 0) + _sum(gained, region) - _sum(lost, region)
            self._ours[segment_id] = total % 2**64

    # ---- back and forth --------------------------------------------------------------------------------------

    def take_back(self, step: SegmentStep, first: int = 0) -> Left:
        """Take a step back, or the parts of it from number ``first`` on; what was done elsewhere since stays."""
        left = Left()
        for part in reversed(step.parts[first:]):
            if isinstance(part, _Voxels):
                self._change(part, left, forward=False)
            elif part.made:
                self._take_away(part, left)
            else:
                self._bring_back(part)
        return left

    def do_again(self, step: SegmentStep) -> Left:
        """Do a step again that was taken back."""
        left = Left()
        for part in step.parts:
            if isinstance(part, _Voxels):
                self._change(part, left, forward=True)
            elif part.made:
                self._bring_back(part)
            else:
                self._take_away(part, left)
        return left

    def _change(self, part: _Voxels, left: Left, *, forward: bool) -> None:
        """Put voxels back, or change them again."""
        now = _Look(self._node, part.region)
        todo = []
        for segment_id, gained, lost in part.changed:
            if is_locked(self._node, segment_id):
                left.locked.add(str(self._segment(segment_id).GetName()))
            elif self._segment(segment_id) is not None:
                add, remove = (gained.mask, lost.mask) if forward else (lost.mask, gained.mask)
                todo.append((segment_id, add, remove, now.of(segment_id)))
        for segment_id, _, remove, there in todo:
            left.by_hand |= bool((remove & ~there).any())
            self._modify(segment_id, remove & there, part.region, part.affine, False)
        # Voxels that others were given by hand meanwhile are theirs.
        theirs = (_Look(self._node, part.region).holders > 0) & ~part.others.mask
        for segment_id, add, _, there in todo:
            left.by_hand |= bool((add & (there | theirs)).any())
            self._modify(segment_id, add & ~there & ~theirs, part.region, part.affine, True)
        self._count(_Look(self._node, part.region).changes_since(now), part.region)

    def _take_away(self, part: _Existence, left: Left) -> None:
        segment = self._segment(part.segment_id)
        if segment is None:
            return
        stored = segment_labelmap(self._node, part.segment_id)
        if is_locked(self._node, part.segment_id):
            left.locked.add(str(segment.GetName()))
        elif stored is not None and stored.array.any():
            left.by_hand = True
        else:
            part.description = slicer.vtkSegment()
            part.description.DeepCopyMetadata(segment)
            part.index = self._segmentation.GetSegmentIndex(part.segment_id)
            self._segmentation.RemoveSegment(part.segment_id)

    def _bring_back(self, part: _Existence) -> None:
        if part.description is None or self._segment(part.segment_id) is not None:
            return
        name, color = part.description.GetName(), part.description.GetColor()
        self._segmentation.AddEmptySegment(part.segment_id, name, color)
        segment = self._segment(part.segment_id)
        value = segment.GetLabelValue()
        segment.DeepCopyMetadata(part.description)
        segment.SetLabelValue(value)
        self._segmentation.SetSegmentIndex(part.segment_id, part.index)

    @property
    def _segmentation(self) -> Any:
        return self._node.GetSegmentation()

    def _segment(self, segment_id: str) -> Any:
        return self._segmentation.GetSegment(segment_id)


class _Look:
    """What all segments have within a region of the lattice; segments that share a labelmap are looked at once."""

    def __init__(self, segmentation_node: Node, region: Region) -> None:
        self.region = region
        segmentation = segmentation_node.GetSegmentation()
        self._labels: dict[str, NDArray[Any]] = {}
        self._where: dict[str, tuple[str, int]] = {}
        for segment_id in segmentation.GetSegmentIDs():
            image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
            key = "" if image is None else str(image.GetAddressAsString(""))
            if key not in self._labels:
                self._labels[key] = labels_within(segmentation_node, segment_id, region)
            self._where[segment_id] = (key, segmentation.GetSegment(segment_id).GetLabelValue())

    def of(self, segment_id: str) -> NDArray[np.bool_]:
        """The voxels of one segment."""
        if segment_id not in self._where:
            return np.zeros(self.region.shape, bool)
        key, value = self._where[segment_id]
        return np.asarray(self._labels[key] == value)

    @property
    def holders(self) -> NDArray[np.uint8]:
        """By how many segments every voxel is held."""
        out = np.zeros(self.region.shape, np.uint8)
        for labels in self._labels.values():
            out += labels != 0
        return out

    def changes_since(self, before: _Look) -> list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
        """Segments whose voxels differ, with those gained and lost."""
        same: dict[tuple[str, str], bool] = {}
        found = []
        for segment_id in {**before._where, **self._where}:
            old, new = before._where.get(segment_id), self._where.get(segment_id)
            if old is not None and new is not None and old[1] == new[1]:
                pair = (old[0], new[0])
                if pair not in same:
                    same[pair] = np.array_equal(before._labels[old[0]], self._labels[new[0]])
                if same[pair]:
                    continue
            was, now = before.of(segment_id), self.of(segment_id)
            if not np.array_equal(was, now):
                found.append((segment_id, now & ~was, was & ~now))
        return found


def _sum(mask: NDArray[np.bool_], region: Region) -> int:
    """A number for a set of voxels, however they are boxed: the sum of a number for each, modulo 2**64."""
    if not mask.any():
        return 0
    total = mask.astype(np.uint64)
    # One axis after the other: every voxel's number is the product of one for each of its indices.
    for axis in (2, 1, 0):
        index = (np.arange(mask.shape[axis]) + region.start[axis]).astype(np.int64).view(np.uint64)
        # Steps of splitmix64, so that no two sets that an editor makes are likely to have one sum.
        table = (index + np.uint64(axis + 1)) * np.uint64(0x9E3779B97F4A7C15)
        table = (table ^ (table >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        table = (table ^ (table >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        total = total @ ((table ^ (table >> np.uint64(31))) | np.uint64(1))
    return int(total)
