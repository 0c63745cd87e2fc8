"""Geodesic distances through an image by plane sweeps (torch: CPU and CUDA alike).

A step from voxel u to its neighbour v costs  length * |v - u| + contrast(u, v), where the contrast is the
summed absolute difference of the feature channels. The distance to a set of seeds is the cost of the cheapest
path. Sweeping plane after plane in the six axis directions (fast sweeping, as in Criminisi et al., GeoS, ECCV
2008) relaxes every path; what is left over after one round is relaxed by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from PWSegmentationLib.pseudolabel.threads import one_thread

if TYPE_CHECKING:
    import torch

#: Rounds of sweeps at most: three bring the median voxel within a percent of the exact distance.
ROUNDS = 3
#: A step of this size (in units of a full view) into or out of what is barred.
WALL = 10.0
#: In-plane offsets of the neighbours in the previous plane: straight ahead and the four edge neighbours.
#: Together with the sweeps of the other axes they make the 18-neighbourhood.
_OFFSETS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


def _step_costs(channels: torch.Tensor, axis_spacing: tuple[float, float, float], length_weight: float) -> torch.Tensor:
    """Cost of the step into plane i from plane i-1: (I - 1, 5, V, J + 2, K + 2); infinite where it leaves the grid."""
    import torch

    count, views, _, rows, columns = channels.shape
    shape = (count - 1, len(_OFFSETS), views, rows + 2, columns + 2)
    costs = torch.full(shape, torch.inf, device=channels.device)
    for number, (dj, dk) in enumerate(_OFFSETS):
        j0, j1 = max(0, -dj), rows - max(0, dj)
        k0, k1 = max(0, -dk), columns - max(0, dk)
        here = channels[1:, ..., j0:j1, k0:k1]
        there = channels[:-1, ..., j0 + dj : j1 + dj, k0 + dk : k1 + dk]
        length = (axis_spacing[0] ** 2 + (dj * axis_spacing[1]) ** 2 + (dk * axis_spacing[2]) ** 2) ** 0.5
        # Channel by channel: a sum over so short an axis takes several times as long.
        contrast = sum((a - b).abs() for a, b in zip(here.unbind(2), there.unbind(2), strict=True))
        costs[:, number, :, j0 + 1 : j1 + 1, k0 + 1 : k1 + 1] = contrast + length_weight * length
    return costs


def _reverse_costs(costs: torch.Tensor) -> torch.Tensor:
    """Costs of the steps from plane i+1 into plane i, from those of the other direction.

    The step (j, k) <- (j + dj, k + dk) backwards is the forward step (j + dj, k + dk) <- (j, k), whose offset
    is (-dj, -dk) seen from its own end.
    """
    import torch

    out = torch.full_like(costs, torch.inf)
    opposite = {(dj, dk): n for n, (dj, dk) in enumerate(_OFFSETS)}
    rows, columns = costs.shape[-2:]
    for number, (dj, dk) in enumerate(_OFFSETS):
        there = costs[:, opposite[(-dj, -dk)], :, 1 + dj : rows - 1 + dj, 1 + dk : columns - 1 + dk]
        out[:, number, :, 1:-1, 1:-1] = there
    return out


def _rows(values: torch.Tensor) -> Any:
    """The same memory for NumPy, whose small operations cost less; on a GPU as it is."""
    return values.numpy() if values.device.type == "cpu" else values


class _Sweeps:
    """Sweeps along one axis of distances (V, B, I, J, K).

    Every plane has a margin that no path reaches, and its views lie behind one another in memory. So a neighbour is the
    same row of numbers, moved, and an operation on a plane is one on a single long row.
    """

    def __init__(
        self, channels: torch.Tensor, sets: int, axis: int, spacing: Sequence[float], length_weight: float
    ) -> None:
        import torch

        others = [a for a in range(3) if a != axis]
        moved = channels.movedim(2 + axis, 0).contiguous()
        into = _step_costs(moved, (spacing[axis], spacing[others[0]], spacing[others[1]]), length_weight)
        count, views, _, rows, columns = moved.shape
        planes = torch.full((count, sets, views, rows + 2, columns + 2), torch.inf, device=channels.device)
        spatial = [3, 4]
        spatial.insert(axis, 0)
        self._distance = planes[..., 1:-1, 1:-1].permute(2, 1, *spatial)
        width = columns + 2
        stop = views * (rows + 2) * width - width
        steps = [dj * width + dk for dj, dk in _OFFSETS]
        every = _rows(planes.flatten(2))
        self._targets = [plane[:, width:stop] for plane in every]
        self._neighbours = [[plane[:, width + step : stop + step] for step in steps] for plane in every]
        self._into, self._back = (
            [[row[width:stop] for row in plane] for plane in _rows(costs.flatten(2))]
            for costs in (into, _reverse_costs(into))
        )
        self._candidate = _rows(torch.empty_like(planes[0].flatten(1)))[:, width:stop]
        library: Any = np if isinstance(every, np.ndarray) else torch
        self._add, self._minimum = library.add, library.minimum

    def __call__(self, distance: torch.Tensor) -> torch.Tensor:
        """``distance`` after one sweep up and one down; valid until the next call."""
        self._distance.copy_(distance)
        for plane, costs in enumerate(self._into):
            self._relax(self._targets[plane + 1], self._neighbours[plane], costs)
        for plane, costs in reversed(list(enumerate(self._back))):
            self._relax(self._targets[plane], self._neighbours[plane + 1], costs)
        return self._distance

    def _relax(self, target: Any, neighbours: Sequence[Any], costs: Sequence[Any]) -> None:
        """The paths into a plane from the one before."""
        for neighbour, cost in zip(neighbours, costs, strict=True):
            self._add(neighbour, cost, out=self._candidate)
            self._minimum(target, self._candidate, out=target)


def geodesic_distances(
    channels: torch.Tensor,
    starts: torch.Tensor,
    spacing: Sequence[float],
    *,
    length_weight: float,
    rounds: int = 4,
    tolerance: float = 1e-3,
) -> torch.Tensor:
    """Geodesic distance to several sets of seeds.

    Parameters
    ----------
    channels
        Features (C, I, J, K), float32; or (V, C, I, J, K): of several images with the same seeds, which together cost
        less than one after the other.
    starts
        Distance at the start (B, I, J, K): 0 at seeds (or any head start), infinite elsewhere.
    spacing
        Voxel size (mm) per axis.
    length_weight
        Cost of one millimetre in a constant image.
    rounds
        At most so many rounds of six sweeps; fewer when a round changes nothing any more.

    Returns
    -------
    torch.Tensor
        (B, I, J, K), or (V, B, I, J, K), infinite where no seed reaches (a set without seeds).
    """
    views = channels if channels.ndim == 5 else channels[None]
    with one_thread():
        found = _relaxed(views, starts, spacing, length_weight, rounds, tolerance)
    return found if channels.ndim == 5 else found[0]


def _relaxed(
    channels: torch.Tensor,
    starts: torch.Tensor,
    spacing: Sequence[float],
    length_weight: float,
    rounds: int,
    tolerance: float,
) -> torch.Tensor:
    """The rounds of sweeps of `geodesic_distances`."""
    import torch

    distance = starts.expand(len(channels), *starts.shape).clone()
    axes = [axis for axis in range(3) if starts.shape[1 + axis] > 1]
    enough = tolerance * length_weight * min(spacing)
    sweeps = [_Sweeps(channels, len(starts), axis, spacing, length_weight) for axis in axes]
    for left in reversed(range(rounds)):
        before = distance
        for sweep in sweeps:
            distance = sweep(distance)
        distance = distance.clone(memory_format=torch.contiguous_format)
        # What is not reached yet has not changed: infinite less infinite.
        if not left or float((before - distance).nan_to_num(0.0, torch.inf).max()) <= enough:
            break
    return distance
