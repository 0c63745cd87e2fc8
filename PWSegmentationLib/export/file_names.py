"""Names of files that are called after segments or cases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

# Bytes of a name, which leave room for what comes before and after it.
_LONGEST = 120


def file_names(path: Path, ending: str, names: Sequence[str]) -> dict[str, Path]:
    """``path`` itself for one segment; for several ``STEM.SEGMENT.ENDING`` each, by name."""
    if len(names) == 1:
        return {names[0]: path}
    return own_file_names(path.parent, ending, names, path.name[: -len(ending)] + ".")


def own_file_names(folder: Path, ending: str, names: Sequence[str], start: str = "") -> dict[str, Path]:
    """A file in ``folder`` for each of ``names``, of which each is there once: ``startNAMEending``."""
    paths: dict[str, Path] = {}
    taken: set[str] = set()
    for name in names:
        words = re.sub(r"[^\w.-]+", "_", name).strip("._") or "segment"
        # File systems take 255 bytes; a letter may have several.
        words = words.encode()[:_LONGEST].decode(errors="ignore")
        # Two names may differ in nothing but what a file name cannot hold, or in case.
        tries = (f"{start}{words}{'' if n == 1 else f'-{n}'}{ending}" for n in range(1, len(names) + 1))
        chosen = next(t for t in tries if t.lower() not in taken)
        taken.add(chosen.lower())
        paths[name] = folder / chosen
    return paths
