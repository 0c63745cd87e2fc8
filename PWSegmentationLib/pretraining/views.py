"""Banked tasks as a network is taught them: views around the object, turned, mirrored, and in other contrasts.

Never windows out of the middle of something, because where an object lies in the view, and how much of it it fills,
says as much as its texture. What the label has no idea of is taught less often: from tasks that cannot be solved a
network learns to be timid.
What view number n of a run is depends on the seed and on n alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PWSegmentationLib.prediction.network_inputs import CHANNELS, IMAGE_CHANNELS
from PWSegmentationLib.pretraining.bank import TaskBank, unpacked
from PWSegmentationLib.training.variation import recoloured, turned
from PWSegmentationLib.volume.grid import Region

_POSITIVE = CHANNELS.index("near positive")

# Larger views are taught on a coarser grid, with a number of voxels between these: many views a minute teach more than
# fine ones.
_MOST_VOXELS = (30_000, 160_000)
# Most views are taught from nearer than they were banked: on each side this share of the object's extent is left, and
# so many voxels along every axis, where there are as many.
_NEARER, _MARGIN, _LEAST_EDGE = 0.4, (0.1, 0.6), 24
# How often a task is taught whose label misses the truth's size by more than two or four times, or overlaps it less
# than this, or which has fewer voxels than these.
_OFF_TWICE, _OFF_FOUR_TIMES, _HARDLY, _FEW = 0.8, 0.5, 0.6, 0.5
_HARDLY_DICE, _FEW_VOXELS = 0.3, 100


@dataclass(frozen=True)
class TaughtView:
    """``inputs`` ``(1, channels, ...)``, ``truth`` and ``known`` ``(1, 1, ...)``; ``known`` is 0 on padding."""

    inputs: Tensor
    truth: Tensor
    known: Tensor


class TaughtViews:
    """Every view of a run, by number, padded to a multiple of ``patch`` voxels along every axis."""

    def __init__(self, bank: TaskBank, patch: int, seed: int) -> None:
        self.bank, self.patch, self.seed = bank, patch, seed
        self.until = np.cumsum(_shares(bank.overlaps()))

    def __getitem__(self, number: int) -> TaughtView:
        rng = np.random.default_rng((self.seed, number, 7))
        index = int(np.searchsorted(self.until, rng.random() * self.until[-1], side="right"))
        packed = self.bank.packed(min(index, len(self.bank) - 1))
        cut = unpacked(_nearer(packed, rng) if rng.random() < _NEARER else packed)
        cut = _shrunk(cut, float(np.exp(rng.uniform(*np.log(_MOST_VOXELS)))))
        i, j, k = cut.shape[1:]
        out = np.zeros((len(cut) + 1, *(n + -n % self.patch for n in (i, j, k))), np.float32)
        out[:-1, :i, :j, :k] = cut
        out[-1, :i, :j, :k] = 1.0
        recoloured(out, IMAGE_CHANNELS, out[-1], rng)
        values = torch.from_numpy(turned(out, rng))[None]
        return TaughtView(values[:, :-2], values[:, -2:-1], values[:, -1:])


def _shrunk(values: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    """On a coarser grid, if there are more than so many voxels."""
    factor = (most / values[0].size) ** (1 / 3)
    if factor >= 1.0:
        return values
    shape = [max(4, round(n * factor)) for n in values.shape[1:]]
    small = functional.interpolate(torch.from_numpy(values)[None], shape, mode="trilinear", align_corners=False)
    return np.asarray(small[0].numpy())


def _nearer(packed: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
    """The part around the truth and the positive prompts."""
    box = Region.around((packed[-1] > 63) | (packed[_POSITIVE] > 126))
    if box is None:
        return packed
    where = [slice(None)]
    for start, stop, count in zip(box.start, box.stop, packed.shape[1:], strict=True):
        below, above = np.ceil(rng.uniform(*_MARGIN, 2) * (stop - start)).astype(int)
        missing = max(0, _LEAST_EDGE - (stop - start + below + above))
        below, above = below + missing // 2, above + missing - missing // 2
        where.append(slice(max(0, start - below), min(count, stop + above)))
    return packed[tuple(where)]


def _shares(overlaps: NDArray[np.int64]) -> NDArray[np.float64]:
    """How often each task is taught."""
    truth, label, both = overlaps.T
    off = np.abs(np.log2(np.maximum(label, 1) / truth))
    share = np.where(off > 2, _OFF_FOUR_TIMES, np.where(off > 1, _OFF_TWICE, 1.0))
    share = share * np.where(2 * both < _HARDLY_DICE * (truth + label), _HARDLY, 1.0)
    return np.asarray(share * np.where(truth < _FEW_VOXELS, _FEW, 1.0))
