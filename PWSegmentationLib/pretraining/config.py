"""One JSON document that says everything about a run of pretraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PWSegmentationLib.training.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig(Schedule):
    """What tasks are made of; `Schedule` has how the run goes.

    Parameters
    ----------
    groups
        Groups of tasks in the bank, each from one scene or one visit to a real image.
    real_share, structures, corrections, edge, careful
        Of `Material`.
    preset, attention
        Size of the network, and the mean of its attention scores; ``"preset"``: the preset's own.
    answers
        A model whose answers the clicks of further rounds correct, and which often decides where is looked (its
        .safetensors file); "": they correct the label.
    start
        A model whose weights the run starts from; "": from random ones, and the answer is the label.
    """

    groups: int = 400
    real_share: float = 0.5
    structures: int = 4
    corrections: int = 2
    edge: int = 112
    careful: float = 0.5
    preset: str = "promptable"
    attention: Literal["preset", "residual", "paper", "off"] = "preset"
    answers: str = ""
    start: str = ""
    batch: int = 1
    accumulate: int = 4
    steps: int = 10000
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    warm_up: int = 100
    ema: float = 0.995
    select_every: int = 500
    patience: int = 0
    save_every: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        self.need_above_zero("groups", "structures", "edge")
        self.need_no_less_than_zero("corrections")
        self.need_a_share("real_share", "careful")
