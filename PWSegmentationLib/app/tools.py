"""What the mouse does in slice views: place points, draw boxes and scribbles, delete."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from PWSegmentationLib.app.case import Case
from PWSegmentationLib.app.slice_mouse import Place, SliceMouse, Tool
from PWSegmentationLib.prompts.prompts import Box, Point, Position, Scribble

ToolName: TypeAlias = Literal["inside", "outside", "box", "scribble inside", "scribble outside", "delete"]

TOOLS: tuple[ToolName, ...] = ("inside", "outside", "box", "scribble inside", "scribble outside", "delete")

# How near a click of the delete tool must be, in pixels of the view.
_PICKING_PIXELS = 10
# Points of a stroke are at least this share of the brush radius apart.
_STROKE_STEP = 0.5
# A box that is drawn smaller than so many pixels was a click.
_LEAST_BOX_PIXELS = 4


class Tools:
    """One tool at a time is on, or none."""

    def __init__(self, mouse: SliceMouse) -> None:
        self._mouse = mouse
        self.current: ToolName | None = None

    def choose(self, name: ToolName | None, case: Case | None) -> None:
        """Turn a tool on, or all off."""
        self._mouse.turn_off()
        self.current = name if case is not None else None
        if name is not None and case is not None:
            self._mouse.turn_on(_made(name, case))


def _made(name: ToolName, case: Case) -> Tool:
    if name in ("inside", "outside"):
        return _Pin(case, name == "inside")
    if name == "box":
        return _Frame(case)
    if name == "delete":
        return _Eraser(case)
    return _Pen(case, name == "scribble inside")


class _Pin:
    """Places a point."""

    def __init__(self, case: Case, positive: bool) -> None:
        self._case, self._positive = case, positive

    def press(self, place: Place) -> None:
        self._case.add_prompt(Point(place.position, self._positive))

    def move(self, place: Place) -> None:
        pass

    def release(self) -> None:
        pass


class _Pen:
    """Draws a scribble; it is shown while it is drawn, and counts when the button goes up."""

    def __init__(self, case: Case, positive: bool) -> None:
        self._case, self._positive = case, positive
        self._path: list[Position] = []

    def press(self, place: Place) -> None:
        self._path = [place.position]

    def move(self, place: Place) -> None:
        if math.dist(place.position, self._path[-1]) >= _STROKE_STEP * self._case.settings.brush_mm:
            self._path.append(place.position)

    def release(self) -> None:
        path, self._path = self._path, []
        if path:
            self._case.add_prompt(Scribble(tuple(path), self._case.settings.brush_mm, self._positive))


class _Frame:
    """Draws a box from corner to corner; through the slice it is as deep as its shorter side is long."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._from: Place | None = None
        self._to: Place | None = None

    def press(self, place: Place) -> None:
        self._from = self._to = place

    def move(self, place: Place) -> None:
        self._to = place

    def release(self) -> None:
        first, last, self._from = self._from, self._to, None
        if first is None or last is None:
            return
        start, stop = np.array(first.position), np.array(last.position)
        right, up = (abs(float((stop - start) @ first.axes[:, n])) for n in (0, 1))
        if min(right, up) < _LEAST_BOX_PIXELS * first.pixel_mm:
            self._case.tell("Draw the box from one corner of the structure to the opposite one.")
            return
        middle = 0.5 * (start + stop)
        size = (right, up, min(right, up))
        # Slices are looked at from below, so their axes may be left-handed, which a box's must not be.
        axes = first.axes * (1.0, 1.0, np.sign(np.linalg.det(first.axes)))
        self._case.add_prompt(Box(tuple(middle), size, tuple(axes.ravel())))  # type: ignore[arg-type]


class _Eraser:
    """Deletes the prompt that is clicked on."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def press(self, place: Place) -> None:
        case = self._case
        if case.current is None:
            return
        item = case.session.store.nearest(place.position, _PICKING_PIXELS * place.pixel_mm, case.current)
        if item is None:
            case.tell("There is no prompt of the selected segment here: click on one.")
        else:
            case.delete_prompts([item])

    def move(self, place: Place) -> None:
        pass

    def release(self) -> None:
        pass
