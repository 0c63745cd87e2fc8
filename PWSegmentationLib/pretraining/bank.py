"""Tasks on disk, so that training never waits for them: a label takes as long as several training steps.

A bank is a folder of groups, each with files ``0.npy``, ``1.npy``, ...: int8 ``(channels + 1, i, j, k)``, the truth
last, values times 127. They are mapped into memory and only the window that is asked for is read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import replacing
from PWSegmentationLib.prediction.network_inputs import CHANNELS
from PWSegmentationLib.pretraining.tasks import Task

_SCALE = 127.0
_LABEL = CHANNELS.index("label")


class TaskBank:
    """The tasks of a folder, in the order of their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths = sorted(folder.glob("*/*.npy"))
        if not self.paths:
            raise InputError(f"There are no tasks in {folder}: run the same command again to make them.")

    def __len__(self) -> int:
        return len(self.paths)

    def packed(self, index: int) -> NDArray[np.int8]:
        """A task as it lies on the disk, mapped and not read: int8 ``(channels + 1, i, j, k)``."""
        return np.asarray(np.load(self.paths[index], mmap_mode="r"))

    def overlaps(self) -> NDArray[np.int64]:
        """Voxels of the truth, of the label and of both, of every task: ``(tasks, 3)``.

        To look through a bank takes a while, so they are kept beside it, in ``overlaps.npy``.
        """
        kept = self.folder / "overlaps.npy"
        if kept.is_file() and len(found := np.load(kept)) == len(self):
            return np.asarray(found)
        found = np.array([self._overlap(n) for n in range(len(self))], dtype=np.int64)
        with replacing(kept) as temporary:
            np.save(temporary, found)
        return found

    def _overlap(self, index: int) -> tuple[int, int, int]:
        packed = self.packed(index)
        truth, label = packed[-1] > 0.5 * _SCALE, packed[_LABEL] > 0
        return int(truth.sum()), int(label.sum()), int((truth & label).sum())

    def task(self, index: int) -> Task:
        """A whole task."""
        values = self.packed(index).astype(np.float32) / _SCALE
        return Task(values[:-1], values[-1])


def write_tasks(folder: Path, tasks: Iterable[Task]) -> None:
    """Write a group of tasks, ``folder/0.npy``, ``1.npy``, ...; a folder that is there is complete, if empty."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pwseg-", dir=folder.parent) as temporary:
        group = Path(temporary) / "group"
        group.mkdir()
        for number, made in enumerate(tasks):
            values = np.concatenate([made.inputs, made.truth[None]])
            np.save(group / f"{number}.npy", np.round(_SCALE * values).astype(np.int8))
        group.replace(folder)


def unpacked(values: NDArray[np.int8]) -> NDArray[np.float32]:
    """Packed values in [−1, 1] again."""
    return np.asarray(values, dtype=np.float32) / np.float32(_SCALE)
