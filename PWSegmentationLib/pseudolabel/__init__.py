"""Dense pseudo-labels from sparse prompts."""

from __future__ import annotations

from PWSegmentationLib.pseudolabel.from_image import image_aware
from PWSegmentationLib.pseudolabel.gaussian import gaussian, gaussian_label
from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.pseudolabel.region import region_of_interest, working_spacing
from PWSegmentationLib.pseudolabel.sampling import farthest_points

__all__ = [
    "PseudoLabel",
    "farthest_points",
    "gaussian",
    "gaussian_label",
    "image_aware",
    "region_of_interest",
    "working_spacing",
]
