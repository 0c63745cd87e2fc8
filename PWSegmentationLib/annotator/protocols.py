"""What the simulated annotator does: which prompts at first, how many corrections, how steady the hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.annotator import placement
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prompts.prompts import Box, Point, SegmentPrompts, Strokes
from PWSegmentationLib.volume.grid import Grid, Region

# Prompts are placed no further than this from the structure, mm.
_REACH_MM = 30.0


@dataclass(frozen=True)
class Noise:
    """How the annotator errs.

    Parameters
    ----------
    jitter_mm
        Clicks miss by up to this much in any direction; strokes are shifted, and the faces of a box moved, as far.
    wrong_share
        This share of the clicks says the opposite of the truth.
    """

    jitter_mm: float = 0.0
    wrong_share: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_mm <= 50:
            raise InputError(f"The jitter should be 0 to 50 mm; it is {self.jitter_mm:g}.")
        if not 0 <= self.wrong_share <= 1:
            raise InputError(f"The share of wrong clicks should be 0 to 1; it is {self.wrong_share:g}.")


@dataclass(frozen=True)
class Protocol:
    """A way to prompt: ``inside`` and ``outside`` clicks, or scribbles, or a box; then corrective clicks.

    With ``spots``, the way in which somebody else chooses where to ask ("suggested", "uncertain" or "random"), the
    annotator only answers whether the structure is there.
    """

    name: str
    inside: int = 0
    outside: int = 0
    scribbles: bool = False
    box: bool = False
    corrections: int = 0
    spots: str = ""
    noise: Noise = field(default_factory=Noise)


_POINTS = re.compile(r"points (\d+)\+(\d+)")

# One click, nine corrections: the number of clicks that a Dice of .85 takes is counted up to ten. A box and five
# corrections: the CVPR 2025 challenge on interactive 3D biomedical image segmentation.
PROTOCOLS = (
    Protocol("points 5+10", inside=5, outside=10),
    Protocol("points 20+20", inside=20, outside=20),
    Protocol("scribbles", scribbles=True),
    Protocol("one click", inside=1, corrections=9),
    Protocol("box", box=True, corrections=5),
    Protocol("points 20+20, careless", inside=20, outside=20, noise=Noise(jitter_mm=5.0, wrong_share=0.05)),
)

# One click, and then answers at spots that the program, or chance, asks about; only measured when asked for.
GUIDED = tuple(
    Protocol(f"{spots} spots", inside=1, corrections=12, spots=spots) for spots in ("suggested", "uncertain", "random")
)


def protocol(name: str) -> Protocol:
    """One of `PROTOCOLS` or `GUIDED` by its name, or ``points A+B`` for any numbers; an `InputError` for another."""
    for known in (*PROTOCOLS, *GUIDED):
        if known.name == name:
            return known
    found = _POINTS.fullmatch(name)
    if found is None or int(found[1]) == 0:
        names = ", ".join(f"'{p.name}'" for p in (*PROTOCOLS, *GUIDED))
        raise InputError(f"There is no way of prompting called '{name}': choose among {names} and 'points A+B'.")
    return Protocol(name, inside=int(found[1]), outside=int(found[2]))


class SimulatedAnnotator:
    """Prompts for one structure by one protocol; the same seed gives the same prompts."""

    def __init__(self, reference: Reference, protocol: Protocol, seed: int = 0) -> None:
        self._reference = reference
        self._protocol = protocol
        self._seed = seed
        self._random = np.random.default_rng(seed)

    def start(self) -> SegmentPrompts:
        """The first prompts, in world mm."""
        self._random = np.random.default_rng(self._seed)
        reach = np.ceil(_REACH_MM / np.array(self._reference.grid.spacing)).astype(int)
        region = self._reference.region.grown(reach).intersection(Region.whole(self._reference.grid.shape))
        mask, spacing = self._reference.over(region), self._reference.grid.spacing
        prompts = SegmentPrompts("structure")
        if self._protocol.scribbles:
            prompts = prompts.with_prompt(self._strokes(placement.scribbles(mask, spacing), region))
        if self._protocol.box:
            prompts = prompts.with_prompt(self._box(placement.box(mask, spacing).shifted(region.start)))
        if self._protocol.inside:
            counts = self._protocol.inside, self._protocol.outside
            inside, outside = placement.points(mask, spacing, *counts, self._seed)
            for voxels, positive in ((inside, True), (outside, False)):
                for voxel in voxels:
                    prompts = self._clicked(prompts, voxel + region.start, positive) or prompts
        return prompts

    def correct(self, prompts: SegmentPrompts, region: Region, mask: NDArray[np.bool_]) -> SegmentPrompts | None:
        """``prompts`` and a click into the middle of the largest error of an answer, ``mask`` over ``region``.

        None where there is nothing to correct, or where the same voxel was clicked before and it did not help.
        """
        # The hand's errors depend on how many clicks there were, not on who else was corrected before.
        self._random = np.random.default_rng((self._seed, len(prompts)))
        found = Region.around(mask)
        around = self._reference.region
        if found is not None:
            around = around.union(found.shifted(region.start))
        said, truth = region.fitted(mask, around), self._reference.over(around)
        click = placement.next_click(said, truth, self._reference.grid.spacing)
        return None if click is None else self._clicked(prompts, click[0] + around.start, click[1])

    def answer_at(self, prompts: SegmentPrompts, position: tuple[float, float, float]) -> SegmentPrompts | None:
        """``prompts`` and a click on the voxel at ``position`` (mm, RAS) that says what is there.

        None if that voxel was clicked before.
        """
        self._random = np.random.default_rng((self._seed, len(prompts)))
        voxel = self._reference.grid.to_voxel(position)
        one = Region(tuple(voxel.tolist()), tuple((voxel + 1).tolist()))
        return self._clicked(prompts, voxel, bool(self._reference.over(one).any()))

    def _clicked(self, prompts: SegmentPrompts, voxel: NDArray[np.integer], positive: bool) -> SegmentPrompts | None:
        """With a click on ``voxel``, or beside it; None if there is one already."""
        grid, noise = self._reference.grid, self._protocol.noise
        position = grid.to_world(voxel)
        if noise.jitter_mm:
            missed = grid.to_index(position + placement.jitter(1, noise.jitter_mm, self._random)[0])
            position = grid.to_world(np.clip(missed, 0, np.array(grid.shape) - 1))
        if noise.wrong_share and self._random.random() < noise.wrong_share:
            positive = not positive
        taken = {tuple(grid.to_voxel(p.position)) for p in prompts.points}
        if tuple(grid.to_voxel(position)) in taken:
            return None
        if positive:
            # As the program asks of a user whose click is outside the box.
            prompts = replace(prompts, boxes=tuple(_enlarged(b, position) for b in prompts.boxes))
        return prompts.with_prompt(Point(tuple(position), positive))

    def _strokes(self, painted: NDArray[np.uint8], region: Region) -> Strokes:
        grid = self._reference.grid.crop(region)
        affine = grid.affine.copy()
        affine[:3, 3] += placement.jitter(1, self._protocol.noise.jitter_mm, self._random)[0]
        return Strokes.from_labelmap(painted, affine)

    def _box(self, region: Region) -> Box:
        grid = self._reference.grid
        return box_of(region, grid, self._random.uniform(-1.0, 1.0, (2, 3)) * self._protocol.noise.jitter_mm)


def box_of(region: Region, grid: Grid, moved_mm: NDArray[np.float64] | float = 0.0) -> Box:
    """The voxels of ``region``, faces and all; lower and upper faces moved by ``(2, 3)`` mm."""
    low, high = np.array([region.start, region.stop], dtype=float) - 0.5 + moved_mm / np.array(grid.spacing)
    # However unsteady the hand, a box is at least a voxel large.
    high = np.maximum(high, low + 1.0)
    axes = grid.affine[:3, :3] / grid.spacing
    size = (high - low) * grid.spacing
    return Box(tuple(grid.to_world(0.5 * (low + high))), tuple(size), tuple(axes.ravel()))  # type: ignore[arg-type]


def _enlarged(box: Box, position: NDArray[np.float64]) -> Box:
    """The box, just large enough to hold ``position`` (mm, RAS) as well."""
    if box.contains(position):
        return box
    local = (position - np.array(box.center)) @ box.axes
    half = 0.5 * np.array(box.size)
    low, high = np.minimum(-half, local), np.maximum(half, local)
    center = np.array(box.center) + box.axes @ (0.5 * (low + high))
    return Box(tuple(center), tuple(high - low), box.orientation)
