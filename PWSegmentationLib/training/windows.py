"""Cases as training windows: prepared and cached once, then cropped, mirrored and varied by MONAI's transforms.

What window number n of a run is depends on the seed and on n alone, not on what was drawn before: a run that goes on
after an interruption, or on several processes, sees the same windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.transforms import (
    ClassesToIndicesd,
    Compose,
    RandCropByLabelClassesd,
    RandFlipd,
    RandGaussianNoised,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
    Transform,
)
from monai.utils import convert_to_tensor
from torch import Tensor

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.labels import read_labels
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.preparation import Preparation
from PWSegmentationLib.training.case_labels import target_of
from PWSegmentationLib.training.config import TrainingConfig
from PWSegmentationLib.volume.reading import read_volume

_MAPS = ["image", "probability", "confidence", "seeds"]


@dataclass(frozen=True)
class Windows:
    """A batch: ``image`` ``(n, 1, ...)``, ``probability``, ``confidence`` ``(n, structures, ...)``, ``seeds``."""

    image: Tensor
    probability: Tensor
    confidence: Tensor
    seeds: Tensor

    def to(self, device: torch.device) -> Windows:
        """On another device."""
        return Windows(*(t.to(device) for t in (self.image, self.probability, self.confidence, self.seeds)))


class PrepareCase:
    """A `CaseFiles` as arrays: image, probability, confidence, seeds and where each structure is known to be."""

    def __init__(self, cases: CaseSet, config: TrainingConfig, preparation: Preparation) -> None:
        self.cases, self.config, self.preparation = cases, config, preparation

    def __call__(self, case: CaseFiles) -> dict[str, Any]:
        """Read, prepare and label a case."""
        volume = read_volume(case.image)
        prepared = self.preparation.prepare(volume)
        label = None
        if case.labels is not None:
            label = prepared.labels(read_labels(case, volume.grid, named=self.cases.named))
        target = target_of(case, prepared, self.cases, self.config, label)
        confidence = np.where(prepared.valid, target.confidence, np.float32(0))
        known = confidence > 0
        where = np.concatenate([known.any(axis=0, keepdims=True), known & (target.probability >= 0.5)])
        # Nobody looks at them otherwise, and they would take as much memory as the labels.
        seeds = target.seeds if self.config.promptable else target.seeds[:0]
        arrays = (prepared.image[None], target.probability, confidence, seeds)
        out: dict[str, Any] = {k: torch.from_numpy(np.ascontiguousarray(a)) for k, a in zip(_MAPS, arrays, strict=True)}
        return {**out, "where": torch.from_numpy(where)}


class TrainingWindows:
    """Every window of a run, by number.

    Parameters
    ----------
    cases
        Whose training cases to learn from.
    window
        Edge, voxels.
    """

    def __init__(self, cases: CaseSet, config: TrainingConfig, preparation: Preparation, window: int) -> None:
        self.seed = config.seed
        # Not in the chain, which makes another error, with a traceback, of what is said of a case that cannot be used.
        prepare = PrepareCase(cases, config, preparation)
        padded = Compose(
            [
                SpatialPadd([*_MAPS, "where"], spatial_size=(window,) * 3),
                ClassesToIndicesd("where", indices_postfix="_indices"),
            ]
        )
        # Never copied: no transform that varies them writes in place, and a copy is a whole volume.
        self.prepared: list[Any] = [padded(prepare(case)) for case in cases.training]
        _check_known([p["where_indices"] for p in self.prepared], cases)
        self.vary = _variation(len(cases.structures), window, config)

    def batch(self, first: int, count: int) -> Windows:
        """Windows ``first`` … ``first + count − 1``."""
        drawn = [self._window(n) for n in range(first, first + count)]
        # Without MONAI's metadata, which would go through every layer of the network: a step took a fifth longer.
        return Windows(*(torch.stack([convert_to_tensor(d[k], torch.float32) for d in drawn]) for k in _MAPS))

    def _window(self, number: int) -> dict[str, Tensor]:
        turn, place = divmod(number, len(self.prepared))
        order = np.random.default_rng((self.seed, turn)).permutation(len(self.prepared))
        self.vary.set_random_state(seed=int(np.random.default_rng((self.seed, number, 1)).integers(2**31)))
        drawn: list[dict[str, Tensor]] = self.vary(self.prepared[order[place]])
        return drawn[0]


def _check_known(known: Sequence[Sequence[Tensor]], cases: CaseSet) -> None:
    """An `InputError` where there is nothing to learn: of a case, or of a structure in any case.

    ``known`` are, case by case, the voxels of which anything is known, and those known to be in each structure.
    """
    for case, (anything, *_) in zip(cases.training, known, strict=True):
        if not len(anything):
            raise InputError(
                f"There is nothing to learn from the case '{case.name}', whose image has no values where its label is "
                'sure: leave it out, or lower "unknown_below".'
            )
    for index, name in enumerate(cases.structures, start=1):
        if not any(len(of_case[index]) for of_case in known):
            raise InputError(
                f"No training case shows '{name}': add one that does, or name the others alone in \"structures\"."
            )


def _variation(structures: int, window: int, config: TrainingConfig) -> Compose:
    mirror = [RandFlipd(_MAPS, prob=0.5, spatial_axis=axis) for axis in range(3)] if config.mirror else []
    turn = [RandRotate90d(_MAPS, prob=0.3, spatial_axes=(0, 1))] if config.mirror else []
    steps: Sequence[Any] = [
        RandCropByLabelClassesd(
            _MAPS,
            label_key="probability",
            indices_key="where_indices",
            spatial_size=(window,) * 3,
            # Around each structure as often as around any known voxel: where small structures were in few windows,
            # one of them was not learnt at all in some runs of a thousand steps.
            ratios=[1] * (1 + structures),
            num_classes=1 + structures,
            num_samples=1,
            warn=False,
        ),
        _DropIndices(),
        *mirror,
        *turn,
        RandScaleIntensityd("image", factors=0.1, prob=0.5),
        RandShiftIntensityd("image", offsets=0.2, prob=0.5),
        RandGaussianNoised("image", prob=0.3, std=0.1),
    ]
    return Compose(steps)


class _DropIndices(Transform):
    """Leaves out what only the crop needed."""

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in data.items() if k in _MAPS}
