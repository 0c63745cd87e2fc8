"""Stages of the network: attention, forward pass, sampled inference, training step.

Networks have their first, random weights: time and memory do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from PWSegmentationLib.networks import PRESETS, ProbabilisticSelfAttention, ProbabilisticUNETR, UNETRConfig
from PWSegmentationLib.prediction.inference_memory import InferencePlan
from PWSegmentationLib.prediction.sliding_window import DrawnMaps, infer_maps
from PWSegmentationLib.pseudolabel import gaussian_label
from PWSegmentationLib.training import segmentation_loss
from PWSegmentationLib.training.case_data import IN_CHANNELS, prepare
from PWSegmentationLib.training.case_fitting import CLIP, LEARNING_RATE, WEIGHT_DECAY
from PWSegmentationLib.training.case_model import WINDOW, corrected
from PWSegmentationLib.training.patches import Batch, PatchSampler
from Testing.Benchmarks import reference_forms
from Testing.Benchmarks.measuring import Comparison
from Testing.Benchmarks.scenes import organ_in_noise, organ_mask


def attention(quick: bool, device: str, backward: bool = False) -> Comparison:
    """PMSA."""
    hidden, heads, tokens = (256, 4, 216) if quick else (768, 12, 216)
    torch.manual_seed(0)
    ours = ProbabilisticSelfAttention(hidden, heads, mean="paper").to(device)
    theirs = reference_forms.PairwiseAttention(ours)
    x = torch.randn(1, tokens, hidden, device=device)

    def run(module: nn.Module) -> list[Tensor]:
        with torch.set_grad_enabled(backward):
            out, kl = module(x, generator=_noise(device))
        if not backward:
            return [out, kl]
        return list(torch.autograd.grad(out.square().mean() + kl, [p for _, p in sorted(module.named_parameters())]))

    return Comparison(
        "PMSA, forward and backward" if backward else "PMSA, forward",
        f'split linear layer, mean "paper", {hidden} channels, {heads} heads, {tokens} tokens, batch 1; difference: '
        + ("of the gradients" if backward else "of output and KL"),
        "all pairs of tokens × 2·channels in memory, as published; same parameters and noise",
        lambda: run(ours),
        lambda: run(theirs),
        lambda a, b: max((p - q).abs().max() for p, q in zip(a, b, strict=True)),
    )


def attention_backward(quick: bool, device: str) -> Comparison:
    """PMSA with its gradients."""
    return attention(quick, device, backward=True)


def forward(quick: bool, device: str) -> Comparison:
    """The network, one sampled pass of the paper's window.

    The compact network has 8 × as many tokens there (1728 of 8³ voxels, not 216 of 16³), and 64 × as many pairs.
    """
    return _forward(quick, 32 if quick else 96, device)


def forward_window(quick: bool, device: str) -> Comparison:
    """The same for the window that the compact network is used with."""
    return _forward(quick, 32 if quick else WINDOW, device)


def _forward(quick: bool, edge: int, device: str) -> Comparison:
    small, large = _network("compact", 1, device), _network(_paper(quick), 1, device)
    x = torch.randn(1, 1, edge, edge, edge, device=device)

    def run(network: ProbabilisticUNETR) -> Tensor:
        with torch.no_grad():
            return network(x, generator=_noise(device)).logits

    return Comparison(
        f"Network, forward, {edge}³",
        f"preset compact ({_millions(small)} parameters), {edge}³, one sampled pass",
        f"preset paper ({_millions(large)} parameters) with our PMSA: another, larger network",
        lambda: run(small),
        lambda: run(large),
    )


def forward_published(quick: bool, device: str) -> Comparison:
    """The paper's network, one sampled pass of its window, beside the published one."""
    edge = 32 if quick else 96
    ours = _network(_paper(quick), 1, device)
    theirs = reference_forms.as_published(ours)
    x = torch.randn(1, 1, edge, edge, edge, device=device)

    def run(network: ProbabilisticUNETR) -> Tensor:
        with torch.no_grad():
            return network(x, generator=_noise(device)).logits

    return Comparison(
        "Forward, paper",
        f"preset paper, {edge}³, one sampled pass; difference: of the logits",
        "attention as published, MONAI's blocks as they are; same parameters and noise",
        lambda: run(ours),
        lambda: run(theirs),
        lambda a, b: (a - b).abs().max(),
    )


def draws_volume(quick: bool, device: str) -> Comparison:
    """K = 6 sampled passes over a volume whose structure is in some of the windows, as in a scan."""
    edge, steps = (48, 2) if quick else (96, 200)
    volume = organ_in_noise((edge,) * 3, (edge / 8, edge / 9, edge / 7))
    image = torch.from_numpy((volume.array - 60.0) / 60.0).float()[None]
    network = _taught(image, organ_mask((edge,) * 3, (edge / 8, edge / 9, edge / 7)), steps, device)
    plan = InferencePlan((32,) * 3, 1, 2, 0)
    windows, passes = [], []

    def ours() -> list[DrawnMaps]:
        maps, cost = infer_maps(network, image, plan, draws=6, precision="off")
        windows.append(cost.windows)
        passes.append(cost.passes)
        return [maps]

    def theirs() -> list[DrawnMaps]:
        return [infer_maps(network, image, plan, draws=1, seed=s, precision="off")[0] for s in range(6)]

    def agreement(a: list[DrawnMaps], b: list[DrawnMaps]) -> str:
        other = torch.stack([maps.probability for maps in b])
        apart = (a[0].probability - other.mean(0)).abs()
        return (
            f"{passes[-1]} passes through {windows[-1]} windows and not {6 * windows[-1]}; mean probabilities differ "
            f"by {float(apart.mean()):.1e} on average and {float(apart.max()):.2f} at most, masks in "
            f"{int(((a[0].probability >= 0.5) != (other.mean(0) >= 0.5)).sum())} voxels of "
            f"{int((other.mean(0) >= 0.5).sum())}"
        )

    return Comparison(
        "Sampled inference, volume",
        f"preset compact, taught for {steps} steps, {edge}³ in windows of 32³, K = 6, sure windows left early",
        "six whole passes over all windows, one after the other, their probabilities averaged",
        ours,
        theirs,
        agreement=agreement,
    )


def _taught(image: Tensor, mask: np.ndarray, steps: int, device: str) -> ProbabilisticUNETR:
    """A compact network that has seen windows of this one image: enough to be sure where nothing is."""
    network = _network("compact", 1, device).train()
    target = torch.from_numpy(mask)[None].float()
    places = torch.Generator().manual_seed(0)
    # Begins with "nothing anywhere" and not with one half, which takes most of the steps to unlearn.
    torch.nn.init.constant_(network.out.conv.conv.bias, -4.0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(steps):
        starts = torch.randint(0, mask.shape[0] - 32 + 1, (4, 3), generator=places).tolist()
        windows = [tuple(slice(s, s + 32) for s in start) for start in starts]
        x, y = (torch.stack([t[(slice(None), *w)] for w in windows]).to(device) for t in (image, target))
        out = network(x, generator=_noise(device))
        segmentation_loss(out.logits, y, torch.ones_like(y), out.kl).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return network.eval()


def draws(quick: bool, device: str) -> Comparison:
    """K = 6 sampled passes of a window of the network in use."""
    return _draws("compact", IN_CHANNELS, 32 if quick else WINDOW, device)


def draws_paper(quick: bool, device: str) -> Comparison:
    """The same for the paper's network."""
    return _draws(_paper(quick), 1, 32 if quick else 64, device)


def _draws(config: UNETRConfig | str, channels: int, edge: int, device: str) -> Comparison:
    network = _network(config, channels, device)
    x = torch.randn(1, channels, edge, edge, edge, device=device)

    def ours() -> Tensor:
        with torch.no_grad():
            return _statistics(list(network.draws(x, 6, _noise(device))))

    def theirs() -> Tensor:
        with torch.no_grad():
            return _statistics(reference_forms.sampled_passes(network, x, 6, _noise(device)))

    preset = "compact" if config == "compact" else "paper"
    return Comparison(
        f"Sampled inference, {preset}",
        f"K = 6, {edge}³ window, what the samples have in common once; difference: of mean and spread of p",
        "six whole passes, in pairs as well, same noise",
        ours,
        theirs,
        lambda a, b: (a - b).abs().max(),
    )


def _statistics(logits: list[Tensor]) -> Tensor:
    """Mean and standard deviation of the probability over the passes."""
    p = torch.sigmoid(torch.stack(logits))
    return torch.stack([p.mean(0), p.std(0)])


def step(quick: bool, device: str) -> Comparison:
    """One step of the quick fit to a case, as `training.case_fitting` does it."""
    edge = 32 if quick else WINDOW
    batch = _batch(edge, device)
    small, large = _network("compact", IN_CHANNELS, device), _network(_paper(quick), IN_CHANNELS, device)
    return Comparison(
        "Fine-tune step",
        f"preset compact, two {edge}³ windows: forward, loss, backward, AdamW",
        "the same step with preset paper and our PMSA: another, larger network",
        _step(small, batch, device),
        _step(large, batch, device),
    )


def training_pass(quick: bool, device: str) -> Comparison:
    """Forward, loss and backward of the paper's network in both forms of the attention."""
    edge = 32 if quick else 96
    batch = _batch(edge, device)
    batch = Batch(batch.inputs[:1], batch.probability[:1], batch.weight[:1])
    ours = _network(_paper(quick), IN_CHANNELS, device)
    theirs = reference_forms.as_published(ours)

    def run(network: ProbabilisticUNETR) -> Tensor:
        loss = _loss(network, batch, device)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1e9)
        # So that the next turn's memory includes the gradients.
        network.zero_grad(set_to_none=True)
        return torch.stack([loss.detach(), norm])

    return Comparison(
        "Training pass, paper",
        f"preset paper, one {edge}³ window: forward, loss, backward; difference: of loss and norm of the gradient",
        "the same with the attention as published and MONAI's blocks as they are",
        lambda: run(ours),
        lambda: run(theirs),
        lambda a, b: (a - b).abs().max(),
    )


def _step(network: ProbabilisticUNETR, batch: Batch, device: str) -> Callable[[], float]:
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    network.train()

    def run() -> float:
        loss = _loss(network, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    # AdamW makes its state in the first step; it is there before any other.
    run()
    return run


def _loss(network: ProbabilisticUNETR, batch: Batch, device: str) -> Tensor:
    out = network(batch.inputs, generator=_noise(device))
    return segmentation_loss(corrected(out.logits, batch.inputs), batch.probability, batch.weight, out.kl)


def _batch(edge: int, device: str) -> Batch:
    """Two windows of a case, as the fit draws them."""
    volume = organ_in_noise((edge,) * 3, (edge / 4, edge / 5, edge / 3))
    label = gaussian_label(np.full((1, 3), edge // 2), volume.grid.shape, (1, 1, 1), edge / 5)
    data = prepare(volume.array, label, (1, 1, 1), valid=None, multiple=16, device=device)
    return PatchSampler(data, data.confidence, edge, torch.Generator().manual_seed(0)).draw()


def _network(config: UNETRConfig | str, channels: int, device: str) -> ProbabilisticUNETR:
    torch.manual_seed(0)
    return ProbabilisticUNETR(config, in_channels=channels).to(device).eval()


def _paper(quick: bool) -> UNETRConfig:
    """The paper's network; for a quick run its shape, smaller."""
    paper = PRESETS["paper"]
    return replace(paper, hidden=192, heads=3, mlp=384, depth=4, skips=(1, 2, 3), features=4) if quick else paper


def _noise(device: str) -> torch.Generator:
    """The same noise for both forms."""
    return torch.Generator(device=device).manual_seed(0)


def _millions(network: nn.Module) -> str:
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million"
