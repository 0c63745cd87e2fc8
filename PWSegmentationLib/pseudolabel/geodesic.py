"""Geodesic distances through an image by plane sweeps (torch: CPU and CUDA alike).

A step from voxel u to its neighbour v costs  length * |v - u| + contrast(u, v), where the contrast is the
summed absolute difference of the feature channels. The distance to a set of seeds is the cost of the cheapest
path. Sweeping plane after plane in the six axis directions (fast sweeping, as in Criminisi et al., GeoS, ECCV
2008) relaxes every path; what is left over after one round is relaxed by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .threads import one_thread

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
    """Cost of the step into plane i from plane i-1: (I - 1, 5, V, 1, J, K); infinite where it leaves the grid."""
    import torch

    count, views, _, rows, columns = channels.shape
    costs = torch.full((count - 1, len(_OFFSETS), views, 1, rows, columns), torch.inf, device=channels.device)
    for number, (dj, dk) in enumerate(_OFFSETS):
        j0, j1 = max(0, -dj), rows - max(0, dj)
        k0, k1 = max(0, -dk), columns - max(0, dk)
        here = channels[1:, ..., j0:j1, k0:k1]
        there = channels[:-1, ..., j0 + dj : j1 + dj, k0 + dk : k1 + dk]
        length = (axis_spacing[0] ** 2 + (dj * axis_spacing[1]) ** 2 + (dk * axis_spacing[2]) ** 2) ** 0.5
        costs[:, number, :, 0, j0:j1, k0:k1] = (here - there).abs().sum(2) + length_weight * length
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
        j0, j1 = max(0, -dj), rows - max(0, dj)
        k0, k1 = max(0, -dk), columns - max(0, dk)
        there = costs[:, opposite[(-dj, -dk)], ..., j0 + dj : j1 + dj, k0 + dk : k1 + dk]
        out[:, number, ..., j0:j1, k0:k1] = there
    return out


def _by_plane(costs: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """The costs of every plane, by neighbour: planes are so small that cutting them out again would cost as much."""
    return [plane.unbind(0) for plane in costs.unbind(0)]


def _sweep(
    distance: torch.Tensor, forward: list[tuple[torch.Tensor, ...]], backward: list[tuple[torch.Tensor, ...]]
) -> None:
    """One sweep up and one down along the first axis of `distance` (I, V, B, J, K), in place."""
    import torch

    rows, columns = distance.shape[-2:]
    planes = distance.unbind(0)
    padded = torch.full((*distance.shape[1:3], rows + 2, columns + 2), torch.inf, device=distance.device)
    centre = padded[..., 1:-1, 1:-1]
    shifted = [padded[..., 1 + dj : 1 + dj + rows, 1 + dk : 1 + dk + columns] for dj, dk in _OFFSETS]
    candidate = torch.empty_like(planes[0])

    def relax(target: torch.Tensor, previous: torch.Tensor, costs: tuple[torch.Tensor, ...]) -> None:
        centre.copy_(previous)
        for neighbour, cost in zip(shifted, costs, strict=True):
            torch.add(neighbour, cost, out=candidate)
            torch.minimum(target, candidate, out=target)

    for plane in range(1, len(planes)):
        relax(planes[plane], planes[plane - 1], forward[plane - 1])
    for plane in range(len(planes) - 2, -1, -1):
        relax(planes[plane], planes[plane + 1], backward[plane])


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
    plans = []
    for axis in range(3):
        if starts.shape[1 + axis] < 2:
            continue
        others = [a for a in range(3) if a != axis]
        moved = channels.movedim(2 + axis, 0).contiguous()
        forward = _step_costs(moved, (spacing[axis], spacing[others[0]], spacing[others[1]]), length_weight)
        plans.append((axis, _by_plane(forward), _by_plane(_reverse_costs(forward))))
    for _ in range(rounds):
        before = distance
        for axis, into, back in plans:
            moved = distance.movedim(2 + axis, 0).contiguous()
            _sweep(moved, into, back)
            distance = moved.movedim(0, 2 + axis)
        distance = distance.contiguous()
        change = torch.where(torch.isfinite(before), before - distance, torch.inf)
        change = torch.where(torch.isfinite(distance), change, torch.zeros_like(change))
        if float(change.max()) <= tolerance * length_weight * min(spacing):
            break
    return distance
