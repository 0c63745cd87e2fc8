"""Pictures for a review: a segment in three planes through the place to look at, its doubt, and its changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.drawing.slices import (
    PLANES,
    WORDS,
    DisplayVolume,
    SlicePanel,
    draw_contour,
    draw_overlay,
    draw_prompts,
    draw_slice,
    encoded,
    frame_of,
    middle_of,
    panels,
)
from PWSegmentationLib.review.changes import added_and_removed
from PWSegmentationLib.review.review import SegmentReview
from PWSegmentationLib.review.review_cases import ReviewCase
from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import Region

if TYPE_CHECKING:
    from numpy.typing import NDArray

ADDED, REMOVED, PLACE = "#5ad27a", "#ff4b4b", "#ffe14d"
_INCHES = 2.3


def segment_picture(
    case: ReviewCase, display: DisplayVolume, found: SegmentReview, before: Segment | None = None
) -> bytes | None:
    """Three planes; below, the uncertainty, and what has changed since ``before``, where there is either. WebP.

    None where there is nothing to see: an empty segment, or one on another grid than the image.
    """
    segment = found.segment
    if not case.fits or segment.voxels == 0:
        return None
    uncertainty = case.uncertainty.get(segment.name)
    changed = before is not None and found.changes is not None and not found.changes.is_none
    rows = ["segment", *(["uncertainty"] if uncertainty is not None else []), *(["changes"] if changed else [])]
    figure, axes = panels(len(rows), _INCHES)
    mask = display.turned(segment.over(Region.whole(case.volume.grid.shape)))
    place = next((flag.position for flag in found.flags if flag.position is not None), None)
    middle = middle_of(mask) if place is None else _voxel(display, place)
    centre, half = frame_of(display, mask if place is None else mask | _dot(mask, middle))
    doubt = None if uncertainty is None else display.turned(uncertainty)
    versions: list[NDArray[np.bool_]] = []
    if changed and before is not None:
        versions = [display.turned(m) for m in added_and_removed(before, segment, case.volume.grid)]
    for column, plane in enumerate(PLANES):
        for row, words in zip(axes, rows, strict=True):
            panel = SlicePanel(row[column], display, plane, middle)
            draw_slice(panel, centre, half)
            if words == "uncertainty" and doubt is not None:
                draw_overlay(panel, doubt)
            draw_contour(panel, mask, segment.color, filled=words == "segment")
            if words == "segment" and segment.name in case.prompts:
                draw_prompts(panel, case.prompts[segment.name], segment.color)
            if words == "segment" and place is not None:
                _mark(panel, place)
            for version, color in zip(versions, (ADDED, REMOVED), strict=False) if words == "changes" else ():
                draw_contour(panel, version, color, filled=True)
        axes[0][column].set_title(plane.name, color=WORDS, fontsize=9, pad=4)
    for row, words in zip(axes, rows, strict=True):
        row[0].set_ylabel(words, color=WORDS, fontsize=9, labelpad=4)
    return encoded(figure, "webp")


def overview_picture(case: ReviewCase, display: DisplayVolume) -> bytes | None:
    """All segments in three planes. WebP; None where there is nothing to see."""
    segments = [s for s in case.segmentation.segments if s.voxels]
    if not case.fits or not segments:
        return None
    whole = Region.whole(case.volume.grid.shape)
    masks = [display.turned(s.over(whole)) for s in segments]
    figure, (axes,) = panels(1, _INCHES)
    middle = middle_of(*masks)
    centre, half = frame_of(display, np.logical_or.reduce(masks))
    for ax, plane in zip(axes, PLANES, strict=True):
        panel = SlicePanel(ax, display, plane, middle)
        draw_slice(panel, centre, half)
        for segment, mask in zip(segments, masks, strict=True):
            draw_contour(panel, mask, segment.color, filled=True)
        ax.set_title(plane.name, color=WORDS, fontsize=9, pad=4)
    return encoded(figure, "webp")


def _voxel(display: DisplayVolume, place: tuple[float, float, float]) -> tuple[int, int, int]:
    index = np.clip(display.grid.to_voxel(place), 0, np.array(display.grid.shape) - 1)
    return (int(index[0]), int(index[1]), int(index[2]))


def _dot(mask: NDArray[np.bool_], voxel: tuple[int, int, int]) -> NDArray[np.bool_]:
    out = np.zeros_like(mask)
    out[voxel] = True
    return out


def _mark(panel: SlicePanel, place: tuple[float, float, float]) -> None:
    """A ring around the place to look at."""
    places = panel.display.places(place)
    x, y = places[:, panel.plane.side], places[:, panel.plane.up]
    panel.ax.scatter(x, y, s=160, facecolors="none", edgecolors=PLACE, linewidths=1.4, zorder=5)
