"""Names of the files that hold one number per voxel for each segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PWSegmentationLib.export.file_names import file_names
from PWSegmentationLib.volume.writing import IMAGE_ENDINGS, check_ending


def map_paths(path: Path, names: Sequence[str]) -> dict[str, Path]:
    """``path`` itself for one segment; for several ``STEM.SEGMENT.ENDING`` each."""
    return file_names(path, check_ending(path, IMAGE_ENDINGS), names)
