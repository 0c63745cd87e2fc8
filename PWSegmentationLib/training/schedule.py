"""How a training run goes: what every config of one has in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

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
        self.need_no_less_than_zero("warm_up", "patience", "weight_decay")
        self.need_a_share("ema")
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
        """An `InputError` for the first of these keys that is not in [0, 1)."""
        for name in names:
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f'"{name}" must be at least 0 and below 1, not {getattr(self, name)!r}.')

    @property
    def document(self) -> dict[str, Any]:
        """The inverse of `config_from_dict`."""
        return asdict(self)
