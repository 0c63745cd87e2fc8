"""Gaussian smoothing as one small dense matrix per axis: fast, and exactly symmetric under flips (torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def gaussian_matrix(count: int, width: float, device: torch.device) -> torch.Tensor:
    """(count, count) Gaussian weights of standard deviation `width` (voxels); rows sum to one."""
    import torch

    position = torch.arange(count, dtype=torch.float32, device=device)
    weight = torch.exp(-0.5 * ((position[:, None] - position[None, :]) / max(width, 1e-3)) ** 2)
    return weight / weight.sum(1, keepdim=True)


def along_axis(volume: torch.Tensor, matrix: torch.Tensor, axis: int) -> torch.Tensor:
    """Multiply `volume` by `matrix` along one axis."""
    import torch

    return torch.movedim(torch.tensordot(matrix, volume, dims=([1], [axis])), 0, axis).contiguous()


def smooth(volume: torch.Tensor, width_mm: float, spacing: Sequence[float]) -> torch.Tensor:
    """Smooth (I, J, K) with a Gaussian of standard deviation `width_mm`; the border is normalised."""
    for axis in range(3):
        width = width_mm / spacing[axis]
        if width > 0.2 and volume.shape[axis] > 1:
            volume = along_axis(volume, gaussian_matrix(volume.shape[axis], width, volume.device), axis)
    return volume
