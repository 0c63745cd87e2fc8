"""Adapting the promptable network to one structure: what it promises, whatever comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from PWSegmentationLib.prediction.network_inputs import CHANNELS
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.training.adaptation import AdaptationOptions, adapt, by_chance
from PWSegmentationLib.training.fine_tuning import adapt_segment
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.test_promptable import click, ellipsoid, network


def prompted() -> tuple[Volume, SegmentPrompts]:
    volume, _, center = ellipsoid((40, 40, 40), 1.0, 9.0)
    prompts = click(center)
    for axis in np.eye(3):
        for sign in (-1.0, 1.0):
            prompts = prompts.with_prompt(Point(tuple(center + sign * 5.0 * axis)))
            prompts = prompts.with_prompt(Point(tuple(center + sign * 14.0 * axis), positive=False))
    return volume, prompts


@pytest.mark.stopwatch
def test_it_is_kept_only_where_it_finds_hidden_prompts_better_and_the_first_one_stays_as_it_was() -> None:
    volume, prompts = prompted()
    model = PromptableModel(network(spread=0.3))
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    adapted, report = adapt_segment(volume, prompts, model=model, budget_s=12.0)
    assert report.steps > 0 and "hidden prompts" in report.reason
    assert (adapted is not None) == report.reason.endswith("it is used.")
    assert all(torch.equal(v, before[k]) for k, v in model.network.state_dict().items())
    if adapted is not None:
        assert adapted.name.endswith("adapted") and adapted.network is not model.network


@pytest.mark.parametrize(
    ("fell_by", "sure"), [((0.2,) * 7 + (0.1,) * 8, True), ((0.9,) + (0.0,) * 14, False), ((0.0,) * 15, False)]
)
def test_a_gain_at_one_mark_alone_may_be_chance(fell_by: tuple[float, ...], sure: bool) -> None:
    before = np.full(5, 0.9), np.full(10, 0.9)
    after = before[0] - fell_by[:5], before[1] - fell_by[5:]
    assert (by_chance(before, after) < AdaptationOptions().chance) == sure


def test_without_time_it_says_so() -> None:
    volume, prompts = prompted()
    adapted, report = adapt_segment(volume, prompts, model=PromptableModel(network()), budget_s=0.01)
    assert adapted is None and report.reason == "There was no time left to learn: give it more seconds."


def test_it_stops_when_asked_and_says_what_came_of_it() -> None:
    volume, prompts = prompted()
    told: list[float] = []
    _, report = adapt_segment(
        volume,
        prompts,
        model=PromptableModel(network()),
        budget_s=600.0,
        progress=lambda part, _: told.append(part),
        cancel=lambda: len(told) > 20,
    )
    assert report.seconds < 300 and report.steps > 0 and "hidden prompts" in report.reason
    adapted, report = adapt_segment(
        volume, prompts, model=PromptableModel(network()), budget_s=120.0, cancel=lambda: True
    )
    assert adapted is None and report.reason == "It was stopped before anything was learnt."


def test_with_one_click_there_is_nothing_to_judge_by() -> None:
    volume, prompts = prompted()
    lone = replace(prompts, points=prompts.points[:1])
    adapted, report = adapt_segment(volume, lone, model=PromptableModel(network()), budget_s=60.0)
    assert adapted is None and report.reason.startswith("Too few prompts") and report.seconds < 30


def test_every_mark_is_hidden_from_one_learner_and_the_mean_of_all_is_used() -> None:
    """What is shown to the network tells who learns from what; no gain is too little here."""
    rng = np.random.default_rng(0)
    marks = [np.zeros((16, 16, 16), np.int32) for _ in range(2)]
    for sign, count in enumerate((4, 5)):
        for number, voxel in enumerate(rng.permutation(16**3)[:count], start=1):
            marks[sign].ravel()[voxel] = number
    seen: list[tuple[int, int]] = []

    def shown(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        seen.append((int(positive.sum()), int(negative.sum())))
        inputs = np.zeros((len(CHANNELS), 16, 16, 16), np.float32)
        inputs[CHANNELS.index("near positive")], inputs[CHANNELS.index("near negative")] = positive, negative
        return inputs

    first = network()
    found = adapt(first, shown, *marks, budget_s=6.0, options=AdaptationOptions(margin=-1.0, chance=1.1))
    # Three learners; 4 + 5 marks are hidden in parts, each once.
    assert sum(4 - p for p, _ in seen[:3]) == 4 and sum(5 - n for _, n in seen[:3]) == 5
    assert found.steps >= 3 and found.network is not None and not np.isnan([found.before, found.after]).any()
    assert any(not torch.equal(v, first.state_dict()[k]) for k, v in found.network.state_dict().items())
    refused = adapt(first, shown, *marks, budget_s=3.0, options=AdaptationOptions(margin=1.0))
    assert refused.network is None and refused.steps > 0
    refused = adapt(first, shown, *marks, budget_s=3.0, options=AdaptationOptions(margin=-1.0, chance=1e-9))
    assert refused.network is None and refused.steps > 0
