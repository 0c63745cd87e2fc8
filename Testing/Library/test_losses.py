"""The loss: what it must not look at, what each term is, and that it pulls the right way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from PWSegmentationLib.training.losses import (
    LossWeights,
    boundary_loss,
    cross_entropy_loss,
    segmentation_loss,
    soft_dice_loss,
)

SHAPE = (2, 1, 5, 4, 3)


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=generator)
    probability = torch.rand(SHAPE, generator=generator)
    confidence = torch.rand(SHAPE, generator=generator)
    confidence[confidence < 0.4] = 0
    return logits, probability, confidence


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), junk=st.sampled_from([-1e6, 0.0, 3.0, float("inf"), float("nan")]))
def test_unknown_voxels_take_no_part(seed: int, junk: float) -> None:
    logits, probability, confidence = example(seed)
    unknown = confidence == 0
    logits.requires_grad_()
    loss = segmentation_loss(logits, probability, confidence)
    (gradient,) = torch.autograd.grad(loss, logits)
    changed = torch.where(unknown, torch.tensor(junk), logits.detach()).requires_grad_()
    other = segmentation_loss(changed, torch.where(unknown, torch.tensor(junk), probability), confidence)
    (other_gradient,) = torch.autograd.grad(other, changed)
    assert torch.equal(loss, other)
    assert torch.equal(gradient, other_gradient)
    assert (gradient[unknown] == 0).all()
    assert (gradient[~unknown] != 0).any()


def test_each_term_can_be_switched_off() -> None:
    arguments, kl = example(), torch.tensor([0.2, 0.4])
    off = LossWeights(0, 0, 0)
    assert segmentation_loss(*arguments, kl, off) == 0
    assert segmentation_loss(*arguments, kl, LossWeights(1, 0, 0)) == soft_dice_loss(*arguments)
    assert segmentation_loss(*arguments, kl, LossWeights(0, 1, 0)) == cross_entropy_loss(*arguments)
    torch.testing.assert_close(segmentation_loss(*arguments, kl, LossWeights(0, 0, 0.3)), torch.tensor(0.09))
    parts = soft_dice_loss(*arguments) + cross_entropy_loss(*arguments) + 0.3 * kl.mean()
    torch.testing.assert_close(segmentation_loss(*arguments, kl), parts)
    torch.testing.assert_close(segmentation_loss(*arguments), parts - 0.3 * kl.mean())


def test_full_confidence_is_the_ordinary_loss() -> None:
    logits, probability, _ = example()
    sure = torch.ones(SHAPE)
    expected = functional.binary_cross_entropy_with_logits(logits, probability)
    torch.testing.assert_close(cross_entropy_loss(logits, probability, sure), expected)
    p = torch.sigmoid(logits)
    dice = 1 - 2 * (p * probability).sum() / (p.square() + probability.square()).sum()
    torch.testing.assert_close(soft_dice_loss(logits, probability, sure), dice)


def test_dice_vanishes_at_a_soft_target_and_is_one_at_its_opposite() -> None:
    logits, _, confidence = example()
    assert soft_dice_loss(logits, torch.sigmoid(logits), confidence).item() < 1e-5
    mask = (torch.rand(SHAPE) > 0.5).float()
    assert soft_dice_loss(50 * (1 - 2 * mask), mask, torch.ones(SHAPE)).item() > 0.999


def test_gradients() -> None:
    logits, probability, confidence = (t.double() for t in example())
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: segmentation_loss(x, probability, confidence), (logits,))


def test_confidence_weighs() -> None:
    """Two voxels that contradict each other: the surer one decides the sign of a shared logit's gradient."""
    shared = torch.zeros((), requires_grad=True)
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1, 1)
    for sure, sign in (([0.9, 0.1], -1), ([0.1, 0.9], 1)):
        loss = cross_entropy_loss(shared.expand(target.shape), target, torch.tensor(sure).reshape(target.shape))
        assert torch.autograd.grad(loss, shared)[0].sign() == sign


def test_nothing_known_is_nothing_to_learn() -> None:
    logits, probability, _ = example()
    logits.requires_grad_()
    loss = segmentation_loss(logits, probability, torch.zeros(SHAPE))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.autograd.grad(loss, logits)[0].abs().max() == 0


def test_boundary_term_prefers_the_perfect_mask() -> None:
    """The paper's code has it the other way round."""
    mask = torch.zeros(1, 1, 12, 12, 12)
    mask[..., 3:9, 4:8, 2:10] = 1
    sure = torch.ones_like(mask)
    perfect, inverted, shifted = (
        boundary_loss(20 * (2 * m - 1), mask, sure).item() for m in (mask, 1 - mask, mask.roll(1, -1))
    )
    assert perfect < shifted < inverted
    assert -1 <= perfect < 0 < inverted <= 1


def test_boundary_term_is_an_option_and_has_a_gradient() -> None:
    logits, probability, confidence = (t.double() for t in example())
    logits.requires_grad_()
    off = segmentation_loss(logits, probability, confidence, None, LossWeights(1, 1, 0))
    on = segmentation_loss(logits, probability, confidence, None, LossWeights(1, 1, 0, boundary=0.5))
    torch.testing.assert_close(on - off, 0.5 * boundary_loss(logits, probability, confidence))
    assert torch.autograd.gradcheck(lambda x: boundary_loss(x, probability, confidence), (logits,))
