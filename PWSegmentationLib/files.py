"""Reading JSON with a sentence for what is wrong; replacing files whole, so that nothing ever leaves half of one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, with its file type; move it over ``path`` when the block succeeds.

    The old file stays untouched if the block raises. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Writers choose the format by the ending, and some endings have two dots (.nii.gz, .seg.nrrd).
    ending = "".join(path.suffixes[-2:]) if len(path.suffixes) > 1 else path.suffix
    with tempfile.TemporaryDirectory(prefix=".pwseg-", dir=path.parent) as folder:
        temporary = Path(folder) / f"writing{ending}"
        yield temporary
        temporary.replace(path)


def read_json(path: Path, what: str) -> Any:
    """The JSON document in ``path``; an `InputError` that calls it ``what`` ("prompts") if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read the {what} {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error
