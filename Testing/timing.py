"""How long tests wait, and how long what they time may take on the machine that they find."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# What takes longer hangs. Nothing waits so long where it goes well, on a slow machine with other work neither.
PATIENCE_S = 300.0
# What `work` takes on an idle machine like those that the limits in the tests were set for (AMD EPYC, 2 cores).
ORDINARY_S = 0.022


def wait_until(
    is_so: Callable[[], Any], what: str | Callable[[], str], *, every_s: float = 0.05, patience_s: float = PATIENCE_S
) -> Any:
    """Look until it is so; what it then says. ``what`` was waited for is said where it does not come."""
    until = time.monotonic() + patience_s
    while True:
        if found := is_so():
            return found
        assert time.monotonic() < until, f"waited in vain for {what if isinstance(what, str) else what()}"
        time.sleep(every_s)


def set_tests_aside() -> None:
    """Before something is timed: let Python not look through the objects that there are now.

    It looks through all of the process now and then. Those of thousands of collected tests, and of the packages they
    import, are not there in Slicer.
    """
    gc.collect()
    gc.freeze()


def allowed(seconds: float) -> float:
    """``seconds`` on an ordinary machine, more where the machine is slower just now: never less."""
    return seconds * max(1.0, slowness())


def slowness() -> float:
    """How many times as long as on an ordinary machine work takes here and now: the least of a few tries."""
    return min(_took() for _ in range(5)) / ORDINARY_S


def _took() -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def work() -> None:
    """What a turn of the GUI does: Python, arrays, and memory that is new."""
    counted = 0
    for number in range(200_000):
        counted += number & 3
    fresh = np.ones((64, 128, 128))
    for _ in range(4):
        fresh = np.where(fresh > counted, fresh, 0.5 * fresh)
