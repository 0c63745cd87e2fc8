"""What a promptable network is shown of a view: image, prompts, label and what the label was judged from.

Everything is relative to the view and to the object's own intensity, so that the network meets the same numbers in CT
and MR, near and far, whatever the unit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from PWSegmentationLib.prediction.sharpening import log_odds
from PWSegmentationLib.prediction.view import View
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.pseudolabel.from_image import SHOWN_CUES
from PWSegmentationLib.volume.intensity import normalise

# What `network_inputs` stacks, in this order.
CHANNELS = ("image", "label", "confidence", *SHOWN_CUES, "near positive", "near negative", "allowed")
# Those that show the image itself, as a whole first.
IMAGE_CHANNELS = (CHANNELS.index("image"), CHANNELS.index("contrast"))
_LABEL = CHANNELS.index("label")
# Log-odds of a label that is certain; the channel is in units of it.
_CERTAIN = 6.0
# Labels are surer than they are right; softer, what is wrong in them still has a gradient.
_SOFTNESS = 2.0
# Voxels after which a prompt's nearness has fallen to 1/e.
_NEAR = 6.0


def network_inputs(view: View, label: PseudoLabel) -> NDArray[np.float32]:
    """``(CHANNELS, i, j, k)`` float32 in [−1, 1] on the view's working grid.

    Raises
    ------
    ValueError
        If the label has no cues: it was not made from the image.
    """
    if label.cues is None:
        raise ValueError("The network needs a label with cues.")
    logit = log_odds(label.probability, 1e-3) / _CERTAIN
    seeds = view.seeds
    allowed = view.valid if seeds.inside is None else view.valid & seeds.inside
    image = 2.0 * normalise(view.image, view.valid) - 1.0
    marks = [_nearness(m) for m in (seeds.positive, seeds.negative)]
    return np.stack([image, np.clip(logit, -1.0, 1.0), label.confidence, *label.cues, *marks, allowed]).astype(
        np.float32
    )


def refined(logits: Tensor, inputs: Tensor) -> Tensor:
    """Log-odds of the answer ``(n, 1, ...)``: the label's, and what the network adds to them, softened."""
    return (logits + _CERTAIN * inputs[:, _LABEL : _LABEL + 1]) / _SOFTNESS


def _nearness(marks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 on a mark, falling off with the distance in voxels along the axes; 0 without any."""
    if not marks.any():
        return np.zeros(marks.shape, np.float32)
    distance = ndimage.distance_transform_cdt(~marks, metric="taxicab")
    return np.asarray(np.exp(distance.astype(np.float32) / -_NEAR))
