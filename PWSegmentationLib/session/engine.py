"""Where the work is done, behind one protocol: in this process, a child process, or elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

Method: TypeAlias = Literal["auto", "network", "image-aware", "gaussian"]


@dataclass(frozen=True)
class Options:
    """How to predict.

    Parameters
    ----------
    method
        "network": the network that ships with the program refines the image-aware label ("auto" picks it). The label
        alone: "image-aware" (geodesic and likelihood), or "gaussian" (the paper's).
    sigma_mm
        Width of the paper's Gaussian, mm.
    samples
        Draws of a fine-tuned network's attention whose probabilities are averaged.
    seed
        The same seed gives the same answer on the same device.
    model
        File of the promptable network that "network" uses (.safetensors); "": the one that ships with the program.
    """

    method: Method = "auto"
    sigma_mm: float = 10.0
    samples: int = 6
    seed: int = 0
    model: str = ""

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"There is no method '{self.method}'; there are: {', '.join(get_args(Method))}.")
        for what in ("seed", "samples"):
            number = getattr(self, what)
            if not isinstance(number, int | np.integer) or not 0 <= number < 2**63:
                raise InputError(f"The {what} must be a whole number that is not negative; got {number}.")
            # JSON, which takes them to a child process, knows no NumPy.
            object.__setattr__(self, what, int(number))

    @property
    def uses_network(self) -> bool:
        """Whether a promptable network is asked."""
        return self.method in ("auto", "network")


@dataclass(frozen=True)
class Request:
    """One segment to work on: its prompts, and the other segments' prompts, which compete with it.

    ``earlier`` is what the same network said to fewer of them. It is not a part of the question: an answer stands as
    long as the prompts do.
    """

    segment: SegmentPrompts
    others: tuple[SegmentPrompts, ...] = ()
    earlier: EarlierAnswer | None = field(default=None, compare=False)


@dataclass(frozen=True)
class FinetuneReport:
    """What a quick fine-tune did for one segment.

    ``accepted`` says whether the network is used; ``reason`` says why in one sentence.
    """

    segment: str
    accepted: bool
    reason: str
    steps: int
    seconds: float


class Engine(Protocol):
    """What a `Session` needs from the place where the work is done."""

    def set_image(self, volume: Volume) -> None:
        """Make ``volume`` the one that later calls are about, and forget what was learnt on another."""

    def predict(
        self,
        request: Request,
        options: Options,
        *,
        model: Any = None,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> Prediction:
        """Answer the request's prompts; with ``model`` (from `finetune`) also ask the network."""

    def finetune(
        self,
        requests: Sequence[Request],
        options: Options,
        budget_s: float,
        *,
        progress: Progress | None,
        cancel: Cancel | None,
    ) -> dict[str, tuple[Any, FinetuneReport]]:
        """Fit a network to this case; for each segment a model handle for `predict` and a report."""

    def relevant(self, request: Request, region: Region | None = None) -> tuple[SegmentPrompts, ...]:
        """The claims of other segments that can influence the request's prediction.

        Before there is one, all that may come into view; afterwards what lies in its ``region``.
        """
