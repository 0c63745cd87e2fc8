"""One case on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PWSegmentationLib.files import update


@dataclass(frozen=True)
class CaseFiles:
    """An image and what is known about it; nothing is read before its turn comes.

    Parameters
    ----------
    name
        For people; unique among the cases of a run.
    image
        A file, or a folder with a DICOM series.
    labels
        The dense labelmap: a file, a folder with a DICOM series, or a folder of PNG slices (CHAOS).
    structures
        Values of each structure in ``labels``, as the case or the folder it is in names them; empty where nobody does.
    prompts
        A prompt set, JSON.
    points, scribbles
        Sparse labelmaps: 0 nothing, else a structure's value or that of the background.
    group
        Who must not be in two sets (the patient), where that is not the case itself.
    uses
        What each structure is used for, where a list says so: "tuning" or "reported".
    problem
        One sentence, where it is known before reading that the case cannot be used.
    """

    name: str
    image: Path
    labels: Path | None = None
    # Left out of the hash alone, as a dictionary has none.
    structures: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    prompts: Path | None = None
    points: Path | None = None
    scribbles: Path | None = None
    group: str = ""
    uses: Mapping[str, str] = field(default_factory=dict, hash=False)
    problem: str = ""

    @property
    def patient(self) -> str:
        """The group, or the case itself."""
        return self.group or self.name

    @property
    def has_sparse(self) -> bool:
        """Whether somebody placed prompts, points or scribbles."""
        return bool(self.prompts or self.points or self.scribbles)

    def fingerprint(self) -> str:
        """SHA-256 over the contents of image and labels and the structures: another one is another case.

        Empty where the case has a problem or no labels.
        """
        if self.problem or self.labels is None:
            return ""
        digest = hashlib.sha256(repr(sorted(self.structures.items())).encode())
        for path in (self.image, self.labels):
            for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
                update(digest, file)
        return digest.hexdigest()
