"""Segments with all that a file says about them: name, value, colour, terminology, status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.segments.colors import Color, color
from PWSegmentationLib.segments.terminology import terminology_entry
from PWSegmentationLib.volume.grid import Grid, Region

Status: TypeAlias = Literal["", "notstarted", "inprogress", "completed", "flagged"]
"""How far the work on a segment is, in the words of Slicer's segment tag ``Segmentation.Status``; "" says nothing."""

STATUSES: tuple[Status, ...] = ("notstarted", "inprogress", "completed", "flagged")
STATUS_WORDS: Mapping[str, str] = {
    "": "",
    "notstarted": "not started",
    "inprogress": "in progress",
    "completed": "completed",
    "flagged": "flagged",
}

MOST_VALUE = 65535
_NOWHERE = Region((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment: the voxels of ``mask``, bool ``[i, j, k]`` over ``region`` of the segmentation's grid.

    ``value`` is what its voxels are in a labelmap, from 1; ``color`` red, green, blue in [0, 1]; ``terminology``
    Slicer's text for standard codes, see `segments.terminology`.
    """

    name: str
    value: int
    color: Color
    region: Region = _NOWHERE
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), bool))
    terminology: str = ""
    status: Status = ""

    @property
    def voxels(self) -> int:
        """Voxels in it."""
        return int(np.count_nonzero(self.mask))

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as 0 to 255, which is all that some formats keep."""
        return tuple(round(255 * v) for v in self.color)  # type: ignore[return-value]

    def over(self, region: Region) -> NDArray[np.bool_]:
        """The segment in another region of the grid."""
        return self.region.fitted(self.mask, region)

    def same_voxels(self, other: Segment) -> bool:
        """Whether the same voxels are in both, whatever regions they are given over."""
        region = self.region.union(other.region)
        return bool(np.array_equal(self.over(region), other.over(region)))


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Segments on one grid; they may overlap.

    Raises
    ------
    InputError
        If two segments have one name or one value, no file can hold a name, or a value is not from 1 to 65535.
    """

    grid: Grid
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        for what, found in (("name", self.names), ("value", [s.value for s in self.segments])):
            twice = next((n for n in found if list(found).count(n) > 1), None) if len(set(found)) < len(found) else None
            if twice is not None:
                raise InputError(f"Two segments have the {what} '{twice}': give each its own.")
        for segment in self.segments:
            _check_name(segment.name)
            _check_value(segment.name, segment.value)

    @classmethod
    def of(
        cls,
        predictions: Mapping[str, Prediction],
        grid: Grid,
        *,
        names: Sequence[str] | None = None,
        colors: Mapping[str, Color] | None = None,
        values: Mapping[str, int] | None = None,
    ) -> Segmentation:
        """Predictions as segments.

        Parameters
        ----------
        names
            The segments and their order; one without a prediction is empty. By default the order of ``predictions``.
        colors
            Red, green, blue in [0, 1] by name; the others get one of `segments.colors`.
        values
            By name; by default the k-th segment, from 1, has the value k. Raises `InputError` for a name without one.
        """
        names = list(predictions) if names is None else list(names)
        table = label_values(names, values)
        made = []
        for index, name in enumerate(names):
            found = predictions.get(name)
            shown = (colors or {}).get(name, color(index))
            segment = Segment(name, table[name], shown, terminology=terminology_entry(name))
            if found is not None:
                segment = replace(segment, region=found.region, mask=found.region_mask)
            made.append(segment)
        return cls(grid, tuple(made))

    @classmethod
    def of_labels(cls, labels: NDArray[Any], grid: Grid, values: Mapping[str, int]) -> Segmentation:
        """A labelmap ``[i, j, k]`` as segments; ``values`` by name. Values that occur without a name are left out.

        Raises `InputError` for a value that is not from 1 to 65535.
        """
        from scipy import ndimage

        # Before boxes are looked for: there is one for every number up to the largest.
        for name, value in values.items():
            _check_value(name, value)
        most = max(values.values(), default=0)
        boxes = ndimage.find_objects(labels.astype(np.int32, copy=False), most) if most else []
        made = []
        for index, (name, value) in enumerate(values.items()):
            box = boxes[value - 1] if 0 < value <= len(boxes) else None
            segment = Segment(name, value, color(index), terminology=terminology_entry(name))
            if box is not None:
                region = Region(tuple(s.start for s in box), tuple(s.stop for s in box))  # type: ignore[arg-type]
                segment = replace(segment, region=region, mask=labels[box] == value)
            made.append(segment)
        return cls(grid, tuple(made))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the segments, in order."""
        return tuple(s.name for s in self.segments)

    @property
    def values(self) -> dict[str, int]:
        """Label values by name: the label table."""
        return {s.name: s.value for s in self.segments}

    def __getitem__(self, name: str) -> Segment:
        """A segment by its name. Raises `InputError` if there is none of that name."""
        for segment in self.segments:
            if segment.name == name:
                return segment
        raise InputError(f"There is no segment '{name}'; there are: {', '.join(self.names) or 'none'}.")

    @property
    def label_type(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds all values."""
        return np.dtype(np.uint8 if max((s.value for s in self.segments), default=0) < 256 else np.uint16)

    def layers(self) -> tuple[list[NDArray[Any]], dict[str, int]]:
        """All segments on as few labelmaps ``[i, j, k]`` as they need, i fastest; and the number of each one's layer.

        There is always one layer at least.
        """
        layers = [self._blank()]
        layer_of = {}
        for segment in self.segments:
            where, mask = segment.region.slices, segment.mask
            index = next((n for n, layer in enumerate(layers) if not layer[where][mask].any()), len(layers))
            if index == len(layers):
                layers.append(self._blank())
            layers[index][where][mask] = segment.value
            layer_of[segment.name] = index
        return layers, layer_of

    def flat(self, priority: Sequence[str] | None = None) -> NDArray[Any]:
        """One labelmap ``[i, j, k]``, i fastest.

        Where segments overlap, the one that comes first in ``priority`` has the voxel; those not named there come
        after them, in their own order. Raises `InputError` if segments overlap and there is no priority.
        """
        first = [self[name] for name in priority or ()]
        order = [*first, *(s for s in self.segments if s not in first)]
        labels = self._blank()
        for segment in order:
            part = labels[segment.region.slices]
            free = segment.mask & (part == 0)
            if priority is None and np.count_nonzero(free) < segment.voxels:
                raise InputError(
                    f"Segment '{segment.name}' overlaps another one, which a labelmap cannot hold: write .seg.nrrd, or "
                    "say which segment has priority."
                )
            part[free] = segment.value
        return labels

    def _blank(self) -> NDArray[Any]:
        return np.zeros(self.grid.shape, self.label_type, order="F")


def _check_value(name: str, value: int) -> None:
    if not 1 <= value <= MOST_VALUE:
        raise InputError(f"Segment '{name}' has the value {value}: choose one from 1 to {MOST_VALUE}.")


def _check_name(name: str) -> None:
    """Raise `InputError` for a name that comes back changed, or not at all, from some file."""
    if "\r" in name or "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
        shown = name.encode("unicode_escape").decode("ascii")
        raise InputError(f"The name '{shown}' holds a character that no file can hold: rename the segment.")


def label_values(names: Sequence[str], table: Mapping[str, int] | None) -> dict[str, int]:
    """The value of each name: by ``table``, or its place in the list from 1."""
    if table is None:
        return {name: index for index, name in enumerate(names, start=1)}
    missing = next((n for n in names if n not in table), None)
    if missing is not None:
        raise InputError(f"The label table has no value for '{missing}': add it, or leave the segment out.")
    return {name: table[name] for name in names}
