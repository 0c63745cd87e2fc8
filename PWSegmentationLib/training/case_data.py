"""One case as tensors: what the network sees and what it is taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.volume.intensity import normalise

# Image, label (−1 surely outside … 1 surely inside), its confidence, three coordinates: what `CaseData.inputs` stacks.
IN_CHANNELS = 6
LABEL_CHANNEL = 1


@dataclass(frozen=True)
class CaseData:
    """A case on the device, padded at the far end of each axis to a multiple of the network's patch.

    Attributes
    ----------
    image
        ``(i, j, k)``, robustly normalised to [−2, 2]; padding and invalid voxels hold the minimum.
    coordinates
        ``(3, i, j, k)``, position in the crop in units of its longest edge, 0 at its centre.
    probability, confidence
        ``(i, j, k)``, the pseudo-label; confidence is 0 on padding and on invalid voxels.
    shape
        Without the padding.
    """

    image: Tensor
    coordinates: Tensor
    probability: Tensor
    confidence: Tensor
    shape: tuple[int, int, int]

    @property
    def extent(self) -> tuple[int, int, int]:
        """Shape with the padding."""
        i, j, k = self.image.shape
        return i, j, k

    def inputs(self, visible: Tensor, image: Tensor, window: tuple[slice, ...]) -> Tensor:
        """``(IN_CHANNELS, ...)`` for a window: ``image`` there and the label as far as ``visible`` (a confidence)."""
        label = (2.0 * self.probability[window] - 1.0) * visible
        i, j, k = window
        return torch.cat([torch.stack([image, label, visible]), self.coordinates[:, i, j, k]])

    def with_label(self, label: PseudoLabel, valid: NDArray[np.bool_] | None) -> CaseData:
        """The same image with another label."""
        probability, confidence = _label_tensors(label, valid, self.extent, self.image.device)
        return CaseData(self.image, self.coordinates, probability, confidence, self.shape)

    def padded(self, array: NDArray[np.generic]) -> Tensor:
        """A mask or map of the case's own shape, padded with 0, float32 on the device."""
        return _padded(array, self.extent, 0.0, self.image.device)

    def cropped(self, tensor: Tensor) -> NDArray[np.float32]:
        """``(i, j, k)`` without the padding, as an array."""
        i, j, k = self.shape
        return np.ascontiguousarray(tensor[:i, :j, :k].detach().cpu().numpy(), dtype=np.float32)


def prepare(
    image: NDArray[np.generic],
    label: PseudoLabel,
    spacing: Sequence[float],
    *,
    valid: NDArray[np.bool_] | None,
    multiple: int,
    device: str | torch.device,
) -> CaseData:
    """Normalise, pad and move a case to the device; ``spacing`` in mm, everything else as in `fit_case`."""
    device = torch.device(device)
    shape = image.shape
    extent = tuple(-(-n // multiple) * multiple for n in shape)
    normalised = _padded(normalise(image, valid), extent, 0.0, device) * 4.0 - 2.0
    size = [n * s for n, s in zip(extent, spacing, strict=True)]
    axes = [
        (torch.arange(n, device=device, dtype=torch.float32) - 0.5 * (n - 1)) * (2.0 * s / max(size))
        for n, s in zip(extent, spacing, strict=True)
    ]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    probability, confidence = _label_tensors(label, valid, extent, device)
    return CaseData(normalised, coordinates, probability, confidence, (shape[0], shape[1], shape[2]))


def _label_tensors(
    label: PseudoLabel, valid: NDArray[np.bool_] | None, extent: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    confidence = np.asarray(label.confidence, dtype=np.float32)
    if valid is not None:
        confidence = np.where(valid, confidence, np.float32(0))
    return _padded(label.probability, extent, 0.0, device), _padded(confidence, extent, 0.0, device)


def _padded(array: NDArray[np.generic], extent: Sequence[int], value: float, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)
    far = [n - m for n, m in zip(extent, tensor.shape, strict=True)]
    return functional.pad(tensor, (0, far[2], 0, far[1], 0, far[0]), value=value)
