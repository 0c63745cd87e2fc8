"""Pictures for the demo's page: every segment in three planes, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.demo.comparison import Comparison
from PWSegmentationLib.drawing.slices import (
    OUTSIDE,
    PLANES,
    REFERENCE,
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def segment_figure(display: DisplayVolume, one: Comparison) -> bytes:
    """Three planes: contours and prompts, the uncertainty, and Grow from seeds. WebP."""
    rows = ["PWSegmentation", "uncertainty", *(["Grow from seeds"] if one.peer else [])]
    figure, axes = panels(len(rows), 2.7)
    mask, reference = display.turned(one.mask), display.turned(one.reference)
    uncertainty = display.turned(one.prediction.uncertainty)
    middle = middle_of(reference if reference.any() else mask)
    centre, half = frame_of(display, mask | reference)
    for column, plane in enumerate(PLANES):
        drawn = [SlicePanel(row[column], display, plane, middle) for row in axes]
        for panel in drawn:
            draw_slice(panel, centre, half)
        draw_overlay(drawn[1], uncertainty)
        draw_contour(drawn[1], mask, one.color)
        for panel, found in zip(drawn[::2], [one.mask, *([one.peer.mask] if one.peer else [])], strict=True):
            draw_contour(panel, reference, REFERENCE, dashed=True)
            draw_contour(panel, display.turned(found), one.color)
            draw_prompts(panel, one.prompts, one.color)
        drawn[0].ax.set_title(plane.name, color=WORDS, fontsize=9, pad=4)
    for row, words in zip(axes, rows, strict=True):
        row[0].set_ylabel(words, color=WORDS, fontsize=9, labelpad=4)
    return encoded(figure, "webp")


def overview_figure(display: DisplayVolume, found: Sequence[Comparison], titles: tuple[str, str]) -> bytes:
    """All segments filled in, above, and what Grow from seeds makes of the same prompts, below. PNG."""
    masks = [[display.turned(c.mask) for c in found], [display.turned(c.peer.mask) for c in found if c.peer]]
    masks = [m for m in masks if len(m) == len(found)]
    figure, axes = panels(len(masks), 4.0, bottom=0.45)
    middle = middle_of(*masks[0])
    centre, half = frame_of(display, np.logical_or.reduce(masks[0]))
    for row, of_row, title in zip(axes, masks, titles, strict=False):
        for ax, plane in zip(row, PLANES, strict=True):
            panel = SlicePanel(ax, display, plane, middle)
            draw_slice(panel, centre, half)
            for one, mask in zip(found, of_row, strict=True):
                draw_contour(panel, mask, one.color, filled=True)
            for one in found:
                draw_prompts(panel, one.prompts, one.color, faint=False)
        row[0].set_ylabel(title, color=WORDS, fontsize=12, labelpad=6)
    _legend(figure, found)
    return encoded(figure, "png")


def _legend(figure: Figure, found: Iterable[Comparison]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c.color, linewidth=5, label=c.name) for c in found]
    inside = Line2D([], [], marker="o", color="#888888", markeredgecolor="white", linestyle="none", label="inside")
    outside = Line2D([], [], marker="x", color=OUTSIDE, linestyle="none", label="outside")
    handles += [inside, outside]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, labelcolor=WORDS, fontsize=10)
