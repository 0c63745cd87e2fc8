"""The engine that works in a child process, so that a front end never waits and never dies of it."""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias, TypeVar

from numpy.typing import NDArray

from PWSegmentationLib.errors import EngineLost, EngineUnavailable, InputError
from PWSegmentationLib.files import in_short
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancel, Cancelled, Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.session.child_process import ChildProcess
from PWSegmentationLib.session.engine import FinetuneReport, Options, Request
from PWSegmentationLib.session.jobs import JobState, finish
from PWSegmentationLib.session.local import LocalEngine
from PWSegmentationLib.session.messages import Disconnected, Message
from PWSegmentationLib.session.shared_image import SharedImage
from PWSegmentationLib.session.transcripts import prediction_from_parts, report_from_document, request_parts
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

Result = TypeVar("Result")
# What the child is asked: a document, and the arrays it mentions.
Question: TypeAlias = tuple[dict[str, Any], list[NDArray[Any]]]

# The longest that one `Job.poll` works, about, s.
_SLICE_S = 0.012
_LOG_LINES = 200
# A child that is gone before it was ready is started again, so often in all.
_STARTS = 2
# What goes by the clock is never quite done before it is.
_BEFORE_THE_END = 0.97

LOST_MODEL = "The fine-tuned network was lost with its process: fine-tune again."


@dataclass(frozen=True, eq=False)
class ChildModel:
    """A fine-tuned network that lives in the child: its number there, and in which life of the child it was made."""

    number: int
    life: int


class ChildJob(JobState[Result]):
    """See `Job`.

    ``ask`` makes the question, when it is its turn; ``take`` reads the answer. A job that takes
    ``budget_s`` is as far as its time is, also while the child says nothing.
    """

    def __init__(
        self,
        engine: ChildEngine,
        number: int,
        ask: Callable[[], Question],
        take: Callable[[Message], Result],
        budget_s: float | None = None,
    ) -> None:
        super().__init__()
        self.number, self.ask, self._take, self._budget_s = number, ask, take, budget_s
        self.begun_at: float | None = None
        self.was_asked_before = False
        self.stop_asked_at: float | None = None
        self._engine = engine

    def poll(self) -> bool:
        """See `Job`."""
        if not self._ended:
            self._engine._advance()
            if self._budget_s is not None and self.begun_at is not None:
                self.tell(min(_BEFORE_THE_END, (time.monotonic() - self.begun_at) / self._budget_s), self.text)
        return self._ended

    def cancel(self) -> None:
        """See `Job`."""
        if not self._ended:
            self._engine._stop(self, "cancel")

    def abandon(self) -> None:
        """See `EngineJob`."""
        if not self._ended:
            self._engine._stop(self, "abandon")
            self.end(Cancelled())

    # ---- said by the engine -----------------------------------------------------------------------------------

    def tell(self, progress: float, text: str) -> None:
        """How far it is."""
        self._tell(progress, text)

    def complete(self, message: Message) -> None:
        """The answer is here."""
        if not self._ended:
            try:
                self._complete(self._take(message))
            except Exception as error:
                self.end(_failure(error))

    def end(self, error: Exception) -> None:
        """It has ended without a result."""
        self._end(error)


class ChildEngine:
    """Predicts and fine-tunes in a process of its own, which is started by the first job.

    The image is copied once into memory that both processes see; prompts go there as JSON, and predictions come back.
    Everything is done within `Job.poll` of the jobs, no threads. If the child dies, the job it was at ends as
    `EngineLost`, and the next one starts a new child; only fine-tuned networks are gone, and predictions do without.
    A job for which no child can be started ends as `EngineUnavailable`.

    Parameters
    ----------
    device
        As for `LocalEngine`.
    python
        The command that starts a Python with the library's dependencies; by default the one that runs this.
    patience_s
        A child that goes on for so long after it was asked to stop is killed.
    start_patience_s
        So is one that has not said a word for so long after it was started, as where something holds it back.
    """

    def __init__(
        self,
        device: str = "auto",
        python: Sequence[str] | None = None,
        *,
        patience_s: float = 10.0,
        start_patience_s: float = 120.0,
    ) -> None:
        self._wanted = device
        self._python = tuple(python or (sys.executable,))
        self._patience_s, self._start_patience_s = patience_s, start_patience_s
        # Knows which prompts matter, for which neither torch nor the image is needed.
        self._here = LocalEngine(device)
        self._volume: Volume | None = None
        self._shared: SharedImage | None = None
        self._child: ChildProcess | None = None
        self._is_ready = self._has_image = self._has_been_started = False
        self._life = 0
        self._failed_starts = 0
        self._jobs = 0
        self._waiting: deque[ChildJob[Any]] = deque()
        self._busy: ChildJob[Any] | None = None
        self._forgotten: list[ChildModel] = []
        self._earlier_log = ""

    # ---- what every engine does -------------------------------------------------------------------------------

    def set_image(self, volume: Volume) -> None:
        """Make ``volume`` the one that later calls are about; jobs about another end as `Cancelled`."""
        self._abandon_all()
        self._here.set_image(volume)
        self._drop_image()
        self._volume = volume

    def relevant(self, request: Request, region: Region | None = None) -> tuple[SegmentPrompts, ...]:
        """The claims of other segments that can influence the request's prediction."""
        return self._here.relevant(request, region)

    def predict(
        self,
        request: Request,
        options: Options,
        *,
        model: Any = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Prediction:
        """Answer the request's prompts, and wait for it."""
        return finish(self.start_predict(request, options, model=model), progress, cancel)

    def finetune(
        self,
        requests: Sequence[Request],
        options: Options,
        budget_s: float,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, tuple[Any, FinetuneReport]]:
        """Fit a network per segment, and wait for it."""
        return finish(self.start_finetune(requests, options, budget_s), progress, cancel)

    # ---- jobs -------------------------------------------------------------------------------------------------

    def start_predict(self, request: Request, options: Options, *, model: Any = None) -> ChildJob[Prediction]:
        """Begin to answer the request's prompts."""
        grid = self._image().grid
        lost = False

        def ask() -> Question:
            nonlocal lost
            lost = model is not None and model.life != self._life
            number = 0 if model is None or lost else model.number
            document, arrays = request_parts(request)
            return {"type": "predict", "request": document, "options": asdict(options), "model": number}, arrays

        def take(message: Message) -> Prediction:
            found = prediction_from_parts(message.document["prediction"], message.body, grid)
            return replace(found, note=f"{LOST_MODEL} {found.note}".strip()) if lost else found

        return self._enqueue(ask, take)

    def start_finetune(
        self, requests: Sequence[Request], options: Options, budget_s: float
    ) -> ChildJob[dict[str, tuple[Any, FinetuneReport]]]:
        """Begin to fit a network per segment."""
        self._image()

        def ask() -> Question:
            documents = [request_parts(replace(request, earlier=None))[0] for request in requests]
            return {"type": "finetune", "requests": documents, "options": asdict(options), "budget_s": budget_s}, []

        def take(message: Message) -> dict[str, tuple[Any, FinetuneReport]]:
            return {
                name: (self._model(fitted["model"]), report_from_document(fitted["report"]))
                for name, fitted in message.document["reports"].items()
            }

        return self._enqueue(ask, take, budget_s)

    def _enqueue(
        self, ask: Callable[[], Question], take: Callable[[Message], Result], budget_s: float | None = None
    ) -> ChildJob[Result]:
        self._jobs += 1
        job = ChildJob(self, self._jobs, ask, take, budget_s)
        self._waiting.append(job)
        return job

    def _model(self, number: int) -> ChildModel | None:
        if number == 0:
            return None
        model = ChildModel(number, self._life)
        # The child need not keep what nobody can ask for any more.
        weakref.finalize(model, self._forgotten.append, replace(model)).atexit = False
        return model

    def _image(self) -> Volume:
        if self._volume is None:
            raise InputError("There is no image yet: set one before placing prompts.")
        return self._volume

    def warm_up(self) -> bool:
        """Start the child and hand it the image before there is a job, so that the first one need not wait for it.

        Call it from a timer like `Job.poll` until it is true. What goes wrong is left for the first job to tell.
        """
        is_over = self._has_been_started and self._child is None
        if self._volume is None or self._waiting or self._busy is not None or is_over:
            return True
        until = time.monotonic() + _SLICE_S
        try:
            if self._child is not None:
                self._take_in(self._child, until)
                self._end_a_mute_child()
                if self._child is None:
                    return True
            return self._prepared_child(until, None) is not None
        except Disconnected:
            self._lose_child()
        except InputError:
            pass
        return True

    # ---- for people -------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """The last lines of what the child processes wrote to their output."""
        text = self._earlier_log + ("" if self._child is None else self._child.log())
        return "\n".join(text.splitlines()[-_LOG_LINES:])

    @property
    def pid(self) -> int | None:
        """The child's process number, None while there is none."""
        return None if self._child is None else self._child.pid

    def close(self) -> None:
        """End the child, and give the memory back; unfinished jobs end as `Cancelled`. A later job starts anew."""
        self._abandon_all()
        self._drop_child("")
        self._drop_image()

    # ---- one step ---------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """All that can be done at once: take in what has arrived, copy a piece of the image, ask the next job."""
        until = time.monotonic() + _SLICE_S
        try:
            if self._child is not None:
                self._take_in(self._child, until)
            self._end_a_deaf_child()
            self._end_a_mute_child()
            if self._waiting and self._busy is None:
                self._ask_next(until)
        except Disconnected:
            self._lose_child()
        except InputError as error:
            # The child or the memory for the image cannot be had: a job says so, and the next one tries again.
            if self._waiting:
                self._waiting.popleft().end(error)

    def _take_in(self, child: ChildProcess, until: float) -> None:
        while self._child is child:
            message = child.receive(until)
            if message is None:
                return
            self._hear(child, message)
            if time.monotonic() > until:
                return

    def _hear(self, child: ChildProcess, message: Message) -> None:
        said = message.document
        kind, job = said["type"], self._busy
        if kind == "hello":
            child.pid = said["pid"]
        elif kind == "ready":
            self._is_ready = True
            self._failed_starts = 0
        elif kind == "unusable":
            self._drop_child("")
            raise InputError(f"{said['text']}: install it for '{self._python[0]}', or choose another Python.")
        elif kind == "progress" and (shown := job or next(iter(self._waiting), None)) is not None:
            shown.tell(said["done"], said["text"])
        elif kind == "begun" and job is not None:
            job.begun_at = time.monotonic()
        elif job is not None and said.get("job") == job.number:
            self._busy = None
            if kind == "refused":
                job.end(_refusal(said["why"], said["text"]))
            else:
                job.complete(message)

    def _end_a_deaf_child(self) -> None:
        """A child that does not stop when asked to is killed."""
        job, child = self._busy, self._child
        if job is None or child is None or job.stop_asked_at is None:
            return
        if time.monotonic() - max(job.stop_asked_at, child.heard_at) > self._patience_s:
            self._drop_child("It did not stop when it was asked to, and was ended.")
            self._busy = None
            job.end(Cancelled())

    def _end_a_mute_child(self) -> None:
        """A child that does not even say hello is killed, and has not been started."""
        child = self._child
        if child is not None and child.pid is None:
            silent_s = time.monotonic() - child.heard_at
            if silent_s > self._start_patience_s:
                self._drop_child("It did not say hello, and was ended.")
                self._start_has_failed(f"it has said nothing for {silent_s:.0f} s")

    def _ask_next(self, until: float) -> None:
        """Bring the next job one step closer to the child, or there."""
        job = self._waiting[0]
        child = self._prepared_child(until, job)
        if child is None:
            return
        self._forget_models(child)
        self._busy = self._waiting.popleft()
        try:
            document, arrays = job.ask()
            child.send({**document, "job": job.number}, arrays)
        except Disconnected:
            raise
        except Exception as error:
            # The child has heard nothing of it, and is free for the next one.
            self._busy = None
            job.end(_failure(error))

    def _prepared_child(self, until: float, job: ChildJob[Any] | None) -> ChildProcess | None:
        """The child, once it is there and has the image; until then, one step towards it, and None."""
        if self._child is None:
            self._say(job, "starting the engine")
            self._has_been_started = True
            self._child = ChildProcess(self._python)
            self._life += 1
            return None
        if self._shared is None:
            self._shared = SharedImage(self._image().array)
        if not self._shared.copy(until):
            # Meanwhile the child loads what it needs, which takes longer.
            self._say(job, "passing the image on" if self._is_ready else "starting the engine")
            return None
        if not self._is_ready:
            return None
        if not self._has_image:
            self._has_image = True
            image = {
                "type": "image",
                "device": self._wanted,
                "memory": self._shared.description(),
                "affine": self._image().grid.affine.tolist(),
            }
            self._child.send(image, descriptor=self._shared.descriptor)
        return self._child

    @staticmethod
    def _say(job: ChildJob[Any] | None, text: str) -> None:
        if job is not None:
            job.text = text

    def _forget_models(self, child: ChildProcess) -> None:
        numbers = [m.number for m in self._forgotten if m.life == self._life]
        self._forgotten.clear()
        if numbers:
            child.send({"type": "forget", "models": numbers})

    # ---- ends -------------------------------------------------------------------------------------------------

    def _stop(self, job: ChildJob[Any], how: str) -> None:
        """Ask the child to stop; a job that is not there yet has ended."""
        if job in self._waiting:
            self._waiting.remove(job)
            job.end(Cancelled())
        elif job is self._busy and self._child is not None:
            job.stop_asked_at = job.stop_asked_at or time.monotonic()
            try:
                self._child.send({"type": how, "job": job.number})
            except Disconnected:
                self._lose_child()

    def _abandon_all(self) -> None:
        for job in (*self._waiting, *((self._busy,) if self._busy is not None else ())):
            job.abandon()

    def _lose_child(self) -> None:
        """The child is gone on its own: who waited for it is told, and the next job starts a new one."""
        child, job, was_ready = self._child, self._busy, self._is_ready
        if child is None:
            return
        how = child.how_it_ended()
        last = next((line.strip() for line in reversed(child.log().splitlines()) if line.strip()), how)
        self._drop_child(f"The process is gone: {how}.")
        if not was_ready:
            self._start_has_failed(last)
            return
        if job is None:
            return
        if job.stop_asked_at is not None:
            job.end(Cancelled())
        elif job.begun_at is None and not job.was_asked_before:
            # It died before it knew of the job, which is not to blame.
            job.was_asked_before = True
            self._waiting.appendleft(job)
        else:
            job.end(EngineLost(f"The process that segments is gone ({how}); nothing was lost: try again."))

    def _start_has_failed(self, why: str) -> None:
        """The child was gone before it was ready: who waits for it is told once it has been tried again."""
        self._failed_starts += 1
        if self._failed_starts >= _STARTS and self._waiting:
            self._failed_starts = 0
            sentence = f"'{self._python[0]}' cannot do the work ({why}): install what is missing there."
            self._waiting.popleft().end(EngineUnavailable(sentence))

    def _drop_child(self, note: str) -> None:
        if self._child is not None:
            self._child.close()
            self._earlier_log = "\n".join((self._earlier_log + self._child.log() + note).splitlines()[-_LOG_LINES:])
            self._earlier_log += "\n" if self._earlier_log else ""
        self._child = self._busy = None
        self._is_ready = self._has_image = False

    def _drop_image(self) -> None:
        if self._shared is not None:
            self._shared.close()
        self._shared = None
        self._has_image = False
        # What was learnt on it is of no use on another.
        self._life += 1


def _failure(error: Exception) -> Exception:
    if isinstance(error, InputError):
        return error
    made = _refusal("failed", f"{type(error).__name__}: {in_short(error)}")
    made.__cause__ = error
    return made


def _refusal(why: str, text: str) -> Exception:
    if why == "cancelled":
        return Cancelled()
    if why == "input":
        return InputError(text)
    return InputError(f"This failed ({text}); nothing was lost: the log has the details.")
