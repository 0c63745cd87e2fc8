"""The command that fits the label's weights, on one procedural scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from PWSegmentationLib.pseudolabel.judgement import CUES
from Testing.Benchmarks import label_weights
from Testing.Benchmarks.fitting import structures
from Testing.Benchmarks.label_weights import Case, dice, fit, fixed_rows, judged, seen, table


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    number, name, volume, reference = next(structures("procedural"))
    return list(seen("procedural", name, volume, reference, number))


def test_a_structure_is_seen_prompted_in_every_way(cases: list[Case]) -> None:
    ways = {c.way for c in cases}
    assert {"careful 20+20", "varied 20+20", "careful, corrected"} <= ways
    for case in cases:
        assert case.said.shape == (len(CUES), len(case.truth)) and len(case.weight) == len(case.truth)
        assert 0.0 < case.share <= 0.6


def test_the_fit_does_better_than_where_it_starts_and_leaves_the_window_alone(cases: list[Case]) -> None:
    fixed = fixed_rows(len(cases[0].about))
    # One scene has few cases: seen a few times, they are as many steps as of several.
    found = fit(cases * 8)
    mean = [float(np.mean([dice(c, judged(c, rows)) for c in cases])) for rows in (fixed, found)]
    assert mean[1] > mean[0]
    torch.testing.assert_close(found[1, 1:], torch.zeros(found.shape[1] - 1))
    assert set(table(cases, [0.5] * len(cases))["procedural"].values()) == {0.5}


def test_what_was_seen_can_be_kept(cases: list[Case], tmp_path: Path) -> None:
    label_weights._write(cases, tmp_path / "cases.npz")
    for case, again in zip(cases, label_weights._read(tmp_path / "cases.npz"), strict=True):
        assert (case.structure, case.way, case.share, case.about) == (
            again.structure,
            again.way,
            again.share,
            again.about,
        )
        np.testing.assert_array_equal(case.said, again.said)
