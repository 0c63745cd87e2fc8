"""The promptable network in the answer: where it looks, what it is shown, what happens without its file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from PWSegmentationLib import Cancelled, InputError, Session
from PWSegmentationLib.commandline.main import BAD_INPUT, OK, main
from PWSegmentationLib.files import shipped_weights
from PWSegmentationLib.networks import ProbabilisticUNETR, UNETRConfig
from PWSegmentationLib.networks.model_files import save_model
from PWSegmentationLib.prediction.network_inputs import CHANNELS
from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.prediction.promptable import PromptableModel, promptable_model
from PWSegmentationLib.prediction.sharpening import sharpened, sharpness
from PWSegmentationLib.prediction.view import View, region_for
from PWSegmentationLib.prediction.zoom import Judged, furthest, zoomed
from PWSegmentationLib.prompts.prompts import Box, Point, SegmentPrompts
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume
from PWSegmentationLib.volume.writing import write_image
from Testing.Library.conftest import bright_ellipsoid, dice

TINY = UNETRConfig(window=32, patch=8, stem=2, hidden=32, heads=2, mlp=64, depth=2, skips=(0,), features=8)


def network(spread: float = 0.0) -> ProbabilisticUNETR:
    """Says what the label says, and with ``spread`` something at random beside it."""
    torch.manual_seed(0)
    made = ProbabilisticUNETR(TINY, in_channels=len(CHANNELS))
    for parameter in made.out.parameters():
        torch.nn.init.normal_(parameter, std=spread) if spread else torch.nn.init.zeros_(parameter)
    return made.eval()


def model_file(folder: Path, **card: Any) -> Path:
    path = folder / "tiny.safetensors"
    save_model(network(), path, {"channels": list(CHANNELS), **card})
    return path


def ellipsoid(shape: tuple[int, int, int], spacing: float, radius: float) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A bright ball in the middle, its mask and its centre in the world."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    image, mask, center = bright_ellipsoid(shape, affine, (radius, radius, radius))
    return Volume.from_array(image, affine), mask, center


def click(place: np.ndarray) -> SegmentPrompts:
    return SegmentPrompts("ball").with_prompt(Point(tuple(place)))


def bright(view: View) -> Judged:
    """A judge who knows the answer."""
    return Judged((view.image > 60).astype(np.float32))


def test_the_view_grows_with_an_object_that_is_larger_than_the_first_look() -> None:
    volume, mask, center = ellipsoid((90, 90, 90), 2.5, 100.0)
    looked = zoomed(volume, click(center), (), bright)
    whole = Region.around(mask)
    assert whole is not None and whole.intersection(looked.view.region) == whole
    assert (
        dice(looked.view.region.fitted(looked.view.to_fine(looked.probability) >= 0.5, Region.whole(mask.shape)), mask)
        > 0.95
    )
    # One look around a lone click, 80 mm each way, cannot hold it.
    assert whole.intersection(region_for(click(center), volume.grid, 80.0)) != whole


def test_the_first_look_around_a_lone_click_is_wide_and_what_is_small_there_is_looked_for_closely() -> None:
    seen: list[float] = []

    def judge(view: View) -> Judged:
        seen.append(min(view.region.shape) * view.fine.spacing[0])
        return bright(view)

    def judge_of_the_ball(view: View) -> Judged:
        away = np.linalg.norm(view.grid.to_world(np.moveaxis(np.indices(view.grid.shape), 0, -1)) - center, axis=-1)
        return Judged(judge(view).probability * (away < 7.0))

    large, _, center = ellipsoid((90, 90, 90), 2.5, 60.0)
    zoomed(large, click(center), (), judge)
    assert len(seen) == 2 and seen[0] > 150, "one look from far holds it"
    seen.clear()
    small, _, center = ellipsoid((160, 160, 160), 1.0, 6.0)
    zoomed(small, click(center), (), judge)
    assert max(seen) < 40, "what stands out from its surroundings is looked at from near at once"
    seen.clear()
    image = small.array.copy()
    offset = np.moveaxis(np.indices(image.shape), 0, -1) - 79.5
    image[(np.linalg.norm(offset, axis=-1) > 7.2) & (offset[..., 2] // 6 % 2 == 0)] = 100.0
    zoomed(Volume.from_array(image, small.grid.affine), click(center), (), judge_of_the_ball)
    assert seen[0] > 150 and seen[1] < 40, "among much that is as bright nothing stands out"
    seen.clear()
    zoomed(large, click(center + 50).with_prompt(Point(tuple(center), positive=False)), (), judge)
    assert seen[0] < 150, "what is outside says something about the extent"


def test_a_view_grows_only_where_the_object_goes_on() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image = np.random.default_rng(0).normal(0, 5, (160, 60, 60)).astype(np.float32)
    image[60:, 27:34, 27:34] = 100.0
    volume = Volume.from_array(image, affine)
    looked = zoomed(volume, click(np.array([140.0, 60.0, 60.0])), (), bright)
    assert looked.view.region.start[0] > 0 and looked.view.region.stop[0] == 160
    assert looked.view.region.shape[1] < 60


def test_a_small_object_is_looked_at_as_finely_as_the_image_allows() -> None:
    volume, mask, center = ellipsoid((160, 160, 160), 0.7, 4.0)
    looked = zoomed(volume, click(center), (), bright)
    assert max(looked.view.region.shape) * 0.7 < 40
    assert looked.view.grid.spacing == pytest.approx(volume.grid.spacing, rel=0.02)
    found = looked.view.to_fine(looked.probability) >= 0.5
    assert dice(looked.view.region.fitted(found, Region.whole(mask.shape)), mask) > 0.9


def test_what_is_answered_is_within_what_could_be_seen() -> None:
    volume, _, center = ellipsoid((90, 90, 90), 2.5, 80.0)
    prompts = click(center)
    found = predict(volume, prompts, model=PromptableModel(network()))
    assert furthest(prompts, volume.grid).union(found.region) == furthest(prompts, volume.grid)


def test_a_box_is_looked_at_as_it_is() -> None:
    volume, mask, center = ellipsoid((60, 60, 60), 1.0, 12.0)
    prompts = SegmentPrompts("ball").with_prompt(Box(tuple(center), (28.0, 28.0, 28.0)))
    found = predict(volume, prompts, model=PromptableModel(network()))
    assert found.region == region_for(prompts, volume.grid)
    assert dice(found.mask, mask) > 0.8


def test_every_click_is_obeyed_wherever_the_object_was_found() -> None:
    volume, _, center = ellipsoid((80, 80, 80), 1.0, 8.0)
    prompts = click(center).with_prompt(Point(tuple(center + [20.0, 0.0, 0.0])))
    prompts = prompts.with_prompt(Point(tuple(center + [3.0, 0.0, 0.0]), positive=False))
    mask = predict(volume, prompts, model=PromptableModel(network(spread=0.5))).mask
    at = [tuple(volume.grid.to_voxel(center + [x, 0, 0])) for x in (0.0, 20.0, 3.0)]
    assert [bool(mask[v]) for v in at] == [True, True, False]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_however_the_scanner_wrote_the_voxels_the_network_says_the_same(axes: tuple[int, int, int]) -> None:
    volume, _, center = ellipsoid((50, 46, 42), 1.0, 9.0)
    model = PromptableModel(network(spread=0.1))
    here = predict(volume, click(center), model=model).mask
    flipped = np.flip(volume.array, 1).transpose(axes)
    affine = volume.grid.affine @ np.array([[1, 0, 0, 0], [0, -1, 0, 45], [0, 0, 1, 0], [0, 0, 0, 1]])
    there = predict(Volume.from_array(flipped, affine[:, [*axes, 3]]), click(center), model=model).mask
    assert dice(np.flip(there.transpose(np.argsort(axes)), 1), here) > 0.98


def test_the_looks_are_one_progress_and_can_be_cancelled_between() -> None:
    volume, _, center = ellipsoid((90, 90, 90), 2.5, 80.0)
    told: list[float] = []
    predict(volume, click(center), model=PromptableModel(network()), progress=lambda done, _: told.append(done))
    assert len(told) > 10 and told == sorted(told) and told[0] < 0.1 and told[-1] > 0.9
    later: list[float] = []
    with pytest.raises(Cancelled):
        predict(
            volume,
            click(center),
            model=PromptableModel(network()),
            progress=lambda done, _: later.append(done),
            cancel=lambda: bool(later) and later[-1] > 0.14,
        )
    assert later[-1] < 0.2


def test_the_temperature_makes_probabilities_milder_and_moves_no_border() -> None:
    inputs = np.random.default_rng(0).uniform(-1, 1, (len(CHANNELS), 20, 17, 9)).astype(np.float32)
    sharp, mild = (PromptableModel(network(0.5), temperature=t).probability(inputs) for t in (1.0, 2.0))
    assert sharp.shape == (20, 17, 9)
    assert np.array_equal(sharp > 0.5, mild > 0.5)
    assert np.abs(mild - 0.5).max() < np.abs(sharp - 0.5).max()


def test_the_more_is_known_the_surer_is_the_answer_and_no_border_moves() -> None:
    one = click(np.zeros(3))
    many = one
    for number in range(1, 12):
        many = many.with_prompt(Point((float(number), 0.0, 0.0), positive=number % 2 == 0))
    boxed = SegmentPrompts("ball").with_prompt(Box((0.0, 0.0, 0.0), (9.0, 9.0, 9.0)))
    assert 1.0 < sharpness(one) < sharpness(many) == sharpness(boxed)
    mild = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    sure = sharpened(mild, sharpness(many))
    assert np.all(np.diff(sure) > 0) and sure[0] == 0.0 and sure[50] == 0.5 and sure[100] == 1.0
    assert np.all(np.abs(sure - 0.5) >= np.abs(mild - 0.5))


def test_another_prompt_far_away_is_no_reason_to_compute_again_and_one_near_by_is() -> None:
    volume, _, center = ellipsoid((120, 60, 60), 1.5, 9.0)
    session = Session("cpu", method="network")
    session.set_volume(volume)
    session.add_point("ball", center)
    first = session.predict("ball")
    # Seen in the first look, from far, but not where the ball was found.
    session.add_point("far", center + [60.0, 0.0, 0.0])
    session.predict("far")
    assert session.predict("ball").seconds == first.seconds
    session.add_point("near", center + [16.0, 0.0, 0.0])
    assert session.predict("ball").seconds != first.seconds


def test_the_weights_that_ship_are_whole_small_and_say_what_they_are() -> None:
    model, note = promptable_model()
    assert model is not None and note == ""
    models = list(shipped_weights().parent.glob("*.safetensors"))
    assert sum(p.stat().st_size for p in models) <= 16 * 1024**2
    volume, mask, center = ellipsoid((64, 64, 64), 1.0, 10.0)
    session = Session("cpu", method="network")
    session.set_volume(volume)
    session.add_point("ball", center)
    found = session.predict()
    assert dice(found.mask, mask) > 0.85 and found.method == model.name and found.note == ""


def test_without_the_file_the_label_answers_and_says_why(tmp_path: Path) -> None:
    """In a copy of the package whose weights are damaged, as a broken download leaves them."""
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    shutil.copytree(root / "PWSegmentationLib", tmp_path / "PWSegmentationLib", ignore=shutil.ignore_patterns("*.pyc"))
    models = tmp_path / "Resources" / "Models"
    shutil.copytree(root / "Resources" / "Models", models)
    with shipped_weights().open("rb") as file:
        (models / shipped_weights().name).write_bytes(file.read(1000))
    code = """
import numpy as np
from PWSegmentationLib import Session
session = Session("cpu", method="network")
session.set_image(np.random.default_rng(0).normal(size=(30, 30, 30)), np.eye(4))
session.add_point("a", (15, 15, 15))
found = session.predict()
print(found.method, "|", found.note)
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.startswith("image-aware label | Answered without the network.") and "get it again" in said


def test_a_model_of_ones_own_is_used_and_a_wrong_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume, _, center = ellipsoid((40, 40, 40), 1.0, 8.0)
    write_image(volume.array, volume.grid, tmp_path / "ball.nii.gz")
    session = Session("cpu", model=model_file(tmp_path))
    session.set_volume(volume)
    session.add_point("ball", center)
    assert session.predict().method.startswith("network ")
    prompts = tmp_path / "prompts.json"
    prompts.write_text(
        '{"format": "pwseg-prompts", "version": 1, "segments": [{"name": "ball", "points": '
        f'[{{"position": {[float(c) for c in center]}, "positive": true}}]}}]}}'
    )
    arguments = ["segment", str(tmp_path / "ball.nii.gz"), "--prompts", str(prompts), "-o", str(tmp_path / "o.nii.gz")]
    assert main([*arguments, "--model", str(tmp_path / "tiny.safetensors"), "--device", "cpu"]) == OK
    save_model(network(), tmp_path / "tiny.safetensors", {"channels": ["image"]})
    assert main([*arguments, "--model", str(tmp_path / "tiny.safetensors"), "--device", "cpu"]) == BAD_INPUT
    assert "pwseg pretrain" in capsys.readouterr().err


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="SHA-256"):
        PromptableModel.load(path)
