"""What the exact rewrite of the attention saves, beside the form it replaces, in one process.

The reference is the attention as the paper writes it: query and key of every pair concatenated, one linear layer over
all pairs. The networks compared differ in that alone. Processor time, the best of several turns, so that a busy
machine does not decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from PWSegmentationLib.networks.pmsa import ProbabilisticSelfAttention
from PWSegmentationLib.networks.presets import PRESETS, UNETRConfig
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR


class PairwiseAttention(nn.Module):
    """The same parameters and the same result as ``mean="paper"``, by way of every pair of tokens."""

    def __init__(self, exact: ProbabilisticSelfAttention) -> None:
        super().__init__()
        self.heads, self.prior_std = exact.heads, exact.prior_std
        self.qkv, self.out_proj, self.fc_mu_var = exact.qkv, exact.out_proj, exact.fc_mu_var

    def forward(
        self, x: Tensor, *, sample: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `ProbabilisticSelfAttention.forward`."""
        batch, n, hidden = x.shape
        q, k, v = self.qkv(x).reshape(batch, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        pairs = torch.cat([q.unsqueeze(3).repeat(1, 1, 1, n, 1), k.unsqueeze(2).repeat(1, 1, n, 1, 1)], dim=-1)
        mean, log_variance = self.fc_mu_var(pairs).unbind(-1)
        noise = torch.randn(mean.shape, generator=generator, device=x.device, dtype=x.dtype) if sample else 0.0
        attention = torch.softmax(mean + torch.exp(0.5 * log_variance) * noise, dim=-1)
        dot = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        prior = torch.full_like(dot, self.prior_std)
        gaussian = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
        kl = torch.distributions.kl_divergence(gaussian, torch.distributions.Normal(dot, prior)).mean()
        return self.out_proj((attention @ v).transpose(1, 2).reshape(batch, n, hidden)), kl


@dataclass(frozen=True)
class Ratio:
    """``ours`` and ``reference`` in seconds of processor time, bytes, or what ``unit`` says."""

    what: str
    ours: float
    reference: float
    unit: str

    @property
    def times(self) -> float:
        """How many times less ours is."""
        return self.reference / self.ours


def measure(sizes: UNETRConfig | None = None, turns: int = 3) -> list[Ratio]:
    """Attention, network and draws at ``sizes``, by default the paper's (a few minutes, 8 GB)."""
    sizes = sizes or PRESETS["paper"]
    torch.manual_seed(0)
    return [*_attention(sizes, turns), *_network(sizes, turns)]


def table(ratios: list[Ratio]) -> str:
    """Markdown."""
    lines = ["| | ours | reference | times less |", "|---|---|---|---|"]
    for r in ratios:
        scale, unit = (2**20, "MiB") if r.unit == "bytes" else (1, r.unit)
        lines.append(f"| {r.what} | {r.ours / scale:.3g} {unit} | {r.reference / scale:.3g} {unit} | {r.times:.1f} |")
    return "\n".join(lines)


def _attention(sizes: UNETRConfig, turns: int) -> list[Ratio]:
    exact = ProbabilisticSelfAttention(sizes.hidden, sizes.heads, mean="paper")
    pairs = PairwiseAttention(exact)
    tokens = (sizes.window // sizes.patch) ** 3
    x = torch.randn(1, tokens, sizes.hidden, requires_grad=True)

    def forward(module: nn.Module) -> Callable[[], Any]:
        return lambda: module(x, generator=torch.Generator().manual_seed(0))

    def learn(module: nn.Module) -> Callable[[], Any]:
        return lambda: _backward(*forward(module)())

    def seconds(what: str, job: Callable[[nn.Module], Callable[[], Any]], times: int) -> Ratio:
        return Ratio(
            f"attention, {tokens} tokens, {what}", _seconds(job(exact), times), _seconds(job(pairs), times), "s"
        )

    with torch.no_grad():
        gap = float((forward(exact)()[0] - forward(pairs)()[0]).abs().max())
        still = seconds(f"forward (outputs differ by {gap:.0e})", forward, 3 * turns)
    kept = _kept(forward(exact)), _kept(forward(pairs))
    return [
        still,
        seconds("forward and backward", learn, turns),
        Ratio(f"attention, {tokens} tokens, kept for the backward pass", kept[0], kept[1], "bytes"),
    ]


def _network(sizes: UNETRConfig, turns: int) -> list[Ratio]:
    exact = ProbabilisticUNETR(sizes)
    pairs = ProbabilisticUNETR(sizes)
    pairs.load_state_dict(exact.state_dict())
    for block in pairs.blocks:
        block.attn = PairwiseAttention(block.attn)  # type: ignore[assignment,arg-type]
    x = torch.randn(1, 1, *(sizes.window,) * 3)

    def forward(network: nn.Module) -> Callable[[], Any]:
        return lambda: network(x)

    def learn(network: nn.Module) -> Callable[[], Any]:
        return lambda: _backward(*network(x))

    with torch.inference_mode():
        one, reference = _seconds(forward(exact), turns), _seconds(forward(pairs), turns)
        draws = _seconds(lambda: list(exact.draws(x, 6)), turns)
    what = f"network, {sizes.window}³"
    return [
        Ratio(f"{what}, forward", one, reference, "s"),
        Ratio(f"{what}, forward and backward", _seconds(learn(exact), turns), _seconds(learn(pairs), turns), "s"),
        Ratio(f"{what}, kept for the backward pass", _kept(forward(exact)), _kept(forward(pairs)), "bytes"),
        Ratio(f"{what}, six draws beside six passes of ours", draws, 6 * one, "s"),
        Ratio(f"{what}, six draws beside six passes of the reference", draws, 6 * reference, "s"),
    ]


def _backward(out: Tensor, kl: Tensor) -> None:
    (out.square().mean() + kl.sum()).backward()


def _seconds(run: Callable[[], Any], turns: int) -> float:
    times = []
    for _ in range(turns):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def _kept(run: Callable[[], Any]) -> float:
    """Bytes of the tensors that the forward pass keeps for the backward pass."""
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return float(sum(sizes.values()))
