"""Work that goes on while a front end lives: started, asked how far it is, cancelled, and its result taken.

No threads: a front end calls `Job.poll` from a timer, and nothing happens between its calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancel, Cancelled, Progress
from PWSegmentationLib.session.engine import Engine, FinetuneReport, Options, Request

Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")

# How often a blocking call looks after its job, s.
_LOOK_S = 0.004
# So much of a job must be done before anything is said about the rest of it.
_LEAST_SHARE = 0.02


class Job(Protocol[Result_co]):
    """Work that goes on while the front end lives.

    All methods return at once (well under 50 ms) where the work is done elsewhere, and are called from the front
    end's own thread. With an engine of this process the first `poll` does all of the work.
    """

    def poll(self) -> bool:
        """Take in what has arrived; true once the job has ended, well or badly."""

    @property
    def progress(self) -> float:
        """How much is done, 0 to 1; never falls."""

    @property
    def text(self) -> str:
        """What is being done, for people."""

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds to the end, None where nothing can be said yet."""

    def cancel(self) -> None:
        """Ask to stop; `poll` until it has ended."""

    def result(self) -> Result_co:
        """The result, once `poll` was true.

        Raises
        ------
        InputError
            One sentence for the user; `EngineLost` where the process that did the work ended on its own.
        Cancelled
            If it was cancelled, or its image was taken away, or another job took its place.
        """


class EngineJob(Job[Result_co], Protocol[Result_co]):
    """What a `BackgroundEngine` hands out."""

    def abandon(self) -> None:
        """Stop, and do not even save what has been learnt so far; the job has ended at once, as `Cancelled`."""


@runtime_checkable
class BackgroundEngine(Engine, Protocol):
    """An engine that can also work while the front end lives."""

    def start_predict(self, request: Request, options: Options, *, model: Any = None) -> EngineJob[Prediction]:
        """Begin what `Engine.predict` does."""

    def start_finetune(
        self, requests: Sequence[Request], options: Options, budget_s: float
    ) -> EngineJob[dict[str, tuple[Any, FinetuneReport]]]:
        """Begin what `Engine.finetune` does; cancelled, the best networks so far are its result."""


class Pace:
    """How long the rest of a job takes, from how long the part since its first sign of progress took."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)

    def saw(self, progress: float) -> None:
        """``progress`` is the state of now."""
        if progress > self._last[1]:
            self._last = (time.monotonic(), progress)
            self._first = self._first or self._last

    @property
    def remaining_s(self) -> float | None:
        """Seconds from now to the end, or None."""
        if self._first is None or self._last[1] - self._first[1] < _LEAST_SHARE:
            return None
        (began, at_first), (then, at_last) = self._first, self._last
        left = (then - began) * (1.0 - at_last) / (at_last - at_first)
        return max(0.0, left - (time.monotonic() - then))


class JobState(Generic[Result]):
    """How far a job is, and how it ended: what all jobs have in common."""

    def __init__(self) -> None:
        self.progress = 0.0
        self.text = "starting"
        self._pace = Pace()
        self._ended = False
        self._result: Result | None = None
        self._error: BaseException | None = None

    @property
    def remaining_s(self) -> float | None:
        """See `Job`."""
        return 0.0 if self._ended else self._pace.remaining_s

    def result(self) -> Result:
        """See `Job`."""
        if self._error is not None:
            raise self._error
        if not self._ended:
            raise RuntimeError("A job has no result before poll() was true.")
        return self._result  # type: ignore[return-value]

    def _tell(self, progress: float, text: str) -> None:
        """How far it is; progress never falls."""
        self.progress = max(self.progress, min(1.0, progress))
        self.text = text
        self._pace.saw(self.progress)

    def _complete(self, result: Result) -> None:
        """It is done; a job that has ended stays as it ended."""
        if not self._ended:
            self._result = result
            self._tell(1.0, self.text)
            self._ended = True

    def _end(self, error: BaseException) -> None:
        """It has ended without a result."""
        if not self._ended:
            self._error, self._ended = error, True


class SteppedJob(JobState[Result]):
    """A job whose work is a generator: every `poll` brings it to its next ``yield``."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: Iterator[None] = self._work()

    def _work(self) -> Iterator[None]:
        """The work: yields while it goes on, sets ``_result``, or raises."""
        raise NotImplementedError

    def poll(self) -> bool:
        """See `Job`."""
        if self._ended:
            return True
        try:
            next(self._steps)
        except StopIteration:
            self._complete(self._result)  # type: ignore[arg-type]
        except Exception as error:
            self._end(error)
        return self._ended


class InlineJob(SteppedJob[Result]):
    """A blocking call as a job: it is made inside the first `poll`.

    ``call`` takes what every engine's methods take last: a progress report and whether to stop.
    """

    def __init__(self, call: Callable[[Progress, Cancel], Result]) -> None:
        super().__init__()
        self._call = call
        self._stop = False

    def _work(self) -> Iterator[None]:
        if self._stop:
            raise Cancelled
        self._result = self._call(self._tell, lambda: self._stop)
        yield from ()

    def cancel(self) -> None:
        """See `Job`."""
        self._stop = True

    def abandon(self) -> None:
        """See `EngineJob`."""
        self._end(Cancelled())


def finish(job: EngineJob[Result], progress: Progress | None = None, cancel: Cancel | None = None) -> Result:
    """Wait for a job, as the blocking calls do."""
    asked = False
    try:
        while not job.poll():
            if progress is not None:
                progress(job.progress, job.text)
            if not asked and cancel is not None and cancel():
                asked = True
                job.cancel()
            time.sleep(_LOOK_S)
    except BaseException:
        job.abandon()
        raise
    result = job.result()
    if progress is not None:
        progress(job.progress, job.text)
    return result
