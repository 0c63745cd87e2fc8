"""How sure the answer is of each voxel, and the command that fits it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from PWSegmentationLib import InputError
from PWSegmentationLib.files import sha256
from PWSegmentationLib.networks.model_files import save_tensors
from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prediction.view import look_at
from PWSegmentationLib.prediction.voxel_sharpness import FEATURES, VoxelSharpness, voxel_features
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.pseudolabel.from_image import SHOWN_CUES
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume
from Testing.Benchmarks import voxel_sharpness as fitting
from Testing.Benchmarks.fitting import structures
from Testing.Library.conftest import bright_ellipsoid
from Testing.Library.grids import GRIDS
from Testing.Library.test_promptable import model_file, network


def by_chance(seed: int = 0) -> VoxelSharpness:
    """Factors from a few hundredths to a few."""
    rng = np.random.default_rng(seed)
    shapes = ((16, len(FEATURES)), 16, 16, ())
    return VoxelSharpness(*(rng.normal(scale=0.5, size=shape).astype(np.float32) for shape in shapes))


def oblique_ball() -> tuple[Volume, np.ndarray]:
    """An ellipsoid on an oblique, anisotropic grid, and its middle."""
    affine = GRIDS["oblique"].affine.copy()
    affine[:3, :3] *= 0.9
    image, _, center = bright_ellipsoid((48, 40, 24), affine, (11.0, 14.0, 17.0))
    return Volume.from_array(image, affine), center


def clicked(center: np.ndarray, *outside: tuple[float, float, float]) -> SegmentPrompts:
    prompts = SegmentPrompts("ball").with_prompt(Point(tuple(center)))
    for way in outside:
        prompts = prompts.with_prompt(Point(tuple(center + way), positive=False))
    return prompts


@pytest.mark.parametrize("outside", [(), ((17.0, 0.0, 0.0), (0.0, 0.0, -24.0))])
def test_no_border_moves_and_the_probability_says_what_the_mask_says(
    outside: tuple[tuple[float, float, float], ...],
) -> None:
    volume, center = oblique_ball()
    prompts, made = clicked(center, *outside), network(spread=0.3)
    without = predict(volume, prompts, model=PromptableModel(made))
    for seed in range(3):
        found = predict(volume, prompts, model=PromptableModel(made, sharpness=by_chance(seed)))
        assert found.region == without.region and found.region_mask.any()
        np.testing.assert_array_equal(found.region_mask, without.region_mask)
        np.testing.assert_array_equal(found.region_probability >= 0.5, found.region_mask)
        assert not np.array_equal(found.region_probability, without.region_probability)
        # What the next prompts go by does not depend on it either.
        np.testing.assert_array_equal(found.working_probability, without.working_probability)


def test_there_is_no_doubt_at_a_click() -> None:
    volume, center = oblique_ball()
    found = predict(volume, clicked(center, (17.0, 0.0, 0.0)), model=PromptableModel(network(), sharpness=by_chance()))
    at = tuple(volume.grid.to_voxel(center))
    assert found.uncertainty[at] == 0.0 and found.probability[at] == 1.0
    assert found.uncertainty.max() <= 1.0 and found.probability.max() <= 1.0


def test_axes_written_in_another_order_make_no_difference() -> None:
    """A volume whose voxels are stored from the other end, and with other axes first, has the same features."""
    volume, center = oblique_ball()
    turned = Volume.from_array(*_turned(volume))
    seen = [_features(each, clicked(center, (17.0, 0.0, 0.0))) for each in (volume, turned)]
    back = np.flip(seen[1].transpose(0, 3, 1, 2), axis=1)
    np.testing.assert_allclose(back, seen[0], atol=2e-4)


def _turned(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Axes j, k and i, the last from its end."""
    array = np.flip(np.asarray(volume.array), axis=0).transpose(1, 2, 0)
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (array.shape[2] - 1)
    affine[:3, :3] = np.stack([affine[:3, 1], affine[:3, 2], -affine[:3, 0]], axis=1)
    return np.ascontiguousarray(array), affine


def _features(volume: Volume, prompts: SegmentPrompts) -> np.ndarray:
    view = look_at(volume, prompts, (), Region.whole(volume.grid.shape))
    bright = np.clip((view.image - 20.0) / 80.0, 0.0, 1.0).astype(np.float32)
    cues = np.stack([bright * (n + 1) / 10 for n in range(len(SHOWN_CUES))])
    return voxel_features(bright, view, prompts, cues).reshape(len(FEATURES), *view.grid.shape)


def test_features_are_millimetres_and_sides() -> None:
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    image, _, center = bright_ellipsoid((30, 60, 20), affine, (12.0, 12.0, 12.0))
    volume, prompts = Volume.from_array(image, affine), clicked(center)
    view = look_at(volume, prompts, (), Region.whole(volume.grid.shape))
    answer = np.where(view.image > 60.0, 0.9, 0.1).astype(np.float32)
    found = dict(
        zip(FEATURES, voxel_features(answer, view, prompts, np.ones((6, *answer.shape), np.float32)), strict=True)
    )
    inside = (answer >= 0.5).ravel()
    assert set(found["inside"][inside]) == {1.0} and set(found["surface"][~inside]) == {-1.0}
    # 12 mm deep in the middle, 100 mm from a click outside, of which there is none.
    assert np.exp(found["thickness"][0]) * 8.0 == pytest.approx(12.0, abs=2.0)
    assert np.exp(found["size"][0]) * 20.0 == pytest.approx(12.0, abs=1.0)
    assert np.exp(found["nearest other prompt"][inside]) * 20.0 - 2.0 == pytest.approx(100.0, abs=0.1)
    assert np.exp(found["border"][inside]).max() * 10.0 - 1.0 == pytest.approx(12.0, abs=2.0)


def test_a_model_brings_it_and_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sharpness.safetensors"
    by_chance().save(path)
    card = {"sharpness": {"file": path.name, "sha256": sha256(path)}}
    loaded = PromptableModel.load(model_file(tmp_path, **card)).sharpness
    assert loaded is not None
    np.testing.assert_array_equal(loaded.hidden, by_chance().hidden)
    assert loaded.out_bias == by_chance().out_bias
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="SHA-256"):
        PromptableModel.load(model_file(tmp_path, **card))
    save_tensors({"hidden": torch.zeros(16, 3)}, path)
    with pytest.raises(InputError, match="not for this version"):
        VoxelSharpness.load(path, sha256(path))
    path.unlink()
    with pytest.raises(InputError, match="no file"):
        PromptableModel.load(model_file(tmp_path, **card))


@pytest.fixture(scope="module")
def cases() -> list[fitting.Case]:
    """Of a procedural scene, prompted in a few ways."""
    number, name, volume, reference = next(structures("procedural"))
    found = []
    for case in fitting.answers("procedural", name, volume, reference, number):
        found.append(case)
        if len(found) == 6:
            break
    assert {c.way for c in found} >= {"points 5+10", "one click, 0 corrections"}
    return found


def test_the_fit_makes_what_is_right_likelier_and_moves_no_border(cases: list[fitting.Case], tmp_path: Path) -> None:
    fitted = fitting.fit(cases, iterations=30)
    before = fitting.table(cases, [c.probability for c in cases])["procedural"]["all"]
    said = [fitting.judged(fitted, c) for c in cases]
    after = fitting.table(cases, said)["procedural"]["all"]
    # Log-loss, calibration error.
    assert after[2] < before[2] and after[0] < before[0] + 0.01
    for case, probability in zip(cases, said, strict=True):
        np.testing.assert_array_equal(probability >= 0.5, case.probability >= 0.5)
        assert case.features.shape == (len(FEATURES), len(case.truth))
    fitting._write(cases, tmp_path / "cases.npz")
    for case, again in zip(cases, fitting._read(tmp_path / "cases.npz"), strict=True):
        assert (case.source, case.structure, case.way) == (again.source, again.structure, again.way)
        np.testing.assert_array_equal(case.features, again.features)


def test_uncertainty_is_the_entropy_of_what_is_stated() -> None:
    volume, center = oblique_ball()
    found: Prediction = predict(
        volume, clicked(center), model=PromptableModel(network(spread=0.3), sharpness=by_chance())
    )
    p = np.clip(found.region_probability.astype(np.float64), 1e-6, 1.0 - 1e-6)
    entropy = -(p * np.log2(p) + (1.0 - p) * np.log2(1.0 - p))
    doubt = found.region_uncertainty.astype(np.float64)
    # Both are interpolated from the working grid.
    assert np.corrcoef(entropy.ravel(), doubt.ravel())[0, 1] > 0.95
