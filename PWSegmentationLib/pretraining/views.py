"""Banked tasks as a network is taught them: whole views, turned, mirrored, and in other contrasts.

Whole, because where something lies in the view, and how much of it an object fills, says as much as its texture.
What view number n of a run is depends on the seed and on n alone. Whatever is done to the image is not done to the
label and its evidence, which hardly depend on it: they are made of ranks and ratios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PWSegmentationLib.prediction.network_inputs import CHANNELS
from PWSegmentationLib.pretraining.bank import TaskBank, unpacked

_IMAGE, _CONTRAST = (CHANNELS.index(name) for name in ("image", "contrast"))


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
        i, j, k = cut.shape[1:]
        out = np.zeros((len(cut) + 1, *(n + -n % self.patch for n in (i, j, k))), np.float32)
        out[:-1, :i, :j, :k] = cut
        out[-1, :i, :j, :k] = 1.0
        values = torch.from_numpy(_turned(_varied(out, rng), rng))[None]
        return TaughtView(values[:, :-2], values[:, -2:-1], values[:, -1:])


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
