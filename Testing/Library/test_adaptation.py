"""Adapting the promptable network to one structure: what it promises, whatever comes of it."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from PWSegmentationLib.prediction.fine_tuning import adapt_segment
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
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


def test_without_time_it_says_so() -> None:
    volume, prompts = prompted()
    adapted, report = adapt_segment(volume, prompts, model=PromptableModel(network()), budget_s=0.01)
    assert adapted is None and report.reason == "There was no time left to learn: give it more seconds."


def test_it_keeps_to_its_budget_and_stops_when_asked() -> None:
    volume, prompts = prompted()
    started = time.monotonic()
    _, report = adapt_segment(
        volume, prompts, model=PromptableModel(network()), budget_s=120.0, cancel=lambda: time.monotonic() - started > 2
    )
    assert time.monotonic() - started < 30
    assert report.reason
