"""Fitting one case: what it must learn, promise and leave alone. The network is tiny so that this takes seconds."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.networks import PRESETS, UNETRConfig
from PWSegmentationLib.prediction.sliding_window import entropy
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.training import CaseModel, fit_case
from PWSegmentationLib.training.case_data import prepare
from PWSegmentationLib.training.fine_tuning import fit_segment
from PWSegmentationLib.training.holdout import mark_groups, withhold_blocks, withhold_marks
from PWSegmentationLib.training.patches import PatchSampler, random_blocks
from PWSegmentationLib.volume.volume import Volume
from Testing.timing import allowed

TINY = UNETRConfig(window=32, patch=8, stem=2, hidden=32, heads=2, mlp=64, depth=2, skips=(0,), features=8)
SPACING = (1.0, 1.5, 2.0)
Bools = NDArray[np.bool_]


def blob(shape: tuple[int, int, int] = (30, 27, 21)) -> tuple[NDArray[np.float32], Bools]:
    """A bright ellipsoid in noise, and its mask."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = np.stack([(a / r) ** 2 for a, r in zip(axes, (0.6, 0.5, 0.7), strict=True)]).sum(axis=0) < 1
    noise = np.random.default_rng(0).normal(0, 15, shape)
    return (100.0 * mask + noise - 500).astype(np.float32), mask


def partial_label(mask: Bools) -> PseudoLabel:
    """Known well inside and well outside, unknown around the border and in a whole corner, where it is wrong."""
    inside, outside = ndimage.binary_erosion(mask, iterations=2), ~ndimage.binary_dilation(mask, iterations=2)
    known = inside | outside
    known[: mask.shape[0] // 2, : mask.shape[1] // 2] = False
    return PseudoLabel(np.where(known, mask, 0.5).astype(np.float32), known.astype(np.float32))


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "compact", TINY)


def fit(image: NDArray[np.float32] | None = None, label: PseudoLabel | None = None, **changes: Any) -> CaseModel:
    """The blob, or what is given, without marks."""
    made, mask = blob()
    image = made if image is None else image
    nothing = np.zeros(image.shape, bool)
    arguments: dict[str, Any] = {
        "budget_s": 60.0,
        "valid": ~nothing,
        "positive": nothing,
        "negative": nothing,
        "relabel": lambda *_: pytest.fail("there are not enough marks to withhold any"),
    }
    return fit_case(image, label or partial_label(mask), SPACING, **(arguments | changes))


def stopped_after(steps: int) -> dict[str, Any]:
    """For `fit`: somebody stops it after so many steps."""
    told: list[str] = []
    return {"progress": lambda _, text: told.append(text), "cancel": lambda: told.count("learning") >= steps}


def dice(a: Bools, b: Bools) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_completes_a_label_from_the_image() -> None:
    """Half of the border and a quarter of the case are unknown; the network has to fill them in."""
    _, mask = blob()
    model = fit(budget_s=300.0, **stopped_after(50))
    probability, uncertainty = model.predict(samples=3)
    known = model.data.cropped(model.data.confidence) > 0
    assert dice(probability >= 0.5, mask) > 0.8
    assert probability.dtype == uncertainty.dtype == np.float32
    assert 0 <= uncertainty.min() <= uncertainty.max() <= 1
    assert uncertainty[~known].mean() > uncertainty[known].mean()
    assert np.mean(model.report.losses[-5:]) < np.mean(model.report.losses[:5])


def test_same_seed_and_steps_give_the_same_prediction() -> None:
    state = torch.get_rng_state()
    a, b, c = (fit(seed=seed, **stopped_after(3)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state), "the caller's generator was used"
    assert a.report.losses == b.report.losses != c.report.losses
    for left, right in zip(a.predict(2, seed=1), b.predict(2, seed=1), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(a.predict(2, seed=1)[0], a.predict(2, seed=2)[0])
    np.testing.assert_array_equal(a.predict(0, seed=1)[0], a.predict(0, seed=2)[0])


@pytest.mark.parametrize("shape", [(5, 9, 3), (33, 8, 17), (1, 40, 40)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    half = np.zeros(shape, np.float32)
    half[:, shape[1] // 2 :] = 1
    model = fit(image, PseudoLabel(half, np.ones(shape, np.float32)), **stopped_after(2))
    for array in model.predict(samples=1):
        assert array.shape == shape
        assert np.isfinite(array).all()


@pytest.mark.stopwatch
def test_the_budget_is_kept() -> None:
    start = time.monotonic()
    model = fit(budget_s=3.0)
    # A second for a step or look that took longer than the ones before.
    assert time.monotonic() - start < 3.0 + allowed(1.0)
    assert model.report.steps >= 3


def test_cancel_stops_and_keeps_a_usable_model() -> None:
    told: list[float] = []
    model = fit(progress=lambda fraction, _: told.append(fraction), cancel=lambda: len(told) >= 5)
    assert model.report.steps <= 5
    assert not model.accepted
    assert "cancelled" in model.report.reason
    assert model.predict(samples=1)[0].shape == model.data.shape


def test_progress_rises() -> None:
    told: list[float] = []
    fit(progress=lambda fraction, _: told.append(fraction), cancel=lambda: len(told) >= 20)
    assert told == sorted(told)
    assert 0 <= told[0] < told[-1] <= 1


def test_nothing_known_is_reported_and_not_accepted() -> None:
    image, mask = blob()
    empty = PseudoLabel(np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32))
    model = fit(image, empty)
    assert not model.accepted
    assert model.report.steps == 0


def test_invalid_voxels_are_not_learnt_from() -> None:
    image, mask = blob()
    label = partial_label(mask)
    valid = np.ones(mask.shape, bool)
    valid[:4] = False
    spoilt = PseudoLabel(np.where(valid, label.probability, 1), np.where(valid, label.confidence, 1))
    image_spoilt = np.where(valid, image, -3000).astype(np.float32)
    losses = [
        fit(i, p, valid=valid, **stopped_after(2)).report.losses for i, p in ((image, label), (image_spoilt, spoilt))
    ]
    assert losses[0] == losses[1]


def some_marks(mask: Bools) -> tuple[Bools, Bools]:
    positive, negative = np.zeros_like(mask), np.zeros_like(mask)
    inner, outer = np.argwhere(ndimage.binary_erosion(mask, iterations=2)), np.argwhere(~mask)
    rng = np.random.default_rng(0)
    for marks, voxels in ((positive, inner), (negative, outer)):
        marks[tuple(voxels[rng.choice(len(voxels), 12, replace=False)].T)] = True
    return positive, negative


def test_a_label_that_is_wrong_at_withheld_marks_loses_and_one_that_is_right_wins() -> None:
    image, mask = blob()
    positive, negative = some_marks(mask)
    sure = np.ones(mask.shape, np.float32)
    truth, lie = PseudoLabel(mask.astype(np.float32), sure), PseudoLabel((~mask).astype(np.float32), sure)
    generator = torch.Generator().manual_seed(0)
    data = prepare(image, truth, SPACING, valid=None, multiple=8, device="cpu")
    for made, accepted in ((truth, False), (lie, True)):
        trial = withhold_marks(data, positive, negative, SPACING, lambda *_, m=made: m, None, generator)  # type: ignore[misc]
        assert trial is not None
        verdict = trial.judge(data.probability)
        assert verdict.accepted is accepted
        assert verdict.reason.endswith(".")


def test_a_gain_at_a_single_mark_is_luck() -> None:
    """A network that puts one of the withheld marks right has the better score and must not win by it."""
    image, mask = blob()
    positive, negative = some_marks(mask)
    wrong = PseudoLabel(np.full(mask.shape, 0.4, np.float32), np.ones(mask.shape, np.float32))
    data = prepare(image, wrong, SPACING, valid=None, multiple=8, device="cpu")
    trial = withhold_marks(data, positive, negative, SPACING, lambda *_: wrong, None, torch.Generator().manual_seed(0))
    assert trial is not None
    better = data.probability.clone()
    better[tuple(torch.argwhere((trial.weight > 0) & (trial.truth > 0))[0])] = 1.0
    assert trial.judge(better).network_score > trial.judge(better).label_score + 0.02
    assert not trial.judge(better).accepted
    assert trial.judge(trial.truth).accepted


def test_doubt_alone_is_no_gain() -> None:
    """Half-hearted everywhere: a better score than a label that is surely wrong inside, and not one mark won."""
    image, mask = blob()
    positive, negative = some_marks(mask)
    outside = PseudoLabel(np.zeros(mask.shape, np.float32), np.ones(mask.shape, np.float32))
    data = prepare(image, outside, SPACING, valid=None, multiple=8, device="cpu")
    trial = withhold_marks(
        data, positive, negative, SPACING, lambda *_: outside, None, torch.Generator().manual_seed(0)
    )
    assert trial is not None
    verdict = trial.judge(torch.full_like(data.probability, 0.4))
    assert verdict.network_score > verdict.label_score + 0.02
    assert not verdict.accepted


def test_withheld_marks_are_seen_by_neither_label_nor_network() -> None:
    image, mask = blob()
    positive, negative = some_marks(mask)
    seen: list[tuple[Bools, Bools]] = []

    def relabel(p: Bools, n: Bools) -> PseudoLabel:
        seen.append((p, n))
        return PseudoLabel(mask.astype(np.float32), np.ones(mask.shape, np.float32))

    data = prepare(image, relabel(positive, negative), SPACING, valid=None, multiple=8, device="cpu")
    trial = withhold_marks(data, positive, negative, SPACING, relabel, None, torch.Generator().manual_seed(0))
    assert trial is not None
    held = data.cropped(trial.weight) > 0
    shown = seen[-1][0] | seen[-1][1]
    assert held.any()
    np.testing.assert_array_equal(shown | held, positive | negative)
    assert not (shown & held).any()
    assert (data.cropped(trial.shown().confidence)[held] == 0).all()
    assert trial.weight.sum().item() == pytest.approx(2.0)


@pytest.mark.parametrize("method", ["image-aware", "gaussian"])
def test_the_label_of_a_trial_knows_what_others_claim_and_not_what_is_withheld(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    asked: dict[str, Any] = {}

    def fit_case(image: Any, label: PseudoLabel, *_: Any, **given: Any) -> CaseModel:
        asked.update(given, label=label)
        return fit(cancel=lambda: True)

    monkeypatch.setattr("PWSegmentationLib.training.fine_tuning.fit_case", fit_case)
    image = np.random.default_rng(0).normal(0, 0.15, (60, 60, 40)).astype(np.float32)
    image[15:45, 15:45, 10:30] += 1
    inside = ((20, 20, 15), (40, 40, 25), (20, 40, 20), (40, 20, 20))
    outside = ((10, 30, 20), (50, 30, 20), (30, 8, 20))
    points = (*(Point(p) for p in inside), *(Point(p, False) for p in outside))
    other = SegmentPrompts("other", tuple(Point((30, 52, k)) for k in range(12, 28, 3)))
    fit_segment(
        Volume.from_array(image, np.eye(4)), SegmentPrompts("box", points), [other], budget_s=1.0, method=method
    )
    marks, label = (asked["positive"], asked["negative"]), asked["label"]
    np.testing.assert_array_equal(asked["relabel"](*marks).probability, label.probability)
    few = marks[0] & (np.cumsum(marks[0]).reshape(marks[0].shape) <= marks[0].sum() // 2)
    assert (asked["relabel"](few, marks[1]).probability != label.probability).any()


def test_few_marks_are_not_withheld_but_blocks_are() -> None:
    image, mask = blob()
    positive, negative = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    positive[15, 13, 10] = negative[0, 0, 0] = True
    data = prepare(image, partial_label(mask), SPACING, valid=None, multiple=8, device="cpu")
    generator = torch.Generator().manual_seed(0)
    assert withhold_marks(data, positive, negative, SPACING, lambda *_: pytest.fail("asked"), None, generator) is None
    verdict = withhold_blocks(data, generator).judge(data.probability)
    assert math.isnan(verdict.label_score) and not verdict.accepted
    assert "blocks" in verdict.reason


def test_strokes_are_cut_and_points_kept_whole() -> None:
    marks = np.zeros((60, 10, 10), bool)
    marks[:, 5, 5] = True
    marks[13:17, 0:2, 0:2] = True
    groups = mark_groups(marks, (1.0, 1.0, 1.0))
    assert groups[marks].min() == 1
    assert groups[~marks].max() == 0
    assert len(np.unique(groups[13:17, 0:2, 0:2])) == 1
    assert len(np.unique(groups[:, 5, 5])) == 4


def test_patches_keep_image_and_label_together() -> None:
    """The image is the label here; after flips and blocks it still is, wherever the label is shown."""
    _, mask = blob()
    label = PseudoLabel(mask.astype(np.float32), np.ones(mask.shape, np.float32))
    data = prepare(mask.astype(np.float32), label, SPACING, valid=None, multiple=8, device="cpu")
    sampler = PatchSampler(data, data.confidence, 16, torch.Generator().manual_seed(0))
    flipped = set()
    for _ in range(10):
        batch = sampler.draw()
        for inputs, probability, weight in zip(batch.inputs, batch.probability[:, 0], batch.weight[:, 0], strict=True):
            image, label_shown, shown = inputs[:3]
            inside = probability > 0.5
            assert torch.equal((image > 0)[weight > 0], inside[weight > 0])
            assert torch.equal((label_shown > 0)[shown > 0], inside[shown > 0])
            assert (weight[shown > 0] < 0.2).all()
            flipped.add(bool(inputs[3, -1, 0, 0] < inputs[3, 0, 0, 0]))
    assert len(flipped) == 2


def test_random_blocks_cover_their_share() -> None:
    blocks = random_blocks((50, 40, 30), 7, 0.5, torch.Generator().manual_seed(0))
    assert blocks.shape == (50, 40, 30)
    assert 0.3 < blocks.float().mean().item() < 0.7


def test_entropy_in_bits() -> None:
    torch.testing.assert_close(entropy(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([0.0, 1.0, 0.0]))
