"""What `SceneSession.start` hands out: a job of the session, whose answer is then written into the scene."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from PWSegmentationLib.session.jobs import Job, SteppedJob

Result = TypeVar("Result")


class SceneJob(SteppedJob[Result]):
    """A job of the session, and then the scene written, a part in every `poll`.

    The writing is not interrupted: cancelled while it goes on, it is brought to its end.
    """

    def __init__(self, work: Callable[[SceneJob[Result]], Iterator[None]]) -> None:
        self._make = work
        self._inner: Job[Any] | None = None
        self._is_writing = False
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
        """Write the scene."""
        self._is_writing = True
        self.text = "writing the segment"
        yield from steps
        self._is_writing = False

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
        while self._is_writing and not self.poll():
            pass
