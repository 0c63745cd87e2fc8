"""Random windows of a case, augmented, with part of the label hidden.

The network sees the label it is taught, so it could copy. It is therefore shown the label only outside random
blocks and taught mostly inside them: it has to complete a label from the image and the label around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from PWSegmentationLib.training.case_data import CaseData

# Edge of the hidden blocks, voxels, smallest and largest.
_BLOCK = (6, 20)
# Weight of voxels whose label is shown: enough to keep it there, too little to learn nothing else.
_WEIGHT_SHOWN = 0.1


@dataclass(frozen=True)
class Batch:
    """Windows to learn from: ``inputs`` ``(n, channels, ...)``, ``probability`` and ``weight`` ``(n, 1, ...)``."""

    inputs: Tensor
    probability: Tensor
    weight: Tensor


class PatchSampler:
    """Draws windows in pairs: one around a known voxel inside the segment, one around any known voxel.

    Parameters
    ----------
    data
        The case.
    taught
        ``(i, j, k)``, the confidence to use: the label's, 0 at what is withheld from training.
    edge
        Largest edge of a window, voxels.
    generator
        On the CPU; decides everything, so that windows are the same on every device.
    """

    def __init__(self, data: CaseData, taught: Tensor, edge: int, generator: torch.Generator) -> None:
        self.data, self.taught, self.generator = data, taught, generator
        self.window = tuple(min(edge, n) for n in data.extent)
        known = taught > 0
        self.known = torch.argwhere(known).cpu()
        self.inside = torch.argwhere(known & (data.probability >= 0.5)).cpu()

    def draw(self) -> Batch:
        """Two windows. They take a CPU no longer than one: torch has its fast convolutions for batches."""
        examples = torch.stack([self._example(wanted) for wanted in (self.inside, self.known)])
        return Batch(examples[:, :-2], examples[:, -2:-1], examples[:, -1:])

    def _example(self, wanted: Tensor) -> Tensor:
        """Inputs, probability and weight, stacked, in a window around one of the ``wanted`` voxels."""
        window = self._place(wanted)
        image = self._vary(self.data.image[window])
        taught = self.taught[window]
        hidden = self._hide().to(taught.device)
        inputs = self.data.inputs(taught * ~hidden, image, window)
        weight = torch.where(hidden, taught, _WEIGHT_SHOWN * taught)
        stack = torch.cat([inputs, self.data.probability[window][None], weight[None]])
        flips = [axis + 1 for axis in range(3) if self._uniform() < 0.5]
        # One flip for image, label, weight and coordinates alike.
        return torch.flip(stack, flips)

    def _place(self, wanted: Tensor) -> tuple[slice, ...]:
        """A window that holds one of the ``wanted`` voxels ``(n, 3)``."""
        centre = wanted[self._integer(len(wanted))].tolist()
        slices = []
        for voxel, size, extent in zip(centre, self.window, self.data.extent, strict=True):
            start = min(max(voxel - self._integer(size), 0), extent - size)
            slices.append(slice(start, start + size))
        return tuple(slices)

    def _vary(self, image: Tensor) -> Tensor:
        """Small changes of contrast, brightness and noise."""
        contrast, brightness = 0.9 + 0.2 * self._uniform(), 0.2 * (self._uniform() - 0.5)
        noise = torch.randn(image.shape, generator=self.generator).to(image.device)
        return image * contrast + brightness + 0.05 * noise

    def _hide(self) -> Tensor:
        """``window`` bool. Little or much of it: a prediction hides next to nothing, and norms notice how much."""
        edge = _BLOCK[0] + self._integer(_BLOCK[1] - _BLOCK[0] + 1)
        return random_blocks(self.window, edge, 0.1 + 0.8 * self._uniform(), self.generator)

    def _uniform(self) -> float:
        return float(torch.rand((), generator=self.generator))

    def _integer(self, stop: int) -> int:
        return int(torch.randint(stop, (), generator=self.generator))


def random_blocks(shape: Sequence[int], edge: int, fraction: float, generator: torch.Generator) -> Tensor:
    """``shape`` bool on the CPU: cubes of ``edge`` voxels on a randomly shifted lattice, ``fraction`` of them true."""
    cells = [-(-n // edge) + 1 for n in shape]
    chosen = (torch.rand(cells, generator=generator) < fraction).float()[None, None]
    voxels = functional.interpolate(chosen, scale_factor=edge, mode="nearest")[0, 0]
    offset = torch.randint(edge, (3,), generator=generator).tolist()
    return voxels[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))] > 0.5
