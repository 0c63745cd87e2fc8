"""Tasks, predictions and reports as JSON documents and arrays, for messages between processes."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.json_format import prompts_from_dict, prompts_to_dict
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.session.engine import FinetuneReport, Task
from PWSegmentationLib.volume.grid import Grid, Region


def task_document(task: Task) -> dict[str, Any]:
    """A task as a prompt set (`PWSegmentationLib.prompts.json_format`) whose first segment is the one to work on."""
    return prompts_to_dict(PromptSet((task.segment, *task.others)))


def task_from_document(document: dict[str, Any]) -> Task:
    """The inverse of `task_document`."""
    segment, *others = prompts_from_dict(document)
    return Task(segment, tuple(others))


def prediction_parts(prediction: Prediction) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """A prediction without its grid, which the other side has: a document, and the arrays it mentions, in order."""
    document: dict[str, Any] = {}
    arrays: list[NDArray[Any]] = []
    values = {f.name: getattr(prediction, f.name) for f in fields(prediction) if f.name != "grid"}
    # The widest numbers first, so that all are aligned.
    for name, value in sorted(values.items(), key=lambda item: -_item_size(item[1])):
        if isinstance(value, np.ndarray):
            document[name] = {"array": value.dtype.str, "shape": value.shape}
            arrays.append(value)
        elif isinstance(value, Region):
            document[name] = {"start": value.start, "stop": value.stop}
        else:
            document[name] = value
    return document, arrays


def _item_size(value: Any) -> int:
    return value.itemsize if isinstance(value, np.ndarray) else 0


def prediction_from_parts(document: dict[str, Any], body: NDArray[np.uint8], grid: Grid) -> Prediction:
    """The inverse of `prediction_parts`; the arrays lie in ``body``, which is not copied."""
    values: dict[str, Any] = {}
    begin = 0
    for name, value in document.items():
        if isinstance(value, dict) and "array" in value:
            dtype = np.dtype(value["array"])
            end = begin + int(np.prod(value["shape"])) * dtype.itemsize
            value = body[begin:end].view(dtype).reshape(value["shape"])
            begin = end
        elif isinstance(value, dict):
            value = Region(tuple(value["start"]), tuple(value["stop"]))  # type: ignore[arg-type]
        values[name] = value
    return Prediction(grid=grid, **values)


def report_document(report: FinetuneReport) -> dict[str, Any]:
    """A report as plain values."""
    return asdict(report)


def report_from_document(document: dict[str, Any]) -> FinetuneReport:
    """The inverse of `report_document`."""
    return FinetuneReport(**document)
