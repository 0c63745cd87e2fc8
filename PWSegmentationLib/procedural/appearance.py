"""What tissues look like: CT-like, MR-like or anything at all; what touches differs so that one can see where it ends.

Which of the ways to tell two neighbours apart holds is drawn: another mean, another texture, or, between equals, a
thin septum of something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.procedural.arrangement import INNER, MATRIX, OUTSIDE, PATCH, Arrangement, Part
from PWSegmentationLib.procedural.noise import octaves, smooth

# Values of the tissue map besides the labels; see `tissue_map`.
_ZONES = {OUTSIDE: 255, MATRIX: 254, INNER: 253, PATCH: 252}
# A share of a structure's border below which a neighbour does not matter.
_TOUCHING = 0.06
# Voxels per face of a ball of radius 7 or a plate of 4 voxels: what is thinner has no room for a texture of its own, or
# for a layer round it that would leave something of it.
_STURDY = 1.6
# Means nearer to each other than this many times the noise cannot be told apart by them.
_ALIKE = 1.6

# Step over a voxel face, in units of the noise, that shows; and the share of a border that has to.
_STEP, _SHOWN = 0.6, 0.55

# Hounsfield units by kind: ranges, one of which is drawn. Soft tissues overlap, as they do.
_SOFT, _ENHANCED, _VESSEL, _BONE = (20.0, 80.0), (70.0, 150.0), (150.0, 350.0), (200.0, 1200.0)
_FLUID, _FAT, _LUNG, _AIR = (-10.0, 20.0), (-120.0, -80.0), (-880.0, -700.0), (-1000.0, -990.0)
_CT = {
    "shell": (_BONE, _BONE, _SOFT),
    "organ": (_SOFT, _SOFT, _ENHANCED, _FLUID, _LUNG),
    "divided": (_SOFT, _SOFT, _ENHANCED, _VESSEL, _LUNG),
    "lesion": (_SOFT, _FLUID, _ENHANCED, _BONE),
    "tube": (_SOFT, _VESSEL, _VESSEL, _ENHANCED),
    "tree": (_VESSEL, _VESSEL, _ENHANCED, _SOFT),
    "sheet": (_SOFT, _SOFT, _BONE),
    "hollow": (_SOFT, _ENHANCED, _BONE),
    "core": (_FLUID, _SOFT, _VESSEL, _FAT),
    "lumen": (_FLUID, _VESSEL, _AIR, _SOFT),
    "patch": (_SOFT, _SOFT, _FAT, _FLUID, _LUNG),
    "chain": (_BONE, _BONE, _SOFT),
}


@dataclass(frozen=True)
class Regime:
    """``noise`` is the standard deviation; ``level`` draws a mean for a kind of part; means of the zones."""

    name: str
    noise: float
    level: Callable[[str], float]
    zones: dict[int, float]


@dataclass(frozen=True, eq=False)
class Contacts:
    """Voxel faces between tissues: ``faces[a, b]`` of them; flat indices and tissues on the two sides of each.

    ``sturdy`` says which tissues are neither thin nor small.
    """

    faces: NDArray[np.int64]
    sturdy: NDArray[np.bool_]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, tissues: NDArray[np.uint8]) -> Contacts:
        """All faces between different tissues."""
        flat, index = tissues.ravel(), np.arange(tissues.size).reshape(tissues.shape)
        first, second = [], []
        for axis in range(3):
            low, high = (np.moveaxis(tissues, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
            differs = low != high
            first.append(np.moveaxis(index, axis, 0)[:-1][differs])
            second.append(np.moveaxis(index, axis, 0)[1:][differs])
        a, b = np.concatenate(first), np.concatenate(second)
        codes = flat[a].astype(np.int64) * 256 + flat[b]
        faces = np.bincount(codes, minlength=65536).reshape(256, 256)
        faces = faces + faces.T
        sturdy = np.bincount(flat, minlength=256) > _STURDY * faces.sum(axis=1)
        return cls(faces, sturdy, a, b, codes)

    def neighbours(self, value: int) -> list[int]:
        """Tissues that matter to ``value``: a good part of its border is with them, or of theirs with it."""
        share = self.faces[value] / np.maximum(np.minimum(self.faces[value].sum(), self.faces.sum(axis=1)), 1)
        return [int(v) for v in np.flatnonzero(share > _TOUCHING)]


def tissue_map(made: Arrangement) -> NDArray[np.uint8]:
    """Labels, and where there are none, a value for the zone."""
    zones = np.zeros(256, np.uint8)
    zones[list(_ZONES)] = list(_ZONES.values())
    return np.where(made.labels > 0, made.labels, zones[made.zones])


def paint(rng: np.random.Generator, made: Arrangement) -> tuple[NDArray[np.float32], Regime]:
    """The image before noise and bias, partial volume included, and the regime it follows."""
    tissues = tissue_map(made)
    contacts = Contacts.of(tissues)
    regime = draw_regime(rng)
    means = _means(rng, regime, made.parts, contacts)
    amplitudes = _textures(rng, regime, means, made.parts, contacts)
    image = means.astype(np.float32)[tissues]
    for field, amplitude in zip(_fields(rng, tissues.shape), amplitudes.T, strict=True):
        image += amplitude.astype(np.float32)[tissues] * field
    _add_septa(rng, regime, image, means, amplitudes, contacts)
    return ndimage.gaussian_filter(image, rng.uniform(0.4, 1.0), truncate=3.0), regime


def draw_regime(rng: np.random.Generator) -> Regime:
    """CT, MR or neither."""
    name = rng.choice(["CT", "MR", "arbitrary"], p=[0.4, 0.4, 0.2])
    if name == "CT":
        # As seen in a narrow window the matrix is fat more often than not; the inside of a shell is brain or lung.
        matrix = _within(rng, _FAT if rng.random() < 0.7 else _SOFT)
        inner = _within(rng, [_SOFT, _SOFT, _LUNG, _FAT][rng.integers(4)])
        patch = _within(rng, _SOFT) if matrix < 0 else matrix + rng.uniform(-60, 60)
        return Regime(
            "CT",
            float(np.exp(rng.uniform(np.log(5.0), np.log(30.0)))),
            lambda kind: _within(rng, _CT[kind][rng.integers(len(_CT[kind]))]),
            {OUTSIDE: -1000.0, MATRIX: matrix, INNER: inner, PATCH: patch},
        )
    if name == "MR":
        scale = float(np.exp(rng.uniform(np.log(50.0), np.log(3000.0))))
        level = lambda kind: scale * rng.uniform(0.1, 1.0)  # noqa: E731
        zones = {OUTSIDE: 0.0, MATRIX: level(""), INNER: level(""), PATCH: level("")}
        return Regime("MR", scale * float(np.exp(rng.uniform(np.log(0.012), np.log(0.06)))), level, zones)
    scale, offset = float(np.exp(rng.uniform(np.log(0.5), np.log(2000.0)))), rng.normal()
    level = lambda kind: scale * (offset + rng.normal())  # noqa: E731
    zones = {OUTSIDE: level(""), MATRIX: level(""), INNER: level(""), PATCH: level("")}
    return Regime("arbitrary", scale * float(np.exp(rng.uniform(np.log(0.05), np.log(0.25)))), level, zones)


def visible(
    clean: NDArray[np.float32], labels: NDArray[np.uint8], structures: Mapping[str, tuple[int, ...]], noise: float
) -> dict[str, tuple[int, ...]]:
    """The structures whose border shows in the image before noise; thick slices make some fade into what is around."""
    contacts = Contacts.of(labels)
    flat = clean.ravel()
    shown = np.abs(flat[contacts.first] - flat[contacts.second]) > _STEP * noise
    seen = np.bincount(contacts.codes[shown], minlength=65536).reshape(256, 256)
    seen = seen + seen.T
    kept = {}
    for name, values in structures.items():
        border = np.ix_(np.array(values), np.setdiff1d(np.arange(256), values))
        if 0 < contacts.faces[border].sum() * _SHOWN <= seen[border].sum():
            kept[name] = values
    return kept


def add_noise(rng: np.random.Generator, image: NDArray[np.float32], regime: Regime) -> NDArray[np.float32]:
    """What a scanner adds: noise, correlated in CT, Rician in MR, and MR's uneven coil."""
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    if regime.name == "CT" or (regime.name == "arbitrary" and rng.random() < 0.3):
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.3, 0.8), truncate=3.0)
        noise /= noise.std()
    if regime.name == "CT":
        return image + np.float32(regime.noise) * noise
    if regime.name == "MR":
        strength = rng.uniform(0.0, 0.3)
        bias = smooth(rng, image.shape, max(image.shape) * rng.uniform(0.5, 1.2))
        image = image * (1 + strength * bias / max(1.0, float(np.abs(bias).max())))
        other = rng.standard_normal(image.shape, dtype=np.float32)
        return np.hypot(image + np.float32(regime.noise) * noise, np.float32(regime.noise) * other)
    return image + np.float32(regime.noise) * noise


def _within(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(rng.uniform(*bounds))


def _means(rng: np.random.Generator, regime: Regime, parts: list[Part], contacts: Contacts) -> NDArray[np.float64]:
    """A mean for each tissue, as a rule 2 to 10 times the noise away from what it touches."""
    means = np.full(256, np.nan)
    for zone, value in _ZONES.items():
        means[value] = regime.zones[zone]
    families: dict[int, float] = {}
    members: dict[int, list[int]] = {}
    for part in parts:
        near = [n for n in contacts.neighbours(part.value) if not np.isnan(means[n])]
        alike = families.get(part.family)
        # Sturdy siblings may be alike even where they touch: a septum parts them. What is thin has no room for one.
        siblings = [m for m in members.get(part.family, ()) if contacts.sturdy[[m, part.value]].all()]
        unlike = [n for n in near if n not in siblings]
        if alike is not None and all(abs(means[n] - alike) > 2 * regime.noise for n in unlike):
            means[part.value] = alike + 0.2 * regime.noise * rng.normal()
            members[part.family].append(part.value)
            continue
        # Sometimes as bright as a neighbour on purpose: then texture or a septum tells them apart.
        sturdy = contacts.sturdy[part.value]
        equals = [n for n in near if sturdy and contacts.sturdy[n] and n < min(_ZONES.values())]
        if equals and rng.random() < 0.15:
            means[part.value] = means[rng.choice(equals)]
        else:
            # Blur takes more of the contrast of what is small.
            least = 1.8 if sturdy else 3.0
            means[part.value] = _distinct(rng, regime, part, means, near, least)
        if part.family not in families:
            families[part.family], members[part.family] = means[part.value], [part.value]
    return np.nan_to_num(means)


def _distinct(
    rng: np.random.Generator, regime: Regime, part: Part, means: NDArray[np.float64], near: list[int], least: float
) -> float:
    """A mean that differs enough from the neighbours'; the best of what was drawn where none does."""
    wanted = float(np.exp(rng.uniform(np.log(least), np.log(10.0)))) * regime.noise
    if part.kind == "lesion" and part.parent is not None and rng.random() < 0.7:
        # Not any tissue: somewhat darker or brighter than what it lies in.
        return float(means[part.parent] + rng.choice([-1, 1]) * wanted)
    best, best_gap = regime.level(part.kind), -1.0
    # Half of them just so much away from a neighbour, the others anywhere: tissues are often nearly alike.
    close = bool(near) and rng.random() < 0.5
    for attempt in range(25):
        candidate = regime.level(part.kind)
        if close and attempt < 8:
            candidate = means[rng.choice(near)] + rng.choice([-1.001, 1.001]) * wanted
        gap = float(np.min(np.abs(means[near] - candidate))) if near else np.inf
        if gap >= wanted:
            return candidate
        if gap > best_gap:
            best, best_gap = candidate, gap
    return best


def _textures(
    rng: np.random.Generator,
    regime: Regime,
    means: NDArray[np.float64],
    parts: list[Part],
    contacts: Contacts,
) -> NDArray[np.float64]:
    """How strong each of `_fields` is in each tissue; stronger in one of two equals, so that they differ by it."""
    amplitudes = np.zeros((256, 4))
    families: dict[int, NDArray[np.float64]] = {}
    values = [(p.value, p.family, p.kind) for p in parts] + [
        (v, -1000 - v, "zone") for z, v in _ZONES.items() if z != OUTSIDE
    ]
    for value, family, _ in values:
        if family not in families:
            # Mostly faint; one scale prevails.
            families[family] = regime.noise * np.exp(rng.uniform(np.log(0.05), np.log(1.0), 4)) * rng.random(4)
        amplitudes[value] = families[family]
    for part in parts:
        for n in contacts.neighbours(part.value):
            alike = abs(means[n] - means[part.value]) < _ALIKE * regime.noise
            if alike and n < part.value and contacts.sturdy[part.value] and rng.random() < 0.4:
                amplitudes[[n, part.value]] = 0.2 * regime.noise
                amplitudes[part.value, rng.choice([0, 3])] = rng.uniform(2.5, 4.0) * regime.noise
    return amplitudes


def _fields(rng: np.random.Generator, shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Textures: fine and coarse mottling, a slow drift, and stripes."""
    fine = smooth(rng, shape, rng.uniform(1.5, 2.5))
    coarse = octaves(rng, shape, rng.uniform(4, 9), 2)
    drift = smooth(rng, shape, 0.3 * max(shape))
    heading = rng.normal(size=3)
    heading *= 2 * np.pi / rng.uniform(4, 9) / np.linalg.norm(heading)
    x, y, z = (np.arange(n, dtype=np.float32) * np.float32(h) for n, h in zip(shape, heading, strict=True))
    stripes = np.sin(x[:, None, None] + y[:, None] + z + 1.5 * coarse) * np.float32(np.sqrt(2))
    return [fine, coarse, drift, stripes]


def _add_septa(
    rng: np.random.Generator,
    regime: Regime,
    image: NDArray[np.float32],
    means: NDArray[np.float64],
    amplitudes: NDArray[np.float64],
    contacts: Contacts,
) -> None:
    """A thin layer of something else where neighbours look the same; here and there round others, too."""
    pairs = np.argwhere(np.triu(contacts.faces) > 0)
    septum = np.full((256, 256), np.nan, np.float32)
    for a, b in pairs:
        gap = abs(means[a] - means[b])
        textures = np.sqrt((amplitudes[[a, b]] ** 2).sum(axis=1))
        if (gap < _ALIKE * regime.noise and abs(textures[0] - textures[1]) < 2 * regime.noise) or (
            rng.random() < 0.04 and max(a, b) < 255 and contacts.sturdy[[a, b]].all()
        ):
            away = rng.choice([-1, 1]) * (gap / 2 + regime.noise * rng.uniform(5, 12))
            level = (means[a] + means[b]) / 2 + away
            if regime.name == "MR" and level < 0:
                level -= 2 * away
            septum[a, b] = septum[b, a] = level
    level_of = septum.ravel()[contacts.codes]
    marked = ~np.isnan(level_of)
    flat, tissues = image.reshape(-1), (contacts.codes >> 8, contacts.codes & 255)
    for side, tissue in zip((contacts.first, contacts.second), tissues, strict=True):
        # What is thin would be all septum.
        there = marked & contacts.sturdy[tissue]
        flat[side[there]] = level_of[there]
