"""Shapes as anatomy has them, each a stamp: a small uint8 array, 0 outside, 1, 2, ... for its parts.

A stamp knows nothing of the volume it will be put into. ``size`` is the longest extent in voxels, ``elongation`` the
longest over the shortest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.procedural.noise import octaves, smooth
from PWSegmentationLib.volume.masks import largest_part

Stamp = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]


def blob(rng: np.random.Generator, size: float, elongation: float) -> Stamp:
    """An ellipsoid, often bent, its surface rough at several scales; sometimes nearly a box."""
    radii = _radii(rng, size, elongation)
    roughness = rng.choice([0.0, rng.uniform(0.03, 0.1), rng.uniform(0.1, 0.22)]) if size > 8 else 0.08
    bend = rng.uniform(-0.5, 0.5) if rng.random() < 0.5 else 0.0
    u, v, w = _local(np.array([1.0, 1.0 + abs(bend), 1.0]) * radii * (1.05 + 1.5 * roughness), rotation(rng))
    # A parabola along the longest axis turns sausages into bananas and beans.
    v = v - np.float32(bend / radii[0]) * (u * u - np.float32(0.3 * radii[0] ** 2)) * np.float32(
        radii[1] / radii[0] + 0.3
    )
    q = _superquadric((u, v, w), radii, 4 if rng.random() < 0.2 else 2)
    return _as_stamp(q < 1 + roughness * _clipped(rng, q.shape, max(3.0, size * rng.uniform(0.15, 0.5))))


def bean(rng: np.random.Generator, size: float, elongation: float) -> Stamp:
    """A blob with a bite out of its side: a kidney with a hilum, a crescent."""
    radii = _radii(rng, size, min(elongation, 4.0))
    u, v, w = _local(radii * 1.2, rotation(rng))
    wave = 1 + rng.uniform(0.02, 0.1) * _clipped(rng, np.broadcast_shapes(u.shape, v.shape), size / 3)
    away = rng.uniform(0.55, 1.2) * radii[1]
    bite = _superquadric((u, v - np.float32(away), w), radii * rng.uniform(0.45, 0.8) * [1, 1, 1.6], 2)
    return _as_stamp((_superquadric((u, v, w), radii, 2) < wave) & (bite > wave))


def lobed(rng: np.random.Generator, size: float, elongation: float) -> Stamp:
    """Balls melted into one another."""
    count = int(rng.integers(3, 9))
    radii = rng.uniform(0.5, 1.0, count)
    # The more elongated, the straighter the walk from ball to ball.
    heading, steps = _unit(rng), [np.zeros(3)]
    for radius in radii[1:]:
        heading = heading * min(1.0, 0.15 * elongation) + _unit(rng)
        steps.append(heading / np.linalg.norm(heading) * radius * rng.uniform(0.7, 1.1))
    centres = np.cumsum(steps, axis=0)
    scale = size / float(np.ptp(np.concatenate([centres - radii[:, None], centres + radii[:, None]]), axis=0).max())
    low = ((centres - 1.3 * radii[:, None]) * scale).min(axis=0)
    shape = (np.ceil(((centres + 1.3 * radii[:, None]) * scale).max(axis=0) - low).astype(int) + 1).tolist()
    total = np.zeros(shape, np.float32)
    for centre, radius in zip(centres * scale - low, radii * scale, strict=True):
        # A Gaussian is a product of one along each axis, so a ball costs little more than an addition.
        a, b, c = (
            np.exp(-(((np.arange(n) - m) / radius) ** 2)).astype(np.float32) for n, m in zip(shape, centre, strict=True)
        )
        total += a[:, None, None] * b[:, None] * c
    return _as_stamp(total > np.exp(-1.0) * (1 + 0.15 * _clipped(rng, shape, max(3.0, size / 5))))


def tube(rng: np.random.Generator, size: float, elongation: float, *, limit: float) -> Stamp:
    """A tube along a smooth random curve, straight, wandering or coiled; sometimes a wall (1) round a lumen (2)."""
    radius = float(np.clip(size / (2 * elongation), 1.2, limit / 10))
    coiled = rng.random() < 0.3
    points = (
        _serpentine(rng, size, radius) if coiled else _curve(rng, size, float(rng.choice([0.05, 0.15, 0.35])), limit)
    )
    wave = np.interp(np.linspace(0, 1, len(points)), np.linspace(0, 1, 9), rng.uniform(0.75, 1.3, 9))
    thick = radius * (wave if not coiled else 0.5 + 0.5 * wave)
    stamp = sweep(points, thick)
    thickness = max(1.6, rng.uniform(0.2, 0.4) * radius)
    if radius - thickness > 1.8 and rng.random() < 0.5:
        low = (points - thick[:, None]).min(axis=0)
        stamp[_sweep_into(stamp.shape, points - low + 1, np.maximum(thick - thickness, 1.2))] = 2
    return stamp


def tree(rng: np.random.Generator, size: float, *, limit: float) -> Stamp:
    """A vessel tree: branches that part in two and thin."""
    points: list[Points] = []
    radii: list[NDArray[np.float64]] = []

    def grow(start: Points, heading: Points, radius: float, length: float, depth: int) -> None:
        branch = start + _curve(rng, length, 0.15, limit, heading)
        points.append(branch)
        radii.append(np.linspace(radius, 0.85 * radius, len(branch)))
        if depth == 0:
            return
        ahead = (branch[-1] - branch[-3]) / np.linalg.norm(branch[-1] - branch[-3])
        aside = np.cross(ahead, _unit(rng))
        aside /= np.linalg.norm(aside)
        for side in (1.0, -1.0):
            turned = ahead + side * rng.uniform(0.3, 0.9) * aside
            thinner = max(1.1, radius * rng.uniform(0.6, 0.85))
            grow(branch[-1], turned / np.linalg.norm(turned), thinner, length * rng.uniform(0.6, 0.9), depth - 1)

    grow(np.zeros(3), _unit(rng), max(1.6, size * rng.uniform(0.03, 0.08)), size * 0.4, int(rng.integers(1, 4)))
    return sweep(np.concatenate(points), np.concatenate(radii))


def sheet(rng: np.random.Generator, size: float, elongation: float) -> Stamp:
    """A curved plate of uneven thickness: a scapula, a flat muscle, a disc."""
    long, thick = size / 2, max(1.1, size / (2 * max(elongation, 3.0)))
    wide = long * rng.uniform(0.4, 1.0)
    curve = rng.uniform(-0.6, 0.6, 2) * [1.0, wide / long]
    reach = np.array([long * 1.1, wide * 1.2, thick * 1.5 + 0.6 * np.abs(curve).max() * long + 0.15 * size])
    u, v, w = _local(reach, rotation(rng))
    height = (
        np.float32(curve[0] / long) * u * u + np.float32(curve[1] / wide) * v * v - np.float32(0.3 * curve[0] * long)
    )
    height = height + np.float32(0.04 * size) * _clipped(rng, u.shape, max(4.0, size / 3))
    outline = np.sqrt((u / np.float32(long)) ** 2 + (v / np.float32(wide)) ** 2)
    outline = outline - 0.12 * _clipped(rng, u.shape, max(4.0, size / 4))
    # Thinner towards the rim, but never so thin that it falls to pieces.
    half = np.maximum(thick * np.sqrt(np.clip(1 - outline**4, 0, 1)), 1.0)
    return _as_stamp((np.abs(w - height) < half) & (outline < 1))


def hollow(rng: np.random.Generator, size: float, elongation: float) -> Stamp:
    """A wall (1) round a core (2): bladder, heart chamber, cortex and marrow."""
    stamp = (blob if rng.random() < 0.6 else lobed)(rng, size, min(elongation, 5.0))
    thickness = int(np.clip(round(size * rng.uniform(0.04, 0.18)), 2, 9))
    core = ndimage.binary_erosion(stamp, iterations=thickness)
    stamp[largest_part(core)] = 2
    return stamp


def divided(rng: np.random.Generator, size: float, elongation: float) -> Stamp:
    """A blob cut into 2 to 5 parts by wavy walls, touching or with a gap: lobes, chambers, bellies of a muscle."""
    stamp = (blob if rng.random() < 0.5 else lobed)(rng, size, elongation)
    places = np.argwhere(stamp)
    seeds = places[rng.integers(len(places), size=int(rng.integers(2, 6)))]
    parts = cells(rng, stamp.shape, seeds, float(rng.choice([0.0, 0.0, 1.1, 1.6])), 0.05 * size)
    return np.where(stamp > 0, parts, 0).astype(np.uint8)


def cells(
    rng: np.random.Generator, shape: Sequence[int], seeds: NDArray[np.int64], gap: float, wave: float
) -> NDArray[np.uint8]:
    """The seed (1, 2, ...) that each voxel is nearest to, along wavy borders; 0 within ``gap`` of a border."""
    nearest, second = np.full((2, *shape), np.inf, np.float32)
    best = np.zeros(tuple(shape), np.uint8)
    for number, seed in enumerate(seeds, 1):
        squares = [((np.arange(n) - s) ** 2).astype(np.float32) for n, s in zip(shape, seed, strict=True)]
        distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        distance += np.float32(wave) * _clipped(rng, shape, max(4.0, 4 * wave))
        nearer = distance < nearest
        second = np.where(nearer, nearest, np.minimum(second, distance))
        nearest = np.minimum(nearest, distance)
        best[nearer] = number
    best[second - nearest < 2 * gap] = 0
    return best


def chain(rng: np.random.Generator, size: float, *, limit: float) -> Stamp:
    """Similar parts beside each other, with a gap between: vertebrae, teeth, ribs, bundles of muscle."""
    count = int(rng.integers(3, 8))
    pitch = max(6.0, size / count)
    gap = rng.uniform(1.8, max(2.0, 0.35 * pitch))
    if rng.random() < 0.35:
        return _ribs(rng, count, pitch, gap, limit)
    half = np.array([(pitch - gap) / 2, *(pitch * np.exp(rng.uniform(np.log(0.35), np.log(2.0), 2)))])
    half = np.minimum(half, limit / 3)
    process = rng.random() < 0.5
    bend = rng.uniform(-0.6, 0.6)
    turn = rotation(rng)
    along = (np.arange(count) - (count - 1) / 2) * pitch
    reach = np.array(
        [np.abs(along).max() + half[0] + 2, 2.2 * half[1] + 2 + abs(bend) * np.abs(along).max() / 2, half[2] + 2]
    )
    u, v, w = _local(reach, turn)
    shift = np.float32(bend / (2 * max(1.0, np.abs(along).max()))) * u * u
    v = v - shift
    site = np.clip(np.round((u - np.float32(along[0])) / np.float32(pitch)), 0, count - 1).astype(np.intp)
    # Alike, not the same: each part is a little larger or smaller.
    scale = rng.uniform(0.88, 1.08, count).astype(np.float32)[site]
    within = u - along.astype(np.float32)[site]
    wave = 1 + 0.06 * _clipped(rng, u.shape, max(3.0, pitch / 2))
    power = int(rng.choice([2, 4]))
    inside = _superquadric((within, v / scale, w / scale), half, power) < np.minimum(wave, 1.05)
    if process:
        spur = half * [0.6, 0.7, 0.25]
        inside |= _superquadric((within, v / scale - np.float32(1.4 * half[1]), w), np.maximum(spur, 1.4), 2) < 1
    return np.where(inside, site + 1, 0).astype(np.uint8)


def sweep(points: Points, radii: NDArray[np.float64]) -> Stamp:
    """What balls of ``radii`` at ``points`` cover, in the box that holds it."""
    low = (points - radii[:, None]).min(axis=0)
    shape = (np.ceil((points + radii[:, None]).max(axis=0) - low).astype(int) + 3).tolist()
    return _as_stamp(_sweep_into(shape, points - low + 1, radii))


def rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random rotation, every direction as likely."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return np.asarray(q * [1.0, 1.0, np.sign(np.linalg.det(q))])


def _as_stamp(mask: Mask) -> Stamp:
    return np.asarray(mask, dtype=np.uint8)


def _unit(rng: np.random.Generator) -> Points:
    v = rng.normal(size=3)
    return np.asarray(v / np.linalg.norm(v))


def _radii(rng: np.random.Generator, size: float, elongation: float) -> NDArray[np.float64]:
    """Half axes, longest first; the middle one anywhere between the others."""
    long, short = size / 2, max(1.6, size / 2 / elongation)
    return np.array([long, np.exp(rng.uniform(np.log(min(short, long)), np.log(long))), short])


def _local(reach: NDArray[np.float64], turn: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """Coordinates along turned axes, over the box that holds everything within ``reach`` along them."""
    half = np.ceil(np.sqrt((turn**2) @ np.asarray(reach) ** 2)).astype(int)
    axes = [np.arange(-n, n + 1, dtype=np.float32) for n in half]
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    t = turn.astype(np.float32)
    return tuple(t[0, a] * x + t[1, a] * y + t[2, a] * z for a in range(3))


def _superquadric(local: Sequence[NDArray[np.float32]], radii: NDArray[np.float64], power: int) -> NDArray[np.float32]:
    """1 on the surface, less inside, more outside; power 2 is an ellipsoid, 4 nearly a box."""
    squares = [(c / np.float32(r)) ** 2 for c, r in zip(local, radii, strict=True)]
    if power == 4:
        return np.asarray(np.sqrt(np.sqrt(squares[0] ** 2 + squares[1] ** 2 + squares[2] ** 2)))
    return np.asarray(np.sqrt(squares[0] + squares[1] + squares[2]))


def _clipped(rng: np.random.Generator, shape: Sequence[int], cell: float) -> NDArray[np.float32]:
    """Several octaves, without the rare extremes that would tear a surface."""
    return np.clip(octaves(rng, shape, cell), -2, 2)


def _curve(
    rng: np.random.Generator, length: float, wander: float, limit: float, heading: Points | None = None
) -> Points:
    """Points about a voxel apart along a curve that keeps its heading by and large, no wider than ``limit``."""
    heading = _unit(rng) if heading is None else heading
    turning = smooth(rng, (3, max(3, int(length)), 1), 12.0)[:, :, 0].T * wander
    points = [np.zeros(3)]
    for turn in turning:
        heading = heading + turn * 0.4
        heading = heading / np.linalg.norm(heading)
        points.append(points[-1] + heading)
    curve = np.array(points)
    return _cut(curve, limit)


def _cut(curve: Points, limit: float) -> Points:
    """The beginning of a curve, as far as it is no wider than ``limit``."""
    wide = (np.maximum.accumulate(curve) - np.minimum.accumulate(curve)).max(axis=1) > limit
    return curve[: max(3, int(wide.argmax()) if wide.any() else len(curve))]


def _serpentine(rng: np.random.Generator, size: float, radius: float) -> Points:
    """Loops side by side, a gap between them, as bowel lies."""
    loops = int(rng.integers(2, 6))
    pitch = 2 * radius * rng.uniform(1.25, 1.7) + 1.5
    width = max(size / 2, 2.5 * radius)
    t = np.linspace(0, loops * np.pi, int(loops * (2 * width + pitch)) + 8)
    # Pressed into the turns: a plain sine would leave wide gaps at one end of each loop.
    across = np.tanh(2.0 * np.sin(t)) / np.tanh(2.0) * width / 2
    up = smooth(rng, (len(t), 1, 1), 20.0)[:, 0, 0] * 0.2 * width
    return np.stack([across, t / np.pi * pitch, up], axis=1) @ rotation(rng)


def _ribs(rng: np.random.Generator, count: int, pitch: float, gap: float, limit: float) -> Stamp:
    """Bows in parallel planes."""
    radius = max(1.3, min((pitch - gap) / 2, pitch * rng.uniform(0.15, 0.45)))
    bow = min(limit / 2, pitch * rng.uniform(1.5, 5.0))
    angles = np.linspace(0, rng.uniform(0.8, 3.0), int(3 * bow) + 4)
    flat = (
        np.stack([np.cos(angles), rng.uniform(0.6, 1.0) * np.sin(angles), rng.uniform(-0.4, 0.4) * angles], axis=1)
        * bow
    )
    turn = rotation(rng)
    bows = [(flat * rng.uniform(0.9, 1.05) + [0, 0, n * pitch]) @ turn for n in range(count)]
    low = np.concatenate(bows).min(axis=0) - radius - 1
    shape = (np.ceil(np.concatenate(bows).max(axis=0) - low + radius).astype(int) + 2).tolist()
    stamp = np.zeros(shape, np.uint8)
    for number, points in enumerate(bows, 1):
        stamp[_sweep_into(shape, points - low, np.full(len(points), radius)) & (stamp == 0)] = number
    return stamp


def _sweep_into(shape: Sequence[int], points: Points, radii: NDArray[np.float64]) -> Mask:
    mask = np.zeros(tuple(shape), bool)
    last = None
    for point, radius in zip(points, radii, strict=True):
        # Balls a third of a radius apart cover the same as balls a voxel apart, in a fraction of the time.
        if last is not None and np.abs(point - last).sum() < radius / 3:
            continue
        last = point
        low = np.maximum(np.floor(point - radius).astype(int), 0)
        high = np.ceil(point + radius).astype(int) + 1
        x, y, z = ((np.arange(a, min(b, n)) - p) ** 2 for a, b, n, p in zip(low, high, shape, point, strict=True))
        box = mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        box |= x[:, None, None] + y[:, None] + z < radius**2
    return mask
