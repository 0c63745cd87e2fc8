"""Where things lie: a trunk, a head or nothing but tissue, filled with shapes that touch, nest and pass each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.procedural import shapes
from PWSegmentationLib.procedural.noise import octaves
from PWSegmentationLib.volume.masks import largest_part

# What holds the structures, in `Arrangement.zones`: nothing, tissue, tissue within a closed shell (as in a skull),
# and patches of a second tissue, as muscle between fat.
OUTSIDE, MATRIX, INNER, PATCH = 0, 1, 2, 3
SMALLEST = 30
# Shapes that are compact: what is left of one pushed aside is rid of its slivers.
_COMPACT = ("organ", "lesion", "divided")
_TWINS = ("organ", "hollow", "sheet", "tube")
_TRIES = 8


@dataclass(frozen=True)
class Part:
    """One label. Parts of one ``family`` are alike (vertebrae); a ``parent`` is what a lesion lies in."""

    value: int
    kind: str
    family: int
    parent: int | None = None


@dataclass(eq=False)
class Arrangement:
    """``labels`` and ``zones``, both uint8 ``[i, j, k]``; what the labels are; the structures they make up."""

    labels: NDArray[np.uint8]
    zones: NDArray[np.uint8]
    parts: list[Part] = field(default_factory=list)
    structures: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def add(self, kind: str, family: int, parent: int | None = None) -> int:
        """A new part; its label."""
        value = len(self.parts) + 1
        self.parts.append(Part(value, kind, family, parent))
        return value


def arrange(rng: np.random.Generator, edge: int) -> Arrangement:
    """A volume of ``edge`` voxels each way, filled at random."""
    made = Arrangement(np.zeros((edge,) * 3, np.uint8), np.full((edge,) * 3, MATRIX, np.uint8))
    _enclose(rng, made)
    # Each scene has its own mixture: some are full of tubes, others of things in a row.
    mixture = rng.dirichlet([2.5, 1.0, 2.0, 1.0, 1.0, 1.2, 1.4, 1.2])
    wanted, full = int(rng.integers(9, 17)), rng.uniform(0.1, 0.8)
    for _ in range(3 * wanted):
        if len(made.structures) >= wanted:
            break
        # The first ones are large, or the small ones would have taken the room.
        filled = np.count_nonzero(made.labels) / max(1, int(np.count_nonzero(made.zones)))
        least = 0.2 * edge if len(made.structures) < wanted / 2 and filled < full else 4.0
        size = float(np.exp(rng.uniform(np.log(least), np.log(0.8 * edge))))
        kind, stamp = _draw(rng, str(rng.choice(_KINDS, p=mixture)), size, edge)
        family = len(made.parts) + 1
        # Some have a twin elsewhere, as kidneys and lungs do, which is another structure.
        for copy in (stamp, np.flip(stamp, int(rng.integers(3))))[: 1 + (kind in _TWINS and rng.random() < 0.25)]:
            if (where := _place(rng, made, copy)) is not None:
                _put(rng, made, kind, copy, where, family)
    if rng.random() < 0.55:
        _crowd(rng, made)
    if rng.random() < 0.3:
        _add_patches(rng, made)
    return made


def settled(
    labels: NDArray[np.uint8], structures: Mapping[str, tuple[int, ...]]
) -> tuple[NDArray[np.uint8], dict[str, tuple[int, ...]]]:
    """Each structure in one piece and of some size, after labels were cut or resampled; what is not, left out.

    What a structure lost its hold of is background. One that fell to pieces is no longer one thing to point at:
    it is left out, as are those too small to see.
    """
    labels, boxes = labels.copy(), ndimage.find_objects(labels)
    kept: dict[str, tuple[int, ...]] = {}
    # The whole before what it holds, so that a lesion is judged within what is left of its organ.
    for name, values in sorted(structures.items(), key=lambda item: -len(item[1])):
        lut = np.zeros(256, bool)
        lut[list(values)] = True
        box = _bounds(boxes, values)
        mask = lut[labels[box]] if box is not None else np.zeros((1, 1, 1), bool)
        body = largest_part(mask, corners=True)
        count = int(np.count_nonzero(body))
        if count < SMALLEST or count < 0.7 * np.count_nonzero(mask):
            continue
        if box is not None:
            labels[box][mask & ~body] = 0
        kept[name] = tuple(values)
    present = np.bincount(labels.ravel(), minlength=256) > 0
    named = {n: tuple(v for v in kept[n] if present[v]) for n in structures if n in kept}
    wanted = np.isin(np.arange(256), [v for values in named.values() for v in values])
    labels[~wanted[labels]] = 0
    return labels, named


_KINDS = ("organ", "lesion", "tube", "tree", "sheet", "hollow", "chain", "divided")


def _draw(rng: np.random.Generator, kind: str, size: float, edge: int) -> tuple[str, shapes.Stamp]:
    elongation = float(np.exp(rng.uniform(0, np.log(10))))
    match kind:
        case "lesion":
            return kind, shapes.blob(rng, rng.uniform(4, 10), min(elongation, 2.5))
        case "tube":
            return kind, shapes.tube(rng, max(size, 12.0), max(elongation, 2.5), limit=edge)
        case "tree":
            return kind, shapes.tree(rng, max(size, 0.3 * edge), limit=edge)
        case "sheet":
            return kind, shapes.sheet(rng, max(size, 12.0), elongation)
        case "hollow":
            return kind, shapes.hollow(rng, max(size, 12.0), elongation)
        case "chain":
            return kind, shapes.chain(rng, max(size, 30.0), limit=edge)
        case "divided":
            return kind, shapes.divided(rng, max(size, 20.0), min(elongation, 5.0))
    makers = (shapes.blob, shapes.blob, shapes.lobed, shapes.bean)
    return "organ", makers[rng.integers(len(makers))](rng, size, elongation)


def _enclose(rng: np.random.Generator, made: Arrangement) -> None:
    """Cut a body out of the volume: a trunk that goes through it, a head with a skull, or all is tissue."""
    edge = made.labels.shape[0]
    what = rng.random()
    if what < 0.35:
        return
    through = int(rng.integers(3)) if what < 0.8 else None
    far: NDArray[np.float32] = np.zeros((1, 1, 1), np.float32)
    for axis in range(3):
        if axis != through:
            x = (np.arange(edge, dtype=np.float32) - (edge - 1) / 2 - rng.uniform(-0.06, 0.06) * edge) / (
                edge * rng.uniform(0.42, 0.58)
            )
            far = far + np.abs(np.moveaxis(x[:, None, None], 0, axis)) ** rng.choice([2.0, 2.6])
    far = np.sqrt(far) + np.float32(0.03) * octaves(rng, made.labels.shape, edge / 4)
    made.zones[np.broadcast_to(far > 1, made.labels.shape)] = OUTSIDE
    if rng.random() < (0.4 if through is not None else 0.8):
        outer = rng.uniform(0.8, 0.93)
        inner = outer - max(2.5 / (0.45 * edge), rng.uniform(0.04, 0.12))
        shell = largest_part((far > inner) & (far < outer))
        value = made.add("shell", 0)
        made.labels[shell] = value
        made.zones[far <= inner] = INNER
        made.structures[f"shell {value}"] = (value,)


def _crowd(rng: np.random.Generator, made: Arrangement) -> None:
    """Fill the room that is left with organs pressed against each other and against what is there."""
    room = (made.zones != OUTSIDE) & (made.labels == 0)
    if gap := int(rng.choice([0, 0, 1, 2])):
        room &= ~ndimage.binary_dilation(made.labels > 0, iterations=gap)
    places = np.flatnonzero(room)
    if len(places) < 1000:
        return
    seeds = np.stack(np.unravel_index(rng.choice(places, int(rng.integers(4, 12))), room.shape), axis=1)
    cells = shapes.cells(
        rng, room.shape, seeds, float(rng.choice([0.0, 1.0, 1.6])), rng.uniform(0.04, 0.1) * max(room.shape)
    )
    # Some of the room stays what it was.
    cells[~room | np.isin(cells, 1 + np.flatnonzero(rng.random(len(seeds)) < 0.35))] = 0
    for number, box in enumerate(ndimage.find_objects(cells), 1):
        if box is not None:
            _put_single(rng, made, "organ", cells[box] == number, box, len(made.parts) + 1)


def _add_patches(rng: np.random.Generator, made: Arrangement) -> None:
    """A second tissue here and there, of no shape at all; some of its larger patches are structures."""
    edge = made.labels.shape[0]
    patches = octaves(rng, made.labels.shape, edge * rng.uniform(0.08, 0.3)) > rng.uniform(0.2, 1.2)
    patches &= (made.zones != OUTSIDE) & (made.labels == 0)
    made.zones[patches] = PATCH
    pieces, _ = ndimage.label(patches)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    family, boxes = len(made.parts) + 1, ndimage.find_objects(pieces)
    for number in np.argsort(-sizes)[: int(rng.integers(0, 6))]:
        if sizes[number] > 200:
            box = boxes[number - 1]
            _put_single(rng, made, "patch", pieces[box] == number, box, family)


def _place(rng: np.random.Generator, made: Arrangement, stamp: shapes.Stamp) -> NDArray[np.int64] | None:
    """Where the stamp's first voxel goes: beside or a little under what is there already, or where it is free."""
    free = made.zones != OUTSIDE
    free &= made.labels == 0
    places = np.flatnonzero(free)
    inside = np.argwhere(stamp)
    if len(places) < SMALLEST or len(inside) < SMALLEST:
        return None
    probes = inside[rng.integers(len(inside), size=min(400, len(inside)))]
    # Neighbours that share a border are what is hard, so most are placed to be pushed out of another.
    goal = rng.uniform(0.6, 0.95) if rng.random() < 0.7 else 1.0
    best, best_miss = None, np.inf
    for _ in range(_TRIES):
        centre = np.array(np.unravel_index(rng.choice(places), free.shape))
        start = centre - probes[rng.integers(len(probes))] if goal < 1 else centre - np.array(stamp.shape) // 2
        at = probes + start
        within = ((at >= 0) & (at < free.shape)).all(axis=1)
        open_share = float(free[tuple(at[within].T)].sum()) / len(probes)
        if open_share > 0.4 and abs(open_share - goal) < best_miss:
            best, best_miss = start, abs(open_share - goal)
    return best


def _put(
    rng: np.random.Generator,
    made: Arrangement,
    kind: str,
    stamp: shapes.Stamp,
    start: NDArray[np.int64],
    family: int,
) -> None:
    """Add the parts of a stamp where there is room, each in one piece."""
    low = np.maximum(start, 0)
    high = np.minimum(start + stamp.shape, made.labels.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    stamp = stamp[tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))]
    taken = made.labels[box] > 0
    if (gap := int(rng.choice([0, 0, 0, 1, 2, 3]))) and taken.any():
        taken = ndimage.binary_dilation(taken, iterations=gap)
    stamp = np.where(taken | (made.zones[box] == OUTSIDE), 0, stamp)
    if kind in ("hollow", "tube"):
        _put_nested(made, kind, stamp, box, family)
        return
    for number, where in enumerate(ndimage.find_objects(stamp), 1):
        if where is not None:
            part = tuple(slice(b.start + w.start, b.start + w.stop) for b, w in zip(box, where, strict=True))
            _put_single(rng, made, kind, stamp[where] == number, part, family)


def _put_single(
    rng: np.random.Generator,
    made: Arrangement,
    kind: str,
    mask: NDArray[np.bool_],
    box: tuple[slice, ...],
    family: int,
) -> None:
    if kind in _COMPACT and min(mask.shape) > 6:
        mask = ndimage.binary_opening(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    mask = largest_part(mask)
    if np.count_nonzero(mask) < SMALLEST or len(made.parts) > 200:
        return
    value = made.add(kind, family)
    made.labels[box][mask] = value
    values = [value]
    if kind in ("organ", "divided") and np.count_nonzero(mask) > 1500 and rng.random() < 0.45:
        for _ in range(int(rng.integers(1, 4))):
            values += _put_lesion(rng, made, box, value)
    made.structures[f"{kind} {value}"] = tuple(values)


def _put_lesion(rng: np.random.Generator, made: Arrangement, box: tuple[slice, ...], parent: int) -> list[int]:
    """A lesion inside of a structure, or at its border; its label, or none where it did not fit."""
    labels = made.labels[box]
    places = np.argwhere(labels == parent)
    if len(places) == 0:
        return []
    largest = min(max(10.0, 0.12 * made.labels.shape[0]), 0.5 * len(places) ** (1 / 3))
    stamp = shapes.blob(rng, float(np.exp(rng.uniform(np.log(4.0), np.log(max(largest, 4.5))))), rng.uniform(1, 2))
    start = places[rng.integers(len(places))] - np.array(stamp.shape) // 2
    low, high = np.maximum(start, 0), np.minimum(start + stamp.shape, labels.shape)
    there = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    cut = stamp[tuple(slice(int(a), int(b)) for a, b in zip(low - start, high - start, strict=True))]
    mask = largest_part((cut > 0) & (labels[there] == parent))
    if np.count_nonzero(mask) < SMALLEST:
        return []
    value = made.add("lesion", len(made.parts) + 1, parent)
    labels[there][mask] = value
    made.structures[f"lesion {value}"] = (value,)
    return [value]


def _put_nested(made: Arrangement, kind: str, stamp: shapes.Stamp, box: tuple[slice, ...], family: int) -> None:
    """A wall and what it holds: the whole, and each of them, can be pointed at."""
    whole = largest_part(stamp > 0)
    core = largest_part(whole & (stamp == 2))
    if np.count_nonzero(whole) < SMALLEST:
        return
    outer = made.add(kind, family)
    made.labels[box][whole] = outer
    name = f"{'organ' if kind == 'hollow' else kind} {outer}"
    values: tuple[int, ...] = (outer,)
    if np.count_nonzero(core) >= SMALLEST:
        inner = made.add("core" if kind == "hollow" else "lumen", -family, outer)
        made.labels[box][core] = inner
        values = (outer, inner)
        made.structures[f"wall {outer}"] = (outer,)
        made.structures[f"{made.parts[-1].kind} {inner}"] = (inner,)
    made.structures[name] = values


def _bounds(found: list[tuple[slice, ...] | None], values: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The box that holds all of some labels."""
    boxes = [found[v - 1] for v in values if v <= len(found) and found[v - 1] is not None]
    if not boxes:
        return None
    return tuple(slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))
