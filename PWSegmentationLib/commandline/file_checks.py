"""The files that a command reads and writes, checked before anything is computed: no input is lost, no output twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.cases.case_files import CaseFiles

# Image formats of two files, and what the other one may be called.
_HEADERS = (".mhd", ".nhdr", ".hdr", ".img")
_VOXELS = (".raw", ".zraw", ".raw.gz", ".img", ".hdr")


@dataclass(frozen=True)
class NamedFile:
    """A file and what it is to the command, in words: "the image itself", "--output"."""

    path: Path
    what: str


def check_files(read: Iterable[NamedFile], written: Sequence[NamedFile]) -> None:
    """Raise `InputError` if a file that is written is also read, is written twice, or plainly cannot be written."""
    seen: dict[object, NamedFile] = {key: file for file in read for key in _identities(file.path)}
    for file in written:
        check_writable(file.path)
        keys = _identities(file.path)
        other = next((seen[key] for key in keys if key in seen), None)
        if other is not None:
            raise InputError(f"The output {file.path} ({file.what}) is also {other.what}: give each its own file.")
        seen |= dict.fromkeys(keys, file)


def check_writable(path: Path) -> None:
    """Raise `InputError` if it is plain already that ``path`` cannot be written."""
    if path.is_dir():
        raise InputError(f"The output {path} is a folder: give a file name.")
    folder = next(p for p in path.absolute().parents if p.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"The output {path} cannot be written: {folder} is no folder, or is write-protected.")


def output_files(outputs: Iterable[Path], names: Sequence[str], *, provenance: bool) -> list[NamedFile]:
    """All that segments called ``names`` may be written to, with side-cars; see `export.writing.write_segmentation`."""
    from PWSegmentationLib.export.writing import files_of

    files: list[NamedFile] = []
    beside: dict[NamedFile, None] = {}
    for path in outputs:
        own, side_cars = files_of(path, names, provenance=provenance)
        files += [NamedFile(p, "--output") for p in own]
        # Labelmaps whose names differ in the ending alone have one table, which is the same for all of a command.
        beside |= dict.fromkeys(NamedFile(p, "a side-car of --output") for p in side_cars)
    return [*files, *beside]


def map_files(path: Path | None, names: Sequence[str], option: str) -> list[NamedFile]:
    """The maps of all segments; none without a ``path``."""
    from PWSegmentationLib.export.maps import map_paths

    return [] if path is None else [NamedFile(p, option) for p in map_paths(path, names).values()]


def given(path: Path | None, what: str) -> list[NamedFile]:
    """The file of an option that may be left out."""
    return [] if path is None else [NamedFile(path, what)]


def image_files(image: Path | None, series: str | None, written: Iterable[NamedFile]) -> list[NamedFile]:
    """An image's file; of a DICOM series all of them, if anything written would replace a file beside them."""
    from PWSegmentationLib.volume.dicom import is_dicom, series_files

    if image is None or not image.exists():
        return []
    files = [NamedFile(image, "the image itself")]
    if image.suffix.lower() in _HEADERS:
        return files + [NamedFile(image.with_suffix(ending), "a file of the image") for ending in _VOXELS]
    if image.is_file() and not is_dicom(image):
        return files
    folder = (image if image.is_dir() else image.parent).resolve()
    # Only then: finding them reads the header of every slice.
    if any(f.path.is_file() and folder in f.path.resolve().parents for f in written):
        files += [NamedFile(path, "a file of the image") for path in series_files(image, series)]
    return files


def prompt_files(sets: Iterable[Path]) -> list[NamedFile]:
    """Prompt sets that have been read, and the files of strokes that they name."""
    from PWSegmentationLib.files import read_json

    files = []
    for path in sets:
        files.append(NamedFile(path, "a file of prompts"))
        strokes = (s for segment in read_json(path, "prompts")["segments"] for s in segment.get("strokes", ()))
        files += [NamedFile(path.parent / s["file"], "a file of prompts") for s in strokes if "file" in s]
    return files


def model_files(model: Path | None) -> list[NamedFile]:
    """The weights of a model, given as a file or a folder, and their card."""
    if model is None:
        return []
    weights = model / "model.safetensors" if model.is_dir() else model
    return [NamedFile(path, "the model") for path in (weights, weights.with_suffix(".json"))]


def case_files(cases: Iterable[CaseFiles]) -> list[NamedFile]:
    """Everything that is read of cases."""
    files = []
    for case in cases:
        paths = (case.image, case.labels, case.prompts, case.points, case.scribbles)
        files += [NamedFile(path, f"a file of the case '{case.name}'") for path in paths if path is not None]
    return files


def _identities(path: Path) -> set[object]:
    """What two paths to one file have in common; more than one where a file is there already."""
    found: set[object] = {os.path.normcase(path.resolve())}
    try:
        status = path.stat()
    except OSError:
        return found
    return found | {(status.st_dev, status.st_ino)}
