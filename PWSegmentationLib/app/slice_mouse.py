"""The left mouse button in slice views, in world coordinates: any orientation, oblique too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.mrml.nodes import matrix_to_array
from PWSegmentationLib.prompts.prompts import Position

# trame-slicer's views carry no type information.
View: TypeAlias = Any

_EVENTS = ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent")
# Before the views' own reaction to the mouse (moving markups, window and level, ...).
_PRIORITY = 10.0


@dataclass(frozen=True)
class Place:
    """Where the mouse is: world position, mm RAS; the view's directions (right, up, towards the viewer) as columns
    ``(3, 3)``; and how many mm a pixel of the view is.
    """

    position: Position
    axes: NDArray[np.float64]
    pixel_mm: float


class Tool(Protocol):
    """What is done with the mouse."""

    def press(self, place: Place) -> None:
        """The button went down."""

    def move(self, place: Place) -> None:
        """The mouse has moved with the button down."""

    def release(self) -> None:
        """The button went up."""


def place_in(view: View, x: float, y: float) -> Place:
    """The place under a pixel of a slice view, counted from its lower left corner."""
    node = view.get_view_node()
    to_world = matrix_to_array(node.GetXYToRAS())
    axes = matrix_to_array(node.GetSliceToRAS())[:3, :3]
    at = to_world @ (x, y, 0.0, 1.0)
    pixel = node.GetFieldOfView()[0] / max(1, node.GetDimensions()[0])
    return Place((float(at[0]), float(at[1]), float(at[2])), axes / np.linalg.norm(axes, axis=0), float(pixel))


class SliceMouse:
    """Takes the left button of slice views while a tool is on."""

    def __init__(self, views: Sequence[View], on_press: Callable[[], None] | None = None) -> None:
        self._tool: Tool | None = None
        self._pressed: View | None = None
        self._on_press = on_press
        for view in views:
            for event in _EVENTS:
                self._observe(view, event)

    def turn_on(self, tool: Tool) -> None:
        """Give the mouse to ``tool``."""
        self._tool, self._pressed = tool, None

    def turn_off(self) -> None:
        """Give the mouse back to the views."""
        self._tool = self._pressed = None

    def _observe(self, view: View, event: str) -> None:
        tags: list[int] = []

        def handle(interactor: Any, _name: str) -> None:
            if self._react(view, event):
                interactor.GetCommand(tags[0]).SetAbortFlag(1)

        tags.append(view.interactor().AddObserver(event, handle, _PRIORITY))

    def _react(self, view: View, event: str) -> bool:
        """Pass the event on; false if it is not ours."""
        tool = self._tool
        if tool is None or (self._pressed is not view and event != _EVENTS[0]):
            return False
        if event == _EVENTS[2]:
            self._pressed = None
            tool.release()
            return True
        place = place_in(view, *view.interactor().GetEventPosition())
        if event == _EVENTS[0]:
            self._pressed = view
            tool.press(place)
        else:
            tool.move(place)
        return True
