"""What `SceneSession.start` hands out: a job of the session, whose answer is then written into the scene."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from PWSegmentationLib.session.jobs import Job, SteppedJob

Result = TypeVar("Result")

# The longest that one `poll` works on the scene, about, s.
TURN_S = 0.012


class SceneJob(SteppedJob[Result]):
    """A job of the session, and then the scene written, a part in every `poll`.

    The writing is not interrupted: cancelled while it goes on, it is brought to its end.
    """

    def __init__(self, work: Callable[[SceneJob[Result]], Iterator[None]], *, is_writing: bool = False) -> None:
        self._make = work
        self._inner: Job[Any] | None = None
        # What only writes, or has begun to elsewhere, is brought to its end even before its first turn.
        self._is_writing, self._is_polling = is_writing, False
        self._cancelled = False
        super().__init__()

    def _work(self) -> Iterator[None]:
        return self._make(self)

    def follow(self, job: Job[Any], start: float, stop: float) -> Generator[None, None, Any]:
        """Wait for ``job``, which is the part of all from ``start`` to ``stop``; its result."""
        self._inner = job
        if self._cancelled:
            job.cancel()
        while not job.poll():
            self._tell(start + (stop - start) * job.progress, job.text)
            yield
        self._inner = None
        return job.result()

    def finishing(self, steps: Iterator[None]) -> Iterator[None]:
        """Write the scene, as many steps in every turn as take a few milliseconds together."""
        self._is_writing = True
        self.text = "writing the segment"
        yield from in_turns(steps)
        self._is_writing = False

    def finish_writing(self) -> None:
        """Bring what is being written to its end now, if something is: nobody is to see half of it."""
        while self._is_writing and not self._is_polling and not self.poll():
            pass

    def poll(self) -> bool:
        """See `Job`."""
        if self._is_polling:
            # Whoever follows what is written asks for what writes it.
            return False
        self._is_polling = True
        try:
            return super().poll()
        finally:
            self._is_polling = False

    def give(self, result: Result) -> None:
        """Say what came out of it."""
        self._result = result

    @property
    def remaining_s(self) -> float | None:
        """See `Job`."""
        return self._inner.remaining_s if self._inner is not None else super().remaining_s

    def cancel(self) -> None:
        """See `Job`."""
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel()
        self.finish_writing()


def in_turns(steps: Iterator[None]) -> Iterator[None]:
    """``steps`` of a few milliseconds or less, as many in every turn as `TURN_S` allows."""
    began = time.perf_counter()
    for _ in steps:
        if time.perf_counter() - began > TURN_S:
            yield
            began = time.perf_counter()
