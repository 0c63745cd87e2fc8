"""A labelled volume made up at random, a function of its seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.procedural import artefacts
from PWSegmentationLib.procedural.appearance import Regime, add_noise, paint, visible
from PWSegmentationLib.procedural.arrangement import arrange, settled
from PWSegmentationLib.procedural.shapes import rotation
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.volume import Volume

# How often each artefact occurs.
_THICK, _GHOST, _METAL, _CLIP, _PADDING = 0.3, 0.07, 0.06, 0.12, 0.18


@dataclass(frozen=True, eq=False)
class Scene:
    """``labels``, uint8 on the grid of ``volume`` (float32): one value per part, 0 for none.

    ``structures`` says which parts make up what can be pointed at: "organ 1" may be ``(1, 4)``, where part 4 is
    "lesion 4" inside of it. Each structure is in one piece (voxels that share a corner hang together).
    """

    volume: Volume
    labels: NDArray[np.uint8]
    structures: Mapping[str, tuple[int, ...]]


def scene(seed: int, *, edge: int = 112) -> Scene:
    """The scene of a seed: ``edge`` voxels each way, fewer along one axis where slices are thick."""
    rng = np.random.default_rng((seed, 20261124))
    made = arrange(rng, edge)
    image, regime = paint(rng, made)
    labels, thickness = made.labels, np.ones(3)
    if rng.random() < _THICK:
        axis, factor = int(rng.integers(3)), int(rng.choice([2, 2, 3, 3, 4, 5, 6, 8]))
        image, labels = artefacts.thickened(image, labels, axis, factor)
        thickness[axis] = factor
    structures = visible(image, labels, made.structures, regime.noise)
    image, labels = _spoilt(rng, image, labels, regime)
    labels, structures = settled(labels, structures)
    return Scene(Volume(image, _grid(rng, labels.shape, thickness)), labels, structures)


def _spoilt(
    rng: np.random.Generator, image: NDArray[np.float32], labels: NDArray[np.uint8], regime: Regime
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Noise, and artefacts in a few scenes."""
    if rng.random() < _METAL:
        image, labels = artefacts.with_metal(rng, image, labels, regime.noise)
    if rng.random() < _GHOST:
        image = artefacts.ghosted(rng, image)
    image = add_noise(rng, image, regime)
    if rng.random() < _CLIP:
        image = artefacts.clipped(rng, image)
    if rng.random() < _PADDING:
        image, labels = artefacts.padded(rng, image, labels, _padding(rng, image, regime))
    return np.ascontiguousarray(image, dtype=np.float32), labels


def _padding(rng: np.random.Generator, image: NDArray[np.float32], regime: Regime) -> list[float]:
    """Constants to pad with, the first choice first."""
    if regime.name == "CT":
        return [float(c) for c in rng.permutation([-1024.0, -2000.0, -2048.0, -3024.0])]
    if regime.name == "MR":
        return [0.0]
    return [float(image.min() - rng.uniform(0.0, 1.0) * np.ptp(image))]


def _grid(rng: np.random.Generator, shape: tuple[int, ...], thickness: NDArray[np.float64]) -> Grid:
    """Half of the grids lie along the body's axes, in any order and direction, a quarter nearly, a quarter anyhow."""
    spacing = np.exp(rng.uniform(np.log(0.5), np.log(3.0))) * thickness
    directions = np.eye(3)[:, rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    how = rng.random()
    if how > 0.75:
        directions = rotation(rng) * rng.choice([-1.0, 1.0], 3)
    elif how > 0.5:
        directions = np.linalg.qr(np.eye(3) + 0.06 * rng.normal(size=(3, 3)))[0] @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return Grid((shape[0], shape[1], shape[2]), affine)
