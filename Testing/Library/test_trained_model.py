"""Inference by a trained network: windows, draws, uncertainty, memory, and the way back to the image's grid."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from PWSegmentationLib import InputError, Point, PromptSet, SegmentPrompts, Volume
from PWSegmentationLib.networks import ProbabilisticUNETR, UNETRConfig
from PWSegmentationLib.networks.model_files import save_model
from PWSegmentationLib.prediction.inference_memory import InferencePlan, plan_inference
from PWSegmentationLib.prediction.preparation import Preparation
from PWSegmentationLib.prediction.sliding_window import infer_maps
from PWSegmentationLib.prediction.trained_model import TrainedModel

from .training_data import ROOT, STRUCTURES, environment, scene

TINY = UNETRConfig(window=16, patch=4, stem=1, hidden=16, heads=2, mlp=32, depth=2, skips=(0,), features=4)


def model(promptable: bool = False, spacing: float = 0.0) -> TrainedModel:
    torch.manual_seed(0)
    network = ProbabilisticUNETR(TINY, in_channels=5 if promptable else 1, out_channels=2).eval()
    with torch.no_grad():
        for block in network.blocks:
            # Noise enough that draws differ.
            block.attn.fc_mu_var.bias[1] = 2.0
    return TrainedModel(network, STRUCTURES, Preparation(spacing), 16, promptable, {})


def volume(seed: int = 0) -> Volume:
    image, _, grid = scene(seed)
    return Volume(image[:, :20, :17], replace(grid, shape=(24, 20, 17)))


def test_one_window_is_the_networks_own_answer() -> None:
    network, x = model().network, torch.randn(1, 16, 16, 16)
    maps, cost = infer_maps(network, x, InferencePlan((16, 16, 16), 1, 1, 0), draws=0)
    with torch.no_grad():
        expected = torch.sigmoid(network(x[None], sample=False).logits)[0]
    torch.testing.assert_close(maps.probability, expected, atol=1e-5, rtol=1e-5)
    assert (maps.variance == 0).all() and maps.mutual_information.max() < 1e-4
    assert cost.windows == 1 and cost.draws == 0


def test_probabilities_are_averaged_and_the_uncertainty_is_that_of_the_draws() -> None:
    network, x = model().network, torch.randn(1, 16, 16, 16)
    maps, _ = infer_maps(network, x, InferencePlan((16, 16, 16), 1, 2, 0), draws=4, seed=3)
    with torch.no_grad():
        draws = network.draws(x[None], 4, torch.Generator().manual_seed(3), together=2)
        p = torch.stack([torch.sigmoid(d)[0] for d in draws]).double()

    def bits(q: torch.Tensor) -> torch.Tensor:
        return -(q * q.log2() + (1 - q) * (1 - q).log2())

    mean = p.mean(0)
    for found, expected in (
        (maps.probability, mean),
        (maps.entropy, bits(mean)),
        (maps.variance, p.var(0, correction=0)),
        (maps.mutual_information, bits(mean) - bits(p).mean(0)),
    ):
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-3)
    assert maps.variance.max() > 1e-6


def test_a_window_without_doubt_gets_no_more_draws_and_the_others_get_all() -> None:
    network = model().network
    with torch.no_grad():
        network.out.conv.conv.bias.fill_(-8.0)
        # Speaks up where the image is bright.
        network.stem.layer.conv3.conv.weight.fill_(0.5)
    x, plan = torch.zeros(1, 16, 16, 64), InferencePlan((16, 16, 16), 1, 2, 0)
    maps, cost = infer_maps(network, x, plan, draws=6, overlap=0.0)
    whole, all_of_them = infer_maps(network, x, plan, draws=6, overlap=0.0, all_draws=True)
    assert (cost.windows, cost.passes, all_of_them.passes) == (4, 8, 24)
    assert (maps.probability - whole.probability).abs().max() < 0.01
    assert torch.equal(maps.probability >= 0.5, whole.probability >= 0.5)
    with torch.no_grad():
        network.out.conv.conv.bias.fill_(0.0)
    maps, cost = infer_maps(network, x, plan, draws=6, overlap=0.0)
    whole, _ = infer_maps(network, x, plan, draws=6, overlap=0.0, all_draws=True)
    assert cost.passes == 24 and torch.equal(maps.variance, whole.variance)
    assert "24 passes" in str(cost)


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    trained, image = model(), volume()
    a, b, c = (trained.segment(image, draws=2, seed=s).maps.probability for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_draws_do_less_work_than_passes() -> None:
    """Counted, not timed: multiplications of six draws and of six passes, the paper's sizes."""

    def work(run: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    with torch.device("meta"), torch.inference_mode():
        network, x = ProbabilisticUNETR("paper").eval(), torch.zeros(1, 1, 96, 96, 96)
        together, apart = work(lambda: list(network.draws(x, 6))), work(lambda: [network(x) for _ in range(6)])
    assert together < 0.87 * apart


@pytest.mark.parametrize("spacing", [0.0, 3.0])
def test_the_answer_lies_on_the_images_own_grid(spacing: float) -> None:
    image = volume()
    turned = Volume(image.array[::-1].transpose(1, 2, 0), image.grid)
    turned = Volume(turned.array, replace(turned.grid, shape=turned.array.shape))
    found = model(spacing=spacing).segment(turned, draws=2)
    labels = found.labels(largest_only=True)
    assert labels.shape == turned.array.shape and labels.dtype == np.uint8
    for kind in ("probability", "entropy", "variance", "mutual_information"):
        values = found.map(kind, "ball")
        assert values.shape == turned.array.shape and np.isfinite(values).all()
        assert values.min() >= 0 and values.max() <= 1
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_the_likelier_structure_has_the_voxel_and_specks_can_go() -> None:
    found = model().segment(volume(), draws=0)
    probability = torch.zeros_like(found.maps.probability)
    probability[0, 2:8] = 0.7
    probability[1, 6:12] = 0.9
    probability[0, 20, 0, 0] = 0.8
    chosen = replace(found, maps=found.maps._replace(probability=probability))
    labels = chosen.labels()
    assert (labels[2:6] == 1).all() and (labels[6:12] == 2).all() and labels[20, 0, 0] == 1
    assert chosen.labels(largest_only=True)[20, 0, 0] == 0


def test_prompts_change_the_answer_of_a_promptable_model_and_no_other() -> None:
    image = volume()
    click = Point(tuple(image.grid.to_world([12, 10, 8])))
    prompts = PromptSet((SegmentPrompts("ball", points=(click,)),))
    asked = model(promptable=True)
    assert not torch.equal(
        asked.segment(image, draws=0).maps.probability, asked.segment(image, draws=0, prompts=prompts).maps.probability
    )
    with pytest.raises(InputError, match="takes no prompts"):
        model().segment(image, prompts=prompts)


def test_the_window_is_adapted_to_the_memory() -> None:
    network = ProbabilisticUNETR("compact", out_channels=2)
    shape = (96, 96, 64)
    plenty = plan_inference(network, shape, 64, 6, "cpu", limit=10**12)
    assert plenty.window == (64, 64, 64) and plenty.draws_together == 2
    single = plan_inference(network, shape, 64, 6, "cpu", limit=plenty.bytes - 1)
    assert single.window == (64, 64, 64) and single.draws_together == 1
    smaller = plan_inference(network, shape, 64, 6, "cpu", limit=single.bytes - 1)
    assert smaller.window < (64, 64, 64) and smaller.bytes < single.bytes
    with pytest.raises(InputError, match=r"GB of memory and 0\.0 GB are free"):
        plan_inference(network, shape, 64, 6, "cpu", limit=10**6)


def test_a_smaller_window_gives_an_answer_of_the_same_shape() -> None:
    trained, image = model(), volume()
    needed = plan_inference(trained.network, image.grid.shape, 16, 2, "cpu", 10**12).bytes
    found = trained.segment(image, draws=2, memory_limit=needed // 2)
    assert max(found.cost.window) < 16 and found.cost.windows > 8
    assert found.labels().shape == image.array.shape


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux how much was used")
def test_the_estimate_is_above_what_is_used() -> None:
    code = """
import pathlib, torch
from PWSegmentationLib.networks import ProbabilisticUNETR
from PWSegmentationLib.prediction.inference_memory import plan_inference
from PWSegmentationLib.prediction.sliding_window import infer_maps
network = ProbabilisticUNETR("compact", out_channels=3)
x = torch.randn(1, 96, 96, 64)
infer_maps(network, x[:, :16, :16, :16], plan_inference(network, (16, 16, 16), 16, 2, "cpu"), draws=2)
def kilobytes(key):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(key + ":")[1].split()[0])
# The largest size so far is forgotten.
pathlib.Path("/proc/self/clear_refs").write_text("5")
before = kilobytes("VmRSS")
plan = plan_inference(network, x.shape[1:], 64, 2, "cpu")
infer_maps(network, x, plan, draws=2)
print(plan.bytes, 1024 * (kilobytes("VmHWM") - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=ROOT, check=True
    )
    estimated, used = map(int, done.stdout.split())
    assert 0.9 * used < estimated < 4 * used, (estimated, used)


def test_a_card_that_does_not_name_the_structures_is_refused(tmp_path: Path) -> None:
    save_model(model().network, tmp_path / "model.safetensors", {"structures": {"ball": 1}})
    with pytest.raises(InputError, match="does not name the 2 structures"):
        TrainedModel.load(tmp_path)
    with pytest.raises(InputError, match="There is no model file"):
        TrainedModel.load(tmp_path / "other.safetensors")
