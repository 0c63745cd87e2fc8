"""The names of label values: ``labels.json``, and the table of the same kind in a datalist."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json

_FORM = 'a name and a value each, whole numbers from 1, as in {"liver": 1, "kidneys": [2, 3]}'


def read_names(path: Path) -> dict[str, tuple[int, ...]]:
    """The values of each structure that a file names; an nnU-Net ``dataset.json`` is read as well.

    Raises `InputError` as `named_values` does, and if the file cannot be read.
    """
    document = read_json(path, "label names")
    if isinstance(document, Mapping) and isinstance(document.get("labels"), Mapping):
        document = document["labels"]
    return named_values(document, str(path))


def named_values(table: Any, where: str) -> dict[str, tuple[int, ...]]:
    """Names and values, in either direction: ``{"liver": 1, "kidneys": [2, 3]}``, ``{"1": "liver"}``.

    A name for 0 alone (the background) is left out. Raises `InputError`, which says ``where``, if it is no such table
    or names two structures alike.
    """
    if not isinstance(table, Mapping) or not table:
        raise InputError(f"{where} should hold {_FORM}.")
    pairs = [(v, k) if isinstance(v, str) else (k, v) for k, v in table.items()]
    try:
        numbers = {n: [float(v) for v in (values if isinstance(values, list) else [values])] for n, values in pairs}
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} should hold {_FORM}.") from error
    if len(numbers) < len(pairs):
        raise InputError(f"{where} has two structures of the same name: give each its own, or one several values.")
    named = {name: values for name, values in numbers.items() if any(values)}
    if not all(v.is_integer() and v >= 1 for values in named.values() for v in values):
        raise InputError(f"{where} should hold {_FORM}.")
    return {name: tuple(int(v) for v in values) for name, values in named.items()}
