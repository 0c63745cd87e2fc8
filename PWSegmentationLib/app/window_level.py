"""Which range of values the slice views show."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from PWSegmentationLib.app.images import Opened
from PWSegmentationLib.mrml.nodes import Node

# From and to, in the image's units (in CT: HU).
WINDOWS = {
    "Soft tissue": (-160.0, 240.0),
    "Lung": (-1350.0, 150.0),
    "Bone": (-450.0, 1050.0),
    "Brain": (0.0, 80.0),
    "Liver": (-25.0, 175.0),
}


class WindowLevel:
    """Window and level of one image; ``tell(window, level)`` is called when they change, by the mouse too."""

    def __init__(self, opened: Opened, volume_node: Node, tell: Callable[[float, float], None]) -> None:
        self._opened = opened
        self._tell = tell
        self._told = (0.0, 0.0)
        volume_node.CreateDefaultDisplayNodes()
        self._display = volume_node.GetDisplayNode()
        self._display.SetAutoWindowLevel(False)
        self._show(*opened.window)
        self._display.AddObserver("ModifiedEvent", lambda _node, _event: self._on_changed())

    @property
    def names(self) -> list[str]:
        """Ranges that can be chosen."""
        is_ct = self._opened.window == WINDOWS["Soft tissue"]
        return [*WINDOWS, "All"] if is_ct else ["Automatic", "All"]

    def choose(self, name: str) -> None:
        """Show a range of values by its name."""
        if name in WINDOWS:
            self._show(*WINDOWS[name])
        elif name == "All":
            array = self._opened.volume.array
            self._show(float(array.min()), float(max(array.max(), array.min() + 1)))
        else:
            self._show(*self._opened.window)

    def set(self, window: Any, level: Any) -> None:
        """Show the range of values that somebody has typed; to what is none the answer is the one that is shown."""
        try:
            low, high = float(level) - 0.5 * float(window), float(level) + 0.5 * float(window)
        except (TypeError, ValueError):
            low = high = 0.0
        # What was told is no wish.
        if (window, level) == self._told:
            return
        if math.isfinite(high - low) and high > low:
            self._show(low, high)
        else:
            self._tell(*self._told)

    def _show(self, low: float, high: float) -> None:
        self._display.SetWindowLevelMinMax(float(low), float(high))
        self._on_changed()

    def _on_changed(self) -> None:
        """Say which window is shown, in figures that a person would type."""
        self._told = (float(f"{self._display.GetWindow():.4g}"), float(f"{self._display.GetLevel():.4g}"))
        self._tell(*self._told)
