"""Stages of the pseudo-label: Gaussian, sampling of points, geodesic distance, image-aware label."""

from __future__ import annotations

import numpy as np
import torch

from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.pseudolabel import farthest_points, gaussian
from PWSegmentationLib.pseudolabel.from_image import LENGTH_WEIGHT
from PWSegmentationLib.pseudolabel.geodesic import ROUNDS, geodesic_distances
from Testing.Benchmarks import reference_forms
from Testing.Benchmarks.measuring import Comparison
from Testing.Benchmarks.scenes import KIDNEY, clicks_on, organ_in_noise, organ_mask


def gaussian_label(quick: bool, device: str) -> Comparison:
    """The sum of Gaussians around 200 points."""
    shape, count = ((64, 64, 48), 40) if quick else ((256, 256, 160), 200)
    points = np.random.default_rng(0).integers(0, shape, (count, 3))
    return Comparison(
        "Gaussian label",
        f"separable product, {_times(shape)}, {count} points",
        "one Gaussian after another over the whole volume, float64, as published",
        lambda: gaussian(points, shape, 10.0),
        lambda: reference_forms.gaussian(points, shape, 10.0),
        lambda a, b: np.abs(a - b).max(),
    )


def sampling(quick: bool, device: str) -> Comparison:
    """Farthest-point sampling of voxels."""
    total, count = (5_000, 50) if quick else (50_000, 200)
    points = np.random.default_rng(0).integers(0, 200, (total, 3))
    rows = torch.from_numpy(points)
    return Comparison(
        "Farthest-point sampling",
        f"one row per axis, {total} voxels to {count}; difference: of the indices",
        "one row per voxel, nearest distances masked in (torch), as published",
        lambda: farthest_points(points, count, first=0),
        lambda: reference_forms.farthest_points(rows, count, 0).numpy(),
        lambda a, b: np.abs(a - b).max(),
    )


def geodesic(quick: bool, device: str) -> Comparison:
    """Geodesic distances as the image-aware label asks for them: few rounds."""
    return _geodesic(quick, device, ROUNDS, "Geodesic distance, as used")


def geodesic_exact(quick: bool, device: str) -> Comparison:
    """The same until nothing changes any more."""
    return _geodesic(quick, device, 1000, "Geodesic distance, to the end")


def _geodesic(quick: bool, device: str, rounds: int, stage: str) -> Comparison:
    edge = 32 if quick else 72
    shape, spacing = (edge,) * 3, (1.0, 1.2, 1.5)
    image = organ_in_noise(shape, (0.3 * edge, 0.25 * edge, 0.35 * edge)).array.astype(np.float32) / 240
    starts = np.full((2, *shape), np.inf, np.float32)
    starts[0, edge // 2, edge // 2, edge // 2] = 0
    starts[1, 0] = starts[1, :, -1] = 0
    channels, seeds = torch.from_numpy(image[None]).to(device), torch.from_numpy(starts).to(device)
    limit = f"at most {rounds} rounds" if rounds == ROUNDS else "until nothing changes"

    def ours() -> np.ndarray:
        found = geodesic_distances(
            channels, seeds, spacing, length_weight=LENGTH_WEIGHT, rounds=rounds, tolerance=1e-3 if rounds < 99 else 0.0
        )
        return found.cpu().numpy()

    def relative(a: np.ndarray, b: np.ndarray) -> str:
        error = (a - b)[b > 0] / b[b > 0]
        return f"relative error: median {np.median(error):.1%}, 99th percentile {np.percentile(error, 99):.1%}"

    return Comparison(
        stage,
        f"plane sweeps, {limit}, {_times(shape)}, two sets of seeds, noisy image",
        "Dijkstra on the graph of 18 neighbours (scipy.sparse.csgraph), exact, float64, on the CPU",
        ours,
        lambda: reference_forms.geodesic(image[None], starts, spacing, LENGTH_WEIGHT),
        lambda a, b: np.abs(a - b).max(),
        relative,
        theirs_on="cpu",
    )


def region(quick: bool, device: str) -> Comparison:
    """The image-aware label where the prompts are."""
    edge, radii = (72, (10.0, 9.0, 12.0)) if quick else (176, KIDNEY)
    volume, segment = organ_in_noise((edge,) * 3, radii), clicks_on(radii)

    def ours() -> np.ndarray:
        return predict(volume, segment, device=device).mask

    truth = organ_mask(volume.grid.shape, radii)

    def agreement(a: np.ndarray, b: np.ndarray) -> str:
        of_region, of_whole, mutual = _dice(a, truth), _dice(b, truth), _dice(a, b)
        return f"Dice with the organ: region {of_region:.3f}, whole volume {of_whole:.3f}; with each other {mutual:.3f}"

    return Comparison(
        "Image-aware label",
        f"prediction on the region of interest, {_times(volume.grid.shape)}, 4 + 6 clicks on a "
        f"{_times(int(2 * r) for r in radii)} mm organ",
        "the same label on the whole volume at its own resolution",
        ours,
        lambda: reference_forms.label_of_whole(volume, segment, device).mask,
        agreement=agreement,
    )


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def _times(shape: object) -> str:
    return "×".join(str(n) for n in shape)  # type: ignore[attr-defined]
