"""One JSON document that says everything about a run of training, as one frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from PWSegmentationLib.cases.sources import Layout
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.training.schedule import Schedule, checked_config

Supervision = Literal["given", "dense", "points", "box", "scribbles"]
Intensity = Literal["auto", "robust", "ct"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Schedule):
    """What to train on and how the labels are made; `Schedule` has how the run goes.

    Parameters
    ----------
    data
        A datalist JSON (MSD/Decathlon), a folder of cases, or a data set's root; relative to the config's folder.
    layout
        ``"auto"``, or how the root of a known data set is laid out: ``"btcv"``, ``"chaos"``, ``"mscmrseg"``.
    structures
        Which of the named structures to learn; empty: all.
    supervision
        ``"given"``: each case's own prompts, points or scribbles. Else made from dense labels: the labels themselves
        (``"dense"``) or what an annotator would place (``"points"``, ``"box"``, ``"scribbles"``).
    points_inside, points_outside
        Clicks per structure where points are simulated.
    pseudo_label, sigma_mm
        ``"image-aware"`` or ``"gaussian"`` (the paper's, with its width).
    unknown_below
        Voxels whose label has less confidence are unknown and take no part in the loss; 0: nothing is unknown.
    weighting
        Learn from the label's probability, weighted by its confidence. False: from its mask, all voxels alike.
    promptable
        Show the network the prompts beside the image; they are withheld half of the time, so that it works without.
    preset, attention
        Size of the network, and the mean of its attention scores; ``"preset"``: the preset's own.
    window
        Edge of the training windows, voxels; 0: the preset's.
    spacing_mm
        Voxel size to work at, mm, the same along all axes; 0: each case's own.
    intensity
        ``"robust"`` percentiles, the ``"ct"`` window (−175 to 250 HU), or what the data's modality asks for.
    mirror
        Also learn from mirrored windows; not where left and right are different structures.
    """

    data: str
    layout: Layout = "auto"
    structures: tuple[str, ...] = ()
    supervision: Supervision = "given"
    points_inside: int = 10
    points_outside: int = 10
    pseudo_label: Literal["image-aware", "gaussian"] = "image-aware"
    sigma_mm: float = 10.0
    unknown_below: float = 0.5
    weighting: bool = True
    promptable: bool = False
    preset: str = "compact"
    attention: Literal["preset", "residual", "paper", "off"] = "preset"
    window: int = 0
    spacing_mm: float = 0.0
    intensity: Intensity = "auto"
    mirror: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.need_above_zero("sigma_mm")
        self.need_no_less_than_zero("points_inside", "points_outside", "window", "spacing_mm")
        self.need_less_than_one("unknown_below")
        if self.supervision == "points" and self.points_inside < 1:
            raise InputError('"points_inside" must be at least 1 where points are simulated.')


def config_from_dict(document: Any, folder: Path | None = None) -> TrainingConfig:
    """Check keys and types and build the config."""
    if isinstance(document, Mapping) and "data" not in document:
        raise InputError('A training config needs "data": a datalist JSON or a folder of cases.')
    config = checked_config(TrainingConfig, document)
    return config if folder is None else replace(config, data=str((folder / config.data).resolve()))
