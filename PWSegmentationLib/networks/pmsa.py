"""Probabilistic multi-head self-attention (PMSA): attention scores are drawn, not computed.

Source: arXiv 2403.02566. Token ``i`` looks at token ``j`` with the score z_ij ~ N(μ_ij, σ_ij²), and
A = softmax_j(z). The paper obtains both from one linear layer over the concatenation of query and key,
(μ_ij, log σ_ij²) = W·[q_i; k_j] + b, and therefore builds a tensor of tokens × tokens × 2·channels. That is not
needed. With W = [W_q, W_k] split down the middle,

    W·[q_i; k_j] + b = W_q·q_i + W_k·k_j + b,

two small products and an outer sum. The scale factorises too: with log σ_ij² = r_i + t_j,
σ_ij = exp(r_i/2)·exp(t_j/2), and so does the mean of σ_ij² over all pairs that the KL term needs:
mean_ij exp(r_i + t_j) = mean_i exp(r_i) · mean_j exp(t_j).

Three means:

``"paper"``
    μ_ij = a_i + c_j + b, exactly the above. After the softmax over j everything constant in j cancels, so the
    mean attention does not depend on the query: every token gets the same global vector.
``"residual"`` (default)
    μ_ij = q_i·k_j/√d + c_j. The scaled dot product that the KL term pulls the mean to is the mean, and what is
    learnt is a correction to it. a_i and b would cancel in the softmax and only feed the KL: left out.
``"off"``
    Ordinary self-attention, for comparison: the score is q_i·k_j/√d, nothing is drawn, the KL is 0.

The divergence per pair, from N(q_i·k_j/√d, s²), averaged over pairs, heads and batch so that it does not depend
on the number of tokens:

    KL = ½·[((μ_ij − q_i·k_j/√d)² + σ_ij²)/s² − 1 − log σ_ij² + log s²].

In the residual form the difference of the means is c_j, and the average costs O(tokens).

Under autocast the projections run in half precision; scores, noise, softmax and KL are kept in single precision,
because exp(log σ²) leaves the range of float16 long before training is in trouble.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from PWSegmentationLib.networks.presets import Mean


class ProbabilisticSelfAttention(nn.Module):
    """Self-attention whose scores are Gaussian; see the module for the formulas.

    Parameters
    ----------
    hidden
        Channels; a multiple of ``heads``.
    heads
        Attention heads.
    mean
        ``"residual"``, ``"paper"`` or ``"off"``. The first two have the same parameters, named as in the paper's
        code; the last lacks ``fc_mu_var``.
    prior_std
        Standard deviation s of the prior.
    dropout
        On the sampled attention and on the output, in training mode.
    """

    def __init__(
        self, hidden: int, heads: int, *, mean: Mean = "residual", prior_std: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"hidden ({hidden}) must be a multiple of heads ({heads}).")
        self.heads = heads
        self.mean: Mean = mean
        self.prior_std = prior_std
        self.dropout = dropout
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.out_proj = nn.Linear(hidden, hidden)
        if mean == "off":
            return
        # Row 0: mean, row 1: log-variance; columns: query, then key. Shared by the heads, as in the paper.
        self.fc_mu_var = nn.Linear(2 * (hidden // heads), 2)
        if mean == "residual":
            # Starts as ordinary attention with the prior's noise: the KL begins at 0.
            nn.init.zeros_(self.fc_mu_var.weight)
            with torch.no_grad():
                self.fc_mu_var.bias.copy_(torch.tensor([0.0, 2 * math.log(prior_std)]))

    def forward(
        self, x: Tensor, *, sample: bool = True, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend.

        Parameters
        ----------
        x
            ``(batch, tokens, hidden)``, any number of tokens.
        sample
            Draw the scores; otherwise their mean is used and the result is deterministic.
        generator
            Source of the noise, on the device of ``x``; None is torch's global one.

        Returns
        -------
        tuple
            Output ``(batch, tokens, hidden)`` and the KL term, a scalar.
        """
        batch, tokens, hidden = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if self.mean == "off":
            dropout = self.dropout if self.training else 0.0
            attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
            kl = torch.zeros((), device=x.device)
        elif sample:
            attended, kl = self._sampled(q, k, v, *self._pair_terms(q, k), generator)
        else:
            attended, kl = self._expected(q, k, v, *self._pair_terms(q, k))
        merged = attended.transpose(1, 2).reshape(batch, tokens, hidden)
        return functional.dropout(self.out_proj(merged), self.dropout, self.training), kl

    def _pair_terms(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """(a_i + b, r_i + b) and (c_j, t_j), each ``(batch, heads, tokens, 2)``: mean and log-variance."""
        for_query, for_key = self.fc_mu_var.weight.chunk(2, dim=1)
        from_query = functional.linear(q, for_query, self.fc_mu_var.bias)
        return _single(from_query), _single(functional.linear(k, for_key))

    def _sampled(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        from_query: Tensor,
        from_key: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        dot = _single((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1))
        mu = self._mean(dot, from_query, from_key)
        noise = torch.randn(dot.shape, generator=generator, device=dot.device, dtype=dot.dtype)
        std_query = torch.exp(0.5 * from_query[..., 1]).unsqueeze(-1)
        std_key = torch.exp(0.5 * from_key[..., 1]).unsqueeze(-2)
        attention = torch.softmax(_scores(mu, noise, std_query, std_key), dim=-1)
        attention = functional.dropout(attention, self.dropout, self.training)
        gap = from_key[..., 0].square().mean(dim=-1) if self.mean == "residual" else _gap(dot, mu)
        return attention.to(v.dtype) @ v, self._divergence(gap, from_query, from_key)

    def _expected(self, q: Tensor, k: Tensor, v: Tensor, from_query: Tensor, from_key: Tensor) -> tuple[Tensor, Tensor]:
        if self.mean == "residual":
            # c_j is an additive mask: the fused kernel never stores tokens x tokens.
            bias = from_key[..., 0].unsqueeze(-2).to(q.dtype)
            tokens = q.shape[-2]
            attended = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=bias.expand(-1, -1, tokens, -1), dropout_p=self.dropout if self.training else 0.0
            )
            return attended, self._divergence(from_key[..., 0].square().mean(dim=-1), from_query, from_key)
        dot = _single((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1))
        mu = self._mean(dot, from_query, from_key)
        attention = functional.dropout(torch.softmax(mu, dim=-1), self.dropout, self.training)
        return attention.to(v.dtype) @ v, self._divergence(_gap(dot, mu), from_query, from_key)

    def _mean(self, dot: Tensor, from_query: Tensor, from_key: Tensor) -> Tensor:
        """μ, ``(batch, heads, tokens, tokens)``."""
        base = dot if self.mean == "residual" else from_query[..., 0].unsqueeze(-1)
        return base + from_key[..., 0].unsqueeze(-2)

    def _divergence(self, gap: Tensor, from_query: Tensor, from_key: Tensor) -> Tensor:
        """Mean KL over batch, heads and pairs; ``gap`` ``(batch, heads)`` is the mean of (μ_ij − q_i·k_j/√d)²."""
        prior = self.prior_std**2
        log_query, log_key = from_query[..., 1], from_key[..., 1]
        variance = log_query.exp().mean(dim=-1) * log_key.exp().mean(dim=-1)
        log_variance = log_query.mean(dim=-1) + log_key.mean(dim=-1)
        return (0.5 * ((gap + variance) / prior - 1.0 - log_variance + math.log(prior))).mean()


def _scores(mu: Tensor, noise: Tensor, std_query: Tensor, std_key: Tensor) -> Tensor:
    """μ + σ·ε with σ = std_query·std_key; the noise's own memory is used where no gradient needs it again."""
    if torch.is_grad_enabled():
        return torch.addcmul(mu, noise * std_query, std_key)
    return noise.mul_(std_query).mul_(std_key).add_(mu)


def _single(x: Tensor) -> Tensor:
    """Half precision widened to single; double left alone."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _gap(dot: Tensor, mu: Tensor) -> Tensor:
    return (mu - dot).square().mean(dim=(-2, -1))
