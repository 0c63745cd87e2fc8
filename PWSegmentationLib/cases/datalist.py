"""A datalist: JSON as the Medical Segmentation Decathlon and MONAI write it.

``training``, ``validation`` and ``test`` hold entries ``{"image": path, "label": path}`` (paths relative to the file;
``test`` may hold bare image paths), ``labels`` maps values to names or names to values. An entry may also have
``name``, ``prompts`` (a prompt set), ``points`` or ``scribbles`` (labelmaps: 0 nothing, v structure v, and for the
background the value that ``labels`` calls ``background`` if that is not 0, else the largest named value + 1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.label_names import named_values
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json
from PWSegmentationLib.volume.reading import IMAGE_ENDINGS

_FILES = ("image", "label", "prompts", "points", "scribbles")


def read_datalist(path: Path) -> CaseSet:
    """The cases of a datalist.

    Raises
    ------
    InputError
        If it is none, a file that it names is missing, a case is in two sets, or nothing is named.
    """
    document = read_json(path, "datalist")
    if not isinstance(document, Mapping) or not isinstance(document.get("training"), list):
        raise InputError(f'{path} is no datalist: it needs "training", a list of {{"image": ..., "label": ...}}.')
    sets = [[_entry(e, path) for e in document.get(key, [])] for key in ("training", "validation", "test")]
    table = document.get("labels")
    named = named_values(table, f'{path}: "labels"') if table else {}
    background, *_ = named.pop("background", (0,))
    # Decathlon numbers its modalities; others just name one.
    said = document.get("modality") or ""
    modality = " ".join(map(str, said.values())) if isinstance(said, Mapping) else str(said)
    known = ([replace(case, structures=named) for case in cases] for cases in sets)
    return CaseSet.of(named, *known, modality=modality, background=background).split()


def _entry(entry: Any, path: Path) -> CaseFiles:
    """One entry, its files checked."""
    entry = {"image": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str):
        raise InputError(f'{path}: every entry needs "image", a path; this one is {str(entry)[:60]!r}.')
    files = {k: (path.parent / str(entry[k])).resolve() for k in _FILES if entry.get(k)}
    for kind, file in files.items():
        if not file.exists():
            raise InputError(f"{path} names the {kind} {file}, which does not exist: correct the path.")
    return CaseFiles(
        str(entry.get("name") or _stem(files["image"])),
        files["image"],
        files.get("label"),
        prompts=files.get("prompts"),
        points=files.get("points"),
        scribbles=files.get("scribbles"),
        # As seen from the list: who is kept for selection must not depend on where the data lie.
        group=Path(os.path.relpath(files["image"], path.parent.resolve())).as_posix(),
    )


def _stem(path: Path) -> str:
    ending = next((e for e in IMAGE_ENDINGS if path.name.endswith(e)), path.suffix)
    stem = path.name[: len(path.name) - len(ending)]
    return f"{path.parent.name}-{stem}" if stem in ("image", "img") else stem
