"""Training on a data set: it learns, goes on where it was, is the same on two processes, and loses nothing."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from PWSegmentationLib import InputError
from PWSegmentationLib.cases import CaseSet, read_cases
from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.training.config import TrainingConfig, config_from_dict, read_config
from PWSegmentationLib.training.dataset_training import train
from PWSegmentationLib.volume.reading import read_volume

from .training_data import command, environment, quick, run, settings, write_datalist


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_datalist(tmp_path_factory.mktemp("data"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (state,) = folder.glob("state-*.safetensors")
    return load_file(state)


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [n for n in a if not torch.equal(a[n], b[n])] == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"promptable": True, "attention": "paper"}, {"supervision": "dense", "amp": "bf16", "loss_boundary": 0.1}],
)
def test_it_learns_and_the_model_says_what_it_is(data: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    config = quick(data, steps=8, select_every=4, learning_rate=3e-3, **changes)
    report = train(config, read_cases(data), tmp_path, quiet=True)
    assert report.steps == 8 == len(report.losses)
    assert np.mean(report.losses[-3:]) < np.mean(report.losses[:3])
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["structures"] == {"ball": 1, "bar": 2}
    assert card["training"]["supervision"] == config.supervision
    assert card["data"] == {"training": ["image0", "image1"], "selection": ["image2"], "test": ["image3"]}
    assert card["metrics"]["step"] == report.best_step > 0
    assert str(tmp_path) not in (tmp_path / "model.json").read_text()
    model = TrainedModel.load(tmp_path)
    assert model.promptable == config.promptable
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 8 + 2
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_run_stopped_by_a_signal_goes_on_to_the_same_weights(data: Path, tmp_path: Path) -> None:
    options = settings(
        supervision="points", window=16, steps=12, select_every=6, save_every=4, device="cpu", accumulate=2
    )
    cut = tmp_path / "cut"
    child = subprocess.Popen(command("train", data, "-o", cut, *options), env=environment(), stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (cut / "log.jsonl").exists() or len((cut / "log.jsonl").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 143
    stopped = json.loads((cut / "state.json").read_text())["step"]
    assert 3 <= stopped < 12
    config = config_from_dict(json.loads((cut / "state.json").read_text())["config"])
    train(config, read_cases(data), cut, quiet=True)
    train(config, read_cases(data), tmp_path / "whole", quiet=True)
    assert_same(weights(cut), weights(tmp_path / "whole"))
    assert_same(load_file(cut / "model.safetensors"), load_file(tmp_path / "whole" / "model.safetensors"))
    steps = [json.loads(line)["step"] for line in (cut / "log.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 13)) and len(steps) == 12 + 2


def test_two_processes_give_the_losses_of_one(data: Path, tmp_path: Path) -> None:
    options = settings(supervision="dense", window=16, steps=3, select_every=3, device="cpu", accumulate=2, batch=1)
    done = run("train", data, "-o", tmp_path / "two", *options, torchrun=2)
    assert done.returncode == 0, done.stderr[-2000:]
    config = replace(quick(data, supervision="dense"), steps=3, warm_up=50, select_every=3, accumulate=2, batch=1)
    one = train(config, read_cases(data), tmp_path / "one", quiet=True)
    two = json.loads((tmp_path / "two" / "state.json").read_text())
    np.testing.assert_allclose(two["losses"], one.losses, rtol=1e-5)
    a, b = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert max(float((a[n] - b[n]).abs().max()) for n in a if n.startswith("model.")) < 1e-4
    assert two["selections"][0]["dice"] == pytest.approx(one.selection, abs=1e-3)


def test_passes_that_processes_cannot_share_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r'"accumulate" \(3\) must be a multiple of the number of processes \(2\)'):
        train(quick(data, accumulate=3), read_cases(data), tmp_path, quiet=True)


def test_the_test_set_decides_nothing(data: Path, tmp_path: Path) -> None:
    cases = read_cases(data)
    without = CaseSet(cases.structures, cases.training, cases.selection, ())
    config = quick(data)
    for name, some in (("with", cases), ("without", without)):
        train(config, some, tmp_path / name, quiet=True)
    assert_same(load_file(tmp_path / "with/model.safetensors"), load_file(tmp_path / "without/model.safetensors"))


def test_early_stop(data: Path, tmp_path: Path) -> None:
    # Without a learning rate nothing gets better.
    config = quick(data, steps=40, select_every=1, patience=2, learning_rate=1e-30, weight_decay=0.0)
    report = train(config, read_cases(data), tmp_path, quiet=True)
    assert report.steps == 3 and report.best_step == 1


def test_a_full_disk_keeps_the_state_that_was_saved(data: Path, tmp_path: Path) -> None:
    cases, config = read_cases(data), quick(data, steps=2, select_every=2)
    train(config, cases, tmp_path / "whole", quiet=True)
    limited = tmp_path / "limited"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    state = next((tmp_path / "whole").glob("state-*")).stat().st_size
    _train_until(config, cases, limited, 1)
    kept = (limited / "state.json").read_bytes()
    # Smaller than a state: what writing beyond the end of a disk looks like to the process.
    resource.setrlimit(resource.RLIMIT_FSIZE, (state // 2, before[1]))
    try:
        with pytest.raises(InputError, match=r"could not be written .* what was saved before is kept"):
            train(config, cases, limited, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (limited / "state.json").read_bytes() == kept
    train(config, cases, limited, quiet=True)
    assert_same(weights(limited), weights(tmp_path / "whole"))


def _train_until(config: TrainingConfig, cases: CaseSet, folder: Path, step: int) -> None:
    """Stop after ``step`` steps, as a signal would."""
    from PWSegmentationLib.training.training_log import TrainingLog

    original = TrainingLog.step

    def stopping(self: TrainingLog, number: int, loss: float, rate: float) -> None:
        original(self, number, loss, rate)
        if number == step:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingLog, "step", stopping)
        with pytest.raises(SystemExit):
            train(config, cases, folder, quiet=True)


def test_a_damaged_state_and_another_config_are_refused(data: Path, tmp_path: Path) -> None:
    cases, config = read_cases(data), quick(data, steps=1)
    train(config, cases, tmp_path, quiet=True)
    with pytest.raises(InputError, match=r'another "learning_rate" \(0.001\)'):
        train(replace(config, learning_rate=0.5), cases, tmp_path, quiet=True)
    (state,) = tmp_path.glob("state-*.safetensors")
    state.write_bytes(state.read_bytes()[:-8])
    with pytest.raises(InputError, match="SHA-256"):
        train(config, cases, tmp_path, quiet=True)


def test_weights_are_those_of_the_seed_wherever_it_runs(data: Path, tmp_path: Path) -> None:
    config = quick(data, steps=1, select_every=1)
    torch.manual_seed(123)
    train(config, read_cases(data), tmp_path / "a", quiet=True)
    torch.manual_seed(456)
    np.random.seed(1)  # noqa: NPY002 - the global generator is what is to be left alone
    train(config, read_cases(data), tmp_path / "b", quiet=True)
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"data": "x", "lerning_rate": 1}, '"lerning_rate" is not a key of a training config; the closest one is "lea'),
        ({}, 'needs "data"'),
        ({"data": "x", "steps": "many"}, '"steps" must be a whole number'),
        ({"data": "x", "steps": 0}, '"steps" must be greater than 0'),
        ({"data": "x", "amp": "int8"}, "\"amp\" must be one of 'auto', 'off'"),
        ({"data": "x", "structures": "liver"}, '"structures" must be a list of names'),
        ({"data": "x", "ema": 1.0}, '"ema" must be at least 0 and below 1'),
        ({"data": "x", "loss_dice": 0, "loss_cross_entropy": 0}, "nothing to learn"),
        ([], "a JSON object"),
    ],
)
def test_configs_that_cannot_be_meant(document: object, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        read_config(tmp_path / "config.json")
    assert str(refused.value).count(". ") == 0


def test_a_config_is_a_document_and_back() -> None:
    config = TrainingConfig(data="x", structures=("a", "b"), steps=7)
    assert config_from_dict(json.loads(json.dumps(config.document))) == config


def test_wrong_sizes_are_refused(data: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"preset": "huge"}, 'no preset "huge"'),
        ({"window": 20}, "multiple of 8"),
        ({"structures": ["liver"]}, "no structure 'liver'; there are: ball, bar"),
    ):
        with pytest.raises(InputError, match=words):
            train(quick(data, **changes), read_cases(data), tmp_path, quiet=True)


def test_train_evaluate_predict_from_the_command_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pwseg(*arguments: object) -> str:
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    options = settings(supervision="scribbles", window=16, steps=2, select_every=2, device="cpu")
    done = pwseg("train", data, "-o", tmp_path / "run", *options)
    assert "| ball  " in done and (tmp_path / "run" / "test.json").exists()

    measured = pwseg("evaluate", tmp_path / "run", data, "-o", tmp_path / "scores.json", "--samples", 2)
    assert "HD95 (mm) | surface Dice (2 mm) |" in measured
    assert {s["case"] for s in json.loads((tmp_path / "scores.json").read_text())["scores"]} == {"image3"}

    image = data.parent / "image3.nii.gz"
    flags = ("--probability", "--uncertainty", "--largest-only", "--samples", 2)
    told = pwseg("predict", tmp_path / "run", image, "-o", tmp_path / "out", *flags)
    assert re.search(r"image3: \d+ windows of 16 × 16 × 16, up to 2 draws each, \d+ passes, [\d.]+ s", told)
    labels = read_volume(tmp_path / "out" / "image3.nii.gz")
    assert labels.grid.same_as(read_volume(image).grid)
    assert json.loads((tmp_path / "out" / "image3.labels.json").read_text()) == {"ball": 1, "bar": 2}
    for kind in ("probability", "entropy", "variance", "mutual_information"):
        values = read_volume(tmp_path / "out" / f"image3.{kind}.bar.nii.gz").array
        assert values.min() >= 0 and values.max() <= 1
