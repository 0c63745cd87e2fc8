"""Time and memory of two forms of the same computation, measured side by side.

Time: the two forms take turns (A B A B ...), and the ratio is the median over the turns of reference / ours, so that
another program on the machine slows both down alike. The seconds given are medians, too. On a GPU the clock stops
after `torch.cuda.synchronize`.

Memory, in units of 10⁶ bytes, is the peak above what was there before, in passes of their own after a first run, so
that what a library allocates once does not count; what the call returns does. On a GPU it is what torch allocated
there. Otherwise it is physical memory as Linux counts it: freed memory is given back to the system first (or it would
be used again unseen), the high-water mark of the process is reset by writing 5 to /proc/self/clear_refs, and VmHWM
is read afterwards. The least of a few passes counts (of long ones, the only one): on a busy machine, memory that was
freed may be taken off the account late. Elsewhere than on Linux there are no figures for it.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

_LONG_S = 5.0


class Missing(Exception):  # noqa: N818 - a reason to leave a stage out
    """What a stage needs is not installed."""


@dataclass(frozen=True)
class Comparison:
    """A stage in two forms.

    Parameters
    ----------
    stage, what, reference
        Name, sizes, and what the reference form is.
    ours, theirs
        Run one form, on the device, and return its result.
    difference
        Largest absolute difference of two results that should be equal.
    agreement
        A few words on how far two results agree that need not be equal.
    theirs_on
        The device the reference form runs on, where it cannot run on any other.
    """

    stage: str
    what: str
    reference: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    difference: Callable[[Any, Any], float] | None = None
    agreement: Callable[[Any, Any], str] | None = None
    theirs_on: str | None = None


def compare(comparison: Comparison, device: str, *, turns: int, budget_s: float, passes: int) -> dict[str, Any]:
    """Measure both forms: the row of the report.

    ``turns`` is the most; there are fewer, but at least three, when ``budget_s`` seconds are over; and ``passes``
    for memory.
    """
    other = comparison.theirs_on or device
    ours, memory = peak_memory(comparison.ours, device, passes)
    theirs, other_memory = peak_memory(comparison.theirs, other, passes)
    difference = None if comparison.difference is None else float(comparison.difference(ours, theirs))
    agreement = None if comparison.agreement is None else comparison.agreement(ours, theirs)
    del ours, theirs
    pairs: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(pairs) < turns and (len(pairs) < 3 or time.perf_counter() - started < budget_s):
        pairs.append((seconds_of(comparison.ours, device), seconds_of(comparison.theirs, other)))
    # Below 1 MB the ratio would be one of page sizes; and memory of two kinds has none.
    comparable = memory is not None and other_memory is not None and memory >= 1.0 and other == device
    return {
        "stage": comparison.stage,
        "device": device,
        "what": comparison.what,
        "reference": comparison.reference,
        "seconds": median(a for a, _ in pairs),
        "reference seconds": median(b for _, b in pairs),
        "ratio": median(b / a for a, b in pairs),
        "megabytes": memory,
        "reference megabytes": other_memory,
        "memory ratio": other_memory / memory if comparable else None,  # type: ignore[operator]
        "difference": difference,
        "agreement": agreement,
        "repeats": len(pairs),
    }


def seconds_of(run: Callable[[], Any], device: str) -> float:
    """How long one call takes."""
    _finish(device)
    started = time.perf_counter()
    run()
    _finish(device)
    return time.perf_counter() - started


def peak_memory(run: Callable[[], Any], device: str, passes: int) -> tuple[Any, float | None]:
    """What the call returns, and its peak of memory (see the module); None where that cannot be told."""
    started = time.perf_counter()
    result, peak = _peak(run, device)
    # The first run also loads libraries and fills their caches; where it was long, they do not matter.
    if peak is None or time.perf_counter() - started >= _LONG_S:
        return result, peak
    peaks = []
    for _ in range(passes):
        del result
        result, peak = _peak(run, device)
        peaks.append(peak)
    return result, min(p for p in peaks if p is not None)


def _peak(run: Callable[[], Any], device: str) -> tuple[Any, float | None]:
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        torch.cuda.synchronize()
        return result, (torch.cuda.max_memory_allocated() - before) / 1e6
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (AttributeError, OSError, TypeError):
        return run(), None
    before_kb = _status_kb("VmRSS")
    result = run()
    return result, max(0.0, (_status_kb("VmHWM") - before_kb) * 1024 / 1e6)


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _finish(device: str) -> None:
    """Wait for a GPU, which works on while Python goes ahead."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
