"""What was said of a segment before its last prompts: where these do not contradict it, what was right stays.

A network that answers all prompts anew at every click gives and takes: a click that mends one end of an organ can cost
the other. Here the answer before becomes a part of the label, which the network goes by, except around a correction.
And prompts do what they say: those inside add, those outside take away, and neither does the opposite elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.prediction.body_size import BodySize
from PWSegmentationLib.prediction.sharpening import log_odds
from PWSegmentationLib.prediction.view import View, competing
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.pseudolabel.region import working_spacing
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.masks import depth_mm
from PWSegmentationLib.volume.resampling import resample

# The earlier answer's share of the label's log-odds. Chosen on the structures for tuning, as are:
_SHARE = 0.7
# How far around a prompt that contradicts it, it is given up (one standard deviation): so many times as far as the
# prompt lies behind the border that was drawn, for what is wrong there reaches as far; and so many mm at least.
_GIVEN_UP, _GIVEN_UP_MM = 2.0, 4.0
# A prompt as deep in what was found as this share of the deepest voxel's depth is in the very middle of it.
_VERY_MIDDLE = 0.8
# Log-odds that count as certain, for a label is surer than it is right and would outvote what the network said; and how
# much surer than their mean the two are (see `sharpening`).
_CERTAIN, _SURER = 4.0, 1.5

# So far around somebody else's mask it is known that there is no more of it.
_AROUND_MM = 40.0


@dataclass(frozen=True, eq=False)
class EarlierAnswer:
    """An answer to fewer prompts.

    Parameters
    ----------
    segment, others
        The prompts that were answered, and the claims of other segments then.
    grid
        The working grid.
    probability
        float16 ``[i, j, k]`` on ``grid``, in [0, 1].
    """

    segment: SegmentPrompts
    others: tuple[SegmentPrompts, ...]
    grid: Grid
    probability: NDArray[np.float16]

    @classmethod
    def of_mask(cls, segment: SegmentPrompts, grid: Grid, region: Region, mask: NDArray[np.bool_]) -> EarlierAnswer:
        """What somebody else said: ``mask`` over ``region`` of an image's ``grid``, and nothing around it."""
        margin = np.ceil(_AROUND_MM / np.array(grid.spacing)).astype(int)
        around = region.grown(margin).intersection(Region.whole(grid.shape))
        fine = grid.crop(around)
        coarse = fine.resampled(working_spacing(np.array(fine.shape) * fine.spacing, fine.spacing))
        said = resample(region.fitted(mask, around), fine, coarse)
        return cls(segment, (), coarse, said.astype(np.float16))

    def enlarged(self, size: BodySize) -> EarlierAnswer:
        """The same answer where the image is worked on as if it were as large as a body."""
        return EarlierAnswer(size.prompts(self.segment), size.all(self.others), size.grid(self.grid), self.probability)

    def counts_for(self, segment: SegmentPrompts, others: tuple[SegmentPrompts, ...]) -> bool:
        """Whether prompts were only added since: what somebody has taken back must not live on."""
        held = all(any(now.holds(other) for now in others) for other in self.others)
        return segment.holds(self.segment) and held

    def into(self, label: PseudoLabel, view: View, segment: SegmentPrompts) -> PseudoLabel:
        """``label`` of ``view`` with this answer's share: none where it did not look, or new prompts contradict it.

        And none with a box that is new, or until something was marked inside: what is said of a box alone rests on a
        guess, that something fills the middle of it, which must not live on.
        """
        known = segment.boxes == self.segment.boxes and len(self.segment.positions(positive=True)) > 0
        if segment.boxes and not known:
            return label
        looked, said = self._on(view.grid)
        share = _SHARE * looked * _trusted(said >= 0.5, segment.beyond(self.segment), view)
        mean = (1.0 - share) * log_odds(label.probability, 1e-3, _CERTAIN) + share * log_odds(said, 1e-3, _CERTAIN)
        probability = (1.0 / (1.0 + np.exp(-_SURER * mean))).astype(np.float32)
        for where, value in ((~view.valid, 0.0), (view.seeds.negative, 0.0), (view.seeds.positive, 1.0)):
            probability[where] = value
        return replace(label, probability=probability)

    def middle_stands(self, view: View, segment: SegmentPrompts) -> bool:
        """Whether the guess that ``segment``'s box is about its middle still stands.

        Not where, with nothing marked inside, a new prompt says no in the very middle of what the guess has found: then
        all of that is wrong, not only what lies around the prompt. Nor after an answer that was empty, or left the
        middle out although something was marked inside. (Without that it was another guess, `beside_middle`.)
        """
        from PWSegmentationLib.pseudolabel.box_middle import from_middle

        limit = view.seeds.inside
        if limit is None or not limit.any() or segment.boxes != self.segment.boxes:
            return True
        said = self._on(view.grid)[1] >= 0.5
        if not (said & (from_middle(limit) <= 1.0)).any():
            return bool(said.any()) and not len(self.segment.positions(positive=True))
        if len(segment.positions(positive=True)):
            return True
        denied = draw(segment.beyond(self.segment), view.grid, point_radius=0.0).negative
        if not denied.any():
            return True
        depth = depth_mm(said, view.grid.spacing)
        return float(depth[denied].max()) < _VERY_MIDDLE * float(depth.max())

    def kept_in(
        self,
        probability: NDArray[np.float32],
        view: View,
        segment: SegmentPrompts,
        others: tuple[SegmentPrompts, ...],
    ) -> NDArray[np.float32]:
        """A later answer ``(i, j, k)`` on the view's grid, with what its prompts give no reason to change.

        What was inside stays so where prompts were added inside alone, what was outside where they were added outside
        alone, or other segments claim more. Where both were, the later answer stands.
        """
        new = segment.beyond(self.segment)
        signs = {sign for sign in (True, False) if len(new.positions(positive=sign))}
        if _claims(others, self.grid) != _claims(self.others, self.grid):
            signs.add(False)
        if len(signs) != 1 or new.boxes:
            return probability
        if not len(segment.positions(positive=True)) and not self.middle_stands(view, segment):
            # All that was said was wrong.
            return probability
        looked, said = self._on(view.grid)
        only_inside = signs == {True}
        stays = (looked > 0.5) & ((said >= 0.5) == only_inside)
        firmer = np.maximum(probability, said) if only_inside else np.minimum(probability, said)
        return np.where(stays, firmer, probability).astype(np.float32)

    def _on(self, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How far a voxel of ``grid`` was looked at, 0 to 1, and what was said of it; 0 where it was not."""
        looked = resample(np.ones(self.grid.shape, np.float32), self.grid, grid, outside=0.0)
        return looked, resample(self.probability.astype(np.float32), self.grid, grid, outside=0.0)


def _claims(others: tuple[SegmentPrompts, ...], grid: Grid) -> list[SegmentPrompts]:
    """What other segments claim on ``grid``, whatever they are called."""
    return [replace(other, name="any") for other in competing(others, grid)]


def _trusted(inside: NDArray[np.bool_], new: SegmentPrompts, view: View) -> NDArray[np.float32]:
    """1 where ``inside`` stands, down to 0 on ``new`` prompts that say otherwise: ``(i, j, k)`` on the working grid."""
    from scipy import ndimage

    drawn = draw(new, view.grid, point_radius=0.0)
    wrong = (drawn.positive & ~inside) | (drawn.negative & inside)
    if not wrong.any():
        return np.ones(inside.shape, np.float32)
    spacing = view.grid.spacing
    reach = _GIVEN_UP_MM
    for side in (inside, ~inside):
        if side.all():
            # There is no border.
            return np.zeros(inside.shape, np.float32)
        if (wrong & side).any():
            depth = ndimage.distance_transform_edt(side, sampling=spacing)
            reach = max(reach, _GIVEN_UP * float(depth[wrong & side].max()))
    distance = ndimage.distance_transform_edt(~wrong, sampling=spacing)
    return np.asarray(1.0 - np.exp(-0.5 * (distance / reach) ** 2), np.float32)
