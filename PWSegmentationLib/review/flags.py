"""Signs that a segment may be wrong.

A *note* is a fact worth knowing, true of many good segments too: a lung has thin parts, a cut-off liver touches the
border. An *alarm* says that the segment should be looked at. What raises an alarm was chosen on the structures marked
"tuning" in `samples/development_cases.json`; docs/review.md says how often it is right.

Most alarms come from holding the segment against its own prompts: directly, and by a second opinion, what the prompts
and the image give by themselves (`review.second_opinion`). Where a whole lump of the segment is unlikely by the second
opinion it may have leaked; where the second opinion has a large lump more, a part may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prediction.sharpening import sharpened
from PWSegmentationLib.progress import finished
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.review.measures import Measures, middle, slabs, touched_faces
from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.segments.terminology import find_term
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.masks import depth_mm, dice, largest_part

Kind: TypeAlias = Literal[
    "geometry",
    "empty",
    "prompts",
    "swapped",
    "side",
    "leak",
    "missing part",
    "confidence",
    "components",
    "border",
    "thin",
]

# Lumps are what a ball of this radius, mm, fits into.
LUMP_MM = 2.5
# A lump of the segment raises an alarm if the second opinion gives it less than this probability on average, from this
# share of the segment on, and up to one half: more is no lump but another answer; ...
LEAK_PROBABILITY, LEAK_SHARE, MOST_SHARE = 0.08, 0.02, 0.5
# ... and one that it thinks is inside and the segment lacks, from this share of the segment on; ...
MISSING_SHARE = 0.25
# ... provided that the lump is what they disagree about: without it, their Dice is above this. A second opinion that
# disagrees everywhere is not good enough to find a single error.
LEAK_AGREED, MISSING_AGREED = 0.55, 0.8
# Nor is one that expects no more than this Dice of itself good enough to find a leak.
LEAK_EXPECTED = 0.4
# Labels are surer than they are right (as in `prediction.network_inputs`): their log-odds are divided by this.
_LABEL_SOFTNESS = 2.0
# Prompts of others inside the segment from which on it is said to be theirs: a share of their prompts.
_SWAPPED_SHARE = 0.6
_LOW_DICE, _LOW_CONFIDENCE = 0.55, 0.6
_THIN_SHARE = 0.25
# Lumps are looked for on a lattice no finer than this, mm: they are larger.
_LATTICE_MM = 2.6


@dataclass(frozen=True)
class Flag:
    """A sign: what ``kind``, one sentence, whether it is an ``alarm``, and the place to look at (mm, RAS)."""

    kind: Kind
    text: str
    alarm: bool = False
    position: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a segment is held against; whatever is not there raises no flag.

    Parameters
    ----------
    grid
        Of the segmentation; ``image_grid`` that of the image.
    prompts, others
        Of the segment, and of the case's other segments.
    opinion
        What the prompts and the image give by themselves.
    neighbours
        The case's other segments.
    """

    grid: Grid
    image_grid: Grid
    prompts: SegmentPrompts | None = None
    others: Sequence[SegmentPrompts] = ()
    opinion: Prediction | None = None
    neighbours: Sequence[Segment] = field(default_factory=tuple)


def flags(segment: Segment, measures: Measures, evidence: Evidence) -> tuple[Flag, ...]:
    """All signs that a segment may be wrong, alarms first."""
    return finished(flagging(segment, measures, evidence))


def flagging(segment: Segment, measures: Measures, evidence: Evidence) -> Generator[None, None, tuple[Flag, ...]]:
    """`flags` in parts of some ten milliseconds each, but for lumps in large organs."""
    found = list((yield from _looking_for_alarms(segment, evidence)))
    if segment.voxels and evidence.grid.same_as(evidence.image_grid):
        yield
        found += [*_certainty(measures), *(yield from _looking_at_shape(segment, measures, evidence.grid))]
    return tuple(sorted(found, key=lambda flag: not flag.alarm))


def alarms(segment: Segment, evidence: Evidence) -> tuple[Flag, ...]:
    """What speaks against a segment from outside: its grid, prompts, a second opinion, its neighbours."""
    return finished(_looking_for_alarms(segment, evidence))


def _looking_for_alarms(segment: Segment, evidence: Evidence) -> Generator[None, None, tuple[Flag, ...]]:
    if not evidence.grid.same_as(evidence.image_grid):
        text = "The segmentation is not on the image's grid: its shape, spacing, place or orientation differ."
        return (Flag("geometry", text, alarm=True),)
    if segment.voxels == 0:
        asked = evidence.prompts is not None and evidence.prompts.has_positive
        return (Flag("empty", "It is empty although it has prompts." if asked else "It is empty.", alarm=asked),)
    found = [*_against_prompts(segment, evidence)]
    yield
    found += yield from _holding_against_opinion(segment, evidence)
    yield
    return (*found, *_side(segment, evidence))


def _against_prompts(segment: Segment, evidence: Evidence) -> Iterable[Flag]:
    if evidence.prompts is None:
        return
    inside, outside = (_points(evidence.prompts, positive) for positive in (True, False))
    missed, violated = ~_holds(segment, evidence.grid, inside), _holds(segment, evidence.grid, outside)
    if missed.any() or violated.any():
        first = np.concatenate([inside[missed], outside[violated]])[0]
        count = int(missed.sum() + violated.sum())
        text = f"{count} of {len(missed) + len(violated)} prompt{'s' if len(missed) + len(violated) != 1 else ''}"
        text += f" say{'s' if count == 1 else ''} otherwise ({missed.sum()} inside, {violated.sum()} outside)."
        yield Flag("prompts", text, alarm=True, position=_place(first))
    for other in evidence.others:
        theirs = _points(other, True)
        hit = _holds(segment, evidence.grid, theirs)
        if other.name == segment.name or not hit.any():
            continue
        if hit.mean() >= _SWAPPED_SHARE and (len(missed) == 0 or missed.mean() >= 0.5):
            text = f"It lies where '{other.name}' was marked: are the names swapped?"
            yield Flag("swapped", text, alarm=True, position=_place(theirs[hit][0]))
            continue
        # Where segments may overlap, a tumour's prompts are in the liver, and in the tumour too.
        own = next((s for s in evidence.neighbours if s.name == other.name), None)
        lost = hit if own is None else hit & ~_holds(own, evidence.grid, theirs)
        if lost.any():
            text = f"It holds {int(lost.sum())} of the {len(theirs)} places marked as '{other.name}': has it leaked?"
            yield Flag("leak", text, alarm=True, position=_place(theirs[lost][0]))


def _holding_against_opinion(segment: Segment, evidence: Evidence) -> Generator[None, None, list[Flag]]:
    if evidence.opinion is None:
        return []
    found = []
    extra, missing = yield from _looking_for_lumps(segment, evidence.opinion)
    fit_to_say = extra.agreed > LEAK_AGREED and extra.expected > LEAK_EXPECTED
    if fit_to_say and extra.probability < LEAK_PROBABILITY and LEAK_SHARE < extra.share < MOST_SHARE:
        text = f"A lump of {extra.share:.0%} of it is unlikely by its prompts and the image: has it leaked?"
        found.append(Flag("leak", text, alarm=True, position=extra.position))
    if missing.share > MISSING_SHARE and missing.agreed > MISSING_AGREED:
        text = f"A lump of {missing.share:.0%} of its size is inside by its prompts and the image: is a part missing?"
        found.append(Flag("missing part", text, alarm=True, position=missing.position))
    return found


@dataclass(frozen=True)
class Lump:
    """A part that only one of both has.

    ``share`` is its size in those of the segment, ``probability`` what the second opinion says of it on average,
    ``agreed`` the Dice of both without it, ``expected`` the Dice that the second opinion expects of itself,
    ``position`` the place deepest inside.
    """

    share: float
    probability: float = 0.0
    agreed: float = 0.0
    expected: float = 0.0
    position: tuple[float, float, float] | None = None


def lumps(segment: Segment, opinion: Prediction) -> tuple[Lump, Lump]:
    """The largest lump that only the segment has, and the largest that only the second opinion has."""
    return finished(_looking_for_lumps(segment, opinion))


def _looking_for_lumps(segment: Segment, opinion: Prediction) -> Generator[None, None, tuple[Lump, Lump]]:
    region = segment.region.union(opinion.region)
    step = [max(1, int(_LATTICE_MM // spacing)) for spacing in opinion.grid.spacing]
    # A thin image has no second voxel to begin at.
    first = [min(n // 2, size - 1) for n, size in zip(step, region.shape, strict=True)]
    every = tuple(slice(start, None, n) for start, n in zip(first, step, strict=True))
    mask = segment.over(region)[every]
    probability = _as_sure_as_right(opinion, opinion.region.fitted(opinion.region_probability, region)[every])
    affine = opinion.grid.affine.copy()
    affine[:3, 3] = opinion.grid.to_world(np.add(region.start, first))
    affine[:3, :3] *= step
    grid = Grid(mask.shape, affine)
    thought = probability > 0.5
    expected = 2.0 * float(probability[thought].sum()) / max(1e-3, float(probability.sum()) + np.count_nonzero(thought))
    size = max(1, int(np.count_nonzero(mask)))
    found = []
    for differs in (mask & ~thought, ~mask & thought):
        yield
        lump, position = _largest_lump(differs, grid)
        voxels = int(np.count_nonzero(lump))
        mean = float(probability[lump].mean()) if voxels else 0.0
        found.append(Lump(voxels / size, mean, dice(mask ^ lump, thought), expected, position))
    return found[0], found[1]


def _as_sure_as_right(opinion: Prediction, probability: NDArray[np.float16]) -> NDArray[np.float32]:
    """An opinion's probability, softened where no network has judged it."""
    p = probability.astype(np.float32)
    return p if opinion.method.startswith("network") else sharpened(p, 1.0 / _LABEL_SOFTNESS)


def _largest_lump(mask: NDArray[np.bool_], grid: Grid) -> tuple[NDArray[np.bool_], tuple[float, float, float] | None]:
    """The largest part of ``mask`` into which a ball fits everywhere, and the place deepest inside (mm, RAS)."""
    out = np.zeros_like(mask)
    region = Region.around(mask)
    if region is None:
        return out, None
    part, own = mask[region.slices], grid.crop(region)
    if not _is_thick(part, own.spacing):
        return out, None
    depth = depth_mm(part, own.spacing)
    cores = depth > LUMP_MM
    if not cores.any():
        return out, None
    largest = largest_part(cores)
    away = ndimage.distance_transform_edt(~np.pad(largest, 1), sampling=own.spacing)[1:-1, 1:-1, 1:-1]
    out[region.slices] = part & (away <= LUMP_MM)
    deepest = np.unravel_index(int(np.where(largest, depth, 0).argmax()), depth.shape)
    return out, _place(own.to_world(deepest))


def _is_thick(mask: NDArray[np.bool_], spacing: Sequence[float]) -> bool:
    """Whether a voxel may be farther than `LUMP_MM` inside; soon told where none is so deep along the axes."""
    deep = mask
    for axis in range(3):
        for away in range(1, int(LUMP_MM / spacing[axis]) + 1):
            low, high = ((slice(None),) * axis + (s,) for s in (slice(None, -away), slice(away, None)))
            rest = np.zeros_like(mask)
            rest[low] = mask[high]
            deep = deep & rest
            rest = np.zeros_like(mask)
            rest[high] = mask[low]
            deep = deep & rest
        if not deep.any():
            return False
    return True


def _side(segment: Segment, evidence: Evidence) -> Iterable[Flag]:
    """A left structure to the right of its right counterpart."""
    named = find_term(segment.name)
    if named is None or named[1] is None or not named[0].paired:
        return
    opposite = _opposite(segment.name)
    for other in evidence.neighbours:
        if _plain(other.name) == opposite and other.voxels:
            here, there = _middle(segment, evidence.grid), _middle(other, evidence.grid)
            # Right is positive.
            wrong = here[0] > there[0] if named[1] == "left" else here[0] < there[0]
            if wrong:
                text = f"It is called {named[1]} but lies on the other side of '{other.name}': are the names swapped?"
                yield Flag("side", text, alarm=True, position=_place(here))


def _certainty(measures: Measures) -> Iterable[Flag]:
    if measures.expected_dice is not None and measures.confidence is not None:
        low = measures.expected_dice < _LOW_DICE or measures.confidence < _LOW_CONFIDENCE
        if low:
            text = f"The answer itself is unsure: it expects a Dice of {measures.expected_dice:.2f}."
            yield Flag("confidence", text, alarm=True)


def _looking_at_shape(segment: Segment, measures: Measures, grid: Grid) -> Generator[None, None, list[Flag]]:
    found = []
    if measures.components > 1:
        text = f"It has {measures.components} parts that do not touch; the largest holds {measures.largest_share:.0%}."
        found.append(Flag("components", text))
    faces = touched_faces(segment, grid)
    if faces:
        found.append(Flag("border", f"It touches the border of the image ({', '.join(faces)}): it may be cut off."))
    thin = (yield from _counting_thin(segment.mask)) / segment.voxels
    if thin > _THIN_SHARE:
        found.append(Flag("thin", f"{thin:.0%} of it is less than three voxels thick."))
    return found


def _counting_thin(mask: NDArray[np.bool_]) -> Generator[None, None, int]:
    """Voxels that are not within two layers of what is left when a layer is taken off."""
    count = 0
    for slab in slabs(mask.shape):
        # With three layers to either side, which have a say.
        around = slice(max(0, slab.start - 3), slab.stop + 3)
        padded = np.pad(mask[around], 3)
        core = ~_with_neighbours(~padded)
        thin = padded & ~_with_neighbours(_with_neighbours(core))
        first = 3 + slab.start - around.start
        count += int(np.count_nonzero(thin[first : first + slab.stop - slab.start]))
        yield
    return count


def _with_neighbours(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask and the voxels that touch it with a face: as SciPy's dilation, and several times as fast."""
    out = mask.copy()
    for axis in range(3):
        low, high = ((slice(None),) * axis + (s,) for s in (slice(None, -1), slice(1, None)))
        out[low] |= mask[high]
        out[high] |= mask[low]
    return out


def _points(prompts: SegmentPrompts, positive: bool) -> NDArray[np.float64]:
    """Positions of points, and of every few voxels of strokes, mm RAS ``(n, 3)``."""
    positions = prompts.positions(positive)
    return positions[:: max(1, len(positions) // 500)]


def _holds(segment: Segment, grid: Grid, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which positions are in voxels of the segment; those outside the image are not."""
    held = np.zeros(len(positions), bool)
    if len(positions):
        index = grid.to_voxel(positions) - np.array(segment.region.start)
        near = ((index >= 0) & (index < segment.region.shape)).all(axis=1)
        held[near] = segment.mask[tuple(index[near].T)]
    return held


def _middle(segment: Segment, grid: Grid) -> NDArray[np.float64]:
    return grid.to_world(middle(segment))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.lower()).strip()


def _opposite(name: str) -> str:
    """The plain name of the counterpart on the other side."""
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}
    return " ".join(swap.get(word, word) for word in _plain(name).split())


def _place(position: NDArray[np.float64]) -> tuple[float, float, float]:
    return tuple(round(float(v), 2) for v in position)  # type: ignore[return-value]
