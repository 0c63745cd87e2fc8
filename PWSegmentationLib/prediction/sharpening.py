"""Log-odds, and how sure an answer may be. No torch: who holds answers against each other needs it, too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prompts.prompts import SegmentPrompts

# How much surer than the mean of label and network the answer is, where strokes, or a box or so many clicks, say what
# is meant. Chosen for the calibration on the structures for tuning.
_SURER_BY_STROKES, _SURER_BY_CLICKS, _CLICKS = 1.25, 1.8, 10


def sharpness(segment: SegmentPrompts) -> float:
    """What the answer's log-odds are multiplied by, at least 1.

    The mean of two probabilities is less sure than it is right (Ranjan & Gneiting, J R Stat Soc B 72, 2010), unless
    both know too little: after a click or two it is right as often as it says.
    """
    if segment.scribbles or segment.strokes:
        return _SURER_BY_STROKES
    known = 1.0 if segment.boxes else min(1.0, len(segment.points) / _CLICKS)
    return 1.0 + (_SURER_BY_CLICKS - 1.0) * known


def sharpened(probability: NDArray[np.float32], by: float | NDArray[np.float32]) -> NDArray[np.float32]:
    """The probabilities with log-odds ``by`` times as large, softer below 1; no value crosses one half.

    One number for all, or one for each.
    """
    inside, outside = probability**by, (1.0 - probability) ** by
    return np.asarray(inside / (inside + outside), np.float32)


def log_odds(probability: NDArray[np.float32], least: float = 1e-6, most: float = math.inf) -> NDArray[np.float32]:
    """Of probabilities, none of them nearer to 0 or 1 than ``least``; from −``most`` to ``most``."""
    p = np.clip(probability, least, 1.0 - least)
    return np.asarray(np.clip(np.log(p / (1.0 - p)), -most, most), np.float32)
