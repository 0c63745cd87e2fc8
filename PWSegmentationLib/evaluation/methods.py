"""What is compared: this program's ways to answer prompts, behind the one interface that peers have too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.metrics import Answer
from PWSegmentationLib.evaluation.peers import GaussianLabel, GrowFromSeeds, RandomWalk
from PWSegmentationLib.prompts.prompts import PromptSet, SegmentPrompts
from PWSegmentationLib.session.engine import Method as Label
from PWSegmentationLib.session.session import Session
from PWSegmentationLib.volume.volume import Volume

OURS = ("auto", "image-aware", "gaussian", "fine-tuned")
PEERS = ("growcut", "gaussian", "random-walk")


class Method(Protocol):
    """Answers prompts."""

    @property
    def name(self) -> str:
        """As shown in tables."""

    def open(self, volume: Volume) -> None:
        """Get ready for an image; the time this takes is not counted."""

    def begin(self) -> None:
        """Another conversation: nothing that was said before matters."""

    def answer(self, prompts: SegmentPrompts, reference: Reference) -> Answer | None:
        """The segment; None where the method has no answer to prompts like these.

        ``reference`` is for peers that are given the best choice of a threshold; nobody else may look at it.
        """


class BySession:
    """This program, as every front end drives it."""

    def __init__(self, name: str, label: Label = "auto", finetune_s: float = 0.0, device: str = "cpu") -> None:
        self._name = name
        self._label: Label = label
        self._finetune_s = finetune_s
        self._device = device

    @property
    def name(self) -> str:
        """As shown in tables."""
        return self._name

    def open(self, volume: Volume) -> None:
        """Look at the image once, as when it is loaded."""
        self._volume = volume
        # Where the padding is, is found out once for an image.
        _ = volume.padding
        self.begin()

    def begin(self) -> None:
        """A session of its own, in which corrections follow one another."""
        self._session = Session(self._device, method=self._label)
        self._session.set_volume(self._volume)

    def answer(self, prompts: SegmentPrompts, reference: Reference) -> Answer:
        """See `Method`."""
        session = self._session
        started = time.perf_counter()
        session.prompts = PromptSet((prompts,))
        if self._finetune_s:
            session.finetune(self._finetune_s)
        found = session.predict()
        seconds = time.perf_counter() - started
        return Answer(found.region, found.region_mask, found.region_probability, found.region_uncertainty, seconds)


def methods(
    ours: Sequence[str], peers: Sequence[str], *, finetune_s: float = 20.0, device: str = "cpu"
) -> list[Method]:
    """The methods with these keys, of `OURS` and `PEERS`.

    Raises `InputError` for another key, and for a peer that is not installed.
    """
    for key, known in [(k, OURS) for k in ours] + [(k, PEERS) for k in peers]:
        if key not in known:
            raise InputError(f"There is no method '{key}': choose among {', '.join(known)}.")
    return [_ours(key, finetune_s, device) for key in ours] + [_peer(key) for key in peers]


def _peer(key: str) -> Method:
    if key == "growcut":
        return GrowFromSeeds()
    return GaussianLabel() if key == "gaussian" else RandomWalk()


def _ours(key: str, finetune_s: float, device: str) -> Method:
    if key == "auto":
        return BySession("PWSegmentation", device=device)
    if key == "fine-tuned":
        return BySession(f"PWSegmentation, fine-tuned {finetune_s:g} s", finetune_s=finetune_s, device=device)
    return BySession(f"PWSegmentation, {key} label", key, device=device)  # type: ignore[arg-type]
