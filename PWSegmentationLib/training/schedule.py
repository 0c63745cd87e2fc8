"""How a training run goes: what every config of one has in common."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from PWSegmentationLib.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps, optimiser, and when the run looks, saves and stops.

    Parameters
    ----------
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
        self.need_above_zero("steps", "batch", "accumulate", "select_every", "save_every", "learning_rate", "clip")
        self.need_no_less_than_zero("warm_up", "patience", "weight_decay", "seed")
        self.need_no_less_than_zero("loss_dice", "loss_cross_entropy", "loss_kl", "loss_boundary")
        self.need_less_than_one("ema")
        if self.loss_dice == 0 and self.loss_cross_entropy == 0:
            raise InputError('Switch on "loss_dice" or "loss_cross_entropy": without both there is nothing to learn.')

    def need_above_zero(self, *names: str) -> None:
        """An `InputError` for the first of these keys that is not."""
        for name in names:
            if not getattr(self, name) > 0:
                raise InputError(f'"{name}" must be greater than 0, not {getattr(self, name)!r}.')

    def need_no_less_than_zero(self, *names: str) -> None:
        """An `InputError` for the first of these keys that is not."""
        for name in names:
            if getattr(self, name) < 0:
                raise InputError(f'"{name}" must not be negative, but is {getattr(self, name)!r}.')

    def need_a_share(self, *names: str) -> None:
        """An `InputError` for the first of these keys that is not in [0, 1]."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f'"{name}" must be 0 to 1, not {getattr(self, name)!r}.')

    def need_less_than_one(self, *names: str) -> None:
        """An `InputError` for the first of these keys that is not in [0, 1)."""
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f'"{name}" must be at least 0 and below 1, not {getattr(self, name)!r}.')

    @property
    def document(self) -> dict[str, Any]:
        """The inverse of `config_from_dict`."""
        return asdict(self)


Config = TypeVar("Config", bound=Schedule)


def checked_config(kind: type[Config], document: Any) -> Config:
    """Build a config from a JSON document, keys and types checked.

    Raises
    ------
    InputError
        With one sentence that names the key and what it takes.
    """
    if not isinstance(document, Mapping):
        raise InputError("A training config is a JSON object of keys and values.")
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for key in document:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1, cutoff=0.0)[0]
            raise InputError(f'"{key}" is not a key of a training config; the closest one is "{close}".')
    return kind(**{key: _checked(key, value, hints[key]) for key, value in document.items()})


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
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f'"{key}" must be a finite number, not {value!r}.')
    return kind(value)
