"""What a radiologist places: points, boxes, scribbles and strokes, for any number of named segments.

All positions are world millimetres, RAS. Everything here is immutable: adding a prompt gives a new set, so undo is
keeping the old one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.grid import Grid, Region

Position: TypeAlias = tuple[float, float, float]
Orientation: TypeAlias = tuple[float, float, float, float, float, float, float, float, float]

# No image is as large, and no number beyond it can be meant (mm).
_FARTHEST = 1e7

IDENTITY: Orientation = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Point:
    """A click: the segment is here (``positive``) or is not."""

    position: Position
    positive: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", _position(self.position, "A point"))
        object.__setattr__(self, "positive", bool(self.positive))


@dataclass(frozen=True)
class Box:
    """The segment lies inside this box.

    ``center`` and ``size`` in mm; ``orientation`` row-major, its columns are the directions of the box axes, as in
    a Slicer ROI.
    """

    center: Position
    size: Position
    orientation: Orientation = IDENTITY

    def __post_init__(self) -> None:
        center, size = _position(self.center, "A box centre"), _position(self.size, "A box size")
        if min(size) <= 0:
            raise InputError(f"A box needs a positive size along every axis, in mm; this one has {_mm(size)}.")
        try:
            axes = np.asarray(IDENTITY if self.orientation is None else self.orientation, dtype=float).reshape(-1)
        except (TypeError, ValueError):
            axes = np.zeros(0)
        if axes.size != 9 or not np.allclose(axes.reshape(3, 3).T @ axes.reshape(3, 3), np.eye(3), atol=1e-3):
            raise InputError(
                "A box orientation must be 9 numbers, row-major, whose columns are perpendicular unit axes."
            )
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "orientation", tuple(float(v) for v in axes))

    @property
    def axes(self) -> NDArray[np.float64]:
        """``(3, 3)``, the columns are the unit directions of the box axes in world."""
        return np.array(self.orientation).reshape(3, 3)

    @property
    def corners(self) -> NDArray[np.float64]:
        """``(8, 3)``, the world positions of the corners."""
        signs = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T
        return np.asarray((signs * self.size) @ self.axes.T + self.center)

    def contains(self, world: ArrayLike, slack: float | NDArray[np.float64] = 0.0) -> NDArray[np.bool_]:
        """Whether world positions ``(..., 3)`` lie inside (or within ``slack`` mm, one number or one per box axis)."""
        local = (np.asarray(world, dtype=float) - self.center) @ self.axes
        return np.asarray((np.abs(local) <= 0.5 * np.array(self.size) + slack + 1e-6).all(axis=-1))


@dataclass(frozen=True)
class Scribble:
    """A brush stroke: a polyline through ``points`` with a round brush of ``radius`` mm."""

    points: tuple[Position, ...]
    radius: float
    positive: bool = True

    def __post_init__(self) -> None:
        points = tuple(_position(p, "A scribble's point") for p in self.points) if np.iterable(self.points) else ()
        if not points:
            raise InputError("A scribble needs at least one point.")
        if not (isinstance(self.radius, int | float | np.number) and 0 < self.radius <= _FARTHEST):
            raise InputError(f"A scribble needs a positive brush radius in mm; this one has {self.radius}.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "radius", float(self.radius))
        object.__setattr__(self, "positive", bool(self.positive))


@dataclass(frozen=True, eq=False)
class Strokes:
    """Painted voxels: ``labels`` uint8 ``[i, j, k]`` on ``grid``, 1 inside the segment, 2 outside it, 0 not painted.

    Kept cropped to the painted voxels, so that a stroke in a large volume costs little.
    """

    labels: NDArray[np.uint8]
    grid: Grid

    @classmethod
    def from_labelmap(cls, labelmap: ArrayLike, affine: ArrayLike) -> Strokes:
        """Check and crop a stroke labelmap (1 foreground, 2 background, 0 or NaN nothing)."""
        array = np.asarray(labelmap)
        if array.ndim != 3:
            raise InputError(f"A stroke labelmap must have three axes; this one has shape {array.shape}.")
        if array.dtype.kind == "f":
            array = np.nan_to_num(array)
        region = Region.around(array != 0)
        if region is None:
            raise InputError("The stroke labelmap is empty: paint 1 where the segment is and 2 where it is not.")
        painted = array[region.slices]
        if not np.isin(painted, (0, 1, 2)).all():
            raise InputError("A stroke labelmap may only hold 0 (nothing), 1 (foreground) and 2 (background).")
        grid = Grid(array.shape, np.asarray(affine, dtype=float)).crop(region)
        return cls(np.ascontiguousarray(painted, dtype=np.uint8), grid)

    def positions(self, positive: bool) -> NDArray[np.float64]:
        """World positions ``(n, 3)`` of the painted voxels of one sign."""
        return self.grid.to_world(np.argwhere(self.labels == (1 if positive else 2)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Strokes):
            return NotImplemented
        return self.grid.same_as(other.grid) and np.array_equal(self.labels, other.labels)

    __hash__ = None  # type: ignore[assignment]


Prompt: TypeAlias = Point | Box | Scribble | Strokes


@dataclass(frozen=True)
class SegmentPrompts:
    """All prompts of one segment."""

    name: str
    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    scribbles: tuple[Scribble, ...] = ()
    strokes: tuple[Strokes, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError("Every segment needs a name.")

    def __iter__(self) -> Iterator[Prompt]:
        yield from self.points
        yield from self.boxes
        yield from self.scribbles
        yield from self.strokes

    def __len__(self) -> int:
        return len(self.points) + len(self.boxes) + len(self.scribbles) + len(self.strokes)

    @property
    def has_positive(self) -> bool:
        """Whether anything says where the segment is (a box does)."""
        return bool(self.boxes) or len(self.positions(positive=True)) > 0

    def with_prompt(self, prompt: Prompt) -> SegmentPrompts:
        """The same with one prompt more."""
        kind = _kind(prompt)
        return self._with(kind, (*getattr(self, kind), prompt))

    def without_prompt(self, prompt: Prompt) -> SegmentPrompts:
        """The same without one prompt (the very object, or one equal to it)."""
        kind = _kind(prompt)
        kept = list(getattr(self, kind))
        if prompt not in kept:
            raise InputError(f"Segment '{self.name}' has no such prompt.")
        kept.remove(prompt)
        return self._with(kind, tuple(kept))

    def holds(self, earlier: SegmentPrompts) -> bool:
        """Whether all prompts of ``earlier`` are here, too."""
        here, there = tuple(self), tuple(earlier)
        return all(here.count(prompt) >= there.count(prompt) for prompt in there)

    def beyond(self, earlier: SegmentPrompts) -> SegmentPrompts:
        """The prompts that ``earlier`` does not have."""
        return SegmentPrompts(
            self.name,
            tuple(p for p in self.points if p not in earlier.points),
            tuple(b for b in self.boxes if b not in earlier.boxes),
            tuple(s for s in self.scribbles if s not in earlier.scribbles),
            tuple(s for s in self.strokes if s not in earlier.strokes),
        )

    def _with(self, kind: str, prompts: tuple[Any, ...]) -> SegmentPrompts:
        return replace(self, **{kind: prompts})  # type: ignore[arg-type]

    def positions(self, positive: bool) -> NDArray[np.float64]:
        """World positions ``(n, 3)`` of every point, scribble vertex and painted voxel of one sign."""
        found = [np.array([p.position for p in self.points if p.positive == positive], dtype=float).reshape(-1, 3)]
        found += [np.array(s.points, dtype=float) for s in self.scribbles if s.positive == positive]
        found += [s.positions(positive) for s in self.strokes]
        return np.concatenate(found)


@dataclass(frozen=True)
class PromptSet:
    """The prompts of all segments, in the order the segments were named."""

    segments: tuple[SegmentPrompts, ...] = field(default=())

    def __post_init__(self) -> None:
        names = self.names
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"Two segments are called '{name}': give each its own name.")

    @property
    def names(self) -> tuple[str, ...]:
        """Segment names, in order."""
        return tuple(s.name for s in self.segments)

    def __getitem__(self, name: str) -> SegmentPrompts:
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise InputError(f"There is no segment '{name}'; there are: {', '.join(self.names) or 'none yet'}.")

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[SegmentPrompts]:
        return iter(self.segments)

    def __len__(self) -> int:
        return len(self.segments)

    def with_segment(self, segment: SegmentPrompts) -> PromptSet:
        """The same with ``segment`` put in the place of the one of its name, or added at the end."""
        if segment.name in self:
            return PromptSet(tuple(segment if s.name == segment.name else s for s in self.segments))
        return PromptSet((*self.segments, segment))

    def without_segment(self, name: str) -> PromptSet:
        """The same without the segment of that name."""
        self[name]
        return PromptSet(tuple(s for s in self.segments if s.name != name))

    def with_prompt(self, name: str, prompt: Prompt) -> PromptSet:
        """The same with one prompt more for the segment ``name``, which is made if it is new."""
        segment = self[name] if name in self else SegmentPrompts(name)
        return self.with_segment(segment.with_prompt(prompt))


def _kind(prompt: Prompt) -> str:
    return {Point: "points", Box: "boxes", Scribble: "scribbles", Strokes: "strokes"}[type(prompt)]


def _position(value: Sequence[float], what: str) -> Position:
    """Three finite numbers, as floats."""
    try:
        position = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        position = ()
    if len(position) != 3 or not all(math.isfinite(v) for v in position):
        raise InputError(f"{what} must be three finite numbers, in mm; got {_short(value)}.")
    if max(abs(v) for v in position) > _FARTHEST:
        raise InputError(f"{what} must be given in mm, none of them above 10 km; got {_short(value)}.")
    return position  # type: ignore[return-value]


def _mm(value: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in value) + ") mm"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
