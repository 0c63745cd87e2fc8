"""Cases in three sets without a patient in common: to learn from, to select by, to test with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.errors import InputError


@dataclass(frozen=True)
class CaseSet:
    """Three sets without a patient in common, and the structures to learn.

    Parameters
    ----------
    structures
        Names, and the value that stands for each once `labels.read_labels` has read a labelmap.
    training, selection, test
        The cases.
    modality
        "CT", "MR", ... where the data say so.
    background
        The value that sparse labelmaps use for "none of them"; 0: one more than the largest with a name.
    named
        All values that have a name, also of structures left out; by default those of ``structures``.

    Raises
    ------
    InputError
        If nothing is named, there is no training case, a patient is in two sets, or it is not clear which structure
        a value belongs to.
    """

    structures: dict[str, int]
    training: tuple[CaseFiles, ...]
    selection: tuple[CaseFiles, ...]
    test: tuple[CaseFiles, ...]
    modality: str = ""
    background: int = 0
    named: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        named: Mapping[str, tuple[int, ...]],
        training: Iterable[CaseFiles],
        selection: Iterable[CaseFiles] = (),
        test: Iterable[CaseFiles] = (),
        *,
        modality: str = "",
        background: int = 0,
    ) -> CaseSet:
        """With everything that has a name as a structure to learn; the first of several values stands for all."""
        structures = {name: values[0] for name, values in named.items()}
        sets = (tuple(training), tuple(selection), tuple(test))
        return cls(structures, *sets, modality, background, dict(named))

    def __post_init__(self) -> None:
        if not self.structures:
            raise InputError('The data name no structure: give "labels", {"1": "liver"} or labels.json {"liver": 1}.')
        if not self.training:
            raise InputError("There is no case to train on: name at least one with an image and labels or prompts.")
        if not self.named:
            object.__setattr__(self, "named", {n: (v,) for n, v in self.structures.items()})
        if self.background == 0:
            object.__setattr__(self, "background", 1 + max(v for values in self.named.values() for v in values))
        _check_values(self.named)
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
        """The same with a selection set, a fifth of the training patients, where there is none."""
        if self.selection:
            return self
        selection, training = fifths(self.training, 1)
        return replace(self, training=training, selection=selection)


def fifths(cases: Sequence[CaseFiles], count: int) -> list[tuple[CaseFiles, ...]]:
    """``count`` times a fifth of the patients, and the rest; nobody but the rest where there are too few patients.

    Patients are taken in the order of a hash of their names, so that adding one hardly moves the others.
    """
    patients = sorted({c.patient for c in cases}, key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    size = max(1, round(len(patients) / 5)) if len(patients) > count else 0
    part = {p: min(index // size, count) if size else count for index, p in enumerate(patients)}
    return [tuple(c for c in cases if part[c.patient] == n) for n in range(count + 1)]


def _check_values(named: Mapping[str, tuple[int, ...]]) -> None:
    """An `InputError` if a value belongs to two structures: a voxel can be in one only."""
    for name, values in named.items():
        for other, theirs in named.items():
            shared = set(values) & set(theirs)
            if name != other and shared:
                raise InputError(
                    f"The value {min(shared)} belongs to '{name}' and to '{other}': for training leave it to one of "
                    "them."
                )
