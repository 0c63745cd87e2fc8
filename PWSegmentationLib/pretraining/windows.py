"""Windows of banked tasks, varied: turned, mirrored, and in other contrasts.

What window number n of a run is depends on the seed and on n alone. Whatever is done to the image is not done to the
label and its evidence, which hardly depend on it: they are made of ranks and ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PWSegmentationLib.prediction.network_inputs import CHANNELS
from PWSegmentationLib.pretraining.bank import TaskBank, unpacked

_IMAGE, _CONTRAST, _LABEL = (CHANNELS.index(name) for name in ("image", "contrast", "label"))
# Share of the windows around a voxel of the structure, and around one where the label errs; the rest lie anywhere.
_INSIDE, _ERRING = 0.4, 0.4
# Every second voxel is enough to choose a place by.
_STRIDE = 2


@dataclass(frozen=True)
class Batch:
    """``inputs`` ``(n, channels, ...)``, ``truth`` and ``known`` ``(n, 1, ...)``; ``known`` is 0 on padding."""

    inputs: Tensor
    truth: Tensor
    known: Tensor


class TaskWindows:
    """Every window of a run, by number; ``window`` is its edge, voxels."""

    def __init__(self, bank: TaskBank, window: int, seed: int) -> None:
        self.bank, self.window, self.seed = bank, window, seed

    def batch(self, first: int, count: int) -> Batch:
        """Windows ``first`` … ``first + count − 1``."""
        drawn = np.stack([self._window(n) for n in range(first, first + count)])
        values = torch.from_numpy(drawn)
        return Batch(values[:, :-2], values[:, -2:-1], values[:, -1:])

    def _window(self, number: int) -> NDArray[np.float32]:
        """Inputs, truth and known, stacked."""
        rng = np.random.default_rng((self.seed, number, 7))
        packed = self.bank.packed(int(rng.integers(len(self.bank))))
        edge = self.window
        start = [
            int(np.clip(c - rng.integers(edge), 0, max(n - edge, 0)))
            for c, n in zip(_place(packed, rng), packed.shape[1:], strict=True)
        ]
        where = (slice(None), *(slice(s, s + edge) for s in start))
        cut = unpacked(packed[where])
        out = np.zeros((len(cut) + 1, edge, edge, edge), np.float32)
        i, j, k = cut.shape[1:]
        out[:-1, :i, :j, :k] = cut
        out[-1, :i, :j, :k] = 1.0
        return _turned(_varied(out, rng), rng)


def _place(packed: NDArray[np.int8], rng: np.random.Generator) -> Sequence[int]:
    """A voxel that the window shall hold."""
    kind = rng.random()
    offset = rng.integers(_STRIDE, size=3)
    if kind < _INSIDE + _ERRING:
        sparse = tuple(slice(o, None, _STRIDE) for o in offset)
        truth = packed[-1][sparse] > 63
        wanted = truth if kind < _INSIDE else truth != (packed[_LABEL][sparse] > 0)
        voxels = np.flatnonzero(wanted)
        if len(voxels):
            found = np.unravel_index(voxels[rng.integers(len(voxels))], truth.shape)
            return [int(f) * _STRIDE + int(o) for f, o in zip(found, offset, strict=True)]
    return [int(rng.integers(n)) for n in packed.shape[1:]]


def _varied(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Inverted, stretched, bent, noisy: the two views of the image, where they are known."""
    known = values[-1]
    for channel in (_IMAGE, _CONTRAST):
        view = values[channel]
        if rng.random() < 0.5:
            view = -view
        if rng.random() < 0.3:
            view = np.sign(view) * np.abs(view) ** np.float32(rng.uniform(0.7, 1.4))
        view = view * np.float32(rng.uniform(0.8, 1.2))
        if channel == _IMAGE:
            view = view + np.float32(rng.uniform(-0.15, 0.15))
        if rng.random() < 0.4:
            view = view + rng.normal(0.0, rng.uniform(0.0, 0.08), view.shape).astype(np.float32)
        values[channel] = view * known
    return values


def _turned(values: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Axes exchanged and mirrored at random."""
    values = values.transpose(0, *(1 + rng.permutation(3)))
    flips = tuple(axis for axis in (1, 2, 3) if rng.random() < 0.5)
    return np.ascontiguousarray(np.flip(values, flips))
