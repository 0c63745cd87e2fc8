"""One JSON document that says everything about a run of training, as one frozen dataclass."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from PWSegmentationLib.cases.sources import Layout
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json
from PWSegmentationLib.training.schedule import Schedule

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
        self.need_a_share("unknown_below")
        if self.supervision == "points" and self.points_inside < 1:
            raise InputError('"points_inside" must be at least 1 where points are simulated.')


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
