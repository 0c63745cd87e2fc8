"""What a pseudo-label is: a probability and how far it can be trusted, per voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PseudoLabel:
    """A dense label made from sparse prompts.

    Attributes
    ----------
    probability
        (I, J, K) float32 in [0, 1]: probability of belonging to the segment; the mask is p >= 0.5.
    confidence
        (I, J, K) float32 in [0, 1]: how far the probability can be trusted; 0 where nothing is known.
    cues
        (n, I, J, K) float32 in [−1, 1]: what the label was judged from (`from_image.SHOWN_CUES`), for a network that
        judges better; None where the label was not made from the image.
    """

    probability: np.ndarray
    confidence: np.ndarray
    cues: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray:
        """(I, J, K) bool: the voxels more likely inside than outside."""
        return self.probability >= 0.5
