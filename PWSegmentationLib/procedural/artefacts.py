"""What goes wrong in scanners and in exporting: thick slices, ghosts, metal, clipped values, padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.procedural.shapes import rotation

Image = NDArray[np.float32]
Labels = NDArray[np.uint8]


def thickened(image: Image, labels: Labels, axis: int, factor: int) -> tuple[Image, Labels]:
    """Slabs of ``factor`` slices averaged along ``axis``; a slab has the label that most of its slices have.

    Slices that fill no slab are cut off at the end.
    """
    count = image.shape[axis] // factor
    slabs = np.moveaxis(image, axis, 0)[: count * factor].reshape(count, factor, *np.delete(image.shape, axis))
    named = np.moveaxis(labels, axis, 0)[: count * factor].reshape(count, factor, *np.delete(image.shape, axis))
    thin = np.moveaxis(slabs.mean(axis=1, dtype=np.float32), 0, axis)
    return np.ascontiguousarray(thin), np.ascontiguousarray(np.moveaxis(_majority(named), 0, axis))


def ghosted(rng: np.random.Generator, image: Image) -> Image:
    """Faded copies, shifted along one axis, as breathing and pulsation leave in MR."""
    axis = int(rng.integers(3))
    step = max(2, round(image.shape[axis] * rng.uniform(0.08, 0.3)))
    middle = float(np.median(image))
    out = image.copy()
    for number in (1, 2):
        share = np.float32(rng.uniform(0.03, 0.1) / number)
        for sign in (-1, 1):
            out += share * (np.roll(image, sign * number * step, axis) - middle)
    return out


def with_metal(rng: np.random.Generator, image: Image, labels: Labels, noise: float) -> tuple[Image, Labels]:
    """A very bright implant with streaks in one plane, which fade with the distance; it belongs to no structure."""
    axis = int(rng.integers(3))
    centre = [rng.uniform(0.25, 0.75) * n for n in image.shape]
    radii = [min(rng.uniform(2, 7), 0.2 * n) for n in image.shape]
    x, y, z = (np.arange(n, dtype=np.float32) - np.float32(c) for n, c in zip(image.shape, centre, strict=True))
    away = np.meshgrid(x, y, z, indexing="ij", sparse=True)
    implant = sum((a / r) ** 2 for a, r in zip(away, radii, strict=True)) < 1
    a, b = (away[n] for n in range(3) if n != axis)
    angle = np.arctan2(a, b)
    waves = sum(np.sin(k * angle + rng.uniform(0, 6.3)) for k in rng.integers(3, 16, size=4))
    distance = np.sqrt(a**2 + b**2)
    near = np.abs(away[axis]) < radii[axis] + 1
    strength = noise * rng.uniform(1.0, 4.0)
    streaks = near * np.asarray(waves) * strength * np.exp(-distance / rng.uniform(8, 25))
    low, high = np.percentile(image[::4, ::4, ::4], [1, 99])
    out = (image + streaks).astype(np.float32)
    out[implant] = high + rng.uniform(0.5, 3.0) * (high - low)
    return out, np.where(implant, 0, labels).astype(np.uint8)


def clipped(rng: np.random.Generator, image: Image) -> Image:
    """The brightest and darkest values cut off: so few that no more than the smallest structure is lost in them.

    Fewer of the darkest, or they would be taken for padding.
    """
    low, high = np.percentile(image[::2, ::2, ::2], [rng.choice([0.0, 0.05]), rng.choice([99.95, 99.8, 99.5])])
    return np.clip(image, np.float32(low), np.float32(high))


def padded(rng: np.random.Generator, image: Image, labels: Labels, constants: Sequence[float]) -> tuple[Image, Labels]:
    """A constant outside of a cylinder, or of a turned frame, as reconstruction and resampling leave.

    The first of ``constants`` that does not make real values look like padding, or, if all do, one far below.
    """
    outside = _outside(rng, image.shape)
    measured = image[~outside]
    low, high = np.percentile(measured[::7], [1, 99])
    lowest = float(measured.min())
    for constant in constants:
        # What `Volume.padding` goes by.
        if constant >= low - 0.25 * (high - low) or lowest > 0.5 * (constant + low):
            break
    else:
        constant = lowest - 1.2 * float(np.ptp(measured))
    return np.where(outside, np.float32(constant), image), np.where(outside, 0, labels).astype(np.uint8)


def _outside(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    half = [(n - 1) / 2 for n in shape]
    x, y, z = (((np.arange(n) - h) / max(h, 1)).astype(np.float32) for n, h in zip(shape, half, strict=True))
    away = np.meshgrid(x, y, z, indexing="ij", sparse=True)
    if rng.random() < 0.5:
        axis = int(rng.integers(3))
        outside = sum(away[n] ** 2 for n in range(3) if n != axis) > rng.uniform(0.9, 1.1) ** 2
    else:
        turn = np.eye(3) + rng.uniform(0.1, 0.5) * (rotation(rng) - np.eye(3))
        turn /= np.linalg.norm(turn, axis=1, keepdims=True)
        turned = (sum(np.float32(t) * a for t, a in zip(row, away, strict=True)) for row in turn)
        outside = np.maximum.reduce([np.abs(t) for t in turned]) > rng.uniform(0.85, 0.98)
    return np.broadcast_to(np.asarray(outside), shape)


def _majority(labels: Labels) -> Labels:
    """The most frequent value along the second axis; where several are, the one nearest to the middle."""
    middle = labels[:, labels.shape[1] // 2].copy()
    mixed = np.nonzero((labels != middle[:, None]).any(axis=1))
    columns = np.moveaxis(labels, 1, -1)[mixed]
    votes = (columns[:, :, None] == columns[:, None, :]).sum(axis=2)
    # Half a vote for the middle slice breaks ties.
    votes = 2 * votes + (columns == middle[mixed][:, None])
    middle[mixed] = np.take_along_axis(columns, votes.argmax(axis=1)[:, None], axis=1)[:, 0]
    return middle
