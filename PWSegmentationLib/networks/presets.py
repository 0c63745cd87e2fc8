"""Sizes of the network by name. New presets (larger, pretrained) get a row here and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mean = Literal["residual", "paper", "off"]
Encoder = Literal["patches", "hybrid"]


@dataclass(frozen=True)
class UNETRConfig:
    """What a `ProbabilisticUNETR` is made of.

    Parameters
    ----------
    window
        Edge of the training window, voxels. Other sizes work; the position embedding is resized to them.
    patch
        Edge of a token, voxels; a power of two.
    stem
        1: the decoder ends at full resolution, as in UNETR. 2: image features start at half resolution and the
        last layer predicts the 2³ voxels of each cell at once, an eighth of the convolution work.
    hidden, heads, mlp, depth
        Width, attention heads, hidden width of the MLP and number of the transformer blocks.
    encoder
        ``"patches"``: tokens are linear in their voxels, and the skip connections leave the transformer, as in UNETR.
        ``"hybrid"``: residual convolutions that halve the resolution down to the tokens add to both.
    skips
        0-based blocks after which a skip connection leaves, finest first; log2(patch / stem) − 1 of them.
    features
        Channels of the finest decoder level; each coarser level has twice as many.
    mean
        Mean of the attention scores, see `ProbabilisticSelfAttention`.
    prior_std
        Standard deviation of the prior of the attention scores (``stdvar`` in the paper's code).
    dropout
        In the embedding, the attention and the MLPs.
    """

    window: int = 64
    patch: int = 8
    stem: int = 2
    hidden: int = 192
    heads: int = 4
    mlp: int = 768
    depth: int = 6
    encoder: Encoder = "patches"
    skips: tuple[int, ...] = (2,)
    features: int = 24
    mean: Mean = "residual"
    prior_std: float = 1.0
    dropout: float = 0.0


PRESETS: dict[str, UNETRConfig] = {
    # Fits and runs on two CPU cores while the user waits.
    "compact": UNETRConfig(),
    # The same for weights that are learnt once, from many images (`pwseg pretrain`).
    "promptable": UNETRConfig(encoder="hybrid"),
    # arXiv 2403.02566 and its code: 92,786,921 parameters with one channel in and one out.
    "paper": UNETRConfig(
        window=96,
        patch=16,
        stem=1,
        hidden=768,
        heads=12,
        mlp=3072,
        depth=12,
        skips=(3, 6, 9),
        features=16,
        mean="paper",
    ),
}
