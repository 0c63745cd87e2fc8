"""How much memory an inference will take, and what size of window fits into what there is.

An estimate from the sizes of the network, meant to be above what is measured (two to three times, in the test): maps
at the resolution of the finest decoder level dominate, and those of the whole volume that the windows are blended into.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.free_memory import free_memory

# Maps of the finest level alive at once, in units of its channels; convolutions' scratch space among them.
_LIVE_MAPS = 14
# Maps of the volume per structure (mean, expected entropy, variance) and copies of them while blending.
_MAPS, _COPIES = 3, 2
# What the interpreter and the libraries leave alone, bytes; and the share of the free memory that is asked for.
_SHARE = 0.8


@dataclass(frozen=True)
class InferencePlan:
    """Edges of a window in voxels, windows and draws that go through the network as one batch, bytes needed."""

    window: tuple[int, int, int]
    windows_together: int
    draws_together: int
    bytes: int


def plan_inference(
    network: ProbabilisticUNETR,
    shape: Sequence[int],
    window: int,
    draws: int,
    device: str | torch.device,
    limit: int | None = None,
) -> InferencePlan:
    """The fastest way that fits: pairs of windows or draws first, then single ones, then smaller windows.

    Parameters
    ----------
    shape
        Voxels of the volume at working resolution.
    window
        Edge the network was trained with; larger ones are not used.
    limit
        Bytes; None: most of what is free on ``device``.

    Raises
    ------
    InputError
        If not even the smallest window fits.
    """
    limit = int(_SHARE * free_memory(device)) if limit is None else limit
    patch = network.config.patch
    smallest = min(window, 2 * patch)
    for edge in range(window, smallest - 1, -patch):
        size = tuple(min(edge, patch * math.ceil(n / patch)) for n in shape)
        for pairs in (2, 1):
            together = (1, min(pairs, draws)) if draws else (pairs, 1)
            needed = _estimate(network, shape, size, together[0] * together[1])
            if needed <= limit:
                return InferencePlan(size, *together, needed)  # type: ignore[arg-type]
    raise InputError(
        f"This volume needs {needed / 1e9:.1f} GB of memory and {limit / 1e9:.1f} GB are free: crop it, choose a "
        "coarser spacing, or use a machine with more memory."
    )


def _estimate(network: ProbabilisticUNETR, shape: Sequence[int], window: Sequence[int], together: int) -> int:
    config = network.config
    cells = math.prod(window) / config.stem**3
    tokens = math.prod(window) / config.patch**3
    finest = cells * (_LIVE_MAPS * config.features + 3 * network.out_channels * config.stem**3)
    attention = 3 * config.heads * tokens**2 + 6 * tokens * (config.hidden + config.mlp)
    inputs = math.prod(window) * (network.in_channels + 2 * _MAPS * network.out_channels)
    # Volumes smaller than the window are padded to it.
    voxels = math.prod(max(n, w) for n, w in zip(shape, window, strict=True))
    volume = voxels * (2 * network.in_channels + _COPIES * _MAPS * network.out_channels + 2)
    return int(4 * (together * (finest + attention + inputs) + volume))
