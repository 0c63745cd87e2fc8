"""The probabilistic attention against its naive form, and the network's shapes, sizes and noise."""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from monai.networks.blocks import UnetrUpBlock
from torch import Tensor

from PWSegmentationLib.networks import ProbabilisticSelfAttention, ProbabilisticUNETR, UNETRConfig
from PWSegmentationLib.networks.fast_layers import Convolution, InstanceNorm, Upsampling, use_fast_layers
from PWSegmentationLib.networks.presets import Mean

MEANS: list[Mean] = ["residual", "paper"]


def attention(mean: Mean, hidden: int = 24, heads: int = 3, prior_std: float = 1.0) -> ProbabilisticSelfAttention:
    torch.manual_seed(0)
    module = ProbabilisticSelfAttention(hidden, heads, mean=mean, prior_std=prior_std)
    torch.nn.init.normal_(module.fc_mu_var.weight, std=0.5)
    torch.nn.init.normal_(module.fc_mu_var.bias, std=0.5)
    return module


def naive(module: ProbabilisticSelfAttention, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's form: every pair of query and key concatenated, one linear layer over all of them."""
    batch, n, hidden = x.shape
    q, k, v = module.qkv(x).reshape(batch, n, 3, module.heads, -1).permute(2, 0, 3, 1, 4)
    pairs = torch.cat([q.unsqueeze(3).repeat(1, 1, 1, n, 1), k.unsqueeze(2).repeat(1, 1, n, 1, 1)], dim=-1)
    mu, log_variance = module.fc_mu_var(pairs).unbind(-1)
    dot = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
    if module.mean == "residual":
        key_only = k @ module.fc_mu_var.weight[0, q.shape[-1] :]
        mu = dot + key_only.unsqueeze(-2)
    drawn = torch.softmax(mu + torch.exp(0.5 * log_variance) * noise, dim=-1)
    out = module.out_proj(torch.einsum("bhij,bhjd->bihd", drawn, v).reshape(batch, n, hidden))
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, torch.exp(0.5 * log_variance)),
        torch.distributions.Normal(dot, torch.full_like(dot, module.prior_std)),
    )
    return out, divergence.mean()


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("tokens", [1, 7, 50])
@pytest.mark.parametrize("prior_std", [1.0, 0.5])
def test_attention_equals_the_pairwise_form(mean: Mean, tokens: int, prior_std: float) -> None:
    module = attention(mean, prior_std=prior_std)
    x = torch.randn(2, tokens, 24)
    noise = torch.randn((2, 3, tokens, tokens), generator=torch.Generator().manual_seed(5))
    expected, expected_kl = naive(module, x, noise)
    out, kl = module(x, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(kl, expected_kl, atol=1e-5, rtol=1e-5)
    still, still_kl = module(x, sample=False)
    torch.testing.assert_close(still, naive(module, x, torch.zeros_like(noise))[0], atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(still_kl, expected_kl, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mean", MEANS)
def test_attention_gradients_equal_the_pairwise_form(mean: Mean) -> None:
    module = attention(mean).double()
    x = torch.randn(1, 9, 24, dtype=torch.float64)
    noise = torch.randn((1, 3, 9, 9), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grads = []
    for run in (lambda: naive(module, x, noise), lambda: module(x, generator=torch.Generator().manual_seed(1))):
        out, kl = run()
        grads.append(torch.autograd.grad(out.square().sum() + kl, list(module.parameters())))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_paper_mean_gives_every_token_the_same_global_vector() -> None:
    """Why the residual mean is the default."""
    x = torch.randn(1, 20, 24)
    spread = {mean: attention(mean)(x, sample=False)[0].std(dim=1).max().item() for mean in MEANS}
    assert spread["paper"] < 1e-6 < 1e-3 < spread["residual"]


def test_untrained_residual_attention_has_no_divergence() -> None:
    module = ProbabilisticSelfAttention(24, 3, prior_std=0.7)
    assert abs(module(torch.randn(1, 11, 24))[1].item()) < 1e-6


@pytest.mark.parametrize("mean", MEANS)
def test_noise_is_seeded_and_can_be_left_out(mean: Mean) -> None:
    module, x = attention(mean), torch.randn(1, 12, 24)
    draw = [module(x, generator=torch.Generator().manual_seed(s))[0] for s in (3, 3, 4)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert torch.equal(module(x, sample=False)[0], module(x, sample=False)[0])


@pytest.mark.stopwatch
def test_attention_is_cheaper_than_the_pairwise_form() -> None:
    """At the paper's size (216 tokens, 12 heads of 64): 15 times as fast when measured alone; 3 leaves slack."""
    module, x = attention("paper", 768, 12), torch.randn(1, 216, 768)
    noise = torch.randn(1, 12, 216, 216)

    def fastest(run: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        return min(times)

    with torch.no_grad():
        assert fastest(lambda: module(x)) * 3 < fastest(lambda: naive(module, x, noise))


def test_attention_keeps_less_for_the_backward_pass_than_the_pairwise_form() -> None:
    module, x = attention("paper", 128, 2), torch.randn(1, 64, 128)
    noise = torch.randn(1, 2, 64, 64)

    def kept(run: Callable[[], object]) -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run()
        return sum(sizes.values())

    assert kept(lambda: module(x)) * 8 < kept(lambda: naive(module, x, noise))


def test_paper_preset_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        network = ProbabilisticUNETR("paper")
    assert sum(p.numel() for p in network.parameters()) == 92_786_921


def test_compact_preset_is_small() -> None:
    with torch.device("meta"):
        network = ProbabilisticUNETR("compact", in_channels=6)
    assert 2_000_000 < sum(p.numel() for p in network.parameters()) < 5_000_000


TINY = UNETRConfig(window=16, patch=4, stem=1, hidden=16, heads=2, mlp=32, depth=2, skips=(0,), features=4)
TINY_STEM = UNETRConfig(window=16, patch=4, stem=2, hidden=16, heads=2, mlp=32, depth=2, skips=(), features=4)


@pytest.mark.parametrize("config", [TINY, TINY_STEM, replace(TINY_STEM, encoder="hybrid")])
@pytest.mark.parametrize("shape", [(16, 16, 16), (8, 12, 20)])
def test_any_multiple_of_the_patch(config: UNETRConfig, shape: tuple[int, int, int]) -> None:
    network = ProbabilisticUNETR(config, in_channels=3, out_channels=2)
    out = network(torch.randn(2, 3, *shape))
    assert out.logits.shape == (2, 2, *shape)
    assert out.kl.shape == (2,)
    (out.logits.square().mean() + out.kl.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_draws_repeat_with_the_seed_and_agree_with_forward() -> None:
    network = ProbabilisticUNETR(TINY_STEM).eval()
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        first = list(network.draws(x, 2, torch.Generator().manual_seed(0), together=1))
        again = network(x, generator=torch.Generator().manual_seed(0)).logits
        both = list(network.draws(x, 2, torch.Generator().manual_seed(0)))
        paired = network(x.repeat(2, 1, 1, 1, 1), generator=torch.Generator().manual_seed(0)).logits
        still = [network(x, sample=False).logits for _ in range(2)]
    torch.testing.assert_close(first[0], again, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat(both), paired, atol=1e-5, rtol=1e-5)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(still[0], still[1])


def test_convolutions_beside_the_tokens_change_nothing_until_they_are_taught() -> None:
    config = replace(TINY_STEM, encoder="hybrid")
    torch.manual_seed(0)
    hybrid, plain = ProbabilisticUNETR(config), ProbabilisticUNETR(TINY_STEM)
    weights = {n: v for n, v in hybrid.state_dict().items() if not n.startswith("convolutions.")}
    plain.load_state_dict(weights)
    x = torch.rand(1, 1, 16, 24, 16)
    assert torch.equal(hybrid(x, sample=False).logits, plain(x, sample=False).logits)
    assert hybrid.convolutions is not None
    torch.nn.init.normal_(hybrid.convolutions.exits[0].weight)
    assert not torch.allclose(hybrid(x, sample=False).logits, plain(x, sample=False).logits)
    draws = torch.cat(list(hybrid.draws(x, 2, torch.Generator().manual_seed(3))))
    assert torch.isfinite(draws).all() and not torch.equal(draws[0], draws[1])


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_in_bf16_a_thin_image_gives_the_gradient_that_single_precision_gives(depth: int) -> None:
    """Where torch's own has whatever lay in memory."""
    convolution = torch.nn.Sequential(torch.nn.Conv3d(48, 48, 3, padding=1))
    use_fast_layers(convolution)
    torch.manual_seed(0)
    x, pull = torch.randn(2, 1, 48, depth, 6, 5).unbind()
    right = torch.autograd.grad(convolution(x), convolution[0].weight, pull)[0]
    for _ in range(5):
        junk = [torch.full((n,), float("nan")) for n in (10**3, 10**4, 10**5, 10**6)]
        del junk
        with torch.autocast("cpu", torch.bfloat16):
            out = convolution(x)
        found = torch.autograd.grad(out, convolution[0].weight, pull.to(out.dtype))[0]
        assert float((found - right).norm() / right.norm()) < 0.02


def test_subvoxel_head_keeps_voxels_in_place() -> None:
    from PWSegmentationLib.networks.unetr import _cells_to_voxels

    volume = torch.arange(8.0 * 3 * 2 * 2).reshape(1, 1, 6, 4, 4)
    cells = volume.reshape(1, 3, 2, 2, 2, 2, 2).permute(0, 2, 4, 6, 1, 3, 5).reshape(1, 8, 3, 2, 2)
    assert torch.equal(_cells_to_voxels(cells, 2), volume)


@pytest.mark.parametrize("change", [{"patch": 6}, {"skips": ()}, {"skips": (9,)}, {"window": 62}, {"stem": 3}])
def test_impossible_sizes_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must be|needed"):
        ProbabilisticUNETR(replace(UNETRConfig(), **change))  # type: ignore[arg-type]


def test_window_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        ProbabilisticUNETR(TINY)(torch.zeros(1, 1, 16, 16, 15))


@pytest.mark.parametrize("preset", ["compact", "tiny"])
@pytest.mark.parametrize("edge", [16, 24])
def test_fast_layers_have_the_numbers_names_and_gradients_of_monais(preset: str, edge: int) -> None:
    torch.manual_seed(0)
    fast = ProbabilisticUNETR("compact" if preset == "compact" else TINY)
    plain = copy.deepcopy(fast)
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, torch.nn.InstanceNorm3d(1, eps=child.eps, affine=False))
        if isinstance(module, Convolution | Upsampling):
            module.__class__ = torch.nn.Conv3d if isinstance(module, Convolution) else UnetrUpBlock
    assert [n for n, _ in fast.named_parameters()] == [n for n, _ in plain.named_parameters()]
    x = torch.randn(2, 1, edge, edge, edge)
    with torch.no_grad():
        torch.testing.assert_close(fast(x[:1], sample=False).logits, plain(x[:1], sample=False).logits)
        torch.testing.assert_close(fast(x, sample=False).logits, plain(x, sample=False).logits)
    for network in (fast, plain):
        network(x, sample=False).logits.square().mean().backward()
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, atol=1e-5, rtol=1e-3)


def test_importing_the_packages_does_not_import_torch() -> None:
    code = "import sys, PWSegmentationLib.networks, PWSegmentationLib.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_paper_attention_at_the_papers_size_is_exact() -> None:
    torch.manual_seed(0)
    module, x = ProbabilisticSelfAttention(768, 12, mean="paper"), torch.randn(1, 216, 768)
    noise = torch.randn((1, 12, 216, 216), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, expected_kl = naive(module, x, noise)
        out, kl = module(x, generator=torch.Generator().manual_seed(2))
    assert (out - expected).abs().max() < 1e-6
    torch.testing.assert_close(kl, expected_kl, rtol=1e-5, atol=0)


def test_attention_switched_off_is_the_ordinary_one() -> None:
    module, x = ProbabilisticSelfAttention(24, 3, mean="off"), torch.randn(2, 9, 24)
    out, kl = module(x)
    q, k, v = module.qkv(x).reshape(2, 9, 3, 3, 8).permute(2, 0, 3, 1, 4)
    expected = torch.softmax(q @ k.transpose(-2, -1) / 8**0.5, dim=-1) @ v
    torch.testing.assert_close(out, module.out_proj(expected.transpose(1, 2).reshape(2, 9, 24)))
    assert kl == 0
    assert not [n for n, _ in module.named_parameters() if "fc_mu_var" in n]


@pytest.mark.parametrize("mean", [*MEANS, "off"])
def test_autocast_learns_and_stays_close(mean: Mean) -> None:
    torch.manual_seed(0)
    network = ProbabilisticUNETR(replace(TINY, mean=mean))
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x, sample=False)
    exact = network(x, sample=False)
    assert out.kl.dtype == torch.float32
    torch.testing.assert_close(out.kl, exact.kl, rtol=0.05, atol=1e-3)
    assert (out.logits.float() - exact.logits).abs().max() < 0.2
    (out.logits.float().square().mean() + out.kl.sum()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("mean", MEANS)
def test_compiles_to_the_same(mean: Mean) -> None:
    """Traced with one graph and no fallback; the backend that needs no C++ compiler."""
    network = ProbabilisticUNETR(replace(TINY, mean=mean, depth=1))
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(compiled(x, sample=False).logits, network(x, sample=False).logits)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, sample=False).logits, network(x, sample=False).logits)
    drawn = compiled(x)
    assert torch.isfinite(drawn.logits).all() and drawn.kl.shape == (1,)
    assert not torch.equal(compiled(x).logits, drawn.logits)
