"""What steps changed in the segments of a segmentation, kept so that this, and nothing else, can be taken back.

Slicer's own history goes back to whole states of a segmentation: what other tools did since, in any segment, and names,
colours and reviews would go with them. Here only voxels that a step changed go back, and segments that it made.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias, TypeVar

import numpy as np
import slicer
from numpy.typing import NDArray

from PWSegmentationLib.mrml.labelmaps import labels_within, segment_labelmap
from PWSegmentationLib.mrml.locks import is_locked
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.volume.grid import Region

# What is changed, and taken back, in one go: a few milliseconds' work.
PART_VOXELS = 2**18

# Segment, voxels of a part of the lattice, that part, the lattice, and whether to add them (or take them away).
Modify: TypeAlias = Callable[[str, NDArray[np.bool_], Region, NDArray[np.float64], bool], None]


Part = TypeVar("Part")


@dataclass(frozen=True)
class _Packed:
    """Voxels of a box, in little memory."""

    shape: tuple[int, int, int]
    box: Region | None
    data: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Packed:
        box = Region.around(mask)
        return cls(mask.shape, box, b"" if box is None else zlib.compress(_bits(mask[box.slices]).tobytes(), 1))

    @property
    def mask(self) -> NDArray[np.bool_]:
        out = np.zeros(self.shape, bool, order="F")
        if self.box is not None:
            count, *others = self.box.shape
            bits = np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(*others[::-1], -1)
            out[self.box.slices] = np.unpackbits(bits, axis=-1, count=count, bitorder="little").view(bool).T
        return out


@dataclass(frozen=True)
class _Voxels:
    """What was changed within a box of the lattice: of each segment, voxels gained and lost.

    ``others``: voxels that segments had which did not change there. Those of one ``write`` have no voxel in common.
    """

    write: int
    region: Region
    affine: NDArray[np.float64]
    changed: tuple[tuple[str, _Packed, _Packed], ...]
    others: _Packed

    def boxes(self, forward: bool) -> list[Region | None]:
        """Where each segment gets voxels when they are changed, or put back."""
        packed = [gained if forward else lost for _, gained, lost in self.changed]
        return [None if p.box is None else p.box.shifted(self.region.start) for p in packed]


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

    def changed(self, first: int = 0) -> set[str]:
        """IDs of the segments whose voxels its parts changed, from number ``first`` on."""
        return {i for part in self.parts[first:] if isinstance(part, _Voxels) for i, *_ in part.changed}


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
        self._write = 0
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

    def begin_write(self) -> None:
        """What is recorded from now on may have voxels in common with what was recorded before, but not in itself."""
        self._write += 1

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
        self.begin_write()
        if stored is not None and box is not None:
            for part in box.slabs(PART_VOXELS):
                where = part.shifted(stored.region.start)
                with self.recording(where, affine):
                    self._modify(segment_id, stored.array[part.slices], where, affine, False)
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
        self._step.parts.append(_Voxels(self._write, after.region, affine.copy(), changed, others))
        self._count(found, after.region)

    def _count(self, changes: list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]], region: Region) -> None:
        for segment_id, gained, lost in changes:
            total = self._ours.get(segment_id, 0) + _sum(gained, region) - _sum(lost, region)
            self._ours[segment_id] = total % 2**64

    # ---- back and forth --------------------------------------------------------------------------------------

    def taking_back(self, step: SegmentStep, left: Left, first: int = 0) -> Iterator[None]:
        """Take a step back, or the parts of it from number ``first`` on, one after the other.

        What was done elsewhere since stays, and ``left`` says so. Segments come first, and go last.
        """
        parts = step.parts[first:][::-1]
        yield from self._stepping(parts, left, forward=False)

    def doing_again(self, step: SegmentStep, left: Left) -> Iterator[None]:
        """Do a step again that was taken back, one part after the other."""
        yield from self._stepping(list(step.parts), left, forward=True)

    def _stepping(self, parts: list[_Voxels | _Existence], left: Left, *, forward: bool) -> Iterator[None]:
        existences = [part for part in parts if isinstance(part, _Existence)]
        for existence in existences:
            if existence.made is forward:
                self._bring_back(existence)
        yield
        voxels = [part for part in parts if isinstance(part, _Voxels)]
        for _, write in groupby(voxels, lambda part: part.write):
            changes = list(write)
            for part in outermost_first(changes, [part.boxes(forward) for part in changes]):
                self._change(part, left, forward=forward)
                yield
        for existence in existences:
            if existence.made is not forward:
                self._take_away(existence, left)

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
            # Whoever removed it elsewhere does not want it back.
            part.description = None
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
        # Others may be gone by now.
        last = self._segmentation.GetNumberOfSegments() - 1
        self._segmentation.SetSegmentIndex(part.segment_id, min(part.index, last))

    @property
    def _segmentation(self) -> Any:
        return self._node.GetSegmentation()

    def _segment(self, segment_id: str) -> Any:
        return self._segmentation.GetSegment(segment_id)


def outermost_first(parts: Sequence[Part], boxes: Sequence[Sequence[Region | None]]) -> list[Part]:
    """``parts`` in another order: those first whose ``boxes`` reach farthest to any side.

    Once voxels are there that far out, Slicer's labelmap has room for all others.
    """
    ends = [(n, box) for n, of_part in enumerate(boxes) for box in of_part if box is not None]
    first = {min(ends, key=lambda e: e[1].start[axis])[0]: None for axis in range(3) if ends}
    first |= {max(ends, key=lambda e: e[1].stop[axis])[0]: None for axis in range(3) if ends}
    return [parts[n] for n in (*first, *(n for n in range(len(parts)) if n not in first))]


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


def _bits(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask ``[i, j, k]`` as ``[k, j, byte]``, along the rows that Slicer's labelmaps have in memory."""
    return np.packbits(mask.T, axis=-1, bitorder="little")


def _sum(mask: NDArray[np.bool_], region: Region) -> int:
    """A number for a set of voxels, however they are boxed: the sum of a number for each, modulo 2**64.

    That of a voxel is the product of one for each of its indices.
    """
    along_i, along_j, along_k = (
        _numbers(axis, a, b) for axis, a, b in zip(range(3), region.start, region.stop, strict=True)
    )
    bits = _bits(mask)
    # What every byte of eight voxels adds, looked up.
    eights = np.zeros((bits.shape[-1], 8), np.uint64)
    eights.reshape(-1)[: len(along_i)] = along_i
    table = eights @ np.unpackbits(np.arange(256, dtype=np.uint8)[None], axis=0, bitorder="little").astype(np.uint64)
    rows = np.zeros(bits.shape[:2], np.uint64)
    for byte, added in enumerate(table):
        rows += added[bits[:, :, byte]]
    return int((rows @ along_j) @ along_k)


def _numbers(axis: int, start: int, stop: int) -> NDArray[np.uint64]:
    """A number for each index along an axis: steps of splitmix64, so that no two sets an editor makes have one sum."""
    index = np.arange(start, stop).astype(np.int64).view(np.uint64)
    number = (index + np.uint64(axis + 1)) * np.uint64(0x9E3779B97F4A7C15)
    number = (number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = (number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (number ^ (number >> np.uint64(31))) | np.uint64(1)
