"""How sure the answer may be of each voxel, so that doubt lies where answers tend to be wrong. No border moves.

Local temperature scaling (Ding et al., ICCV 2021): the log-odds of every voxel are multiplied by a number above 0 that
a small perceptron gives from how far away prompts and the border are, what the image says, and how it was prompted.
For what it knows is geometry and cues in units of their own, it needs neither modality nor anatomy. It was fitted
to the answers of the network that it ships with: ``python -m Testing.Benchmarks.voxel_sharpness``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.sharpening import log_odds, sharpened
from PWSegmentationLib.prediction.view import View
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel.from_image import SHOWN_CUES

#: What `voxel_features` stacks, in this order.
FEATURES = (
    "inside",
    "log-odds",
    "nearest agreeing prompt",
    "nearest other prompt",
    "border",
    *SHOWN_CUES,
    "strokes",
    "box",
    "clicks inside",
    "clicks outside",
    "size",
    "thickness",
)
#: Log-odds beyond these are as sure as can be; and the probability that they begin with.
CERTAIN = 8.0
_UNLIKELY = 1.0 / (1.0 + np.exp(CERTAIN))
# Logarithms of distances: this many mm are 0, and this is added first, about the size of a voxel or a click.
_PROMPT_MM, _CLICK_MM = 20.0, 2.0
_BORDER_MM, _VOXEL_MM = 10.0, 1.0
# What is further away is this far away, mm, and so is what is not there.
_FURTHEST_MM = 100.0
# The radius of a ball of the object's volume, and the depth of its deepest voxel, mm, whose logarithms are 0.
_RADIUS_MM, _DEPTH_MM, _MOST = 20.0, 8.0, 2.0
#: Within these is the logarithm of what log-odds are multiplied by.
LEAST, MOST = -3.0, 2.0


@dataclass(frozen=True, eq=False)
class VoxelSharpness:
    """A perceptron with one hidden layer: ``hidden`` ``(units, features)``, ``out`` ``(units)``, and their biases."""

    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    out: NDArray[np.float32]
    out_bias: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path, sha256: str) -> VoxelSharpness:
        """From a .safetensors file. Raises `InputError` if it is missing, changed, or for other features."""
        from PWSegmentationLib.networks.model_files import load_tensors

        tensors = {name: np.asarray(value.float().numpy()) for name, value in load_tensors(path, sha256).items()}
        units = len(tensors.get("out", ()))
        shapes = {"hidden": (units, len(FEATURES)), "hidden_bias": (units,), "out": (units,), "out_bias": ()}
        if {name: value.shape for name, value in tensors.items()} != shapes:
            raise InputError(f"{path} is not for this version: get it again.")
        return cls(**tensors)

    def save(self, path: Path) -> None:
        """Write a .safetensors file."""
        import torch

        from PWSegmentationLib.networks.model_files import save_tensors

        save_tensors({f.name: torch.from_numpy(np.asarray(getattr(self, f.name))) for f in fields(self)}, path)

    def stated(
        self,
        probability: NDArray[np.float32],
        view: View,
        segment: SegmentPrompts,
        cues: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """``probability`` ``(i, j, k)`` on the view's working grid, as sure as such voxels are right.

        What is at least one half stays so, and what is below stays below.
        """
        said = self.of_voxels(probability.ravel(), voxel_features(probability, view, segment, cues))
        return np.where(view.valid, said.reshape(probability.shape), probability)

    def of_voxels(self, probability: NDArray[np.float32], features: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is stated of voxels ``(voxels)`` with these `voxel_features` ``(features, voxels)``."""
        hidden = np.maximum(self.hidden @ features + self.hidden_bias[:, None], 0.0)
        factor = np.exp(np.clip(self.out @ hidden + self.out_bias, LEAST, MOST))
        return sharpened(np.clip(probability, _UNLIKELY, 1.0 - _UNLIKELY), factor)


def voxel_features(
    probability: NDArray[np.float32], view: View, segment: SegmentPrompts, cues: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(FEATURES, voxels)`` float32 of an answer ``(i, j, k)`` on the view's working grid.

    Distances are logarithms of mm. The cues have the sign of the side that the voxel is on: what speaks for the
    answer is above 0.
    """
    inside = probability >= 0.5
    side = np.where(inside, np.float32(1.0), np.float32(-1.0))
    spacing = view.grid.spacing
    to_positive, to_negative = (_distance(m, spacing) for m in (view.seeds.positive, view.seeds.negative))
    depth = np.where(inside, _distance(~inside, spacing), _distance(inside, spacing))
    size = float(np.count_nonzero(inside)) * view.grid.voxel_volume
    ball = (3.0 * size / (4.0 * np.pi)) ** (1.0 / 3.0)
    thickness = float(depth[inside].max()) if inside.any() else 0.0
    marked = len(segment.positions(positive=True)), len(segment.positions(positive=False))
    about: Mapping[str, Any] = {
        "inside": side,
        "log-odds": np.abs(log_odds(probability, most=CERTAIN)) / CERTAIN,
        "nearest agreeing prompt": _log_mm(np.where(inside, to_positive, to_negative), _PROMPT_MM, _CLICK_MM),
        "nearest other prompt": _log_mm(np.where(inside, to_negative, to_positive), _PROMPT_MM, _CLICK_MM),
        "border": _log_mm(depth, _BORDER_MM, _VOXEL_MM),
        **{name: side * values for name, values in zip(SHOWN_CUES, cues, strict=True)},
        "strokes": float(bool(segment.scribbles or segment.strokes)),
        "box": float(bool(segment.boxes)),
        "clicks inside": np.log1p(marked[0]),
        "clicks outside": np.log1p(marked[1]),
        "size": np.clip(np.log(max(ball, 1.0) / _RADIUS_MM), -_MOST, _MOST),
        "thickness": np.clip(np.log(max(thickness, 0.5) / _DEPTH_MM), -_MOST, _MOST),
    }
    out = np.empty((len(FEATURES), *probability.shape), np.float32)
    for into, name in zip(out, FEATURES, strict=True):
        into[...] = about[name]
    return out.reshape(len(FEATURES), -1)


def _distance(to: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """How far ``to`` is from each voxel, mm."""
    from scipy import ndimage

    if not to.any():
        return np.full(to.shape, _FURTHEST_MM, np.float32)
    return np.minimum(ndimage.distance_transform_edt(~to, sampling=spacing), _FURTHEST_MM).astype(np.float32)


def _log_mm(distance: NDArray[np.float32], unit: float, least: float) -> NDArray[np.float32]:
    return np.log((distance + np.float32(least)) / np.float32(unit))
