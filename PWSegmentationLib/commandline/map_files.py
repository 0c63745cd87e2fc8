"""Names of the files that hold one number per voxel for each segment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from PWSegmentationLib.segments.writing import IMAGE_ENDINGS, check_ending


def map_paths(path: Path, names: Sequence[str]) -> dict[str, Path]:
    """``path`` itself for one segment; for several ``STEM.SEGMENT.ENDING`` each."""
    ending = check_ending(path, IMAGE_ENDINGS)
    if len(names) == 1:
        return {names[0]: path}
    stem = path.name[: -len(ending)]
    paths: dict[str, Path] = {}
    for name in names:
        words = re.sub(r"[^\w.-]+", "_", name).strip("._") or "segment"
        # Two names may differ in nothing but what a file name cannot hold, or in case.
        taken = {p.name.lower() for p in paths.values()}
        tries = (f"{stem}.{words}{'' if n == 1 else f'-{n}'}{ending}" for n in range(1, len(names) + 1))
        paths[name] = path.with_name(next(t for t in tries if t.lower() not in taken))
    return paths
