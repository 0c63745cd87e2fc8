"""What a scene session is asked, what it writes then, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PWSegmentationLib.mrml.earlier_work import EarlierWork
from PWSegmentationLib.mrml.modifying import OverwriteMode
from PWSegmentationLib.mrml.prompt_store import Snapshot
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.session.engine import FinetuneReport
from PWSegmentationLib.volume.grid import Region


@dataclass(frozen=True)
class Applied:
    """What one `SceneSession.apply` did.

    ``written`` maps the names of the segments that changed to the region, in voxels of the image, that was written.
    ``note`` is a sentence for the user, empty where there is nothing to say. ``volume_ml`` is what the segment has now,
    and ``held_back_ml`` what it did not get of the answer because of locks or masking.
    """

    segment_id: str
    prediction: Prediction | None
    written: Mapping[str, Region]
    note: str = ""
    volume_ml: float = 0.0
    held_back_ml: float = 0.0

    @property
    def volume_text(self) -> str:
        """The volume, for people."""
        held = f" ({self.held_back_ml:.1f} ml held back by locks or masking)" if self.held_back_ml >= 0.05 else ""
        return f"{shown_ml(self.volume_ml)}{held}"


def shown_ml(millilitres: float) -> str:
    """A volume for people: of small lesions, and those of a mouse, too, something is to be read."""
    digits = ".1f" if millilitres >= 1 or millilitres == 0 else ".2f" if millilitres >= 0.01 else ".1g"
    return f"{millilitres:{digits}} ml"


@dataclass(frozen=True)
class Refined:
    """What `SceneSession.start_finetune` did: a report for each segment, and what was written."""

    reports: Mapping[str, FinetuneReport]
    written: Mapping[str, Region]


@dataclass(frozen=True)
class Asked:
    """A question: about which segment, and by ID the prompt nodes then of all segments that are asked about.

    ``works``: what segments hold that no answer of ours explains, ``before``: how segments were that are to be changed
    only where their answer is another than this, or the part of them that was written last.
    """

    segment_id: str
    overwrite: OverwriteMode
    markups: Mapping[str, Snapshot] = field(default_factory=dict)
    works: Mapping[str, EarlierWork] = field(default_factory=dict)
    before: dict[str, Prediction] = field(default_factory=dict)


@dataclass(eq=False)
class Writing:
    """Answers to be written, by segment ID: to which prompts, and where it was done so far."""

    asked: Asked
    active: str | None
    answers: dict[str, Prediction]
    prompts: Mapping[str, SegmentPrompts]
    written: dict[str, Region]
