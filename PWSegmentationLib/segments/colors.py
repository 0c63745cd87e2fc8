"""Colours for segments that most people with a colour-vision deficiency can tell apart too."""

from __future__ import annotations

from typing import TypeAlias

Color: TypeAlias = tuple[float, float, float]

# Okabe and Ito's set (jfly.uni-koeln.de/color), without black, and Tol's "muted" colours after it; an order in which
# neighbours differ in lightness as well as in hue, brightest contrasts on grey images first.
PALETTE: tuple[str, ...] = (
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#009E73",  # bluish green
    "#F0E442",  # yellow
    "#D55E00",  # vermilion
    "#CC79A7",  # reddish purple
    "#0072B2",  # blue
    "#88CCEE",  # cyan
    "#DDCC77",  # sand
    "#44AA99",  # teal
    "#CC6677",  # rose
    "#AA4499",  # purple
    "#999933",  # olive
    "#DDDDDD",  # pale grey
)


def color(index: int) -> Color:
    """Red, green, blue in [0, 1] of the ``index``-th segment, from 0; the palette starts again when it is used up.

    Every round is darker than the one before, so that the second orange is not the first.
    """
    rounds, place = divmod(index, len(PALETTE))
    shade = 0.75**rounds
    code = PALETTE[place]
    red, green, blue = (int(code[n : n + 2], 16) / 255 * shade for n in (1, 3, 5))
    return (red, green, blue)


def css_color(color: Color) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{round(255 * v):02x}" for v in color)
