"""A folder with a folder per case.

::

    CASES/
        labels.json          of all cases that have none of their own
        patient-1/
            image.nii.gz     any image file that `read_volume` reads, or a folder with a DICOM series
            labels.nii.gz    whole numbers, 0 for background, in the same patient space
            labels.json      {"liver": 1, "kidneys": [2, 3]}, or {"1": "liver", ...}
            prompts.json     a prompt set
            points.nii.gz    or scribbles: a sparse labelmap, see `case_files`
        patient-2/ ...

The cases may be sorted into ``training``, ``validation`` and ``test``. A case may lack anything but its image: the
benchmark needs labels, training labels or prompts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.label_names import read_names
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.reading import IMAGE_ENDINGS

# The sets of a `CaseSet`, and what their folders are called.
_SETS = {"training": "training", "selection": "validation", "test": "test"}
# What lies beside images of the same name and is none: voxels of a header that is listed itself, and tables.
_NO_IMAGES = {".json", ".raw", ".zraw", ".img", ".csv", ".txt"}


def find_cases(folder: Path) -> list[CaseFiles]:
    """The cases in ``folder``, set by set and in the order of their names.

    What cannot be a case is listed with its `CaseFiles.problem`, so that it costs itself alone. Raises `InputError` if
    there is none.
    """
    found: dict[str, CaseFiles] = {}
    twice = []
    for case in _all(_by_set(folder)):
        if found.setdefault(case.name, case) is not case:
            problem = f"Two cases in {folder} are called '{case.name}': rename one, or remove it."
            twice.append(replace(case, problem=problem))
    return [*found.values(), *twice]


def read_folder(folder: Path) -> CaseSet:
    """The cases in ``folder`` as sets to train on.

    Raises
    ------
    InputError
        If there is none or one has a problem, a case is in two sets, or nothing is named or not alike in all of them.
    """
    sets = _by_set(folder)
    for case in _all(sets):
        if case.problem:
            raise InputError(case.problem)
    named = _named_throughout(folder)
    return CaseSet.of(named, sets["training"], sets.get("selection", ()), sets.get("test", ())).split()


def _named_throughout(folder: Path) -> dict[str, tuple[int, ...]]:
    """The names in all ``labels.json`` below ``folder``; an `InputError` unless they agree."""
    named: dict[str, tuple[int, ...]] = {}
    names: dict[int, str] = {}
    for file in sorted(folder.rglob("labels.json")):
        here = read_names(file)
        for name, values in here.items():
            if named.get(name, values) != values:
                raise InputError(f"{file} gives '{name}' another value than the cases before: use one throughout.")
            for value in values:
                if names.get(value, name) != name:
                    raise InputError(
                        f"{file} calls the value {value} '{name}', and the cases before call it '{names[value]}': use "
                        "one name throughout."
                    )
        named |= here
        names |= {value: name for name, values in here.items() for value in values}
    return named


def _all(sets: dict[str, list[CaseFiles]]) -> Iterable[CaseFiles]:
    return (case for cases in sets.values() for case in cases)


def _by_set(folder: Path) -> dict[str, list[CaseFiles]]:
    """The cases by set, all in "training" unless they are sorted; a folder that is a case itself is the only one."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: name a folder of cases, each with an image and labels.")
    if _is_case(folder):
        return {"training": [_case(folder, folder)]}
    if (folder / "training").is_dir() and not _is_case(folder / "training"):
        _check_beside(folder)
        sets = {name: _subfolders(folder / sub) for name, sub in _SETS.items() if (folder / sub).is_dir()}
    else:
        sets = {"training": _subfolders(folder)}
    if not any(sets.values()):
        raise InputError(
            f"There are no cases in {folder}: make a folder for each, with an image, labels and labels.json."
        )
    return {name: [_case(f, folder) for f in folders] for name, folders in sets.items()}


def _check_beside(folder: Path) -> None:
    """An `InputError` for cases beside the sets, which nobody would look at: in "val", or in no set at all."""
    for other in _subfolders(folder):
        if other.name not in _SETS.values() and any(_is_case(f) for f in (other, *_subfolders(other))):
            raise InputError(
                f"{other} lies beside the sets {', '.join(_SETS.values())} and holds cases: rename it, put it into one "
                "of them, or move it elsewhere."
            )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_case(folder: Path) -> bool:
    return bool(_images(folder, "image") or _images(folder, "labels"))


def _case(folder: Path, root: Path) -> CaseFiles:
    """The case in ``folder``; names that it lacks are looked for above it, up to ``root``."""
    image, labels = _images(folder, "image"), _images(folder, "labels")
    problem = ""
    if not image:
        problem = f"The case {folder} has no image: put image.nii.gz (or .nrrd, .mha, DICOM) there, or remove the case."
    for what, found in (("image", image), ("labels", labels)):
        if len(found) > 1:
            problem = f"The case {folder} has {len(found)} files called {what}.*: keep one, or remove the case."
    if problem:
        return CaseFiles(folder.name, folder, problem=problem)
    prompts = folder / "prompts.json"
    case = CaseFiles(
        folder.name,
        image[0],
        labels[0] if labels else None,
        prompts=prompts if prompts.is_file() else None,
        points=_sparse(folder, "points"),
        scribbles=_sparse(folder, "scribbles"),
    )
    try:
        return replace(case, structures=_names(folder, root))
    except InputError as error:
        return replace(case, problem=str(error))


def _names(folder: Path, root: Path) -> dict[str, tuple[int, ...]]:
    """Those in the nearest ``labels.json``; empty where there is none."""
    for place in (folder, *folder.parents):
        if (place / "labels.json").exists():
            return read_names(place / "labels.json")
        if place == root:
            break
    return {}


def _images(folder: Path, stem: str) -> list[Path]:
    """``stem.nii.gz``, ``stem.nrrd``, ..., or a folder ``stem``; of other types only where there is none of these."""
    found = sorted(p for p in folder.iterdir() if p.name.split(".")[0] == stem and not _NO_IMAGES & set(p.suffixes))
    return [p for p in found if p.name.endswith(IMAGE_ENDINGS)] or found


def _sparse(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + e) for e in IMAGE_ENDINGS if (folder / (stem + e)).is_file()), None)
