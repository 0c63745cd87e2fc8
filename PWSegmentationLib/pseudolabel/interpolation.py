"""What the positions of the seeds say on their own: a smooth implicit surface between them.

The signed values +1 (inside) and -1 (outside) are interpolated by the radial function -|r|, the biharmonic
spline of three dimensions (Turk & O'Brien, "Modelling with implicit surfaces that interpolate", ACM TOG 2002),
slightly relaxed; equivalently the mean of a Gaussian process over positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.pseudolabel.sampling import farthest_points

if TYPE_CHECKING:
    import torch

#: Seeds that take part, per sign: strokes are thinned out, so that the cost does not grow with them.
SEEDS_PER_SIGN = 120
#: Relaxation, relative to the mean distance between seeds.
_RELAXATION = 1e-2
#: The surface is evaluated on every so many-th voxel.
_COARSENING = 2


def representatives(points: np.ndarray, count: int) -> np.ndarray:
    """At most `count` well-spread rows of `points` (n, 3).

    The choice does not depend on the axes' order or direction.
    """
    if len(points) <= count:
        return points
    outermost = int(((points - points.mean(0)) ** 2).sum(1).argmax())
    return points[farthest_points(points, count, first=outermost)]


def implicit_surface(
    positive_mm: np.ndarray,
    negative_mm: np.ndarray,
    shape: Sequence[int],
    spacing: Sequence[float],
    device: torch.device,
) -> torch.Tensor:
    """Interpolated sign (I, J, K): about +1 at positive, -1 at negative seeds.

    Positions are millimetres from the first voxel's centre. The smooth function is evaluated on every
    `_COARSENING`-th voxel and interpolated linearly in between.
    """
    import torch

    seeds = np.concatenate([positive_mm, negative_mm]).astype(float)
    value = np.concatenate([np.ones(len(positive_mm)), -np.ones(len(negative_mm))])
    distance = np.linalg.norm(seeds[:, None] - seeds[None], axis=-1)
    scale = max(float(distance.mean()), 1e-6)
    count = len(seeds)
    system = np.ones((count + 1, count + 1))
    system[:count, :count] = -distance / scale + _RELAXATION * np.eye(count)
    system[count, count] = 0.0
    solution = np.linalg.lstsq(system, np.append(value, 0.0), rcond=None)[0]
    coarse = [max(1, -(-n // _COARSENING)) for n in shape]
    axes = [
        torch.as_tensor(((np.arange(c) + 0.5) * (n / c) - 0.5) * s, dtype=torch.float32, device=device)
        for c, n, s in zip(coarse, shape, spacing, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    weight = torch.as_tensor(solution[:count] / scale, dtype=torch.float32, device=device)
    centres = torch.as_tensor(seeds, dtype=torch.float32, device=device)
    blocks = [
        -(torch.cdist(part, centres, compute_mode="donot_use_mm_for_euclid_dist") @ weight)
        for part in torch.split(grid, 65536)
    ]
    values = torch.cat(blocks).reshape(1, 1, *coarse) + float(solution[count])
    return torch.nn.functional.interpolate(values, size=tuple(shape), mode="trilinear", align_corners=False)[0, 0]
