"""Slices with contours and prompts, to scale, as radiologists see them.

Patient right is on the left of axial and coronal slices; anterior is up on axial slices and left on sagittal ones.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prompts.prompts import Box, SegmentPrompts
from PWSegmentationLib.segments.colors import Color
from PWSegmentationLib.volume.canonical import Canonical
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.intensity import shown_range
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BACKGROUND, WORDS, REFERENCE, OUTSIDE = "#0c0d10", "#d5d9e0", "#ffffff", "#ff4b4b"
_MARGIN_MM = 18.0
# Prompts this near to a slice are drawn as lying in it.
_NEAR_MM = 6.0


class Plane(NamedTuple):
    """The body axis looked along, and those to the side and up: 0 right, 1 anterior, 2 superior."""

    name: str
    through: int
    side: int
    up: int


PLANES = (Plane("axial", 2, 0, 1), Plane("coronal", 1, 0, 2), Plane("sagittal", 0, 1, 2))


@dataclass(frozen=True)
class DisplayVolume:
    """The volume with its axes permuted and flipped to right, anterior, superior; ``image`` is windowed to [0, 1]."""

    image: NDArray[np.float32]
    grid: Grid
    canonical: Canonical

    @classmethod
    def of(cls, volume: Volume) -> DisplayVolume:
        """Make one."""
        canonical = Canonical.of(volume.grid)
        low, high = shown_range(volume.array, volume.valid())
        shown = np.clip((volume.array.astype(np.float32) - low) / (high - low), 0, 1)
        return cls(canonical.forth(shown), canonical.grid, canonical)

    def turned(self, array: NDArray[Any]) -> NDArray[Any]:
        """Another array on the volume's grid, turned likewise."""
        return self.canonical.forth(array)

    @property
    def size(self) -> NDArray[np.float64]:
        """Edge lengths, mm."""
        return np.array(self.grid.shape) * self.grid.spacing

    def places(self, world: Any) -> NDArray[np.float64]:
        """World positions ``(n, 3)`` as mm along the turned axes, from the first voxel's centre."""
        return self.grid.to_index(np.reshape(world, (-1, 3))) * self.grid.spacing


@dataclass(frozen=True)
class SlicePanel:
    """Panel ``ax`` with the slice of ``display`` in ``plane`` through the voxel ``middle``."""

    ax: Axes
    display: DisplayVolume
    plane: Plane
    middle: tuple[int, int, int]

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """The slice of a turned array, rows upwards."""
        through = self.plane.through
        # A view; np.take would first copy the whole array into another order.
        return array[(slice(None),) * through + (self.middle[through],)].T

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Outermost voxel faces: left, right, bottom, top, mm."""
        half, size = 0.5 * np.array(self.display.grid.spacing), self.display.size
        side, up = self.plane.side, self.plane.up
        return (-half[side], size[side] - half[side], -half[up], size[up] - half[up])

    def centres(self, axis: int) -> NDArray[np.float64]:
        """Voxel centres along an axis, mm."""
        return np.asarray(np.arange(self.display.grid.shape[axis]) * self.display.grid.spacing[axis])

    def distance(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of places ``(n, 3)`` from the slice, mm."""
        through = self.plane.through
        return np.abs(places[:, through] - self.middle[through] * self.display.grid.spacing[through])


def middle_of(*masks: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The voxel through which the three slices show most of the ``masks``, a small one counting as much as a large."""
    best = []
    for axis in range(3):
        areas = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for mask in masks]
        # The root: a glimpse of one more structure is worth more than the last bit of another.
        shares = [np.sqrt(area / area.max()) for area in areas if area.max() > 0]
        best.append(int(np.sum(shares, axis=0).argmax()) if shares else masks[0].shape[axis] // 2)
    return (best[0], best[1], best[2])


def frame_of(display: DisplayVolume, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Centre and half the edge of a cube around ``mask``, mm: all planes at one scale."""
    hits = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if len(hits[0]) == 0:
        return 0.5 * display.size, 0.5 * float(display.size.max())
    bounds = np.array([(h[0], h[-1]) for h in hits]) * np.array(display.grid.spacing)[:, None]
    return bounds.mean(axis=1), float(0.5 * (bounds[:, 1] - bounds[:, 0]).max() + _MARGIN_MM)


def panels(rows: int, inches: float, bottom: float = 0.06) -> tuple[Figure, list[list[Axes]]]:
    """A figure of square panels, three in a row, with room for words on the left and at the top."""
    from matplotlib.figure import Figure

    left, top, gap, columns = 0.3, 0.26, 0.05, len(PLANES)
    width = left + columns * inches + (columns - 1) * gap + 0.06
    height = top + rows * inches + (rows - 1) * gap + bottom
    figure = Figure(figsize=(width, height), facecolor=BACKGROUND, dpi=120)
    axes = []
    for row in reversed(range(rows)):
        y = (bottom + row * (inches + gap)) / height
        places = [(left + column * (inches + gap)) / width for column in range(columns)]
        axes.append([figure.add_axes((x, y, inches / width, inches / height)) for x in places])
    return figure, axes


def draw_slice(panel: SlicePanel, centre: NDArray[np.float64], half: float) -> None:
    """The slice in grey, a square of ``half`` mm to each side of ``centre``, with the sides of the patient."""
    ax, (_, _, side, up) = panel.ax, panel.plane
    picture = panel.cut(panel.display.image)
    ax.imshow(picture, cmap="gray", vmin=0, vmax=1, origin="lower", extent=panel.extent, interpolation="bilinear")
    ax.set(xlim=(centre[side] + half, centre[side] - half), ylim=(centre[up] - half, centre[up] + half))
    ax.set(aspect="equal", facecolor=BACKGROUND, xticks=[], yticks=[], autoscale_on=False)
    ax.spines[:].set_visible(False)
    for letter, x, y in (("RA"[side], 0.02, 0.5), ("RAS"[up], 0.5, 0.97)):
        ax.text(x, y, letter, transform=ax.transAxes, color="#9aa0ab", fontsize=7, va="center", ha="center")


def draw_contour(
    panel: SlicePanel, mask: NDArray[np.bool_], color: Color | str, *, dashed: bool = False, filled: bool = False
) -> None:
    cut = panel.cut(mask)
    if not cut.any():
        return
    place = panel.centres(panel.plane.side), panel.centres(panel.plane.up)
    if filled:
        panel.ax.contourf(*place, cut, levels=[0.5, 1.5], colors=[color], alpha=0.38)
    width = 0.9 if dashed else 1.5
    panel.ax.contour(
        *place, cut, levels=[0.5], colors=[color], linewidths=width, linestyles="dashed" if dashed else "-"
    )


def draw_overlay(panel: SlicePanel, values: NDArray[np.float32]) -> None:
    """The uncertainty over the slice; what is certain stays grey."""
    cut = panel.cut(values)
    alpha = np.clip(1.5 * cut, 0, 0.85)
    panel.ax.imshow(cut, cmap="inferno", vmin=0, vmax=1, alpha=alpha, origin="lower", extent=panel.extent)


def draw_prompts(panel: SlicePanel, prompts: SegmentPrompts, color: Color, *, faint: bool = True) -> None:
    for positive, mark in ((True, color), (False, OUTSIDE)):
        _points(panel, [p.position for p in prompts.points if p.positive == positive], mark, positive, faint)
        _lines(panel, [s.points for s in prompts.scribbles if s.positive == positive], mark)
        _spots(panel, [s.positions(positive) for s in prompts.strokes], mark)
    for box in prompts.boxes:
        _box(panel, box, color)


def _points(panel: SlicePanel, positions: Sequence[Any], color: Color | str, positive: bool, faint: bool) -> None:
    """Points near the slice bright; the others, seen through it, ``faint`` or not at all."""
    places = panel.display.places(np.array(positions))
    near = panel.distance(places) <= _NEAR_MM
    style: dict[str, Any] = {"marker": "x", "linewidths": 1.3}
    if positive:
        style = {"marker": "o", "linewidths": 0.8, "edgecolors": "white"}
    for chosen, alpha, size in ((near, 1.0, 26), (~near, 0.3, 12))[: 2 if faint else 1]:
        x, y = places[chosen, panel.plane.side], places[chosen, panel.plane.up]
        panel.ax.scatter(x, y, s=size, color=[color], alpha=alpha, zorder=4, **style)


def _lines(panel: SlicePanel, lines: Iterable[Any], color: Color | str) -> None:
    """The parts of strokes that lie near the slice."""
    for line in lines:
        path = panel.display.places(line)
        path[panel.distance(path) > _NEAR_MM] = np.nan
        panel.ax.plot(path[:, panel.plane.side], path[:, panel.plane.up], color=color, linewidth=2.2, zorder=4)


def _spots(panel: SlicePanel, painted: Sequence[NDArray[np.float64]], color: Color | str) -> None:
    """Painted voxels of this slice."""
    places = panel.display.places(np.concatenate(painted) if painted else ())
    places = places[panel.distance(places) <= 0.5 * panel.display.grid.spacing[panel.plane.through]]
    panel.ax.scatter(places[:, panel.plane.side], places[:, panel.plane.up], s=2, color=[color], zorder=3)


def _box(panel: SlicePanel, box: Box, color: Color) -> None:
    """The shadow of a box on the slice."""
    corners = panel.display.places(box.corners)[:, [panel.plane.side, panel.plane.up]]
    (left, low), (right, high) = corners.min(axis=0), corners.max(axis=0)
    x, y = (left, right, right, left, left), (low, low, high, high, low)
    panel.ax.plot(x, y, color=color, linewidth=1, linestyle="dotted", zorder=3)


def encoded(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": 88} if kind == "webp" else {"optimize": True}
    figure.savefig(buffer, format=kind, pil_kwargs=options)
    return buffer.getvalue()
