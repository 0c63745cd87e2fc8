"""What a network is taught about a case: its dense labels, or pseudo-labels from prompts, given or simulated."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.annotator.protocols import Protocol, SimulatedAnnotator
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.labels import read_sparse_labels
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.predict import pseudo_label
from PWSegmentationLib.prediction.preparation import Prepared
from PWSegmentationLib.prediction.trained_model import drawn_seeds
from PWSegmentationLib.prediction.view import look
from PWSegmentationLib.prompts.checks import check_placement
from PWSegmentationLib.prompts.json_format import read_prompts
from PWSegmentationLib.prompts.prompts import PromptSet, SegmentPrompts, Strokes
from PWSegmentationLib.training.config import TrainingConfig
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.volume import Volume

# Trust in "not here" beyond the part of the volume that the prompts are about.
_FAR_AWAY = 0.5
# What a voxel that is not unknown counts at least: without an unknown band all take part, as in the paper's code.
_LEAST = 0.05


@dataclass(frozen=True, eq=False)
class Target:
    """What a network is taught about a case: float32 ``(structures, i, j, k)`` each.

    ``probability``, ``confidence`` as in a `PseudoLabel`; ``seeds`` ``(2·structures, ...)`` are the prompts drawn:
    inside and outside of each structure in turn.
    """

    probability: NDArray[np.float32]
    confidence: NDArray[np.float32]
    seeds: NDArray[np.float32]


def target_of(
    case: CaseFiles,
    prepared: Prepared,
    cases: CaseSet,
    config: TrainingConfig,
    label: NDArray[np.int32] | None,
) -> Target:
    """The target of a training case, as the config asks for it.

    ``case`` is one of ``cases``, ``prepared`` its image at the training resolution, and ``label`` the dense labelmap
    on that grid, where there is one.
    """
    if config.supervision == "given" and not case.has_sparse and label is None:
        raise InputError(f"The case '{case.name}' has neither labels nor prompts: add them or leave it out.")
    sparse = config.supervision != "dense" and (config.supervision != "given" or case.has_sparse)
    if not sparse or config.supervision == "dense":
        target = dense_target(_needed(label, case, config), cases.structures)
        if not config.promptable:
            return target
        # What is known is everything; what is shown are the clicks that somebody would place.
        shown = simulated_prompts(case.name, _needed(label, case, config), prepared.grid, cases.structures, config)
        return replace(target, seeds=drawn_seeds(shown, cases.structures, prepared.grid))
    if config.supervision == "given":
        prompts = given_prompts(case, cases, prepared.canonical.source)
    else:
        prompts = simulated_prompts(case.name, _needed(label, case, config), prepared.grid, cases.structures, config)
    return sparse_target(prepared.volume, prompts, cases.structures, config)


def dense_target(label: NDArray[np.int32], structures: Mapping[str, int]) -> Target:
    """Everything known."""
    masks = np.stack([label == value for value in structures.values()]).astype(np.float32)
    return Target(masks, np.ones_like(masks), np.zeros((2 * len(masks), *label.shape), np.float32))


def sparse_target(volume: Volume, prompts: PromptSet, structures: Mapping[str, int], config: TrainingConfig) -> Target:
    """A pseudo-label per structure; a structure without prompts in this case is unknown."""
    shape = (len(structures), *volume.grid.shape)
    probability, confidence = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for index, name in enumerate(structures):
        if name not in prompts or not prompts[name].has_positive:
            continue
        others = [s for s in prompts if s.name != name]
        found, trust = _pseudo_label(volume, prompts[name], others, config)
        probability[index] = found if config.weighting else found >= 0.5
        confidence[index] = _as_taught(trust, config)
    return Target(probability, confidence, drawn_seeds(prompts, structures, volume.grid))


def given_prompts(case: CaseFiles, cases: CaseSet, grid: Grid) -> PromptSet:
    """The prompts that came with a case, placed on ``grid``, its image's; names of other structures are left alone.

    Raises `InputError` for prompts that cannot be meant there. (On the coarser grid that training may work on, two
    clicks often share a voxel.)
    """
    prompts = PromptSet()
    if case.prompts is not None:
        prompts = read_prompts(case.prompts)
    for file in (case.points, case.scribbles):
        if file is None:
            continue
        values, drawn_on = read_sparse_labels(case, file, cases.named, cases.background)
        for name, value in cases.structures.items():
            if (values == value).any():
                # What is drawn for another structure, or for the background, is outside this one.
                labels = np.where(values == value, 1, np.where(values > 0, 2, 0))
                prompts = prompts.with_prompt(name, Strokes.from_labelmap(labels, drawn_on.affine))
    if not any(name in prompts for name in cases.structures):
        raise InputError(f"The case '{case.name}' has no prompt of any structure: add some or leave it out.")
    for segment in prompts:
        if segment.name in cases.structures:
            try:
                check_placement(segment, grid)
            except InputError as error:
                raise InputError(f"Case '{case.name}': {error}") from error
    return prompts


def simulated_prompts(
    name: str, label: NDArray[np.int32], grid: Grid, structures: Mapping[str, int], config: TrainingConfig
) -> PromptSet:
    """What an annotator would place for each structure; repeatable for a case's name and the config's seed."""
    found = []
    # A different annotator per case, the same one in every process and every run.
    seed = zlib.crc32(f"{config.seed} {name}".encode())
    for structure, value in structures.items():
        mask = label == value
        if mask.any():
            found.append(_annotated(structure, mask, grid, config, seed))
    if not found:
        raise InputError(f"The case '{name}' is empty: none of its voxels belongs to a named structure; leave it out.")
    return PromptSet(tuple(found))


def _annotated(name: str, mask: NDArray[np.bool_], grid: Grid, config: TrainingConfig, seed: int) -> SegmentPrompts:
    # A promptable network that learns from dense labels is shown clicks.
    clicks = config.supervision not in ("box", "scribbles")
    way = Protocol(
        "training",
        inside=config.points_inside if clicks else 0,
        outside=config.points_outside if clicks else 0,
        scribbles=config.supervision == "scribbles",
        box=config.supervision == "box",
    )
    return replace(SimulatedAnnotator(Reference.of(mask, (1,), grid), way, seed).start(), name=name)


def _pseudo_label(
    volume: Volume, segment: SegmentPrompts, others: list[SegmentPrompts], config: TrainingConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probability and confidence of one structure on the whole volume."""
    # The same view and label that interactive use has; only the region that the prompts are about is computed.
    view = look(volume, segment, others)
    method = "gaussian" if config.pseudo_label == "gaussian" else "auto"
    label = pseudo_label(view, segment, method=method, sigma_mm=config.sigma_mm)
    probability = np.zeros(volume.grid.shape, np.float32)
    # A box is a hard limit: beyond it nothing is in doubt.
    confidence = np.full(volume.grid.shape, 1.0 if segment.boxes else _FAR_AWAY, np.float32)
    probability[view.region.slices] = np.clip(view.to_fine(label.probability), 0, 1)
    confidence[view.region.slices] = np.clip(view.to_fine(label.confidence), 0, 1)
    return probability, confidence


def _as_taught(confidence: NDArray[np.float32], config: TrainingConfig) -> NDArray[np.float32]:
    """The confidence of a prompted structure with the unknown band and the weighting as the config has them."""
    known = confidence >= config.unknown_below
    if not config.weighting:
        return known.astype(np.float32)
    return np.where(known, np.maximum(confidence, _LEAST), 0).astype(np.float32)


def _needed(label: NDArray[np.int32] | None, case: CaseFiles, config: TrainingConfig) -> NDArray[np.int32]:
    if label is None:
        raise InputError(
            f"The case '{case.name}' has no dense labels, which supervision \"{config.supervision}\" needs: add them, "
            'or set "supervision" to "given".'
        )
    return label
