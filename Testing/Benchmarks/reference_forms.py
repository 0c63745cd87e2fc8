"""The naive forms: what the published code (arXiv 2403.02566) computes, in its own way, and textbook references.

They are written for clarity and for the same result, not to lose: each does what someone would do who follows the
formula, with vectorised numpy or torch, and none is slowed down on purpose.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.networks.blocks import UnetrUpBlock
from torch import Tensor, nn

from PWSegmentationLib.networks.fast_layers import Convolution, InstanceNorm, Upsampling
from PWSegmentationLib.networks.pmsa import ProbabilisticSelfAttention
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.pseudolabel import PseudoLabel, image_aware
from PWSegmentationLib.volume.volume import Volume


def gaussian(points_ijk: np.ndarray, shape: Sequence[int], sigma: float) -> np.ndarray:
    """One Gaussian after another over the whole volume, added up in float64, min-max normalised; as published."""
    i, j, k = np.mgrid[tuple(slice(0, n) for n in shape)]
    total = np.zeros(tuple(shape))
    for a, b, c in points_ijk:
        total += np.exp(-1 * ((i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2) / (2 * sigma**2))
    return (total - total.min()) / (total.max() - total.min())


def farthest_points(points: Tensor, count: int, first: int) -> Tensor:
    """Farthest-point sampling as published: integer positions (n, 3), rows summed, the nearest distance masked in."""
    chosen = torch.zeros(count, dtype=torch.long)
    nearest = torch.full((len(points),), 1e10)
    latest = torch.tensor(first)
    for number in range(count):
        chosen[number] = latest
        squared = torch.sum((points - points[latest]) ** 2, -1)
        closer = squared < nearest
        nearest[closer] = squared[closer].float()
        latest = nearest.argmax()
    return chosen


class PairwiseAttention(nn.Module):
    """PMSA as published: every pair of query and key side by side, and one linear layer over all of them.

    Takes the parameters of ``other``, whose mean must be "paper", and gives the same result for the same noise.
    """

    def __init__(self, other: ProbabilisticSelfAttention) -> None:
        super().__init__()
        self.heads, self.prior_std = other.heads, other.prior_std
        self.qkv, self.out_proj, self.fc_mu_var = other.qkv, other.out_proj, other.fc_mu_var

    def forward(
        self, x: Tensor, *, sample: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Output ``(batch, tokens, hidden)`` and the KL term."""
        batch, tokens, hidden = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        queries = q.unsqueeze(3).repeat(1, 1, 1, tokens, 1)
        keys = k.unsqueeze(2).repeat(1, 1, tokens, 1, 1)
        mu, log_variance = self.fc_mu_var(torch.cat([queries, keys], dim=-1)).unbind(-1)
        scores = mu
        if sample:
            noise = torch.randn(mu.shape, generator=generator, device=x.device, dtype=x.dtype)
            scores = mu + torch.exp(0.5 * log_variance) * noise
        attention = torch.softmax(scores, dim=-1)
        dot = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
        prior = torch.tensor(self.prior_std**2, device=x.device)
        kl = -0.5 * (1 + log_variance - prior.log() - ((mu - dot).square() + log_variance.exp()) / prior)
        merged = torch.einsum("bhij,bhjd->bihd", attention, v).reshape(batch, tokens, hidden)
        return self.out_proj(merged), kl.mean()


def as_published(network: ProbabilisticUNETR) -> ProbabilisticUNETR:
    """A copy of the network (mean "paper") with the attention as published, and MONAI's own layers."""
    twin = copy.deepcopy(network)
    for block in twin.blocks:
        block.attn = PairwiseAttention(block.attn)  # type: ignore[arg-type]
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, nn.InstanceNorm3d(1, eps=child.eps))
        if isinstance(module, Convolution | Upsampling):
            module.__class__ = nn.Conv3d if isinstance(module, Convolution) else UnetrUpBlock
    return twin


def geodesic(channels: np.ndarray, starts: np.ndarray, spacing: Sequence[float], length_weight: float) -> np.ndarray:
    """Exact geodesic distances (B, I, J, K): Dijkstra on the graph of voxels and their 18 neighbours."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    shape = channels.shape[1:]
    number = np.arange(np.prod(shape)).reshape(shape)
    here, there, cost = [], [], []
    # One of each two opposite steps; those along two axes at most.
    steps = [s for s in product((-1, 0, 1), repeat=3) if s > (0, 0, 0) and np.count_nonzero(s) <= 2]
    for step in steps:
        a = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(step, shape, strict=True))
        b = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(step, shape, strict=True))
        length = float(np.linalg.norm(np.multiply(step, spacing)))
        contrast = sum(np.abs(channel[a] - channel[b]) for channel in channels)
        here.append(number[a].ravel())
        there.append(number[b].ravel())
        cost.append(np.ravel(contrast + length_weight * length))
    edges = (np.concatenate(cost), (np.concatenate(here), np.concatenate(there)))
    graph = coo_array(edges, shape=(number.size, number.size)).tocsr()
    found = [dijkstra(graph, directed=False, indices=np.flatnonzero(s == 0), min_only=True) for s in starts]
    return np.stack(found).reshape(starts.shape)


def label_of_whole(volume: Volume, segment: SegmentPrompts, device: str) -> PseudoLabel:
    """The image-aware label on all of the volume, at its own resolution."""
    seeds = draw(segment, volume.grid)
    image = volume.array.astype(np.float32)
    return image_aware(image, volume.grid.spacing, seeds.positive, seeds.negative, seeds.inside, device=device)


def sampled_passes(network: ProbabilisticUNETR, x: Tensor, count: int, noise: torch.Generator) -> list[Tensor]:
    """Logits of ``count`` whole sampled passes, two windows of a batch at a time, as `draws` takes them."""
    pairs = [network(x.repeat(2, 1, 1, 1, 1), generator=noise).logits.chunk(2) for _ in range(count // 2)]
    return [logits for pair in pairs for logits in pair]


def imported(mask: np.ndarray, labelmap_node: Any, segmentation_node: Any, segment_id: str) -> None:
    """The whole mask into a labelmap volume node, and that into the segment: how scripts for Slicer do it."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(mask.T, np.uint8).reshape(-1), deep=True))
    labelmap_node.SetAndObserveImageData(image)
    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segment_id)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.ImportLabelmapToSegmentationNode(labelmap_node, segmentation_node, ids):
        raise RuntimeError("Slicer could not import the labelmap.")
