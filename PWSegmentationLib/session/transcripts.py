"""Requests, predictions and reports as JSON documents and arrays, for messages between processes."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.json_format import prompts_from_dict, prompts_to_dict
from PWSegmentationLib.prompts.prompts import PromptSet, SegmentPrompts
from PWSegmentationLib.session.engine import FinetuneReport, Request
from PWSegmentationLib.volume.grid import Grid, Region


def request_parts(request: Request) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """A request: prompt sets (`PWSegmentationLib.prompts.json_format`) whose first segment is worked on, and arrays."""
    document: dict[str, Any] = {"prompts": _prompts_document(request.segment, request.others)}
    earlier = request.earlier
    if earlier is None:
        return document, []
    values, arrays = _parts({"grid": earlier.grid, "probability": earlier.probability})
    document["earlier"] = {"prompts": _prompts_document(earlier.segment, earlier.others), "values": values}
    return document, arrays


def request_from_parts(document: dict[str, Any], body: NDArray[np.uint8]) -> Request:
    """The inverse of `request_parts`."""
    segment, *others = prompts_from_dict(document["prompts"])
    earlier = None
    if "earlier" in document:
        answered, *claims = prompts_from_dict(document["earlier"]["prompts"])
        earlier = EarlierAnswer(answered, tuple(claims), **_values(document["earlier"]["values"], body))
    return Request(segment, tuple(others), earlier)


def _prompts_document(segment: SegmentPrompts, others: tuple[SegmentPrompts, ...]) -> dict[str, Any]:
    return prompts_to_dict(PromptSet((segment, *others)))


def prediction_parts(prediction: Prediction) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """A prediction without its grid, which the other side has: a document, and the arrays it mentions, in order."""
    return _parts({f.name: getattr(prediction, f.name) for f in fields(prediction) if f.name != "grid"})


def prediction_from_parts(document: dict[str, Any], body: NDArray[np.uint8], grid: Grid) -> Prediction:
    """The inverse of `prediction_parts`; the arrays lie in ``body``, which is not copied."""
    return Prediction(grid=grid, **_values(document, body))


def _parts(values: dict[str, Any]) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    document: dict[str, Any] = {}
    arrays: list[NDArray[Any]] = []
    # The widest numbers first, so that all are aligned.
    for name, value in sorted(values.items(), key=lambda item: -_item_size(item[1])):
        if isinstance(value, np.ndarray):
            document[name] = {"array": value.dtype.str, "shape": value.shape}
            arrays.append(value)
        elif isinstance(value, Region):
            document[name] = {"start": value.start, "stop": value.stop}
        elif isinstance(value, Grid):
            document[name] = {"grid": value.shape, "affine": value.affine.tolist()}
        else:
            document[name] = value
    return document, arrays


def _item_size(value: Any) -> int:
    return value.itemsize if isinstance(value, np.ndarray) else 0


def _values(document: dict[str, Any], body: NDArray[np.uint8]) -> dict[str, Any]:
    """The inverse of `_parts`."""
    values: dict[str, Any] = {}
    begin = 0
    for name, value in document.items():
        if isinstance(value, dict) and "array" in value:
            dtype = np.dtype(value["array"])
            end = begin + int(np.prod(value["shape"])) * dtype.itemsize
            value = body[begin:end].view(dtype).reshape(value["shape"])
            begin = end
        elif isinstance(value, dict) and "grid" in value:
            value = Grid(tuple(value["grid"]), np.array(value["affine"]))
        elif isinstance(value, dict):
            value = Region(tuple(value["start"]), tuple(value["stop"]))  # type: ignore[arg-type]
        values[name] = value
    return values


def report_document(report: FinetuneReport) -> dict[str, Any]:
    """A report as plain values."""
    return asdict(report)


def report_from_document(document: dict[str, Any]) -> FinetuneReport:
    """The inverse of `report_document`."""
    return FinetuneReport(**document)
