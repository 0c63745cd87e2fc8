"""A picture of one answer beside the reference, where it errs most."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy import ndimage

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.drawing.slices import (
    PLANES,
    REFERENCE,
    WORDS,
    DisplayVolume,
    SlicePanel,
    draw_contour,
    draw_prompts,
    draw_slice,
    encoded,
    frame_of,
    panels,
)
from PWSegmentationLib.evaluation.metrics import Answer
from PWSegmentationLib.files import replacing
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

_MARGIN_MM = 25.0
_ANSWER = (1.0, 0.72, 0.2)


def picture_name(case: str, structure: str, prompts: str) -> str:
    """A file name for the picture of one answer."""
    return "-".join(re.sub(r"[^\w]+", "_", word).strip("_") for word in (case, structure, prompts)) + ".webp"


def write_picture(path: Path, volume: Volume, reference: Reference, answer: Answer, prompts: SegmentPrompts) -> None:
    """Three slices through the largest error: the reference dashed, the answer orange, and the prompts. WebP."""
    found = Region.around(answer.mask)
    region = reference.region if found is None else reference.region.union(found.shifted(answer.region.start))
    margin = np.ceil(_MARGIN_MM / np.array(volume.grid.spacing)).astype(int)
    region = region.grown(margin).intersection(Region.whole(volume.grid.shape))
    display = DisplayVolume.of(volume.crop(region))
    truth, mask = (display.turned(a) for a in (reference.over(region), answer.region.fitted(answer.mask, region)))
    figure, axes = panels(1, 2.6)
    middle = _worst_place(mask ^ truth)
    centre, half = frame_of(display, mask | truth)
    for ax, plane in zip(axes[0], PLANES, strict=True):
        panel = SlicePanel(ax, display, plane, middle)
        draw_slice(panel, centre, half)
        draw_contour(panel, truth, REFERENCE, dashed=True)
        draw_contour(panel, mask, _ANSWER)
        draw_prompts(panel, prompts, _ANSWER)
        ax.set_title(plane.name, color=WORDS, fontsize=9, pad=4)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded(figure, "webp"))


def _worst_place(errors: np.ndarray) -> tuple[int, int, int]:
    """The voxel deepest inside the errors; the middle where there are none."""
    if not errors.any():
        return tuple(n // 2 for n in errors.shape)  # type: ignore[return-value]
    depth = ndimage.distance_transform_cdt(errors)
    return tuple(int(i) for i in np.unravel_index(depth.argmax(), depth.shape))  # type: ignore[return-value]
