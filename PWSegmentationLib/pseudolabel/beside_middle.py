"""What a box is about when its middle is not: a rib, a vessel, a gut, anything that bends around the middle.

Nobody draws a box that ends within the object. Parts of the image brighter, or darker, than a threshold are therefore
held against the box: one that spans it along every axis, hardly goes on beyond its faces, and leaves its middle alone,
is what was meant, the more so the better its border is seen. The idea that an object touches all sides of its box and
none goes on beyond them is that of Lempitsky et al. (ICCV 2009); the candidates are as in maximally stable regions
(Matas et al., BMVC 2002).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.volume.masks import parts_of

#: Thresholds tried, for bright and for dark objects each: so many at even shares of the voxels of the box, and so many
#: at even steps between the values that all but these shares of them have.
_THRESHOLDS, _TAILS = 16, (0.01, 0.995)
#: How far the smoothing reaches, voxels: noise makes no parts.
_SMOOTH = 0.7
#: An object spans this share of the box along every axis, or all but so many mm.
_SPANS, _LOOSE_MM = 0.8, 8.0
#: At most this share of the box's middle belongs to it; on average the middle is this far from it, as a share of half
#: the box's shortest side: it is not the marrow in a bone's shell.
_OF_THE_MIDDLE, _FAR = 0.1, 0.4
#: At most this share of its surface is where it goes on beyond the box; from twice as much on it were worth nothing.
_THROUGH_FACES = 0.075
#: The least contrast across the border, in standard deviations of the box's voxels, of an object that is believed.
_BELIEVED = 0.28
#: The same where a click says no, so that the middle is less likely meant.
_BELIEVED_DENIED = 0.2
#: An object has so many voxels at least.
_FEWEST = 30
#: A click that says no takes away what lies around it, so many times as far as it lies deep in the object: so far does
#: what is wrong there reach.
_TAKEN = 2.0


def object_beside(
    image: NDArray[np.float32],
    valid: NDArray[np.bool_],
    limit: NDArray[np.bool_],
    middle: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    negative: NDArray[np.bool_],
    spacing: NDArray[np.float64],
) -> NDArray[np.bool_] | None:
    """The object (I, J, K) bool that the box ``limit`` was drawn around and that leaves its ``middle`` alone.

    None where the image shows none, ``negative`` seeds deny it, or ``positive`` ones say that the middle is meant or,
    where its border is faint, something else. ``valid`` is False on padding. ``spacing``: voxel size, mm.
    """
    limit = limit & valid
    if not limit.any() or not middle.any() or (positive & middle).any():
        return None
    sides = ndimage.find_objects(limit.astype(np.int8))[0]
    # With a rim, for whether a part goes on beyond the box.
    box = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in sides)
    boxed = _Box(
        ndimage.gaussian_filter(image[box], _SMOOTH * float(np.prod(spacing)) ** (1 / 3) / spacing),
        limit[box],
        valid[box],
        middle[box],
        spacing,
        np.array([side.stop - side.start for side in sides]),
    )
    denied = negative[box]
    # Before clicks take from it: of what a click has cut, another part may be the better one.
    found, worth = boxed.object(_BELIEVED_DENIED if denied.any() else _BELIEVED)
    if found is None:
        return None
    clicked = positive.any() or (found & denied).any()
    if worth <= _BELIEVED and clicked and not (found & positive[box]).any():
        # A second guess, after the middle; and denied, too, or something else was clicked.
        return None
    left = _without(found, denied, spacing)
    if not left.any():
        return None
    out = np.zeros(limit.shape, bool)
    out[box] = left
    return out


def _without(found: NDArray[np.bool_], denied: NDArray[np.bool_], spacing: NDArray[np.float64]) -> NDArray[np.bool_]:
    """What clicks that say no leave of ``found``: nothing beside them in any case."""
    if not denied.any():
        return found
    near = ndimage.binary_dilation(denied)
    left = found & ~near
    clicks, count = parts_of(denied)
    depth, own = (
        np.array(ndimage.maximum(ndimage.distance_transform_edt(mask, sampling=spacing), clicks, range(1, count + 1)))
        for mask in (found | near, near)
    )
    # Deeper than they are large: these lie in the object.
    for click in np.flatnonzero(depth > own):
        left &= ndimage.distance_transform_edt(clicks != click + 1, sampling=spacing) > _TAKEN * depth[click]
    return left


@dataclass(frozen=True)
class _Box:
    """Smoothed values around the box; what is within it (it may be oblique); the rest as `object_beside` has it.

    ``extent`` is how many voxels long its sides are.
    """

    values: NDArray[np.float32]
    within: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    middle: NDArray[np.bool_]
    spacing: NDArray[np.float64]
    extent: NDArray[np.int64]

    def object(self, believed: float) -> tuple[NDArray[np.bool_] | None, float]:
        """The part with the best border that bends around the middle, and how good this is.

        None where no border is better than ``believed``: see `_BELIEVED`.
        """
        far = _FAR * 0.5 * float((self.extent * self.spacing).min())
        best, found = believed, None
        for part, beyond in self._parts():
            worth = self._worth(part, beyond)
            if worth > best and ndimage.distance_transform_edt(~part, sampling=self.spacing)[self.middle].mean() > far:
                best, found = worth, part
        return found, best

    def _parts(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Connected parts beyond a threshold that span the box and are hardly in its middle; and all beyond it."""
        values = self.values[self.within]
        shares = np.quantile(values, np.linspace(0.03, 0.97, _THRESHOLDS))
        low, high = np.quantile(values, _TAILS)
        thresholds = np.concatenate([shares, np.linspace(low, high, _THRESHOLDS)])
        least = np.minimum(_SPANS * self.extent, self.extent - _LOOSE_MM / self.spacing)
        central = self.values[self.middle]
        for sign, threshold in [(s, t) for s in (1.0, -1.0) for t in np.unique(s * thresholds)]:
            if np.mean(sign * central > threshold) >= _OF_THE_MIDDLE:
                continue
            beyond = sign * self.values > threshold
            parts, _ = ndimage.label(beyond & self.within)
            for number, where in enumerate(ndimage.find_objects(parts), start=1):
                spans = all(s.stop - s.start >= n for s, n in zip(where, least, strict=True))
                if spans and np.count_nonzero(part := parts == number) >= _FEWEST:
                    yield part, beyond

    def _worth(self, part: NDArray[np.bool_], beyond: NDArray[np.bool_]) -> float:
        """Contrast across the border, less where the part goes on beyond the box, 0 from some share on."""
        # Where the image ends, or padding begins, it may go on.
        outside = (beyond | ~self.valid) & ~self.within
        through = surface = 0.0
        for axis, face in enumerate(np.prod(self.spacing) / self.spacing):
            around = [(int(a == axis),) * 2 for a in range(3)]
            inside = np.moveaxis(np.pad(part, around), axis, 0)
            further = np.moveaxis(np.pad(outside, around, constant_values=True), axis, 0)
            surface += float(face * np.count_nonzero(inside[:-1] != inside[1:]))
            through += float(face * np.count_nonzero((inside[:-1] & further[1:]) | (inside[1:] & further[:-1])))
        share = through / surface
        ring = ndimage.binary_dilation(part) & ~part & self.within
        if share > _THROUGH_FACES or not ring.any():
            return 0.0
        edge = part & ~ndimage.binary_erosion(part)
        contrast = abs(float(self.values[edge].mean()) - float(self.values[ring].mean()))
        contrast /= max(float(self.values[self.within].std()), float(np.finfo(np.float32).tiny))
        return contrast * (1.0 - share / (2.0 * _THROUGH_FACES))
