"""What `Session.start_predict` and `Session.start_finetune` hand out.

A job changes nothing of its session but in the `poll` that ends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancelled
from PWSegmentationLib.segments.competition import changed_region
from PWSegmentationLib.session.engine import FinetuneReport, Options, Request
from PWSegmentationLib.session.jobs import BackgroundEngine, EngineJob, InlineJob, SteppedJob
from PWSegmentationLib.session.renaming import renamed_answer, renamed_keys, renamed_request
from PWSegmentationLib.session.session import Session, _Answer, _Fitted

Result = TypeVar("Result")
Part = TypeVar("Part")


class SessionJob(SteppedJob[Result], Generic[Result]):
    """A job made of an engine's jobs, one after the other."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._running: EngineJob[Any] | None = None
        self._cancelled = False
        # What segments are called otherwise since the job began.
        self._renamings: list[Mapping[str, str]] = []

    def follow_names(self, names: Mapping[str, str]) -> None:
        """Segments are called otherwise now; see `Session.follow_names`."""
        self._renamings.append(names)

    def _now(self, name: str) -> str:
        """What a segment of the job's beginning is called now."""
        for names in self._renamings:
            name = names.get(name, name)
        return name

    def cancel(self) -> None:
        """See `Job`."""
        self._cancelled = True
        if self._running is not None:
            self._running.cancel()

    def abandon(self) -> None:
        """Stop at once, as `Cancelled`; nothing of the session changes."""
        if self._running is not None:
            self._running.abandon()
        self._end(Cancelled())

    def _run(self, job: EngineJob[Part], start: float, stop: float) -> Iterator[None]:
        """Bring an engine's job to its end; it is the part from ``start`` to ``stop`` of this one."""
        self._running = job
        while not job.poll():
            self._tell(start + (stop - start) * job.progress, job.text)
            yield
        self._running = None
        self._tell(stop, job.text)


class PredictJob(SessionJob[Prediction]):
    """Answers of all segments whose questions are open, or ``alone`` of ``name``; the result is the one of ``name``."""

    def __init__(self, session: Session, name: str, alone: bool = False) -> None:
        super().__init__(session)
        self._name = name
        self._asked = {n: q for n, q in session._open_questions(name).items() if n == name or not alone}
        # What there is already, should nothing be open.
        self._known = session._settled().get(name) if name not in self._asked else None
        self._found: dict[str, _Answer] = {}

    def _work(self) -> Iterator[None]:
        for index, (name, question) in enumerate(self._asked.items()):
            if self._cancelled:
                raise Cancelled
            job = _predict(self._session, question.request, question.options, question.model)
            yield from self._run(job, index / len(self._asked), (index + 1) / len(self._asked))
            self._found[name] = self._session._answer(question, job.result())
        if self._cancelled:
            raise Cancelled
        yield from self._conclude()

    def _conclude(self) -> Iterator[None]:
        """Keep what still holds, and say what it changes, in steps that are short even where masks are large."""
        session, found = self._session, self._found
        if self._name in found:
            self._known = found[self._name].prediction
        for names in self._renamings:
            found = {n: renamed_answer(a, names) for n, a in renamed_keys(found, names).items()}
        session._keep(found)
        while session._stands(name := self._now(self._name)):
            state, answers, said = session._state, dict(session._state.answers), session._said
            settled = session._settled()
            yield from self._breath()
            changed = changed_region(said, settled)
            yield from self._breath()
            if session._state is state and session._said is said and dict(state.answers) == answers:
                self._result = replace(settled[name], changed=changed)
                session._said = settled
                return
            # Something happened in between: once more.
        self._result = self._known

    def _breath(self) -> Iterator[None]:
        """Let the front end do something else; pointless where the work itself was done in its own process."""
        if isinstance(self._session._engine, BackgroundEngine):
            yield


class FinetuneJob(SessionJob["dict[str, FinetuneReport]"]):
    """Networks for the segments of these names."""

    def __init__(self, session: Session, names: Sequence[str], budget_s: float) -> None:
        super().__init__(session)
        self._requests = [session._request(name) for name in names]
        self._options, self._budget_s = session.options, budget_s

    def _work(self) -> Iterator[None]:
        if self._cancelled:
            raise Cancelled
        job = _finetune(self._session, self._requests, self._options, self._budget_s)
        yield from self._run(job, 0.0, 1.0)
        fitted = job.result()
        for names in self._renamings:
            fitted, self._requests = renamed_keys(fitted, names), [renamed_request(t, names) for t in self._requests]
        learnt_from = {request.segment.name: request.segment for request in self._requests}
        session = self._session
        models = {
            name: _Fitted(model, learnt_from[name])
            for name, (model, _) in fitted.items()
            if name in session.prompts and name not in session.locked and session.prompts[name].holds(learnt_from[name])
        }
        if models:
            session._do(models={**session._state.models, **models})
        self._result = {name: report for name, (_, report) in fitted.items()}


def _predict(session: Session, request: Request, options: Options, model: Any) -> EngineJob[Prediction]:
    engine = session._engine
    if isinstance(engine, BackgroundEngine):
        return engine.start_predict(request, options, model=model)
    call = partial(engine.predict, request, options, model=model)
    return InlineJob(lambda progress, cancel: call(progress=progress, cancel=cancel))


def _finetune(
    session: Session, requests: Sequence[Request], options: Options, budget_s: float
) -> EngineJob[dict[str, tuple[Any, FinetuneReport]]]:
    engine = session._engine
    if isinstance(engine, BackgroundEngine):
        return engine.start_finetune(requests, options, budget_s)
    call = partial(engine.finetune, requests, options, budget_s)
    return InlineJob(lambda progress, cancel: call(progress=progress, cancel=cancel))
