"""Labelled images, in folders of ``image``, ``labels`` and ``labels.json``.

::

    CASES/
        patient-1/
            image.nii.gz     any image file that `read_volume` reads, or a folder with a DICOM series
            labels.nii.gz    whole numbers, 0 for background, in the same patient space
            labels.json      {"liver": 1, "kidneys": [2, 3]}, or {"1": "liver", ...}; without it, "label 1", ...
        patient-2/ ...

Nothing is read before a case's turn comes, so that a broken case costs itself alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json, update
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

_JSON_FORM = 'a name and a value each, as in {"liver": 1, "kidneys": [2, 3]}'


@dataclass(frozen=True)
class Case:
    """A labelled image in memory: ``labels`` is on the image's grid, ``structures`` gives each one's values."""

    name: str
    volume: Volume
    labels: NDArray[Any]
    structures: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class CaseFiles:
    """A labelled image on disk.

    Parameters
    ----------
    name
        For people; unique among the cases of a run.
    image, labels
        Files, or a folder with a DICOM series.
    structures
        Values of each structure in ``labels``; empty means every value there is, called "label 1", ...
    uses
        What each structure is used for, where a list says so: "tuning" or "reported".
    problem
        One sentence, where it is known before reading that the case cannot be used.
    """

    name: str
    image: Path
    labels: Path
    structures: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    uses: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    def load(self) -> Case:
        """Read image and labels. Raises `InputError` with one sentence if the case cannot be used."""
        if self.problem:
            raise InputError(self.problem)
        volume, labelled = read_volume(self.image), read_volume(self.labels)
        labels = labelled.array
        if not np.isfinite(labels).all() or np.any(labels != np.round(labels)):
            raise InputError(f"{self.labels} is not a labelmap: it holds numbers that are not whole.")
        if not labelled.grid.same_as(volume.grid):
            labels = resample(labels, labelled.grid, volume.grid, order=0, outside=0.0)
        labels = labels.astype(np.int32, copy=False)
        if not labels.any():
            raise InputError(f"{self.labels} has no labelled voxel in the image: was it drawn on another one?")
        structures = dict(self.structures) or {f"label {v}": (int(v),) for v in np.unique(labels) if v}
        return Case(self.name, volume, labels, structures)

    def fingerprint(self) -> str:
        """SHA-256 over the files' contents and the structures: another one is another case."""
        if self.problem:
            return ""
        digest = hashlib.sha256(repr(sorted(self.structures.items())).encode())
        for path in (self.image, self.labels):
            for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
                update(digest, file)
        return digest.hexdigest()


def find_cases(folder: Path) -> list[CaseFiles]:
    """The cases in ``folder``, in the order of their names: its subfolders, or the folder itself if it is one.

    A subfolder that cannot be a case is listed with its `CaseFiles.problem`. Raises `InputError` if there is none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: name a folder of cases, each with an image and labels.")
    if _named(folder, "image") or _named(folder, "labels"):
        return [_case(folder)]
    folders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(
            f"There are no cases in {folder}: make a folder for each, with an image, labels and labels.json."
        )
    return [_case(f) for f in folders]


def _case(folder: Path) -> CaseFiles:
    files = {}
    for what in ("image", "labels"):
        found = _named(folder, what)
        if len(found) != 1:
            several = f"has {len(found)} files called {what}.*: keep one" if found else f"has no {what}.*: add it"
            return CaseFiles(folder.name, folder, folder, problem=f"The case {folder} {several}, or remove the case.")
        files[what] = found[0]
    try:
        structures = _read_structures(folder / "labels.json")
    except InputError as error:
        return CaseFiles(folder.name, files["image"], files["labels"], problem=str(error))
    return CaseFiles(folder.name, files["image"], files["labels"], structures)


def _named(folder: Path, stem: str) -> list[Path]:
    """``stem.nii.gz``, ``stem.nrrd``, ..., or a folder ``stem``; not its side-car files."""
    return sorted(p for p in folder.iterdir() if p.name.split(".")[0] == stem and p.suffix not in (".json", ".raw"))


def _read_structures(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and values, in either direction; the label table of an nnU-Net ``dataset.json`` is read as well."""
    if not path.exists():
        return {}
    document = read_json(path, "label names")
    if isinstance(document, dict) and isinstance(document.get("labels"), dict):
        document = document["labels"]
    if not isinstance(document, dict) or not document:
        raise InputError(f"{path} should hold {_JSON_FORM}.")
    pairs = [(v, k) if isinstance(v, str) else (k, v) for k, v in document.items()]
    try:
        structures = {str(n): tuple(int(v) for v in np.atleast_1d(np.asarray(values, float))) for n, values in pairs}
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} should hold {_JSON_FORM}.") from error
    if len(structures) < len(pairs):
        raise InputError(f"{path} has two structures of the same name: give each its own, or one several values.")
    return {name: values for name, values in structures.items() if any(values)}
