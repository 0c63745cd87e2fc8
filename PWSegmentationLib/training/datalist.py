"""Which cases there are, what belongs to each, and which set it is in.

Two ways to say it:

* A datalist in JSON as the Medical Segmentation Decathlon and MONAI write it: ``training``, ``validation`` and
  ``test`` hold entries ``{"image": path, "label": path}`` (paths relative to the file; ``test`` may hold bare image
  paths), ``labels`` maps values to names. An entry may also have ``prompts`` (a prompt set), ``points`` or
  ``scribbles`` (labelmaps: 0 nothing, v structure v, and for the background the value that ``labels`` calls
  ``background`` if that is not 0, else the largest named value + 1).
* A folder with a folder per case: ``image.*``, ``labels.*`` with ``labels.json`` (``{"liver": 1}``), and
  ``prompts.json``, ``points.*`` or ``scribbles.*``; cases may be sorted into ``training``, ``validation`` and ``test``.

Training, selection and test never share a case. Where no selection set is named, a fifth of the training cases
(by a hash of the name, so that adding a case moves no other) is kept for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_SPARSE = ("prompts", "points", "scribbles")


@dataclass(frozen=True)
class TrainingCase:
    """One image and what is known about it; ``group`` is who must not be in two sets (the patient).

    ``label`` is a labelmap, or a folder of PNG slices (CHAOS); ``points`` and ``scribbles`` are sparse labelmaps.
    """

    name: str
    image: Path
    label: Path | None = None
    prompts: Path | None = None
    points: Path | None = None
    scribbles: Path | None = None
    group: str = ""

    @property
    def patient(self) -> str:
        """The group, or the case itself."""
        return self.group or self.name


@dataclass(frozen=True)
class CaseSet:
    """Three sets without a patient in common; ``structures`` maps names to label values.

    ``named`` are all values that have a name, also of structures left out; ``background`` is the value that sparse
    labelmaps use for "none of them".
    """

    structures: dict[str, int]
    training: tuple[TrainingCase, ...]
    selection: tuple[TrainingCase, ...]
    test: tuple[TrainingCase, ...]
    modality: str = ""
    background: int = 0
    named: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.structures:
            raise InputError('The data name no structure: give "labels", {"1": "liver"} or labels.json {"liver": 1}.')
        if not self.training:
            raise InputError("There is no case to train on: name at least one with an image and labels or prompts.")
        if not self.named:
            object.__setattr__(self, "named", dict(self.structures))
        if self.background == 0:
            object.__setattr__(self, "background", 1 + max(self.structures.values()))
        seen: dict[str, str] = {}
        for name, cases in (("training", self.training), ("selection", self.selection), ("test", self.test)):
            for case in cases:
                other = seen.setdefault(case.patient, name)
                if other != name:
                    raise InputError(
                        f"'{case.patient}' is in the {other} and in the {name} set: leave it in one of them."
                    )

    def only(self, names: Sequence[str]) -> CaseSet:
        """The same with some of the structures."""
        unknown = [n for n in names if n not in self.structures]
        if unknown:
            raise InputError(f"There is no structure '{unknown[0]}'; there are: {', '.join(self.structures)}.")
        return replace(self, structures={n: self.structures[n] for n in names}) if names else self

    def split(self) -> CaseSet:
        """The same with a selection set, taken from the training cases where there is none."""
        if self.selection or len({c.patient for c in self.training}) < 2:
            return self
        patients = sorted({c.patient for c in self.training}, key=lambda p: hashlib.sha256(p.encode()).hexdigest())
        chosen = set(patients[: max(1, round(len(patients) / 5))])
        return replace(
            self,
            training=tuple(c for c in self.training if c.patient not in chosen),
            selection=tuple(c for c in self.training if c.patient in chosen),
        )


def read_cases(path: str | Path) -> CaseSet:
    """The cases of a datalist or a folder.

    Raises
    ------
    InputError
        If a file is missing, a case is in two sets, or nothing is named.
    """
    path = Path(path)
    if path.is_dir():
        return _from_folder(path)
    document = read_json(path, "datalist")
    if not isinstance(document, Mapping) or not isinstance(document.get("training"), list):
        raise InputError(f'{path} is no datalist: it needs "training", a list of {{"image": ..., "label": ...}}.')
    return _from_datalist(path, document)


def _from_datalist(path: Path, document: Mapping[str, Any]) -> CaseSet:
    sets = {
        name: tuple(_entry(e, path) for e in document.get(key, []))
        for name, key in (("training", "training"), ("selection", "validation"), ("test", "test"))
    }
    try:
        named = {str(name): int(value) for value, name in (document.get("labels") or {}).items()}
    except (ValueError, AttributeError) as error:
        raise InputError(f'{path}: "labels" must map values to names, as in {{"1": "liver"}}.') from error
    background = named.pop("background", 0)
    named = {n: v for n, v in named.items() if v != 0}
    modality = " ".join(map(str, (document.get("modality") or {}).values()))
    return CaseSet(named, sets["training"], sets["selection"], sets["test"], modality, background).split()


def _entry(entry: Any, path: Path) -> TrainingCase:
    """One entry of a datalist, its files checked."""
    entry = {"image": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("image"), str):
        raise InputError(f'{path}: every entry needs "image", a path; this one is {str(entry)[:60]!r}.')
    files = {k: (path.parent / str(entry[k])).resolve() for k in ("image", "label", *_SPARSE) if entry.get(k)}
    for kind, file in files.items():
        if not file.exists():
            raise InputError(f"{path} names the {kind} {file}, which does not exist: correct the path.")
    image = files.pop("image")
    return TrainingCase(str(entry.get("name") or _stem(image)), image, **files, group=str(image))


def _from_folder(folder: Path) -> CaseSet:
    sets = {"training": "training", "selection": "validation", "test": "test"}
    sorted_ = {name: _cases_in(folder / sub) for name, sub in sets.items() if (folder / sub).is_dir()}
    if "training" not in sorted_:
        sorted_ = {"training": _cases_in(folder)}
    structures: dict[str, int] = {}
    for file in sorted(folder.rglob("labels.json")):
        for name, value in _named_values(file).items():
            if structures.setdefault(name, value) != value:
                raise InputError(f"{file} gives '{name}' another value than the cases before: use one throughout.")
    found = {name: sorted_.get(name, ()) for name in sets}
    return CaseSet(structures, found["training"], found["selection"], found["test"]).split()


def _cases_in(folder: Path) -> tuple[TrainingCase, ...]:
    return tuple(_case_of(f) for f in sorted(folder.iterdir()) if f.is_dir() and not f.name.startswith("."))


def _case_of(folder: Path) -> TrainingCase:
    image = _image(folder, "image")
    if image is None:
        raise InputError(f"The case {folder} has no image: put image.nii.gz (or .nrrd, .mha) there, or remove it.")
    prompts = folder / "prompts.json"
    return TrainingCase(
        folder.name,
        image,
        _image(folder, "labels"),
        prompts if prompts.is_file() else None,
        _image(folder, "points"),
        _image(folder, "scribbles"),
    )


def _named_values(file: Path) -> dict[str, int]:
    document = read_json(file, "names of the labels")
    if not isinstance(document, dict) or not all(isinstance(v, int) and v > 0 for v in document.values()):
        raise InputError(f'{file} must map names to whole numbers from 1, as in {{"liver": 1}}.')
    return document


def _image(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + e) for e in IMAGE_ENDINGS if (folder / (stem + e)).is_file()), None)


def _stem(path: Path) -> str:
    ending = next((e for e in IMAGE_ENDINGS if path.name.endswith(e)), path.suffix)
    stem = path.name[: len(path.name) - len(ending)]
    return f"{path.parent.name}-{stem}" if stem in ("image", "img") else stem
