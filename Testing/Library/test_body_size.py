"""A mouse, or a file that calls micrometres millimetres, is segmented as a person's image of the same voxels is."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib import Session
from Testing.Library.conftest import bright_ellipsoid, dice

SHAPE = (64, 60, 52)
USUAL_MM = 0.6


def asked(spacing: float) -> tuple[Session, np.ndarray]:
    """A session on an ellipsoid of 9 to 12 voxels' radius on voxels of ``spacing`` mm, and where it is."""
    affine = np.diag([spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = np.array([-3.0, 5.0, 20.0]) * spacing
    image, mask, _ = bright_ellipsoid(SHAPE, affine, (12 * spacing, 9 * spacing, 10 * spacing))
    session = Session("cpu")
    session.set_image(image, affine)
    return session, mask


def place(session: Session, *index: float) -> tuple[float, ...]:
    return tuple(session.volume.grid.to_world(index))


def masks(spacing: float) -> list[np.ndarray]:
    """Answers to prompts of every kind, one after the other."""
    session, _ = asked(spacing)
    found = []
    session.add_point("one", place(session, 31.2, 29.3, 25.1))
    found.append(session.predict().mask)
    session.add_point("one", place(session, 50.3, 29.3, 25.1), False)
    session.add_scribble("one", [place(session, 31.2, 45.3, 20.1), place(session, 31.2, 45.3, 30.2)], spacing, False)
    found.append(session.predict().mask)
    painted = np.zeros(SHAPE, np.uint8)
    painted[36:40, 29, 25], painted[2, 3, 4] = 1, 2
    session.add_strokes("two", painted)
    session.add_box("two", place(session, 36.0, 29.0, 25.0), tuple(np.array([16.0, 30.0, 26.0]) * spacing))
    found += [session.predict("two").mask, session.predict("one").mask]
    session.undo()
    return [*found, session.predict("one").mask]


@pytest.fixture(scope="module")
def usual() -> list[np.ndarray]:
    return masks(USUAL_MM)


@pytest.mark.parametrize("spacing", [0.1, 100.0], ids=["mouse", "wrong unit"])
def test_the_same_voxels_get_the_same_answer(usual: list[np.ndarray], spacing: float) -> None:
    for here, there in zip(masks(spacing), usual, strict=True):
        assert there.any()
        assert dice(here, there) > 0.99


def test_one_click_finds_what_is_smaller_than_a_click() -> None:
    session, mask = asked(0.05)
    session.add_point("nodule", place(session, 31, 29, 25))
    found = session.predict()
    assert dice(found.mask, mask) > 0.85
    assert found.volume_ml == pytest.approx(np.count_nonzero(found.mask) * 0.05**3 / 1000)
