"""Runs one job of the library at a time, polled from the event loop: the page lives on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from PWSegmentationLib.session.jobs import Job

# Often enough that an answer does not wait, seldom enough to leave the loop to mouse and pictures.
INTERVAL_S = 0.012
# How often the page hears how far a job is.
_TELL_EVERY = 8


class JobRunner:
    """Polls the running job and tells who started it when it has ended.

    ``on_changed()`` is called when a job starts, goes on noticeably, or ends.
    """

    def __init__(self, on_changed: Callable[[], None]) -> None:
        self._on_changed = on_changed
        self._job: Job[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self.kind = ""

    @property
    def is_running(self) -> bool:
        """Whether there is a job."""
        return self._job is not None

    @property
    def progress(self) -> float:
        """Of the running job, 0 to 1."""
        return self._job.progress if self._job is not None else 0.0

    @property
    def text(self) -> str:
        """What the running job does, for people."""
        return self._job.text if self._job is not None else ""

    @property
    def remaining_s(self) -> float | None:
        """Seconds that the running job still takes; None if not known."""
        return self._job.remaining_s if self._job is not None else None

    def start(self, kind: str, job: Job[Any], on_ended: Callable[[Job[Any]], None]) -> None:
        """Run ``job`` instead of the one that runs; ``on_ended(job)`` is called once, unless it is dropped."""
        self.drop()
        self.kind, self._job = kind, job
        self._on_changed()
        self._task = asyncio.get_running_loop().create_task(self._follow(job, on_ended))

    async def _follow(self, job: Job[Any], on_ended: Callable[[Job[Any]], None]) -> None:
        count = 0
        ended = job.poll()
        while not ended:
            count += 1
            if count % _TELL_EVERY == 0:
                self._on_changed()
            await asyncio.sleep(INTERVAL_S)
            if job is not self._job:
                return
            ended = job.poll()
        # Whoever is called while polling may have dropped it.
        if job is self._job:
            self._forget()
            on_ended(job)

    def drop(self) -> None:
        """Stop the job and forget it: it changes nothing any more."""
        job = self._job
        if job is not None:
            self._forget()
            job.cancel()

    def cancel(self) -> bool:
        """Ask the job to stop; it ends like any other. False if there is none."""
        if self._job is None:
            return False
        self._job.cancel()
        return True

    def _forget(self) -> None:
        self._job = self._task = None
        self.kind = ""
        self._on_changed()
