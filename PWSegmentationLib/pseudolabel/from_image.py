"""The pseudo-label that looks at the image: several simple witnesses, one calibrated judgement.

Witnesses, each a log-odds map per voxel:

- two geodesic Voronoi maps, log(distance to background / distance to object), one per view of the image
  (the range of intensities under the seeds, and a window around the object's own);
- the smooth implicit surface through the seeds, which knows positions only;
- the intensity's likelihood, learnt from the seeds and then, once, from the voxels the geodesic maps are sure of;
- where a box was drawn around something that leaves the box's middle alone, where that is (`beside_middle`).

Between clicks along something thin the seeds are joined first (`between_clicks`). The witnesses' weighted sum is the
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

from .between_clicks import ways_between
from .extent import implied_background, is_stroke
from .geodesic import ROUNDS, WALL, geodesic_distances
from .intensity import equalised, likelihood_ratio, span, window
from .interpolation import SEEDS_PER_SIGN, implicit_surface, representatives
from .judgement import (
    AROUND,
    OPEN,
    STROKES,
    WITNESSES,
    Circumstances,
    along_strand,
    circumstances,
    click_weights,
    joined_by,
)
from .label import PseudoLabel
from .smoothing import smooth
from .threads import one_thread

if TYPE_CHECKING:
    import torch

#: Cost of one millimetre, against a full-range step of one in a view.
LENGTH_WEIGHT = 0.01
#: Log-odds of what a box is about if not its middle, full so many voxels from its border.
_BESIDE, _BESIDE_VOXELS = 8.0, 1.5
#: Fall-off (mm, one standard deviation) of the confidence with the distance to the nearest prompt.
_KNOWN_MM = 30.0

#: What `PseudoLabel.evidence` holds, in this order.
EVIDENCE = ("contrast", *WITNESSES)
#: Log-odds that count as certain: the evidence is given in units of them.
_CERTAIN = 6.0


@dataclass(frozen=True)
class _Scene:
    """What all witnesses look at: tensors on the working grid, seeds with their stand-ins."""

    image: torch.Tensor
    valid: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    marked: torch.Tensor
    spacing: tuple[float, float, float]
    nearness: torch.Tensor
    anchors: tuple[np.ndarray, np.ndarray]
    #: What the witnesses weigh; and how the clicks lie, where they are on both sides of the border.
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
    seed: int = 0,
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
    seed
        Nothing here is random; accepted so that all label methods are called alike.
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

    del seed
    positive, negative, limit, usable = _masks(image, positive, negative, inside, valid)
    if not positive.any() and inside is None:
        return _settled(np.zeros(image.shape, np.float32), np.ones(image.shape, np.float32), positive, negative, limit)

    def step(share: float) -> None:
        stop_if(cancel)
        if progress is not None:
            progress(share, "labelling")

    step(0.0)
    with torch.inference_mode(), one_thread():
        scene = _scene(image, spacing, positive, negative, limit, usable, torch.device(device), claimed, middle)
        if not bool(scene.positive.any()):
            return _nothing(image.shape, positive, negative, limit & usable)
        maps = witnesses(scene, step)
        logit, reach = _judgement(scene, maps)
        probability = torch.sigmoid(logit)
        confidence = (2.0 * probability - 1.0).abs() * reach
        result = _settled(probability.cpu().numpy(), confidence.cpu().numpy(), positive, negative, limit & usable)
        result = replace(result, evidence=_evidence(scene, maps))
    step(1.0)
    return result


def said_by_witnesses(
    image: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    valid: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], Circumstances | None]:
    """What `image_aware` judges clicks by, to fit the weights: the witnesses' maps, float32 (I, J, K), by name.

    And how the clicks lie; None where there are none on both sides of the border.
    """
    import torch

    positive, negative, limit, usable = _masks(image, positive, negative, None, valid)
    with torch.inference_mode(), one_thread():
        scene = _scene(image, spacing, positive, negative, limit, usable, torch.device("cpu"))
        maps = witnesses(scene, lambda share: None)
        return {name: said.numpy() for name, said in maps.items()}, scene.clicks


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
    """The label where nothing is known to be inside, with evidence for nothing."""
    nobody = np.zeros(shape, np.float32)
    label = _settled(nobody, nobody, positive, negative, possible)
    return replace(label, evidence=np.zeros((len(EVIDENCE), *shape), np.float32))


def _shell(mask: np.ndarray) -> np.ndarray:
    """The voxels of `mask` on its outer surface, the grid's faces included."""
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask, border_value=0)


def _nearness(prompted: np.ndarray, size: np.ndarray) -> np.ndarray:
    """How far a prompt's knowledge reaches: 1 beside it, falling off with `_KNOWN_MM`; (I, J, K) float32."""
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~prompted, sampling=size)
    return np.exp(-0.5 * (distance / _KNOWN_MM) ** 2).astype(np.float32)


def _centred(image: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The image around its median, which padding takes; a large offset must not eat the contrast."""
    values = np.asarray(image, dtype=np.float32)
    middle = np.float32(np.median(values[usable]))
    return np.where(usable, values - middle, np.float32(0.0))


def _scene(
    image: np.ndarray,
    spacing: Sequence[float] | np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    limit: np.ndarray,
    usable: np.ndarray,
    device: torch.device,
    claimed: np.ndarray | None = None,
    middle: bool = True,
) -> _Scene:
    """Bring everything to the device, with stand-ins for the kinds of seeds that are missing."""
    import torch

    # Here, for front ends, which import this module, must not wait for scipy.
    from .beside_middle import object_beside
    from .box_middle import box_middle, from_middle

    size = np.asarray(spacing, dtype=float)
    values = _centred(image, usable)
    # A box as large as what is looked at, and no click in it, is a box all the same.
    boxed = not limit.all() or not positive.any()
    beside, inner = None, positive
    if boxed:
        radius = from_middle(limit)
        beside = object_beside(values, usable, limit, radius <= 1.0, positive, negative, size)
        if beside is not None:
            inner = positive | beside
        elif middle:
            inner = positive | box_middle(values, usable, limit, radius, positive, negative, size)
    # The border of what is looked at, or of the box, is background that nobody had to click.
    border = _shell(limit) & ~inner
    implied = None if boxed else implied_background(values, usable, positive, negative, size, str(device))
    if implied is not None:
        border = implied & ~inner
    outer = negative | border
    # Thinned on its own, so that the large border does not crowd out the clicks.
    anchors = [
        representatives(np.argwhere(seeds) * size, count)
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
        if not is_stroke(own, size):
            lie = circumstances(positive, own, size, enclosed=implied is None)
            weights = click_weights(lie)
        elif implied is None:
            weights = STROKES
    elif not boxed and implied is None:
        weights = OPEN

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), device=device)

    scene = _Scene(
        tensor(values),
        tensor(usable),
        tensor(inner),
        tensor(outer),
        tensor(positive | negative if positive.any() and negative.any() else inner | outer),
        (float(size[0]), float(size[1]), float(size[2])),
        tensor(_nearness(positive | negative | inner, size)),
        (anchors[0], np.concatenate(anchors[1:])),
        weights,
        lie,
        None if beside is None else tensor(_depth(beside, size)),
    )
    return scene if lie is None else _joined(scene, lie, positive, size)


def _joined(scene: _Scene, clicks: Circumstances, positive: np.ndarray, size: np.ndarray) -> _Scene:
    """The scene with the ways between the clicks inside as further seeds, where these lie along something thin."""
    import torch

    strand = along_strand(clicks)
    if strand == 0.0:
        return scene
    ways, share = ways_between(positive, scene.contrast, scene.negative | ~scene.valid, scene.spacing)
    lie = joined_by(clicks, strand * share)
    return replace(
        scene,
        clicks=lie,
        weights=click_weights(lie),
        positive=torch.as_tensor(ways, device=scene.image.device),
        anchors=(representatives(np.argwhere(ways) * size, SEEDS_PER_SIGN), scene.anchors[1]),
    )


def _depth(mask: np.ndarray, size: np.ndarray) -> np.ndarray:
    """1 well inside, -1 well outside, between them according to the distance to the border; float32."""
    from scipy import ndimage

    inside, outside = (ndimage.distance_transform_edt(m, sampling=size) for m in (mask, ~mask))
    full = _BESIDE_VOXELS * float(np.prod(size)) ** (1 / 3)
    return np.clip((inside - outside) / full, -1.0, 1.0).astype(np.float32)


def _log_ratio(distance: torch.Tensor) -> torch.Tensor:
    """log(distance to background / distance to object), bounded."""
    import torch

    floor = 1e-3
    return torch.log((distance[1] + floor) / (distance[0] + floor)).clamp(-6.0, 6.0)


def witnesses(scene: _Scene, step: Callable[[float], None]) -> dict[str, torch.Tensor]:
    """The log-odds maps that are weighed against each other, by name (the keys of the weights)."""
    import torch

    size = scene.spacing
    starts = torch.full((2, *scene.image.shape), torch.inf, device=scene.image.device)
    starts[0][scene.positive] = 0.0
    starts[1][scene.negative] = 0.0
    wall = torch.where(scene.valid, 0.0, WALL)
    maps: dict[str, torch.Tensor] = {}

    images = (span(scene.image, scene.marked), scene.contrast)
    views = torch.stack([torch.stack([image, wall]) for image in images])
    step(0.2)
    distances = geodesic_distances(views, starts, size, length_weight=LENGTH_WEIGHT, rounds=ROUNDS)
    maps["span"], maps["window"] = _log_ratio(distances[0]), _log_ratio(distances[1])
    step(0.65)
    maps["surface"] = implicit_surface(scene.anchors[0], scene.anchors[1], scene.image.shape, size, scene.image.device)
    step(0.8)
    usable = scene.valid.float()
    flat = equalised(scene.image, scene.valid)
    near = [smooth(seeds.float(), max(2.0, scene.scale), size) * usable for seeds in (scene.positive, scene.negative)]
    maps["seed likelihood"] = likelihood_ratio([flat], near[0], near[1], bins=64, width=3.0)
    sure = torch.sigmoid(maps["span"] + maps["window"])
    maps["likelihood"] = _texture_likelihood(scene, flat, sure**2 * usable, (1.0 - sure) ** 2 * usable)
    step(0.9)
    return maps


def _texture_likelihood(scene: _Scene, flat: torch.Tensor, inside: torch.Tensor, outside: torch.Tensor) -> torch.Tensor:
    """Likelihood of intensity at several scales, from the voxels the geodesic maps are sure of.

    This is self-training, a single round: a second one would only repeat the first one's errors.
    """
    import torch

    scale = scene.scale
    fine, coarse = (equalised(smooth(scene.image, width * scale, scene.spacing), scene.valid) for width in (1.0, 2.5))
    mean = smooth(scene.image, 2.0 * scale, scene.spacing)
    spread = (smooth(scene.image**2, 2.0 * scale, scene.spacing) - mean**2).clamp(min=0.0).sqrt()
    rough = equalised(spread, scene.valid)
    pairs = ((flat, fine), (fine, coarse), (fine, rough))
    return torch.stack([likelihood_ratio(pair, inside, outside, bins=32, width=1.0) for pair in pairs]).mean(0)


def _evidence(scene: _Scene, maps: Mapping[str, torch.Tensor]) -> np.ndarray:
    """`PseudoLabel.evidence`: the image around the object's intensity and the witnesses, as `EVIDENCE` has them."""
    import torch

    said = torch.stack([maps[name] for name in WITNESSES]).clamp(-_CERTAIN, _CERTAIN) / _CERTAIN
    return np.asarray(torch.cat([scene.contrast[None], said]).cpu().numpy(), dtype=np.float32)


def _judgement(scene: _Scene, maps: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-odds of the label, and how far the witnesses agree (0 to 1)."""
    import torch

    logit = torch.full_like(scene.image, scene.weights["constant"])
    for name, values in maps.items():
        logit = logit + scene.weights[name] * values
    if scene.beside is not None:
        logit = logit + _BESIDE * scene.beside
    votes = torch.stack([torch.sign(maps[name]) for name in ("span", "window", "surface", "likelihood")])
    agreement = (votes.mean(0) * torch.sign(logit)).clamp(min=0.0)
    return logit, agreement * scene.nearness
