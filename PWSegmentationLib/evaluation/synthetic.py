"""A synthetic abdomen: nested organs of random shape, overlapping intensities, noise, blur and a bias field.

Made so that no single cue is enough: a liver-like and a spleen-like organ have nearly the same intensity and differ in
place and size, a kidney-like pair is a shell around a core of another intensity, and a lesion inside the large organ
varies in contrast. Every volume is a function of its seed alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.writing import write_image

STRUCTURES = {"large organ": 1, "small organ": 2, "cortex": 3, "core": 4, "lesion": 5}

# Mean intensity of body, large organ, small organ, cortex, core, lesion; each case shifts them by up to _SHIFT.
_LEVELS = (0.35, 0.55, 0.58, 0.75, 0.5, 0.4)
_SHIFT = 0.04


@dataclass(frozen=True)
class Phantom:
    """``image`` float32 and ``labels`` uint8, ``[i, j, k]``, on ``grid`` (2 mm voxels, a little turned)."""

    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    grid: Grid


def phantom(seed: int, edge: int = 64) -> Phantom:
    """The phantom of a seed, ``edge`` voxels along each axis."""
    rng = np.random.default_rng((seed, 20240306))
    place = np.moveaxis(np.indices((edge,) * 3), 0, -1) / (edge - 1.0) * 2.0 - 1.0
    body = _blob(rng, place, (0.0, 0.0, 0.0), (0.92, 0.8, 1.2), 0.05)
    large = _blob(rng, place, (-0.35, 0.05, 0.1), (0.42, 0.5, 0.55), 0.25) & body
    small = _blob(rng, place, (0.5, -0.1, 0.2), (0.22, 0.3, 0.34), 0.2) & body & ~large
    kidney = _blob(rng, place, (0.3, 0.35, -0.35), (0.26, 0.24, 0.36), 0.12) & body & ~large & ~small
    core = ndimage.binary_erosion(kidney, iterations=max(2, edge // 20))
    inside = np.argwhere(ndimage.binary_erosion(large, iterations=max(2, edge // 12)))
    centre = (
        inside[rng.integers(len(inside))] / (edge - 1.0) * 2.0 - 1.0 if len(inside) else np.array([-0.35, 0.05, 0.1])
    )
    lesion = _blob(rng, place, tuple(centre), tuple(rng.uniform(0.16, 0.26, 3)), 0.2) & large
    labels = np.zeros((edge,) * 3, np.uint8)
    for value, mask in zip(STRUCTURES.values(), (large, small, kidney, core, lesion), strict=True):
        labels[mask] = value
    image = _appearance(rng, place, body, labels)
    return Phantom(image, labels, _grid(rng, edge))


def write_phantoms(folder: Path, training: int, selection: int, test: int, *, edge: int = 64) -> Path:
    """Write a data set and return its datalist; the sets are made from different seeds."""
    document: dict[str, object] = {"labels": {str(v): n for n, v in STRUCTURES.items()}, "modality": {"0": "MR"}}
    number = 0
    for name, count in (("training", training), ("validation", selection), ("test", test)):
        entries = []
        for index in range(count):
            stem = f"{name}-{index:02d}"
            _write(phantom(number, edge), folder, stem)
            entries.append({"image": f"images/{stem}.nii.gz", "label": f"labels/{stem}.nii.gz"})
            number += 1
        document[name] = entries
    datalist = folder / "dataset.json"
    datalist.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return datalist


def _write(made: Phantom, folder: Path, stem: str) -> None:
    write_image((1000 * made.image).astype(np.int16), made.grid, folder / "images" / f"{stem}.nii.gz")
    write_image(made.labels, made.grid, folder / "labels" / f"{stem}.nii.gz")


def _blob(
    rng: np.random.Generator,
    place: NDArray[np.float64],
    centre: Sequence[float],
    radii: Sequence[float],
    roughness: float,
) -> NDArray[np.bool_]:
    """An ellipsoid, moved, turned and scaled at random, its surface roughened by smooth noise."""
    turn, _ = np.linalg.qr(np.eye(3) + 0.25 * rng.normal(size=(3, 3)))
    size = np.array(radii) * rng.uniform(0.85, 1.15, 3)
    local = (place - np.array(centre) - rng.normal(scale=0.05, size=3)) @ turn / size
    edge = place.shape[0]
    noise = ndimage.gaussian_filter(rng.normal(size=place.shape[:3]), edge / 12)
    surface = 1.0 + roughness * noise / max(float(noise.std()), 1e-9)
    return np.asarray(np.linalg.norm(local, axis=-1) <= surface)


def _appearance(
    rng: np.random.Generator, place: NDArray[np.float64], body: NDArray[np.bool_], labels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    levels = np.array(_LEVELS) + rng.uniform(-_SHIFT, _SHIFT, len(_LEVELS))
    # A lesion may be darker or brighter than its organ.
    levels[5] = levels[1] + rng.choice([-0.16, 0.16])
    image = np.where(body, levels[labels], 0.05)
    texture = ndimage.gaussian_filter(rng.normal(size=labels.shape), 2.0)
    image = ndimage.gaussian_filter(image + 0.04 * texture / texture.std() * body, 0.7)
    bias = 1.0 + 0.25 * np.tanh(place @ rng.normal(size=3))
    return np.asarray(image * bias + rng.normal(scale=0.05, size=labels.shape), dtype=np.float32)


def _grid(rng: np.random.Generator, edge: int) -> Grid:
    turn, _ = np.linalg.qr(np.eye(3) + 0.03 * rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * np.sign(np.diag(turn)) * 2.0
    affine[:3, 3] = -affine[:3, :3] @ np.full(3, (edge - 1) / 2)
    return Grid((edge, edge, edge), affine)
