"""The pseudo-label that looks at the image: several simple cues, one calibrated judgement.

Cues, each a log-odds map per voxel:

- two geodesic Voronoi maps, log(distance to background / distance to object), one per view of the image
  (the range of intensities under the seeds, and a window around the object's own);
- the smooth implicit surface through the seeds, which knows positions only;
- the intensity's likelihood, learnt from the seeds and then, once, from the voxels the geodesic maps are sure of;
- where a box was drawn around something that leaves the box's middle alone, where that is (`beside_middle`).

Between clicks along something thin the seeds are joined first (`between_clicks`). The cues' weighted sum is the
log-odds of the label; what each weighs depends on how the object was prompted (`judgement`).
Nothing is tuned per organ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.progress import Cancel, Progress, stop_if
from PWSegmentationLib.pseudolabel.between_clicks import ways_between
from PWSegmentationLib.pseudolabel.extent import implied_background, is_stroke
from PWSegmentationLib.pseudolabel.geodesic import ROUNDS, WALL, geodesic_distances
from PWSegmentationLib.pseudolabel.intensity import equalised, likelihood_ratio, span, window
from PWSegmentationLib.pseudolabel.interpolation import SEEDS_PER_SIGN, implicit_surface, representatives
from PWSegmentationLib.pseudolabel.judgement import (
    AROUND,
    CUES,
    OPEN,
    STROKES,
    Circumstances,
    along_strand,
    circumstances,
    click_weights,
    joined_by,
)
from PWSegmentationLib.pseudolabel.label import PseudoLabel
from PWSegmentationLib.pseudolabel.smoothing import smooth
from PWSegmentationLib.pseudolabel.threads import one_thread

if TYPE_CHECKING:
    import torch

#: Cost of one millimetre, against a full-range step of one in a view.
LENGTH_WEIGHT = 0.01
#: Log-odds of what a box is about if not its middle, full so many voxels from its border.
_BESIDE, _BESIDE_VOXELS = 8.0, 1.5
#: Fall-off (mm, one standard deviation) of the confidence with the distance to the nearest prompt.
_KNOWN_MM = 30.0

#: What `PseudoLabel.cues` holds, in this order.
SHOWN_CUES = ("contrast", *CUES)
#: Log-odds that count as certain: the cues are given in units of them.
_CERTAIN = 6.0


@dataclass(frozen=True)
class _Inputs:
    """What all cues are made of: tensors on the working grid, seeds with their stand-ins."""

    image: torch.Tensor
    valid: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    marked: torch.Tensor
    spacing: tuple[float, float, float]
    nearness: torch.Tensor
    anchors: tuple[np.ndarray, np.ndarray]
    #: What the cues weigh; and how the clicks lie, where they are on both sides of the border.
    weights: Mapping[str, float]
    clicks: Circumstances | None
    beside: torch.Tensor | None = None

    @cached_property
    def contrast(self) -> torch.Tensor:
        """The image around the object's intensity."""
        return window(self.image, self.valid, self.positive)

    @property
    def scale(self) -> float:
        """Size of a working voxel, mm: the same for any orientation of the grid."""
        return float(np.prod(self.spacing)) ** (1 / 3)


def image_aware(
    image: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    inside: np.ndarray | None = None,
    *,
    claimed: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    middle: bool = True,
    device: str = "cpu",
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> PseudoLabel:
    """Probability and confidence per voxel from sparse seeds and the image.

    Parameters
    ----------
    image
        (I, J, K) float, any unit, finite: the region of interest on the working grid.
    spacing
        Voxel size per axis, mm.
    positive, negative
        (I, J, K) bool: voxels known to be inside and outside. Where both, inside wins.
    inside
        (I, J, K) bool: a box or any hard limit; outside it everything is background for certain.
    claimed
        (I, J, K) bool: negative seeds that other segments' prompts imply. They are background all the same, but how
        densely they lie says nothing about how densely this object's surroundings were prompted.
    valid
        (I, J, K) bool: False marks padding, which is background and takes no part in any statistic.
    middle
        False: it is known that the middle of the box is not meant. Without positive seeds nothing is inside then,
        unless the image shows what else the box may be about.
    device
        Torch device.
    progress
        Called with the share of the work done, 0 to 1, and what is being done.
    cancel
        Asked between steps; `Cancelled` when it answers True.

    Returns
    -------
    PseudoLabel
        On the same grid. Seeds have their own label with confidence 1.

    Raises
    ------
    ValueError
        Shapes that differ.
    Cancelled
        When ``cancel`` says so.
    """
    import torch

    positive, negative, limit, usable = _masks(image, positive, negative, inside, valid)
    if not positive.any() and inside is None:
        return _settled(np.zeros(image.shape, np.float32), np.ones(image.shape, np.float32), positive, negative, limit)

    def step(share: float) -> None:
        stop_if(cancel)
        if progress is not None:
            progress(share, "labelling")

    step(0.0)
    with torch.inference_mode(), one_thread():
        inputs = _inputs(image, spacing, positive, negative, limit, usable, torch.device(device), claimed, middle)
        if not bool(inputs.positive.any()):
            return _nothing(image.shape, positive, negative, limit & usable)
        maps = cue_maps(inputs, step)
        logit, reach = _judgement(inputs, maps)
        probability = torch.sigmoid(logit)
        confidence = (2.0 * probability - 1.0).abs() * reach
        result = _settled(probability.cpu().numpy(), confidence.cpu().numpy(), positive, negative, limit & usable)
        result = replace(result, cues=_shown_cues(inputs, maps))
    step(1.0)
    return result


def cues_of_clicks(
    image: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    valid: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], Circumstances | None]:
    """What `image_aware` judges clicks by, to fit the weights: the cues' maps, float32 (I, J, K), by name.

    And how the clicks lie; None where there are none on both sides of the border.
    """
    import torch

    positive, negative, limit, usable = _masks(image, positive, negative, None, valid)
    with torch.inference_mode(), one_thread():
        inputs = _inputs(image, spacing, positive, negative, limit, usable, torch.device("cpu"))
        maps = cue_maps(inputs, lambda share: None)
        return {name: said.numpy() for name, said in maps.items()}, inputs.clicks


def _masks(
    image: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    inside: np.ndarray | None,
    valid: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Seeds, limit and usable voxels as bool arrays of the image's shape, free of contradictions."""
    everywhere = np.ones(image.shape, dtype=bool)
    limit = everywhere if inside is None else np.asarray(inside, dtype=bool)
    usable = everywhere if valid is None else np.asarray(valid, dtype=bool)
    positive, negative = np.asarray(positive, dtype=bool), np.asarray(negative, dtype=bool)
    for array in (positive, negative, limit, usable):
        if array.shape != image.shape:
            raise ValueError(f"Seeds of shape {array.shape} on an image of shape {image.shape}.")
    positive = positive & limit
    if not usable.any():
        usable = everywhere
    return positive, negative & ~positive, limit, usable


def _settled(
    probability: np.ndarray,
    confidence: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    possible: np.ndarray,
) -> PseudoLabel:
    """Put what is known for certain above what was inferred."""
    probability = np.clip(np.nan_to_num(probability), 0.0, 1.0).astype(np.float32)
    confidence = np.clip(np.nan_to_num(confidence), 0.0, 1.0).astype(np.float32)
    for known, value in ((~possible, 0.0), (negative, 0.0), (positive, 1.0)):
        probability[known] = value
        confidence[known] = 1.0
    return PseudoLabel(probability, confidence)


def _nothing(shape: tuple[int, ...], positive: np.ndarray, negative: np.ndarray, possible: np.ndarray) -> PseudoLabel:
    """The label where nothing is known to be inside, with cues for nothing."""
    nobody = np.zeros(shape, np.float32)
    label = _settled(nobody, nobody, positive, negative, possible)
    return replace(label, cues=np.zeros((len(SHOWN_CUES), *shape), np.float32))


def _shell(mask: np.ndarray) -> np.ndarray:
    """The voxels of `mask` on its outer surface, the grid's faces included."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, border_value=0)


def _nearness(prompted: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """How far a prompt's knowledge reaches: 1 beside it, falling off with `_KNOWN_MM`; (I, J, K) float32."""
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~prompted, sampling=spacing)
    return np.exp(-0.5 * (distance / _KNOWN_MM) ** 2).astype(np.float32)


def _centred(image: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The image around its median, which padding takes; a large offset must not eat the contrast."""
    values = np.asarray(image, dtype=np.float32)
    middle = np.float32(np.median(values[usable]))
    return np.where(usable, values - middle, np.float32(0.0))


def _inputs(
    image: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    limit: np.ndarray,
    usable: np.ndarray,
    device: torch.device,
    claimed: np.ndarray | None = None,
    middle: bool = True,
) -> _Inputs:
    """Bring everything to the device, with stand-ins for the kinds of seeds that are missing."""
    import torch

    # Here, for front ends, which import this module, must not wait for scipy.
    from PWSegmentationLib.pseudolabel.beside_middle import object_beside
    from PWSegmentationLib.pseudolabel.box_middle import box_middle, from_middle

    spacing = np.asarray(spacing, dtype=float)
    values = _centred(image, usable)
    # A box as large as what is looked at, and no click in it, is a box all the same.
    boxed = not limit.all() or not positive.any()
    beside, inner = None, positive
    if boxed:
        radius = from_middle(limit)
        beside = object_beside(values, usable, limit, radius <= 1.0, positive, negative, spacing)
        if beside is not None:
            inner = positive | beside
        elif middle:
            inner = positive | box_middle(values, usable, limit, radius, positive, negative, spacing)
    # The border of what is looked at, or of the box, is background that nobody had to click.
    border = _shell(limit) & ~inner
    implied = None if boxed else implied_background(values, usable, positive, negative, spacing, str(device))
    if implied is not None:
        border = implied & ~inner
    outer = negative | border
    # Thinned on its own, so that the large border does not crowd out the clicks.
    anchors = [
        representatives(np.argwhere(seeds) * spacing, count)
        for seeds, count in (
            (inner, SEEDS_PER_SIGN),
            (negative, SEEDS_PER_SIGN),
            (border, SEEDS_PER_SIGN // 2),
        )
    ]
    own = negative if claimed is None else negative & ~claimed
    own = own if own.any() else negative
    weights, lie = AROUND, None
    if not boxed and own.any():
        if not is_stroke(own, spacing):
            lie = circumstances(positive, own, spacing, enclosed=implied is None)
            weights = click_weights(lie)
        elif implied is None:
            weights = STROKES
    elif not boxed and implied is None:
        weights = OPEN

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=device)

    inputs = _Inputs(
        tensor(values),
        tensor(usable),
        tensor(inner),
        tensor(outer),
        tensor(positive | negative if positive.any() and negative.any() else inner | outer),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        tensor(_nearness(positive | negative | inner, spacing)),
        (anchors[0], np.concatenate(anchors[1:])),
        weights,
        lie,
        None if beside is None else tensor(_depth(beside, spacing)),
    )
    return inputs if lie is None else _joined(inputs, lie, positive, spacing)


def _joined(inputs: _Inputs, clicks: Circumstances, positive: np.ndarray, spacing: np.ndarray) -> _Inputs:
    """The inputs with the ways between the clicks inside as further seeds, where these lie along something thin."""
    import torch

    strand = along_strand(clicks)
    if strand == 0.0:
        return inputs
    ways, share = ways_between(positive, inputs.contrast, inputs.negative | ~inputs.valid, inputs.spacing)
    lie = joined_by(clicks, strand * share)
    return replace(
        inputs,
        clicks=lie,
        weights=click_weights(lie),
        positive=torch.as_tensor(ways, device=inputs.image.device),
        anchors=(representatives(np.argwhere(ways) * spacing, SEEDS_PER_SIGN), inputs.anchors[1]),
    )


def _depth(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """1 well inside, -1 well outside, between them according to the distance to the border; float32."""
    from scipy import ndimage

    inside, outside = (ndimage.distance_transform_edt(m, sampling=spacing) for m in (mask, ~mask))
    full = _BESIDE_VOXELS * float(np.prod(spacing)) ** (1 / 3)
    return np.clip((inside - outside) / full, -1.0, 1.0).astype(np.float32)


def _log_ratio(distance: torch.Tensor) -> torch.Tensor:
    """log(distance to background / distance to object), bounded."""
    import torch

    floor = 1e-3
    return torch.log((distance[1] + floor) / (distance[0] + floor)).clamp(-6.0, 6.0)


def cue_maps(inputs: _Inputs, step: Callable[[float], None]) -> dict[str, torch.Tensor]:
    """The log-odds maps that are weighed against each other, by name (the keys of the weights)."""
    import torch

    starts = torch.full((2, *inputs.image.shape), torch.inf, device=inputs.image.device)
    starts[0][inputs.positive] = 0.0
    starts[1][inputs.negative] = 0.0
    maps: dict[str, torch.Tensor] = {}

    views = torch.stack([span(inputs.image, inputs.marked), inputs.contrast])[:, None]
    if not bool(inputs.valid.all()):
        wall = torch.where(inputs.valid, 0.0, WALL)
        views = torch.cat([views, wall.expand_as(views)], 1)
    step(0.2)
    distances = geodesic_distances(views, starts, inputs.spacing, length_weight=LENGTH_WEIGHT, rounds=ROUNDS)
    maps["span"], maps["window"] = _log_ratio(distances[0]), _log_ratio(distances[1])
    step(0.65)
    maps["surface"] = implicit_surface(*inputs.anchors, inputs.image.shape, inputs.spacing, inputs.image.device)
    step(0.8)
    usable = inputs.valid.float()
    flat = equalised(inputs.image, inputs.valid)
    near = [
        smooth(seeds.float(), max(2.0, inputs.scale), inputs.spacing) * usable
        for seeds in (inputs.positive, inputs.negative)
    ]
    maps["seed likelihood"] = likelihood_ratio([flat], near[0], near[1], bins=64, width=3.0)
    sure = torch.sigmoid(maps["span"] + maps["window"])
    maps["likelihood"] = _texture_likelihood(inputs, flat, sure**2 * usable, (1.0 - sure) ** 2 * usable)
    step(0.9)
    return maps


def _texture_likelihood(
    inputs: _Inputs, flat: torch.Tensor, inside: torch.Tensor, outside: torch.Tensor
) -> torch.Tensor:
    """Likelihood of intensity at several scales, from the voxels the geodesic maps are sure of.

    This is self-training, a single round: a second one would only repeat the first one's errors.
    """
    import torch

    scale = inputs.scale
    fine, coarse = (
        equalised(smooth(inputs.image, width * scale, inputs.spacing), inputs.valid) for width in (1.0, 2.5)
    )
    mean = smooth(inputs.image, 2.0 * scale, inputs.spacing)
    spread = (smooth(inputs.image**2, 2.0 * scale, inputs.spacing) - mean**2).clamp(min=0.0).sqrt()
    rough = equalised(spread, inputs.valid)
    pairs = ((flat, fine), (fine, coarse), (fine, rough))
    return torch.stack([likelihood_ratio(pair, inside, outside, bins=32, width=1.0) for pair in pairs]).mean(0)


def _shown_cues(inputs: _Inputs, maps: Mapping[str, torch.Tensor]) -> np.ndarray:
    """`PseudoLabel.cues`: the image around the object's intensity and the cues, as `SHOWN_CUES` has them."""
    import torch

    said = torch.stack([maps[name] for name in CUES]).clamp(-_CERTAIN, _CERTAIN) / _CERTAIN
    return np.asarray(torch.cat([inputs.contrast[None], said]).cpu().numpy(), dtype=np.float32)


def _judgement(inputs: _Inputs, maps: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-odds of the label, and how far the cues agree (0 to 1)."""
    import torch

    logit = torch.full_like(inputs.image, inputs.weights["constant"])
    for name, values in maps.items():
        logit = logit + inputs.weights[name] * values
    if inputs.beside is not None:
        logit = logit + _BESIDE * inputs.beside
    votes = torch.stack([torch.sign(maps[name]) for name in ("span", "window", "surface", "likelihood")])
    agreement = (votes.mean(0) * torch.sign(logit)).clamp(min=0.0)
    return logit, agreement * inputs.nearness
