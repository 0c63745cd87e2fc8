"""How long jobs say how far they are, and learn that nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and a few words on what is being done."""

Cancel: TypeAlias = Callable[[], bool]
"""Asked often; true means stop as soon as possible."""


class Cancelled(Exception):  # noqa: N818 - it is no error
    """The user asked to stop; nothing was changed."""


def part_of(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """A progress report for a job that is the part from ``start`` to ``stop`` (0 to 1) of a larger one."""
    if progress is None:
        return None
    return lambda done, what: progress(start + (stop - start) * done, what)


def stop_if(cancel: Cancel | None) -> None:
    """Raise `Cancelled` if the user asked to stop."""
    if cancel is not None and cancel():
        raise Cancelled
