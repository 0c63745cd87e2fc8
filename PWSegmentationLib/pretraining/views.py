"""Banked tasks as a network is taught them: whole views, turned, mirrored, and in other contrasts.

Whole, because where something lies in the view, and how much of it an object fills, says as much as its texture.
What view number n of a run is depends on the seed and on n alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PWSegmentationLib.prediction.network_inputs import IMAGE_CHANNELS
from PWSegmentationLib.pretraining.bank import TaskBank, unpacked
from PWSegmentationLib.training.variation import recoloured, turned

# Larger views are taught on a coarser grid, with a number of voxels between these: many views a minute teach more than
# fine ones.
_MOST_VOXELS = (60_000, 220_000)


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

    def __getitem__(self, number: int) -> TaughtView:
        rng = np.random.default_rng((self.seed, number, 7))
        cut = unpacked(self.bank.packed(int(rng.integers(len(self.bank)))))
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
