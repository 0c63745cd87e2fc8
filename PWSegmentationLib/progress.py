"""How long jobs say how far they are, and learn that nobody waits for them any more."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import ParamSpec, TypeAlias, TypeVar

Found = TypeVar("Found")
Given = ParamSpec("Given")

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


def finished(steps: Generator[None, None, Found]) -> Found:
    """What comes out of work in parts, done in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: Found = done.value
            return found


def at_once(work: Callable[Given, Generator[None, None, Found]]) -> Callable[Given, Found]:
    """Work in parts as a call that does it in one go."""

    @functools.wraps(work)
    def whole(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        return finished(work(*args, **kwargs))

    return whole
