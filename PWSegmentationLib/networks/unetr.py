"""UNETR with probabilistic self-attention.

A vision transformer reads the window as tokens, a convolutional decoder brings its features back to voxels
through skip connections (UNETR, arXiv 2103.10504); the self-attention is probabilistic (arXiv 2403.02566). Tokens and
skip connections may get features of convolutions beside.
The convolutional blocks are MONAI's. Written for any patch that is a power of two and any window that is a
multiple of the patch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from monai.networks.blocks import (
    MLPBlock,
    PatchEmbeddingBlock,
    UnetOutBlock,
    UnetrBasicBlock,
    UnetrPrUpBlock,
    UnetrUpBlock,
)
from torch import Tensor, nn
from torch.nn import functional

from PWSegmentationLib.networks.fast_layers import use_fast_layers
from PWSegmentationLib.networks.pmsa import ProbabilisticSelfAttention
from PWSegmentationLib.networks.presets import PRESETS, UNETRConfig


class NetworkOutput(NamedTuple):
    """``logits`` ``(batch, out_channels, i, j, k)`` and ``kl`` ``(depth,)``, one KL term per block."""

    logits: Tensor
    kl: Tensor


class ProbabilisticUNETR(nn.Module):
    """See the module.

    Parameters
    ----------
    config
        Sizes, or the name of a preset.
    in_channels
        Image and whatever else the network is shown (a pseudo-label, prompts, coordinates).
    out_channels
        Logits per voxel; one per segment.
    """

    def __init__(self, config: UNETRConfig | str = "compact", *, in_channels: int = 1, out_channels: int = 1) -> None:
        super().__init__()
        config = PRESETS[config] if isinstance(config, str) else config
        _check(config)
        self.config = config
        self.in_channels = in_channels
        self.out_channels = out_channels
        levels = int(math.log2(config.patch // config.stem)) - 1
        widths = [config.features * 2**level for level in range(levels + 1)]
        self.embedding = _ResizableEmbedding(config, in_channels)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.hidden)
        self.stem = _residual(in_channels, config.features, stride=config.stem)
        self.skips = nn.ModuleList(
            _projection(config.hidden, widths[level + 1], layers=levels - 1 - level)
            for level in range(len(config.skips))
        )
        self.convolutions = _Convolutions([*widths, config.hidden]) if config.encoder == "hybrid" else None
        inputs = [*widths[1:], config.hidden]
        self.decoders = nn.ModuleList(_up(a, b) for a, b in zip(inputs, widths, strict=True))
        self.out = UnetOutBlock(spatial_dims=3, in_channels=config.features, out_channels=out_channels * config.stem**3)
        use_fast_layers(self)

    def forward(self, x: Tensor, *, sample: bool = True, generator: torch.Generator | None = None) -> NetworkOutput:
        """One pass.

        Parameters
        ----------
        x
            ``(batch, in_channels, i, j, k)``; i, j, k multiples of the patch.
        sample
            Draw the attention scores, or use their means.
        generator
            Source of the noise; None is torch's global one.
        """
        encoded = self._encode(x)
        return self._decode(encoded, encoded.fine, sample=sample, generator=generator)

    def draws(
        self, x: Tensor, count: int, generator: torch.Generator | None = None, *, together: int = 2
    ) -> Iterator[Tensor]:
        """``count`` sampled passes' logits, one after the other; what does not depend on the noise runs once.

        That is the encoder and the stem's part of the convolutions of the finest decoder, which are
        linear in it: 15 to 19 % of the multiplications of six passes. ``together`` passes go through the
        network as one batch, which takes so much more memory; it changes the order of the noise, not its law. Two
        are the default because torch has its fast 3D convolutions on a single CPU core for batches only.
        """
        encoded = self._encode(x)
        shared = _StemShare(self.decoders[0], encoded.fine)
        for start in range(0, count, together):
            size = min(together, count - start)
            out = self._decode(encoded.repeated(size), shared, sample=True, generator=generator, copies=size).logits
            yield from out.chunk(size)

    def _encode(self, x: Tensor) -> _Encoded:
        if any(n % self.config.patch for n in x.shape[2:]):
            raise ValueError(f"Window {tuple(x.shape[2:])} is no multiple of the patch, {self.config.patch}.")
        tokens, fine = self.embedding(x), self.stem(x)
        if self.convolutions is None:
            return _Encoded(tokens, None, fine)
        *middle, convolved = self.convolutions(fine)
        return _Encoded(tokens + convolved, middle, fine)

    def _decode(
        self,
        encoded: _Encoded,
        fine: Tensor | _StemShare,
        *,
        sample: bool,
        generator: torch.Generator | None,
        copies: int = 1,
    ) -> NetworkOutput:
        grid = encoded.tokens.shape[2:]
        x = encoded.tokens.flatten(2).transpose(1, 2)
        terms, features = [], []
        for index, block in enumerate(self.blocks):
            x, kl = block(x, sample=sample, generator=generator)
            terms.append(kl)
            if index in self.config.skips:
                level = self.config.skips.index(index)
                skip = self.skips[level](_as_volume(x, grid))
                features.append(skip if encoded.middle is None else skip + encoded.middle[level])
        out = _as_volume(self.norm(x), grid)
        for decoder, skip in zip(list(reversed(self.decoders))[:-1], reversed(features), strict=True):
            out = decoder(out, skip)
        out = fine(out, copies) if isinstance(fine, _StemShare) else self.decoders[0](out, fine)
        return NetworkOutput(_cells_to_voxels(self.out(out), self.config.stem), torch.stack(terms))


class _Encoded(NamedTuple):
    """Everything before the first draw.

    ``tokens`` ``(batch, hidden, i, j, k)/patch``; ``fine``: the stem's features; ``middle``: what convolutions add to
    the skip connections between, finest first.
    """

    tokens: Tensor
    middle: list[Tensor] | None
    fine: Tensor

    def repeated(self, count: int) -> _Encoded:
        """For as many passes in one batch; ``fine`` as it is."""
        middle = None if self.middle is None else [m.repeat(count, 1, 1, 1, 1) for m in self.middle]
        return _Encoded(self.tokens.repeat(count, 1, 1, 1, 1), middle, self.fine)


class _StemShare:
    """The finest decoder with what it makes of the stem's features computed once.

    The decoder convolves the concatenation of what comes from below and the stem's features; a convolution is linear,
    conv([a, b]) = conv_a(a) + conv_b(b), and the second term is the same in every draw.
    """

    def __init__(self, decoder: nn.Module, fine: Tensor) -> None:
        self.decoder = decoder
        block: Any = decoder.conv_block
        self.convolutions = (block.conv1.conv, block.conv3.conv)
        self.below = int(self.convolutions[0].in_channels) - fine.shape[1]
        self.of_stem = [c._conv_forward(fine, c.weight[:, self.below :], c.bias) for c in self.convolutions]

    def __call__(self, x: Tensor, copies: int) -> Tensor:
        """``(copies·batch, ...)`` from below through the decoder."""
        decoder: Any = self.decoder
        up = decoder.transp_conv(x)
        first, residual = (
            c._conv_forward(up, c.weight[:, : self.below], None) + stem.repeat(copies, 1, 1, 1, 1)
            for c, stem in zip(self.convolutions, self.of_stem, strict=True)
        )
        block = decoder.conv_block
        out = block.norm2(block.conv2(block.lrelu(block.norm1(first))))
        activated: Tensor = block.lrelu(out + block.norm3(residual))
        return activated


class _Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: UNETRConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden)
        self.attn = ProbabilisticSelfAttention(
            config.hidden, config.heads, mean=config.mean, prior_std=config.prior_std, dropout=config.dropout
        )
        self.norm2 = nn.LayerNorm(config.hidden)
        self.mlp = MLPBlock(config.hidden, config.mlp, config.dropout)

    def forward(self, x: Tensor, *, sample: bool, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        attended, kl = self.attn(self.norm1(x), sample=sample, generator=generator)
        x = x + attended
        return x + self.mlp(self.norm2(x)), kl


class _ResizableEmbedding(PatchEmbeddingBlock):
    """MONAI's patch embedding, its position embedding interpolated to the grid of tokens at hand."""

    def __init__(self, config: UNETRConfig, in_channels: int) -> None:
        super().__init__(
            in_channels=in_channels,
            img_size=config.window,
            patch_size=config.patch,
            hidden_size=config.hidden,
            num_heads=config.heads,
            proj_type="conv",
            pos_embed_type="learnable",
            dropout_rate=config.dropout,
        )
        self.edge = config.window // config.patch

    def forward(self, x: Tensor) -> Tensor:
        """Tokens as a volume, ``(batch, hidden, i, j, k)/patch``."""
        tokens = self.patch_embeddings(x)
        position = self.position_embeddings.transpose(1, 2).unflatten(2, (self.edge,) * 3)
        if tokens.shape[2:] != position.shape[2:]:
            position = functional.interpolate(position, size=tokens.shape[2:], mode="trilinear", align_corners=False)
        out: Tensor = self.dropout(tokens + position)
        return out


class _Convolutions(nn.Module):
    """From the stem's features down to the tokens, each step a residual block that halves the resolution.

    What leaves a step is 0 before training, so that weights learnt without it go on where they stood.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_residual(a, b, stride=2) for a, b in pairwise(widths))
        self.exits = nn.ModuleList(nn.Conv3d(width, width, 1) for width in widths[1:])
        for parameter in self.exits.parameters():
            nn.init.zeros_(parameter)

    def forward(self, fine: Tensor) -> list[Tensor]:
        """What is added to the skip connections, finest first, and to the tokens."""
        out = []
        for step, leave in zip(self.steps, self.exits, strict=True):
            fine = step(fine)
            out.append(leave(fine))
        return out


def _check(config: UNETRConfig) -> None:
    steps = math.log2(config.patch / config.stem)
    if steps != int(steps) or steps < 1 or config.stem not in (1, 2):
        raise ValueError(f"patch ({config.patch}) over stem ({config.stem}) must be a power of two, stem 1 or 2.")
    if len(config.skips) != steps - 1 or any(not 0 <= s < config.depth for s in config.skips):
        raise ValueError(f"{int(steps) - 1} skips below depth {config.depth} are needed, not {config.skips}.")
    if config.window % config.patch:
        raise ValueError(f"window ({config.window}) must be a multiple of patch ({config.patch}).")


def _residual(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    return UnetrBasicBlock(3, inputs, outputs, kernel_size=3, stride=stride, norm_name="instance", res_block=True)


def _projection(inputs: int, outputs: int, *, layers: int) -> nn.Module:
    return UnetrPrUpBlock(
        spatial_dims=3,
        in_channels=inputs,
        out_channels=outputs,
        num_layer=layers,
        kernel_size=3,
        stride=1,
        upsample_kernel_size=2,
        norm_name="instance",
        conv_block=True,
        res_block=True,
    )


def _up(inputs: int, outputs: int) -> nn.Module:
    return UnetrUpBlock(
        spatial_dims=3,
        in_channels=inputs,
        out_channels=outputs,
        kernel_size=3,
        upsample_kernel_size=2,
        norm_name="instance",
        res_block=True,
    )


def _as_volume(tokens: Tensor, grid: torch.Size) -> Tensor:
    """``(batch, tokens, hidden)`` to ``(batch, hidden, *grid)``."""
    return tokens.transpose(1, 2).unflatten(2, tuple(grid)).contiguous()


def _cells_to_voxels(x: Tensor, edge: int) -> Tensor:
    """``(batch, c·edge³, i, j, k)`` to ``(batch, c, i·edge, j·edge, k·edge)``: pixel shuffle in 3D."""
    if edge == 1:
        return x
    batch, channels, i, j, k = x.shape
    split = x.reshape(batch, channels // edge**3, edge, edge, edge, i, j, k)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, -1, i * edge, j * edge, k * edge)
