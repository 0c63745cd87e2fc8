"""The labelled images that the labels were developed on; they show progress, not generalisation."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.benchmark import Case
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.samples.catalogue import CHEST_CT, MR_BRAIN, TUMOURS
from PWSegmentationLib.samples.packages import default_cache, fetch
from PWSegmentationLib.volume.reading import read_volume

_CHEST_STRUCTURES = (
    *("spleen", "kidney_right", "kidney_left", "liver", "stomach", "pancreas", "lung_upper_lobe_left", "trachea"),
    *("vertebrae_T10", "heart", "aorta"),
)
_BRAIN_STRUCTURES = {"Hippocampus_L": 37, "Caudate_L": 71, "Putamen_R": 74, "Thalamus_R": 78}


def development_cases(cache: Path | None = None, progress: Progress | None = None) -> tuple[list[Case], list[str]]:
    """The 17 structures the labels were developed on, and a sentence for every case that cannot be had here.

    These cases show progress, not generalisation.
    """
    cases: list[Case] = []
    missing: list[str] = []
    for load in (_chest, _brain, _tumours):
        try:
            cases += load(cache or default_cache(), progress)
        except InputError as error:
            missing.append(str(error))
    return cases, missing


def _chest(cache: Path, progress: Progress | None) -> list[Case]:
    folder = fetch(CHEST_CT, cache, progress)
    with (folder / "structures.csv").open(newline="", encoding="utf-8") as file:
        values = {row["structure"]: int(row["id"]) for row in csv.DictReader(file)}
    return [_case("chest CT", folder / "cxr.nii.gz", folder / "mask.nii.gz", {s: values[s] for s in _CHEST_STRUCTURES})]


def _brain(cache: Path, progress: Progress | None) -> list[Case]:
    folder = fetch(MR_BRAIN, cache, progress)
    return [_case("brain MR", folder / "ch2.nii.gz", folder / "aal.nii.gz", _BRAIN_STRUCTURES)]


def _tumours(cache: Path, progress: Progress | None) -> list[Case]:
    folder = fetch(TUMOURS, cache, progress)
    names = (("brain1", "brain tumour MR"), ("lung2", "lung tumour CT"))
    return [_case(t, folder / f"{n}_image.nrrd", folder / f"{n}_label.nrrd", {"tumour": 1}) for n, t in names]


def _case(name: str, image: Path, labels: Path, structures: dict[str, int]) -> Case:
    volume, reference = read_volume(image), read_volume(labels)
    if reference.array.shape != volume.array.shape:
        raise InputError(f"The labels {labels} do not belong to the image {image}: delete both and try again.")
    array: NDArray[Any] = reference.array
    if len(structures) == 1:
        array = (array > 0).astype(np.uint8)
    return Case(name, volume, array, structures)
