"""Layers of MONAI's blocks with faster kernels of torch than the ones it would take: the same numbers, sooner on a CPU.

None has other parameters, or other names for them, than the layer it stands for, so that weights do not know of it.
"""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.blocks import UnetrUpBlock
from torch import Tensor, nn

# Below this product of batch, channels and the first two edges, torch (2.4 to 2.13) passes oneDNN over for a batch of
# one and unfolds the image instead, which takes three to seven times as long.
_UNFOLDED_BELOW = 20480
# Along the first axis, from so few on, oneDNN's gradient of the weights in bf16 is whatever lay in memory (torch 2.13).
_THIN = 2


class InstanceNorm(nn.Module):
    """Instance normalisation as a group normalisation with a group per channel.

    torch has a vectorised kernel for groups, and takes instances for a batch normalisation: half the time, of the
    gradient as well.
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``(n, channels, i, j, k)``, every channel of every item to mean 0 and variance 1."""
        # Past torch's check that there is more than one voxel: of a single one the mean is all there is.
        return torch.group_norm(x, x.shape[1], None, None, self.eps)


class Convolution(nn.Conv3d):
    """A convolution that takes oneDNN for small images, too, where no gradient is asked for.

    And one whose gradient is right where the image is thin.
    """

    def forward(self, x: Tensor) -> Tensor:
        """As `torch.nn.Conv3d`."""
        if x.shape[2] <= _THIN and x.device.type == "cpu" and torch.is_grad_enabled():
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        small = x.shape[:4].numel() <= _UNFOLDED_BELOW and self.kernel_size[0] > 1
        if small and _plain(x) and torch.backends.mkldnn.is_available():
            rest: Any = (self.padding, self.stride, self.dilation, self.groups)
            out: Tensor = torch.mkldnn_convolution(x, self.weight, self.bias, *rest)
            return out
        return super().forward(x)


class Upsampling(UnetrUpBlock):
    """A step up of the decoder whose transposed convolution writes beside the skip's features.

    With stride 2 and a kernel of 2³ it is a product of matrices for each of the 8 fine voxels in a coarse one.
    """

    def forward(self, inp: Tensor, skip: Tensor) -> Tensor:
        """``(n, c, i, j, k)`` and ``(n, m, 2i, 2j, 2k)`` to the shape of the latter."""
        if not _plain(inp):
            out: Tensor = super().forward(inp, skip)
            return out
        weight = self.transp_conv.conv.weight
        outputs = weight.shape[1]
        joined = skip.new_empty(len(skip), outputs + skip.shape[1], *skip.shape[2:])
        joined[:, outputs:] = skip
        places = weight.flatten(2).permute(2, 1, 0) @ inp.flatten(2).unsqueeze(1)
        for number, fine in enumerate(places.unflatten(3, inp.shape[2:]).unbind(1)):
            joined[:, :outputs, number >> 2 & 1 :: 2, number >> 1 & 1 :: 2, number & 1 :: 2] = fine
        activated: Tensor = self.conv_block(joined)
        return activated


def use_fast_layers(network: nn.Module) -> None:
    """Let every layer that there is a faster form of have it."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            # Neither has parameters.
            if isinstance(child, nn.InstanceNorm3d):
                setattr(module, name, InstanceNorm(child.eps))
        if type(module) is nn.Conv3d:
            module.__class__ = Convolution
        elif type(module) is UnetrUpBlock:
            module.__class__ = Upsampling


def _plain(x: Tensor) -> bool:
    """Whether single precision on a CPU, and no gradient. `torch.compile` chooses kernels itself."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled():
        return False
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
