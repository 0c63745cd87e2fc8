"""From a click to the mask: how long a session takes for one more click, by size of the volume and of the object.

The session has answered four clicks inside and six outside; then one more click inside is added and the mask is asked
for, which is timed: `Session.add_point` and `Session.predict`. The click is undone, and the next is another one. The
sessions take turns, so that a busy machine slows down all alike.

The mask is that of the region that was looked at, all that a front end needs; an array of the whole volume's size is
made by `Prediction.mask`, when someone asks for it. "first seconds" is a new session's first answer, image included.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from PWSegmentationLib import Session, Volume
from Testing.Benchmarks.measuring import seconds_of
from Testing.Benchmarks.reference_forms import label_of_whole
from Testing.Benchmarks.scenes import KIDNEY, Triple, clicks_on, more_clicks, organ_in_noise

_SHAPES = [(128, 128, 128), (192, 192, 192), (256, 256, 256), (384, 384, 384), (512, 512, 400), (512, 512, 800)]
_DIAMETERS = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
# The whole volume at its own resolution takes seconds for each million voxels; limits for all and for a quick run.
_WHOLE_MEGAVOXELS = {False: 8.0, True: 0.5}


def latency(quick: bool, device: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of the report, by volume and by object."""
    clicks = 5 if quick else 7
    if quick:
        shapes, radii, edge, diameters = [(64, 64, 64), (160, 160, 240)], (9.0, 8.0, 11.0), 96, [5.0, 20.0]
    else:
        shapes, radii, edge, diameters = _SHAPES, KIDNEY, 320, _DIAMETERS
    return {
        "by volume": _by_volume(shapes, radii, device, clicks, _WHOLE_MEGAVOXELS[quick]),
        "by object": _by_object(diameters, edge, device, clicks),
    }


class _Clicked:
    """A session with its clicks answered, and the times of those that follow."""

    def __init__(self, volume: Volume, radii: Triple, device: str, clicks: int) -> None:
        sys.stderr.write(f"click to mask: {radii[0]:g} mm around in {'×'.join(map(str, volume.grid.shape))}\n")
        self.volume, self.seconds = volume, list[float]()
        self.session = Session(device)
        self.session.set_volume(volume)
        started = time.perf_counter()
        for point in clicks_on(radii).points:
            self.session.add_prompt("organ", point)
        prediction = self.session.predict()
        self.first_seconds = time.perf_counter() - started
        self.region_voxels = int(np.prod(prediction.region.shape))
        self.voxels = 0
        self._clicks = iter(more_clicks(radii, clicks + 1))
        # The first is the warm-up.
        self.click(device)
        self.seconds.clear()

    def click(self, device: str) -> None:
        """Add the next click, see the mask, and take it back."""
        position = next(self._clicks)

        def add_and_see() -> None:
            self.session.add_point("organ", position)
            self.voxels = int(np.count_nonzero(self.session.predict().region_mask))

        self.seconds.append(seconds_of(add_and_see, device))
        self.session.undo()

    def row(self, device: str) -> dict[str, Any]:
        """What both tables have in common."""
        return {
            "device": device,
            "shape": list(self.volume.grid.shape),
            "megavoxels": round(np.prod(self.volume.grid.shape) / 1e6, 3),
            "region megavoxels": round(self.region_voxels / 1e6, 3),
            "mask voxels": self.voxels,
            "seconds": median(self.seconds),
            "spread": [min(self.seconds), max(self.seconds)],
            "first seconds": self.first_seconds,
            "repeats": len(self.seconds),
        }


def _by_volume(
    shapes: list[tuple[int, int, int]], radii: Triple, device: str, clicks: int, whole_below: float
) -> list[dict[str, Any]]:
    sessions = [_Clicked(organ_in_noise(shape, radii), radii, device, clicks) for shape in shapes]
    for _ in range(clicks):
        for session in sessions:
            session.click(device)
    rows = [session.row(device) for session in sessions]
    segment = clicks_on(radii)
    for row, volume in zip(rows, (s.volume for s in sessions), strict=True):
        affordable = row["megavoxels"] <= whole_below
        # The same prompts with the region set to all of the volume, at its own resolution; once.
        whole = partial(label_of_whole, volume, segment, device)
        row["whole seconds"] = seconds_of(whole, device) if affordable else None
    return rows


def _by_object(diameters: list[float], edge: int, device: str, clicks: int) -> list[dict[str, Any]]:
    rows = []
    for diameter in diameters:
        radii = (diameter / 2,) * 3
        session = _Clicked(organ_in_noise((edge,) * 3, radii), radii, device, clicks)
        for _ in range(clicks):
            session.click(device)
        rows.append({"diameter mm": diameter, **session.row(device)})
    return rows
