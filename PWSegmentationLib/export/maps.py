"""Probability and uncertainty as images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.export.file_names import file_names
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.writing import IMAGE_ENDINGS, check_ending, write_image


def map_paths(path: Path, names: Sequence[str]) -> dict[str, Path]:
    """``path`` itself for one segment; for several ``STEM.SEGMENT.ENDING`` each."""
    return file_names(path, check_ending(path, IMAGE_ENDINGS), names)


def write_map(values: NDArray[np.floating], grid: Grid, path: str | Path, *, eight_bit: bool = False) -> None:
    """Write numbers from 0 to 1, ``[i, j, k]``, as float32; or ``eight_bit``, a quarter of that, as 0 to 255."""
    write_image(np.rint(255.0 * values).astype(np.uint8) if eight_bit else values, grid, path)


def as_fraction(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """What was read of a file that `write_map` wrote, as numbers from 0 to 1."""
    return values.astype(np.float32) / (255.0 if values.dtype == np.uint8 else 1.0)
