"""Prompts from 3D Slicer's own markups files (``.mrk.json``).

The schema is Slicer's ``markups-schema-v1.0.x``. A file says itself whether its positions are LPS (Slicer's default)
or RAS; they arrive as RAS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json
from PWSegmentationLib.prompts.prompts import Box, Point, Prompt, Scribble
from PWSegmentationLib.volume.grid import RAS_TO_LPS

DEFAULT_RADIUS_MM = 2.0

# Slicer draws a curve between its control points as a spline; a polyline of this many pieces follows it.
_PIECES = 10

# 0 and 1 are what Slicer's coordinate system enumeration looks like in some files.
_LPS = ("LPS", "1", 1, None)
_RAS = ("RAS", "0", 0)


def read_markups(path: str | Path, *, radius: float = DEFAULT_RADIUS_MM, positive: bool = True) -> list[Prompt]:
    """Read a Slicer markups file, which may hold several markups.

    Fiducials become points, lines, curves and closed curves become scribbles, ROIs become boxes. Control points that
    were never placed are left out.

    Parameters
    ----------
    path
        A ``.mrk.json`` file.
    radius
        Brush radius of scribbles, mm.
    positive
        Whether points and scribbles say where the segment is, or where it is not.

    Raises
    ------
    InputError
        With one sentence that names the file, if it cannot be read, holds nothing that can prompt (an angle, a
        plane), or a box is to be negative.
    """
    path = Path(path)
    document = read_json(path, "markups")
    markups = document.get("markups") if isinstance(document, dict) else None
    if not isinstance(markups, list):
        raise InputError(f'{path} is no Slicer markups file: it has no list "markups".')
    try:
        prompts = [prompt for item in markups for prompt in _prompts(item, radius, positive)]
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except KeyError as error:
        raise InputError(f"{path} has a markup without {error}.") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} has a markup that cannot be read ({error}).") from error
    if not prompts:
        raise InputError(f"{path} holds no placed points: place some and save it again.")
    return prompts


def _prompts(item: dict[str, Any], radius: float, positive: bool) -> list[Prompt]:
    kind, flip = str(item["type"]), _flip(item)
    if kind == "ROI":
        if not positive:
            raise InputError("A ROI cannot be negative: use points or curves to say where the segment is not.")
        return [_box(item, flip)]
    if kind == "Fiducial":
        return [Point(_position(p), positive) for p in _control_points(item) * flip]
    if kind in ("Line", "Curve", "ClosedCurve"):
        points = _control_points(item) * flip
        if len(points) == 0:
            return []
        line = _polyline(points, closed=kind == "ClosedCurve")
        return [Scribble(tuple(_position(p) for p in line), radius, positive)]
    raise InputError(f"A markup of type {kind} is no prompt: fiducials, lines, curves and ROIs are.")


def _flip(item: dict[str, Any]) -> NDArray[np.float64]:
    """What turns the markup's positions into RAS."""
    units = item.get("coordinateUnits", "mm")
    # Slicer also writes units as a code: ["mm", "UCUM", "millimeter"].
    if (units[0] if isinstance(units, list) else units) != "mm":
        raise InputError(f"Positions must be in mm, not {units}.")
    system = item.get("coordinateSystem")
    if system in _RAS:
        return np.ones(3)
    if system in _LPS:
        return np.diag(RAS_TO_LPS)[:3]
    raise InputError(f'"coordinateSystem" must be "LPS" or "RAS", not {system!r}.')


def _control_points(item: dict[str, Any]) -> NDArray[np.float64]:
    """Positions ``(n, 3)`` of the points that were placed."""
    placed = [p for p in item.get("controlPoints") or () if p.get("positionStatus", "defined") == "defined"]
    if any(len(p["position"]) != 3 for p in placed):
        raise InputError("A control point must have three coordinates.")
    return np.array([p["position"] for p in placed], dtype=float).reshape(-1, 3)


def _box(item: dict[str, Any], flip: NDArray[np.float64]) -> Box:
    if item.get("insideOut"):
        raise InputError("An inside-out ROI is no box around the segment: switch inside-out off.")
    if item.get("center") is None or item.get("size") is None:
        raise InputError("The ROI was not placed: it has no center or no size.")
    axes = np.asarray(item.get("orientation") or np.eye(3), dtype=float).reshape(3, 3)
    center = np.asarray(item["center"], dtype=float) * flip
    # The columns of the orientation are directions in the file's coordinate system.
    return Box(_position(center), item["size"], tuple(float(v) for v in (axes * flip[:, None]).ravel()))  # type: ignore[arg-type]


def _polyline(points: NDArray[np.float64], *, closed: bool) -> NDArray[np.float64]:
    """The curve Slicer shows: a cubic spline with its parameter counting the points, flat ends unless closed."""
    points = points[np.append(True, np.linalg.norm(np.diff(points, axis=0), axis=1) > 1e-6)]
    if closed and len(points) > 2:
        points = np.vstack([points, points[:1]])
    if len(points) < 3:
        return points
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(len(points)), points, bc_type="periodic" if closed else "clamped")
    return np.asarray(spline(np.linspace(0, len(points) - 1, _PIECES * (len(points) - 1) + 1)))


def _position(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
