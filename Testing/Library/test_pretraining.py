"""Tasks, their bank, and the training of the promptable network."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from PWSegmentationLib.annotator import placement
from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.annotator.variety import varied_prompts
from PWSegmentationLib.commandline.main import BAD_INPUT, OK, main
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.model_files import load_model, save_model
from PWSegmentationLib.prediction.network_inputs import CHANNELS, network_inputs, refined
from PWSegmentationLib.prediction.predict import predict, pseudo_label
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prediction.view import look
from PWSegmentationLib.pretraining.bank import TaskBank, write_tasks
from PWSegmentationLib.pretraining.config import PretrainingConfig
from PWSegmentationLib.pretraining.material import Material, selection_names
from PWSegmentationLib.pretraining.pretrain import dice_of, make_tasks, network_of, pretrain
from PWSegmentationLib.pretraining.tasks import Task, protocol_tasks, varied_tasks
from PWSegmentationLib.pretraining.views import TaughtViews
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.training.processes import workers
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.training_data import scene

LABEL = CHANNELS.index("label")
LITTLE = {"groups": 1, "real_share": 0.0, "structures": 2, "corrections": 1, "edge": 40, "accumulate": 2, "amp": "off"}
SHORT = {"steps": 4, "warm_up": 2, "select_every": 2, "save_every": 1, "device": "cpu"}


def ball(seed: int = 0) -> tuple[Volume, Reference]:
    image, labels, grid = scene(seed)
    return Volume(image, grid), Reference.of(labels, (1,), grid)


def tiny_tasks(seed: int) -> Iterator[Task]:
    """A task of 16³ voxels: a bright cube, and a label that has half of it."""
    truth = np.zeros((16, 16, 16), np.float32)
    truth[4:12, 4:12, 4:12] = 1
    inputs = 0.05 * np.random.default_rng(seed).normal(size=(len(CHANNELS), 16, 16, 16)).astype(np.float32)
    inputs[CHANNELS.index("image")] += truth - 0.5
    inputs[LABEL] = -0.3
    inputs[LABEL, 4:8, 4:12, 4:12] = 0.3
    yield Task(inputs.clip(-1, 1), truth)


@pytest.fixture(scope="module")
def banks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks to learn from and to select by, none of which takes long to make."""
    folder = tmp_path_factory.mktemp("pretraining")
    for number in range(4):
        write_tasks(folder / "tasks" / f"{number:06d}", tiny_tasks(number))
    for number, names in enumerate(selection_names()):
        slug = "-".join(names).replace(" ", "-")
        # Two are enough to select by; a folder that is there is complete.
        write_tasks(folder / "selection" / slug, tiny_tasks(9) if number < 2 else ())
    return folder


def test_varied_prompts_are_right_and_vary() -> None:
    volume, reference = ball()
    mask = reference.over(reference.region)
    kinds = set()
    for seed in range(40):
        prompts = varied_prompts(reference, np.random.default_rng(seed), careful=0.0)
        assert prompts == varied_prompts(reference, np.random.default_rng(seed), careful=0.0)
        kinds.add((bool(prompts.boxes), bool(prompts.strokes), min(len(prompts.points), 3)))
        for point in prompts.points:
            voxel = np.array(volume.grid.to_voxel(point.position)) - reference.region.start
            inside = bool((voxel >= 0).all() and (voxel < mask.shape).all() and mask[tuple(voxel)])
            assert inside == point.positive
        for box in prompts.boxes:
            corners = volume.grid.to_world(np.array([reference.region.start, np.array(reference.region.stop) - 1]))
            assert all(box.contains(c) for c in corners)
    assert {(True, False, 0), (False, True, 0), (False, False, 1), (False, False, 3)} <= kinds


def test_careful_prompts_are_the_annotators_and_err_at_times() -> None:
    volume, reference = ball()
    mask, middle = reference.over(reference.region), placement.centre(reference.over(reference.region), (1.0,) * 3)[0]
    kinds, missed, central = set(), 0, 0
    for seed in range(60):
        prompts = varied_prompts(reference, np.random.default_rng(seed), careful=1.0)
        assert prompts == varied_prompts(reference, np.random.default_rng(seed), careful=1.0)
        kinds.add((bool(prompts.boxes), bool(prompts.strokes), min(len(prompts.points), 3)))
        assert prompts.boxes or prompts.strokes or len(prompts.positions(positive=True))
        voxels = [np.array(volume.grid.to_voxel(p.position)) - reference.region.start for p in prompts.points]
        inside = [bool((v >= 0).all() and (v < mask.shape).all() and mask[tuple(v)]) for v in voxels]
        missed += inside != [p.positive for p in prompts.points]
        central += any((v == middle).all() for v in voxels)
    assert {(True, False, 0), (False, True, 0), (False, False, 1), (False, False, 3)} <= kinds
    assert 1 <= missed <= 12 and central > 20


def test_the_network_sees_the_same_numbers_in_any_unit() -> None:
    volume, reference = ball()
    prompts = varied_prompts(reference, np.random.default_rng(3), careful=0.0)
    seen = []
    for array in (volume.array, 7.0 * volume.array.astype(np.float64) - 300.0):
        view = look(Volume(array, volume.grid), prompts)
        seen.append(network_inputs(view, pseudo_label(view, prompts)))
    assert seen[0].shape[0] == len(CHANNELS) and np.isfinite(seen[0]).all() and np.abs(seen[0]).max() <= 1
    assert np.abs(seen[0] - seen[1]).max() < 0.02


def test_a_label_without_evidence_is_refused() -> None:
    volume, reference = ball()
    prompts = SegmentPrompts("ball").with_prompt(
        varied_prompts(reference, np.random.default_rng(0), careful=0.0).points[0]  # one of the seeds with clicks
    )
    view = look(volume, prompts)
    with pytest.raises(ValueError, match="cues"):
        network_inputs(view, pseudo_label(view, prompts, method="gaussian"))


def test_a_group_of_tasks_is_a_function_of_its_number() -> None:
    material = Material(real_share=0.0, structures=2, corrections=1, edge=40)
    first, again, other = (list(material.group(n)) for n in (3, 3, 4))
    assert first and len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.inputs, b.inputs) and np.array_equal(a.truth, b.truth)
    assert len(other) != len(first) or other[0].truth.shape != first[0].truth.shape
    assert all(0 < task.truth.max() <= 1 for task in first)


@pytest.fixture(scope="module")
def beginner() -> PromptableModel:
    """A model that has learnt nothing: it answers the label."""
    return PromptableModel(network_of(PretrainingConfig(**LITTLE)).eval())


def test_a_network_is_selected_by_what_the_program_would_see(beginner: PromptableModel) -> None:
    volume, reference = ball()
    (first,) = protocol_tasks(volume, reference, protocol("points 5+10"), model=beginner)
    prompts = SimulatedAnnotator(reference, protocol("points 5+10"), 0).start()
    answer = predict(volume, prompts, model=beginner)
    inside = reference.over(answer.region)
    dice = 2 * np.count_nonzero(answer.region_mask & inside) / (answer.region_mask.sum() + inside.sum())
    said, truth = first.inputs[LABEL] > 0, first.truth >= 0.5
    assert 2 * np.count_nonzero(said & truth) / (said.sum() + truth.sum()) == pytest.approx(dice, abs=0.05)


def test_a_model_decides_where_is_looked_and_what_is_corrected(beginner: PromptableModel) -> None:
    """Its first look and its last are tasks, beside views that nobody's answer decides."""
    volume, reference = ball()
    alone, with_model, again = (
        [list(varied_tasks(volume, reference, np.random.default_rng(seed), 1, model)) for seed in range(6)]
        for model in (None, beginner, beginner)
    )
    assert all(len(tasks) <= 2 for tasks in alone) and any(len(tasks) > 2 for tasks in with_model)
    for tasks, same in zip(with_model, again, strict=True):
        assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(tasks, same, strict=True))


def test_a_bank_gives_back_what_was_put_in(tmp_path: Path) -> None:
    (made,) = tiny_tasks(0)
    write_tasks(tmp_path / "tasks" / "0", [made])
    back = TaskBank(tmp_path / "tasks").task(0)
    assert np.abs(back.inputs - made.inputs).max() < 0.005 and np.array_equal(back.truth, made.truth)


def test_views_depend_on_their_number_and_leave_the_label_alone(banks: Path) -> None:
    views, again = (TaughtViews(TaskBank(banks / "tasks"), 8, 0) for _ in range(2))
    for n in range(6):
        view = views[n]
        assert torch.equal(view.inputs, again[n].inputs)
        truth, label = view.truth[0, 0] > 0.5, view.inputs[0, LABEL] > 0
        # However they were turned: the label is half of the truth.
        assert int(truth.sum()) == 512 and int(label.sum()) == 256 and bool((truth | ~label).all())
    assert len({views[n].inputs[0, 0].sum().item() for n in range(6)}) == 6


def test_views_are_padded_to_whole_patches_with_what_is_not_known(banks: Path) -> None:
    view = TaughtViews(TaskBank(banks / "tasks"), 24, 0)[0]
    assert view.inputs.shape[2:] == (24, 24, 24) and view.known.sum() == 16**3
    assert not view.inputs[0, :, ~view.known[0, 0].bool()].any()


def test_what_cannot_be_solved_is_taught_less_often(tmp_path: Path) -> None:
    """Two tasks: the label of one has half of the truth, that of the other nothing of it."""
    (good,) = tiny_tasks(0)
    hopeless = Task(good.inputs.copy(), good.truth)
    hopeless.inputs[LABEL] = -0.3
    write_tasks(tmp_path / "tasks" / "0", [good, hopeless])
    views = TaughtViews(TaskBank(tmp_path / "tasks"), 8, 0)
    solvable = [bool((views[n].inputs[0, LABEL] > 0).any()) for n in range(200)]
    assert 150 < sum(solvable) < 200


def test_views_are_often_nearer_than_they_were_banked_and_hold_the_whole_structure(tmp_path: Path) -> None:
    (small,) = tiny_tasks(0)
    around = [(0, 0), *[(30, 30)] * 3]
    far = Task(np.pad(small.inputs, around), np.pad(small.truth, around[1:]))
    write_tasks(tmp_path / "tasks" / "0", [far])
    views = TaughtViews(TaskBank(tmp_path / "tasks"), 8, 0)
    edges = [min(views[n].truth.shape[2:]) for n in range(20)]
    # Far views have 31 voxels along each axis at least.
    assert min(edges) < 30 and max(edges) > 50
    shrunk = [float(views[n].truth.sum()) for n in range(20) if min(views[n].truth.shape[2:]) < 30]
    assert shrunk == pytest.approx([512.0] * len(shrunk), rel=0.05)


def test_the_untrained_network_answers_the_label(banks: Path) -> None:
    config = PretrainingConfig(**LITTLE)
    network, bank = network_of(config), TaskBank(banks / "selection")
    assert dice_of(network, bank, 0) == pytest.approx(2 * 256 / (256 + 512))
    inputs = torch.from_numpy(bank.task(0).inputs)[None]
    logits = refined(network(inputs, sample=False).logits, inputs)
    assert torch.equal(logits > 0, inputs[:, LABEL : LABEL + 1] > 0)


def test_a_run_goes_on_from_weights_that_have_no_convolutions_yet(banks: Path, tmp_path: Path) -> None:
    first = network_of(PretrainingConfig(preset="compact", seed=3))
    torch.nn.init.normal_(first.out.conv.conv.weight)
    save_model(first, tmp_path / "first.safetensors", {"channels": list(CHANNELS)})
    gone_on = network_of(PretrainingConfig(start=str(tmp_path / "first.safetensors")))
    x = torch.rand(1, len(CHANNELS), 16, 16, 16)
    assert torch.equal(gone_on.eval()(x, sample=False).logits, first.eval()(x, sample=False).logits)
    save_model(gone_on, tmp_path / "second.safetensors", {"channels": list(CHANNELS)})
    with pytest.raises(InputError, match="another architecture"):
        network_of(PretrainingConfig(preset="compact", start=str(tmp_path / "second.safetensors")))


def test_it_learns_what_the_label_lacks(banks: Path, tmp_path: Path) -> None:
    for name in ("tasks", "selection"):
        (tmp_path / name).symlink_to(banks / name)
    config = PretrainingConfig(
        **{**LITTLE, **SHORT, "steps": 40, "select_every": 40, "learning_rate": 3e-3, "ema": 0.9, "accumulate": 1}
    )
    report = pretrain(config, tmp_path, quiet=True)
    assert report.selection > 0.9
    network, card = load_model(tmp_path)
    assert card["channels"] == list(CHANNELS) and card["metrics"]["selection_dice"] == report.selection
    assert dice_of(network, TaskBank(banks / "selection"), 0) > 0.9


def test_the_command_goes_on_where_it_was(banks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = []
    for name, runs in (("once", [4]), ("twice", [4, 4])):
        folder = tmp_path / name
        folder.mkdir()
        for kind in ("tasks", "selection"):
            (folder / kind).symlink_to(banks / kind)
        (folder / "config.json").write_text(json.dumps({**LITTLE, **SHORT}))
        for _ in runs:
            assert main(["pretrain", str(folder / "config.json"), "-o", str(folder), "--quiet"]) == OK
        weights.append(load_model(folder)[0].state_dict())
    assert all(torch.equal(a, weights[1][k]) for k, a in weights[0].items())
    assert main(["pretrain", "-o", str(tmp_path / "x"), "--set", "grups=3"]) == BAD_INPUT
    assert 'the closest one is "groups"' in capsys.readouterr().err


def test_making_tasks_is_gone_on_with(banks: Path, tmp_path: Path) -> None:
    (tmp_path / "selection").symlink_to(banks / "selection")
    said: list[str] = []
    config = PretrainingConfig(**LITTLE)
    make_tasks(config, tmp_path, say=said.append)
    assert len(said) == 1 and len(TaskBank(tmp_path / "tasks")) > 0
    make_tasks(config, tmp_path, say=said.append)
    assert len(said) == 1


def test_passes_that_processes_cannot_share_are_refused(
    banks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(InputError, match=r'"accumulate" \(2\) must be a multiple of the number of processes \(4\)'):
        pretrain(PretrainingConfig(**LITTLE, **SHORT), banks, quiet=True)


def test_a_process_that_is_killed_is_told_in_one_sentence() -> None:
    with pytest.raises(InputError, match="One of the processes was killed"), workers(1) as pool:
        pool.submit(os._exit, 9).result()
