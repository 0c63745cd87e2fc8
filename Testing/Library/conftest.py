"""Scenes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage


def rotation(rng: np.random.Generator) -> np.ndarray:
    """A random rotation, or a reflection as often."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def random_affine(seed: int) -> np.ndarray:
    """A random oblique, anisotropic affine, left-handed half of the time."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = rotation(rng) * rng.uniform(0.3, 8.0, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


def bright_ellipsoid(
    shape: tuple[int, int, int], affine: np.ndarray, radii_mm: tuple[float, float, float], seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A soft-edged ellipsoid (100) in darker tissue (20) with noise; the image, its mask and its world centre."""
    center = (affine @ [*(0.5 * np.array(shape) - 0.5), 1])[:3]
    index = np.moveaxis(np.indices(shape), 0, -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    radius = np.linalg.norm((world - center) / radii_mm, axis=-1)
    mask = radius <= 1
    blend = np.clip((1.15 - radius) / 0.3, 0, 1)
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 0.7)
    return (20 + 80 * blend + 8 * noise).astype(np.float32), mask, center


@pytest.fixture
def lesion():
    """Image, mask, affine and world centre of a 10 mm lesion on a 64³ grid of 1 mm voxels."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [-30, -20, 100]
    image, mask, center = bright_ellipsoid((64, 64, 64), affine, (10, 10, 10))
    return image, mask, affine, center


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))
