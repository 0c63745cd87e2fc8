"""What a promptable network is shown, varied: turned, mirrored, and in other contrasts.

Whatever is done to the image is not done to the label and its cues, which hardly depend on it: they are made of
ranks and ratios.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]


def recoloured(values: Values, channels: tuple[int, ...], known: Values, rng: np.random.Generator) -> None:
    """Invert, stretch, bend and disturb channels of ``values`` ``(channels, i, j, k)``, in place, where ``known``.

    The first of them is the image as a whole, whose brightness may shift.
    """
    for channel in channels:
        view = values[channel]
        if rng.random() < 0.5:
            view = -view
        if rng.random() < 0.3:
            view = np.sign(view) * np.abs(view) ** np.float32(rng.uniform(0.7, 1.4))
        view = view * np.float32(rng.uniform(0.8, 1.2))
        if channel == channels[0]:
            view = view + np.float32(rng.uniform(-0.15, 0.15))
        if rng.random() < 0.4:
            view = view + rng.normal(0.0, rng.uniform(0.0, 0.08), view.shape).astype(np.float32)
        values[channel] = view * known


def turned(values: Values, rng: np.random.Generator) -> Values:
    """Axes exchanged and mirrored at random."""
    values = values.transpose(0, *(1 + rng.permutation(3)))
    flips = tuple(axis for axis in (1, 2, 3) if rng.random() < 0.5)
    return np.ascontiguousarray(np.flip(values, flips))
