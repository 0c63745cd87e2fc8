"""Geodesic distances through an image by plane sweeps (torch: CPU and CUDA alike).

A step from voxel u to its neighbour v costs  length * |v - u| + contrast(u, v), where the contrast is the
summed absolute difference of the feature channels. The distance to a set of seeds is the cost of the cheapest
path. Sweeping plane after plane in the six axis directions (fast sweeping, as in Criminisi et al., GeoS, ECCV
2008) relaxes every path; what is left over after one round is relaxed by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: In-plane offsets of the neighbours in the previous plane: straight ahead and the four edge neighbours.
#: Together with the sweeps of the other axes they make the 18-neighbourhood.
_OFFSETS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))


def _step_costs(channels: torch.Tensor, axis_spacing: tuple[float, float, float], length_weight: float) -> torch.Tensor:
    """Cost of the step into plane i from plane i-1: (I - 1, 5, J, K); infinite where it leaves the grid."""
    import torch

    count, _, rows, columns = channels.shape
    costs = torch.full((count - 1, len(_OFFSETS), rows, columns), torch.inf, device=channels.device)
    for number, (dj, dk) in enumerate(_OFFSETS):
        j0, j1 = max(0, -dj), rows - max(0, dj)
        k0, k1 = max(0, -dk), columns - max(0, dk)
        here = channels[1:, :, j0:j1, k0:k1]
        there = channels[:-1, :, j0 + dj : j1 + dj, k0 + dk : k1 + dk]
        length = (axis_spacing[0] ** 2 + (dj * axis_spacing[1]) ** 2 + (dk * axis_spacing[2]) ** 2) ** 0.5
        costs[:, number, j0:j1, k0:k1] = (here - there).abs().sum(1) + length_weight * length
    return costs


def _reverse_costs(costs: torch.Tensor) -> torch.Tensor:
    """Costs of the steps from plane i+1 into plane i, from those of the other direction.

    The step (j, k) <- (j + dj, k + dk) backwards is the forward step (j + dj, k + dk) <- (j, k), whose offset
    is (-dj, -dk) seen from its own end.
    """
    import torch

    out = torch.full_like(costs, torch.inf)
    opposite = {(dj, dk): n for n, (dj, dk) in enumerate(_OFFSETS)}
    rows, columns = costs.shape[2:]
    for number, (dj, dk) in enumerate(_OFFSETS):
        j0, j1 = max(0, -dj), rows - max(0, dj)
        k0, k1 = max(0, -dk), columns - max(0, dk)
        out[:, number, j0:j1, k0:k1] = costs[:, opposite[(-dj, -dk)], j0 + dj : j1 + dj, k0 + dk : k1 + dk]
    return out


def _sweep(distance: torch.Tensor, forward: torch.Tensor, backward: torch.Tensor) -> None:
    """One sweep up and one down along the first axis of `distance` (I, B, J, K), in place."""
    import torch

    count, sets, rows, columns = distance.shape
    padded = torch.full((sets, rows + 2, columns + 2), torch.inf, device=distance.device)
    centre = padded[:, 1:-1, 1:-1]
    shifted = [padded[:, 1 + dj : 1 + dj + rows, 1 + dk : 1 + dk + columns] for dj, dk in _OFFSETS]
    candidate = torch.empty_like(distance[0])

    def relax(plane: int, previous: int, costs: torch.Tensor) -> None:
        centre.copy_(distance[previous])
        target = distance[plane]
        for number, neighbour in enumerate(shifted):
            torch.add(neighbour, costs[number], out=candidate)
            torch.minimum(target, candidate, out=target)

    for plane in range(1, count):
        relax(plane, plane - 1, forward[plane - 1])
    for plane in range(count - 2, -1, -1):
        relax(plane, plane + 1, backward[plane])


def geodesic_distances(
    channels: torch.Tensor,
    starts: torch.Tensor,
    spacing: Sequence[float],
    *,
    length_weight: float,
    rounds: int = 4,
    tolerance: float = 1e-3,
    check: Callable[[], None] | None = None,
) -> torch.Tensor:
    """Geodesic distance to several sets of seeds.

    Parameters
    ----------
    channels
        Features (C, I, J, K), float32.
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
        (B, I, J, K), infinite where no seed reaches (a set without seeds).
    """
    with _one_thread():
        return _relaxed(channels, starts, spacing, length_weight, rounds, tolerance, check)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Planes are too small to be shared out: waking a second thread for each costs more than it does."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _relaxed(
    channels: torch.Tensor,
    starts: torch.Tensor,
    spacing: Sequence[float],
    length_weight: float,
    rounds: int,
    tolerance: float,
    check: Callable[[], None] | None,
) -> torch.Tensor:
    """The rounds of sweeps of `geodesic_distances`."""
    import torch

    distance = starts.clone()
    plans = []
    for axis in range(3):
        if channels.shape[1 + axis] < 2:
            continue
        others = [a for a in range(3) if a != axis]
        moved = channels.permute(1 + axis, 0, 1 + others[0], 1 + others[1]).contiguous()
        lengths = (spacing[axis], spacing[others[0]], spacing[others[1]])
        forward = _step_costs(moved, lengths, length_weight)
        plans.append((axis, others, forward, _reverse_costs(forward)))
    for _ in range(rounds):
        before = distance
        for axis, others, forward, backward in plans:
            moved = distance.permute(1 + axis, 0, 1 + others[0], 1 + others[1]).contiguous()
            _sweep(moved, forward, backward)
            distance = moved.permute(1, *(0 if a == axis else 2 + others.index(a) for a in range(3)))
        distance = distance.contiguous()
        if check is not None:
            check()
        change = torch.where(torch.isfinite(before), before - distance, torch.inf)
        change = torch.where(torch.isfinite(distance), change, torch.zeros_like(change))
        if float(change.max()) <= tolerance * length_weight * min(spacing):
            break
    return distance
