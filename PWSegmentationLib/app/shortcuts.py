"""Keys, the same as in the Slicer module: what they are, what they do, and what is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace


class Shortcut(NamedTuple):
    """``key`` as it is shown; ``name`` says what it does; ``of`` is the part of the page that it stands for."""

    key: str
    name: str
    of: str
    call: Callable[[Workplace], object]


def _on(part: str, method: str) -> Callable[[Workplace], object]:
    """Call a method of a part of the workplace that is there while an image is open."""

    def call(place: Workplace) -> None:
        found = getattr(place, part)
        if found is None:
            place.say("Open an image first.", error=True)
        else:
            getattr(found, method)()

    return call


def _lock(place: Workplace) -> None:
    if place.case is not None and place.case.current is not None:
        place.case.toggle_lock(place.case.current)


SHORTCUTS: tuple[Shortcut, ...] = (
    Shortcut("P", "Point +", "inside", lambda p: p.toggle_tool("inside")),
    Shortcut("N", "Point −", "outside", lambda p: p.toggle_tool("outside")),
    Shortcut("B", "Box", "box", lambda p: p.toggle_tool("box")),
    Shortcut("S", "Scribble +", "scribble inside", lambda p: p.toggle_tool("scribble inside")),
    Shortcut("D", "Scribble −", "scribble outside", lambda p: p.toggle_tool("scribble outside")),
    Shortcut("X", "Delete a prompt", "delete", lambda p: p.toggle_tool("delete")),
    Shortcut("A", "New segment", "add", _on("case", "add_segment")),
    Shortcut("E", "Next segment", "next", _on("case", "select_next")),
    Shortcut("L", "Lock or unlock the segment", "lock", _lock),
    Shortcut("C", "Segment", "segment", _on("case", "segment_now")),
    Shortcut("R", "Refine", "refine", _on("case", "refine")),
    Shortcut("U", "Next uncertain spot", "spot", _on("case", "next_uncertain_spot")),
    Shortcut("Shift+A", "Review: accept the segment", "accept", _on("review", "accept")),
    Shortcut("Shift+X", "Review: the segment is to be fixed", "fix", _on("review", "fix")),
    Shortcut("Shift+F", "Review: flag the segment", "flag", _on("review", "flag")),
    Shortcut("Shift+N", "Review: next segment", "next-review", _on("review", "next")),
    Shortcut("Ctrl+Z", "Undo", "undo", _on("case", "undo")),
    Shortcut("Ctrl+Y", "Redo", "redo", _on("case", "redo")),
    Shortcut("Escape", "Put the tool away, or stop what is computed", "cancel", lambda p: p.escape()),
)

KEYS = {s.key: s for s in SHORTCUTS}
BY_PART = {s.of: s for s in SHORTCUTS}


def hint(part: str, text: str) -> str:
    """A tool tip that names the key of a part of the page."""
    return f"{text} [{BY_PART[part].key}]" if part in BY_PART else text
