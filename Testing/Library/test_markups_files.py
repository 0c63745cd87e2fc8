"""Slicer's markups files become prompts at the same place in the patient, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prompts.markups import read_markups
from PWSegmentationLib.prompts.prompts import Box, Point, Scribble


def save(folder: Path, *markups: dict[str, Any]) -> Path:
    path = folder / "file.mrk.json"
    path.write_text(json.dumps({"markups": list(markups)}), encoding="utf-8")
    return path


def markup(kind: str, *positions: tuple[float, float, float], **fields: Any) -> dict[str, Any]:
    points = [{"position": list(p), "positionStatus": "defined"} for p in positions]
    return {"type": kind, "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points, **fields}


@pytest.mark.parametrize(("system", "sign"), [("LPS", -1), ("1", -1), (1, -1), ("RAS", 1), ("0", 1), (0, 1)])
def test_points_arrive_in_ras(tmp_path: Path, system: object, sign: int) -> None:
    path = save(tmp_path, markup("Fiducial", (1, 2, 3), (4, 5, 6), coordinateSystem=system))
    assert read_markups(path) == [Point((sign * 1, sign * 2, 3)), Point((sign * 4, sign * 5, 6))]


def test_negative_points(tmp_path: Path) -> None:
    assert read_markups(save(tmp_path, markup("Fiducial", (1, 2, 3))), positive=False) == [Point((-1, -2, 3), False)]


def test_points_that_were_not_placed_are_left_out(tmp_path: Path) -> None:
    item = markup("Fiducial", (1, 2, 3))
    item["controlPoints"] += [
        {"position": "", "positionStatus": "undefined"},
        {"position": [7, 8, 9], "positionStatus": "preview"},
    ]
    assert read_markups(save(tmp_path, item)) == [Point((-1, -2, 3))]


def test_a_file_without_status_and_system_is_lps_and_placed(tmp_path: Path) -> None:
    path = save(tmp_path, {"type": "Fiducial", "controlPoints": [{"label": "F-1", "position": [1, 2, 3]}]})
    assert read_markups(path) == [Point((-1, -2, 3))]


def test_roi_becomes_a_box(tmp_path: Path) -> None:
    axes = [0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1]
    (box,) = read_markups(save(tmp_path, markup("ROI", center=[1, 2, 3], size=[10, 20, 30], orientation=axes)))
    assert isinstance(box, Box)
    assert box.center == (-1, -2, 3)
    assert box.size == (10, 20, 30)
    np.testing.assert_allclose(box.axes, np.diag([-1, -1, 1]) @ np.reshape(axes, (3, 3)))
    # The first axis points at LPS (.8, .6, 0), which is RAS (-.8, -.6, 0).
    assert box.contains((-1 - 0.8 * 4.9, -2 - 0.6 * 4.9, 3))
    assert not box.contains((-1 - 0.8 * 5.1, -2 - 0.6 * 5.1, 3))


def test_curves_become_scribbles(tmp_path: Path) -> None:
    corners = [(0, 0, 0), (10, 0, 0), (10, 10, 0), (0, 10, 0)]
    line, curve, ring = read_markups(
        save(tmp_path, markup("Line", *corners[:2]), markup("Curve", *corners), markup("ClosedCurve", *corners)),
        radius=1.5,
    )
    assert line == Scribble(((0, 0, 0), (-10, 0, 0)), 1.5)
    for scribble in (curve, ring):
        assert isinstance(scribble, Scribble)
        points = np.array(scribble.points)
        for corner in corners:
            assert np.linalg.norm(points - np.array(corner) * (-1, -1, 1), axis=1).min() < 1e-9
    assert isinstance(curve, Scribble)
    assert isinstance(ring, Scribble)
    assert curve.points[0] != curve.points[-1]
    assert ring.points[0] == pytest.approx(ring.points[-1])


def test_several_markups_in_one_file(tmp_path: Path) -> None:
    path = save(tmp_path, markup("Fiducial", (1, 2, 3)), markup("ROI", center=[0, 0, 0], size=[1, 1, 1]))
    assert [type(p) for p in read_markups(path)] == [Point, Box]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (markup("Angle", (1, 2, 3)), "Angle is no prompt"),
        (markup("Fiducial"), "no placed points"),
        (markup("Fiducial", (1, 2, 3), coordinateSystem="XYZ"), '"coordinateSystem" must be'),
        (markup("Fiducial", (1, 2, 3), coordinateUnits="um"), "must be in mm"),
        (markup("Fiducial", (1, 2)), "three coordinates"),  # type: ignore[arg-type]
        (markup("Fiducial", (1, 2, "x")), "cannot be read"),  # type: ignore[arg-type]
        (markup("ROI", center=[0, 0, 0], size=[1, 0, 1]), "positive size"),
        (markup("ROI"), "was not placed"),
        (markup("ROI", center=[0, 0, 0], size=[1, 1, 1], insideOut=True), "inside-out"),
        (markup("ROI", center=[0, 0, 0], size=[1, 1, 1], orientation=[1, 2]), "cannot be read"),
        ({"controlPoints": []}, "without 'type'"),
        ("no markup", "cannot be read"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, item: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_markups(save(tmp_path, item))
    assert "file.mrk.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_negative_roi(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ROI cannot be negative"):
        read_markups(save(tmp_path, markup("ROI", center=[0, 0, 0], size=[1, 1, 1])), positive=False)


def test_files_that_are_no_markups(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read the markups"):
        read_markups(tmp_path / "none.mrk.json")
    for text, said in (("{", "not valid JSON"), ("[]", "no Slicer markups"), ('{"markups": 1}', "no Slicer markups")):
        (tmp_path / "a.mrk.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            read_markups(tmp_path / "a.mrk.json")
    (tmp_path / "b.mrk.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid JSON"):
        read_markups(tmp_path / "b.mrk.json")
