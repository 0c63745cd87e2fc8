"""The synthetic volumes, and that the experiment runs, stops, goes on and makes its table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.evaluation import machine_and_versions
from PWSegmentationLib.evaluation.experiment import ROWS, table
from PWSegmentationLib.evaluation.synthetic import STRUCTURES, phantom


def test_a_phantom_is_a_function_of_its_seed() -> None:
    a, b, c = phantom(1, 32), phantom(1, 32), phantom(2, 32)
    assert np.array_equal(a.image, b.image) and np.array_equal(a.labels, b.labels)
    assert not np.array_equal(a.labels, c.labels)
    assert abs(np.abs(np.linalg.det(a.grid.affine[:3, :3])) - 8) < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_every_structure_is_there_and_none_can_be_had_by_its_intensity(seed: int) -> None:
    made = phantom(seed, 48)
    for value in STRUCTURES.values():
        assert (made.labels == value).sum() > 20
    # The best threshold pair for the small organ leaves much of it wrong: the large one has nearly its intensity.
    mask = made.labels == STRUCTURES["small organ"]
    low, high = np.percentile(made.image[mask], [10, 90])
    guess = (made.image > low) & (made.image < high)
    assert 2 * (guess & mask).sum() / (guess.sum() + mask.sum()) < 0.5


def test_the_parts_asked_for_are_there() -> None:
    names = {(r.part, r.name) for r in ROWS}
    assert {n for p, n in names if p == "labels"} == {"dense", "10 + 10 points", "boxes", "scribbles"}
    assert {n for p, n in names if p.startswith("attention")} == {"off", "paper"}
    assert {"nothing unknown", "no weighting"} <= {n for _, n in names}


def test_it_runs_goes_on_and_makes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    command = ["experiment", "--smoke", "--only", "number", "-o", str(tmp_path)]
    assert main([*command, "--jobs", "2"]) == 0
    first = capsys.readouterr().out
    # Once in each of the two tables.
    assert first.count("| number of points ") == 4 and "Measured with machine " in first
    cells = sorted((tmp_path / "cells").glob("*.json"))
    assert len(cells) == 2
    document = json.loads(cells[0].read_text())
    assert document["config"]["points_inside"] == 3 and "data" not in document["config"]
    assert {"commit", "machine"} <= document["provenance"].keys() and document["means"]["mean"]["dice"] >= 0
    # A finished cell is not run again: a mark in it survives.
    cells[0].write_text(json.dumps({**document, "mark": "kept"}))
    cells[1].unlink()
    assert main(command) == 0
    # The second table has times.
    assert capsys.readouterr().out.split("Dice of each")[0] == first.split("Dice of each")[0]
    assert json.loads(cells[0].read_text())["mark"] == "kept" and cells[1].exists()
    assert main([*command[:3], "nonsense", *command[4:]]) == 2
    assert "no part 'nonsense'; there are: 'labels', 'number of points', 'attention, " in capsys.readouterr().err
    assert main([w for w in command if w != "--smoke"]) == 2
    assert 'holds cells with another "training" (2)' in capsys.readouterr().err
    cells[0].write_text(json.dumps({**document, "config": {**document["config"], "loss_kl": 0.9}}))
    assert main(command) == 2
    assert 'holds cells with another "loss_kl" (0.9)' in capsys.readouterr().err
    torch.set_num_threads(threads)


def test_the_table_has_the_spread_over_seeds() -> None:
    def cell(name: str, seed: int, dice: float) -> dict[str, object]:
        row = {"dice": dice, "surface_dice": dice, "calibration_error": 0.1}
        return {"part": "labels", "name": name, "seed": seed, "means": {"mean": row}}

    lines = table([cell("dense", 0, 0.8), cell("dense", 1, 0.9), cell("boxes", 0, 0.4)]).splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    assert cells[2] == ["labels", "dense", "0.850 ± 0.071", "1.000 ± 0.000", "0.850 ± 0.071", "0.100 ± 0.000", "2"]
    assert cells[3][:4] == ["labels", "boxes", "0.400", "0.500"]


def test_the_commit_is_that_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    # Installed into an environment inside a repository of the user's.
    installed = tmp_path / ".venv" / "machine_and_versions.py"
    installed.parent.mkdir()
    installed.write_text("")
    git("init")
    git("commit", "--allow-empty", "-m", "of the user")
    monkeypatch.setattr(machine_and_versions, "__file__", str(installed))

    assert machine_and_versions.machine_and_versions()["commit"] == "not in a repository"

    git("add", ".")
    git("commit", "-m", "of the program")
    assert len(machine_and_versions.machine_and_versions()["commit"]) == 10
