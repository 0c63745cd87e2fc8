"""Replacing files so that a crash, a full disk or a Cancel never leaves half of one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
