"""Segments under other names in all that a session holds, its history too; several at once, so that two may swap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from PWSegmentationLib.prompts.prompts import PromptSet, SegmentPrompts
from PWSegmentationLib.session.engine import Request

if TYPE_CHECKING:
    from PWSegmentationLib.session.session import _Answer, _Earlier, _State

Names: TypeAlias = Mapping[str, str]
"""New names by old ones."""


def renamed_keys(by_name: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """A mapping by segment."""
    return {names.get(name, name): value for name, value in by_name.items()}


def renamed_set(prompts: PromptSet, names: Names) -> PromptSet:
    """All prompts."""
    return PromptSet(tuple(_segment(s, names) for s in prompts))


def renamed_answer(answer: _Answer, names: Names) -> _Answer:
    """An answer, and the question that it answers."""
    found = answer.prediction
    named = replace(found, segment=names.get(found.segment, found.segment))
    return replace(answer, request=renamed_request(answer.request, names), prediction=named)


def renamed_request(request: Request, names: Names) -> Request:
    """A question."""
    return replace(request, segment=_segment(request.segment, names), others=_segments(request.others, names))


def renamed_state(state: _State, names: Names) -> _State:
    """A state of a session."""
    frozen = {n: None if p is None else replace(p, segment=n) for n, p in renamed_keys(state.frozen, names).items()}
    fitted = renamed_keys(state.models, names)
    models = {n: replace(f, prompts=_segment(f.prompts, names)) for n, f in fitted.items()}
    return replace(
        state,
        prompts=renamed_set(state.prompts, names),
        active=None if state.active is None else names.get(state.active, state.active),
        frozen=frozen,
        models=models,
        answers={n: renamed_answer(a, names) for n, a in renamed_keys(state.answers, names).items()},
        earlier={n: _earlier(e, names) for n, e in renamed_keys(state.earlier, names).items()},
    )


def _earlier(earlier: _Earlier, names: Names) -> _Earlier:
    answer = earlier.answer
    named = replace(answer, segment=_segment(answer.segment, names), others=_segments(answer.others, names))
    return replace(earlier, answer=named)


def _segments(segments: tuple[SegmentPrompts, ...], names: Names) -> tuple[SegmentPrompts, ...]:
    return tuple(_segment(s, names) for s in segments)


def _segment(segment: SegmentPrompts, names: Names) -> SegmentPrompts:
    return replace(segment, name=names[segment.name]) if segment.name in names else segment
