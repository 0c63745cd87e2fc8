"""Training on a data set: it learns, goes on where it was, is the same on two processes, and loses nothing."""

from __future__ import annotations

import json
import math
import re
import resource
import shutil
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
from PWSegmentationLib.evaluation.model_evaluation import evaluate
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.training.config import TrainingConfig, config_from_dict
from PWSegmentationLib.training.dataset_training import train
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.writing import write_image
from Testing.timing import PATIENCE_S

from .training_data import command, environment, quick, run, scene, settings, write_datalist, write_elsewhere


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
    deadline = time.monotonic() + PATIENCE_S
    while not (cut / "log.jsonl").exists() or len((cut / "log.jsonl").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=PATIENCE_S)
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


def test_a_run_does_not_go_on_with_other_data(data: Path, tmp_path: Path) -> None:
    cases, config = read_cases(data), quick(data, steps=2)
    _train_until(config, cases, tmp_path, 1)
    kept = (tmp_path / "state.json").read_bytes()
    swapped = replace(cases, structures=dict(reversed(cases.structures.items())))
    fewer = replace(cases, training=cases.training[:1])
    renamed = replace(cases, structures={"ball": 1, "rod": 2}, named={"ball": (1,), "rod": (2,)})
    moved = replace(cases, training=cases.training[1:], selection=(*cases.selection, cases.training[0]))
    for other, words in (
        (swapped, "other structures (their order is another)"),
        (renamed, "other structures ('rod: 2' is new)"),
        (fewer, "other training cases ('image1' is gone)"),
        (moved, "other training cases ('image0' is gone)"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            train(config, other, tmp_path, quiet=True)
    assert (tmp_path / "state.json").read_bytes() == kept
    # The test set decides nothing, and a state of an earlier version does not tell.
    document = json.loads(kept)
    del document["data"]
    (tmp_path / "state.json").write_text(json.dumps(document))
    assert train(config, replace(cases, test=()), tmp_path, quiet=True).steps == 2


def test_the_log_survives_a_disk_that_is_full_when_a_run_goes_on(data: Path, tmp_path: Path) -> None:
    cases, config = read_cases(data), quick(data, steps=3)
    _train_until(config, cases, tmp_path, 2)
    log = (tmp_path / "log.jsonl").read_text()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(log) // 2, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            train(config, cases, tmp_path, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "log.jsonl").read_text() == log


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
        ({"data": "x", "loss_kl": -0.3}, '"loss_kl" must not be negative'),
        ({"data": "x", "seed": -1}, '"seed" must not be negative'),
        ({"data": "x", "weight_decay": math.nan}, '"weight_decay" must be a finite number'),
        ({"data": "x", "spacing_mm": math.inf}, '"spacing_mm" must be a finite number'),
        ([], "a JSON object"),
    ],
)
def test_configs_that_cannot_be_meant(document: object, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)) as refused:
        config_from_dict(document)
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

    every = ("evaluate", tmp_path / "run", data, "-o", tmp_path / "scores.json", "--samples", 0, "--cases", "all")
    pwseg(*every)
    assert len({s["case"] for s in json.loads((tmp_path / "scores.json").read_text())["scores"]}) == 4

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

    # Cases as `pwseg train` takes them: the image of each, under the case's name.
    for name in ("p1", "p2"):
        (tmp_path / "cases" / name).mkdir(parents=True)
        for wanted in ("image", "labels"):
            shutil.copy(image, tmp_path / "cases" / name / f"{wanted}.nii.gz")
    pwseg("predict", tmp_path / "run", tmp_path / "cases", "-o", tmp_path / "many", "--samples", 0)
    assert sorted(p.name for p in (tmp_path / "many").glob("*.nii.gz")) == ["p1.nii.gz", "p2.nii.gz"]


def test_evaluating_on_other_data_measures_all_of_them_and_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(quick(data, steps=1), read_cases(data), tmp_path / "run", quiet=True)
    folder = tmp_path / "others"
    for number in range(5):
        image, labels, grid = scene(10 + number)
        write_image(image, grid, folder / f"patient {number}" / "image.nii.gz")
        write_image(labels, grid, folder / f"patient {number}" / "labels.nii.gz")
    (folder / "labels.json").write_text(json.dumps({"ball": 1, "bar": 2}))
    command = ["evaluate", str(tmp_path / "run"), str(folder), "--samples", "0", "-o", str(tmp_path / "scores.json")]
    assert main(command) == 0
    assert "measured on 5 of 5 cases (new" in capsys.readouterr().err
    assert len({s["case"] for s in json.loads((tmp_path / "scores.json").read_text())["scores"]}) == 5
    assert main([*command, "--cases", "selection"]) == 0
    assert "measured on 1 of 5 cases (selection, by which the weights were chosen" in capsys.readouterr().err
    assert main([*command, "--samples", "-1"]) == 2
    assert "--samples takes a whole number from 0" in capsys.readouterr().err
    (folder / "patient 4" / "labels.nii.gz").write_bytes(b"nothing")
    cases, done = read_cases(folder), []
    every = sorted((*cases.training, *cases.selection), key=lambda c: c.name)
    with pytest.raises(InputError, match=r"Cannot read .*patient 4"):
        evaluate(TrainedModel.load(tmp_path / "run"), every, cases.named, progress=lambda _, words: done.append(words))
    assert not done, "said before the first case was segmented, not after hours"


def test_a_run_among_its_cases_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        image, labels, grid = scene(number)
        for name, array in (("image", image), ("labels", labels)):
            write_image(array, grid, tmp_path / "cases" / str(number) / f"{name}.nii.gz")
    (tmp_path / "cases" / "labels.json").write_text(json.dumps({"ball": 1, "bar": 2}))
    options = settings(window=16, steps=1, device="cpu")
    for place in ("cases", "cases/run"):
        assert main(["train", str(tmp_path / "cases"), "-o", str(tmp_path / place), *options]) == 2
        assert "lies among the cases: choose a folder outside of" in capsys.readouterr().err
    for _ in range(2):
        assert main(["train", str(tmp_path / "cases"), "-o", str(tmp_path / "cases/0/run"), "--quiet", *options]) == 0


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("unlabelled", "The case 'a' has neither labels nor prompts: add them or leave it out."),
        ("moved", "The labels of 'a' lie on another grid than its image"),
        ("no labelmap", "is not a labelmap: it holds numbers that are not whole"),
        ("not these prompts", "The case 'a' has no prompt of any structure"),
    ],
)
def test_a_case_that_cannot_be_learnt_from_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, sentence: str
) -> None:
    image, labels, grid = scene(0)
    for name in ("training/a", "validation/b"):
        write_image(image, grid, tmp_path / "cases" / name / "image.nii.gz")
        write_image(labels, grid, tmp_path / "cases" / name / "labels.nii.gz")
    (tmp_path / "cases" / "labels.json").write_text(json.dumps({"ball": 1, "bar": 2}))
    folder = tmp_path / "cases" / "training" / "a"
    if what == "unlabelled":
        (folder / "labels.nii.gz").unlink()
    elif what == "moved":
        write_elsewhere(labels, grid, folder / "labels.nii.gz")
    elif what == "no labelmap":
        write_image(0.5 * labels, grid, folder / "labels.nii.gz")
    else:
        write_image(0 * labels, grid, folder / "points.nii.gz")
    code = main(
        ["train", str(tmp_path / "cases"), "-o", str(tmp_path / "run"), "--quiet", *settings(window=16, steps=1)]
    )
    said = capsys.readouterr().err
    assert code == 2 and sentence in said and said.count("\n") == 1
