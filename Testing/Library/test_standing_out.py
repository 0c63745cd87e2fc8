"""A click on something small that hardly stands out from the organ around it."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib import Session
from PWSegmentationLib.prediction.standing_out import SURROUNDINGS_MM, radius_standing_out
from PWSegmentationLib.prediction.view import look_at, region_for
from PWSegmentationLib.prompts.prompts import Point, SegmentPrompts
from PWSegmentationLib.volume.volume import Volume
from Testing.Library.conftest import dice, rotation

_SHAPE = (84, 80, 76)
# Of the organ, mm, and of the lesion in it, off the organ's middle.
_ORGAN, _RADIUS, _OFF = (52.0, 46.0, 40.0), 6.0, (14.0, -8.0, 6.0)


def liver_like(affine: np.ndarray, contrast: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An organ (100) in fat (-80) with noise of 18, and a lesion of 6 mm in it: image, lesion, the lesion's middle."""
    world = np.moveaxis(np.indices(_SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    middle = (affine @ [*(0.5 * np.array(_SHAPE) - 0.5), 1])[:3]
    in_organ = 1.0 / (1.0 + np.exp((np.linalg.norm((world - middle) / _ORGAN, axis=-1) - 1.0) * 30.0))
    away = np.linalg.norm(world - middle - _OFF, axis=-1)
    in_lesion = 1.0 / (1.0 + np.exp((away - _RADIUS) / 0.8))
    noise = np.random.default_rng(3).normal(size=_SHAPE) * 18.0
    return (-80 + 180 * in_organ + contrast * in_lesion + noise).astype(np.float32), away <= _RADIUS, middle + _OFF


def turned(seed: int) -> np.ndarray:
    """A grid of 1.5 mm in any direction."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.random.default_rng(seed)) * 1.5
    affine[:3, 3] = (-40, 25, 310)
    return affine


def radius_at(volume: Volume, place: np.ndarray) -> float | None:
    clicked = SegmentPrompts("here").with_prompt(Point(tuple(place)))
    around = look_at(volume, clicked, (), region_for(clicked, volume.grid, SURROUNDINGS_MM), 80_000)
    return radius_standing_out(around, clicked.positions(positive=True))


@pytest.mark.parametrize(("seed", "contrast"), [(0, -50.0), (1, -50.0), (2, 50.0)])
def test_one_click_on_a_lesion_in_an_organ_finds_the_lesion(seed, contrast):
    affine = turned(seed)
    image, lesion, middle = liver_like(affine, contrast)
    session = Session("cpu")
    session.set_image(image, affine)
    session.add_point("lesion", tuple(middle))
    assert dice(session.predict("lesion").mask, lesion) > 0.7


def test_how_large_it_is_does_not_depend_on_the_scanner_or_its_units():
    found = []
    for seed, scale in ((0, 1.0), (1, -0.01), (2, 3.0), (2, 3e-9)):
        image, _, middle = liver_like(turned(seed), -50.0)
        found.append(radius_at(Volume.from_array((image + 7.0) * scale, turned(seed)), middle))
    assert len(set(found)) == 1
    assert found[0] == pytest.approx(_RADIUS, rel=0.3)


def test_nothing_stands_out_in_an_even_organ_or_an_even_image():
    affine = turned(0)
    image, _, middle = liver_like(affine, 0.0)
    assert radius_at(Volume.from_array(image, affine), middle) is None
    assert radius_at(Volume.from_array(np.zeros(_SHAPE, np.float32), affine), middle) is None
