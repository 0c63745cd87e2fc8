"""One JSON document that says everything about a training run, as one frozen dataclass."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from PWSegmentationLib.cases.sources import Layout
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json

Supervision = Literal["given", "dense", "points", "box", "scribbles"]
Intensity = Literal["auto", "robust", "ct"]


@dataclass(frozen=True)
class TrainingConfig:
    """What to train on, how the labels are made, and how to train.

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
    steps, batch, accumulate
        Optimiser steps; windows per pass; passes per step, shared by all processes: the result does not depend on
        how many there are.
    learning_rate, weight_decay, warm_up, clip
        Of AdamW; steps of the linear warm-up before the cosine; largest norm of the gradient.
    ema
        Decay of the weights' moving average, which is what is selected and saved; 0: the weights themselves.
    amp
        Half precision: ``"off"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` (bf16 on a GPU).
    loss_dice, loss_cross_entropy, loss_kl, loss_boundary
        Weights of the terms; 0 switches one off.
    select_every, patience
        Steps between two looks at the selection set; looks without gain after which training stops (0: never).
    save_every
        Steps between two savings of the training state.
    seed, device
        The same seed gives the same weights on one device.
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
    steps: int = 2000
    batch: int = 2
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warm_up: int = 50
    clip: float = 1.0
    ema: float = 0.99
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    loss_dice: float = 1.0
    loss_cross_entropy: float = 1.0
    loss_kl: float = 0.3
    loss_boundary: float = 0.0
    select_every: int = 200
    patience: int = 10
    save_every: int = 100
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "select_every", "save_every", "learning_rate", "sigma_mm", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f'"{name}" must be greater than 0, not {getattr(self, name)!r}.')
        for name in ("points_inside", "points_outside", "window", "spacing_mm", "warm_up", "patience", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f'"{name}" must not be negative, but is {getattr(self, name)!r}.')
        for name in ("ema", "unknown_below"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f'"{name}" must be at least 0 and below 1, not {getattr(self, name)!r}.')
        if self.supervision == "points" and self.points_inside < 1:
            raise InputError('"points_inside" must be at least 1 where points are simulated.')
        if self.loss_dice == 0 and self.loss_cross_entropy == 0:
            raise InputError('Switch on "loss_dice" or "loss_cross_entropy": without both there is nothing to learn.')

    @property
    def document(self) -> dict[str, Any]:
        """The inverse of `config_from_dict`."""
        return asdict(self)


def read_config(path: str | Path) -> TrainingConfig:
    """Read a config; relative data paths are resolved against its folder.

    Raises
    ------
    InputError
        With one sentence that names the key and what it takes.
    """
    path = Path(path)
    document = read_json(path, "training config")
    try:
        return config_from_dict(document, path.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def config_from_dict(document: Any, folder: Path | None = None) -> TrainingConfig:
    """Check keys and types and build the config."""
    if not isinstance(document, Mapping):
        raise InputError("A training config is a JSON object of keys and values.")
    hints = get_type_hints(TrainingConfig)
    known = [f.name for f in fields(TrainingConfig)]
    for key in document:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1, cutoff=0.0)[0]
            raise InputError(f'"{key}" is not a key of a training config; the closest one is "{close}".')
    if "data" not in document:
        raise InputError('A training config needs "data": a datalist JSON or a folder of cases.')
    values = {key: _checked(key, value, hints[key]) for key, value in document.items()}
    if folder is not None:
        values["data"] = str((folder / values["data"]).resolve())
    return TrainingConfig(**values)


def _checked(key: str, value: Any, kind: Any) -> Any:
    """``value`` as the field's type; an `InputError` that says what it takes."""
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f'"{key}" must be one of {", ".join(map(repr, get_args(kind)))}, not {value!r}.')
        return value
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise InputError(f'"{key}" must be a list of names, not {value!r}.')
        return tuple(value)
    accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise InputError(f'"{key}" must be {names[kind]}, not {value!r}.')
    return kind(value)
