"""Dense pseudo-labels from sparse prompts."""

from __future__ import annotations

from .from_image import image_aware
from .gaussian import gaussian, gaussian_label
from .label import PseudoLabel
from .region import region_of_interest, working_spacing
from .sampling import farthest_points

__all__ = [
    "PseudoLabel",
    "farthest_points",
    "gaussian",
    "gaussian_label",
    "image_aware",
    "region_of_interest",
    "working_spacing",
]
