"""The labelled images that methods are developed on; they show progress, not generalisation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.progress import Progress, part_of
from PWSegmentationLib.samples.catalogue import CHEST_CT, COARSE_CHEST_CT, MR_BRAIN, TUMOURS
from PWSegmentationLib.samples.packages import Package, default_cache, fetch

# Which structures were used for tuning and which are only reported.
SPLIT = Path(__file__).with_name("development_cases.json")


class _Source(NamedTuple):
    package: Package
    image: str
    labels: str


_SOURCES = {
    "chest CT": _Source(CHEST_CT, "cxr.nii.gz", "mask.nii.gz"),
    "brain MR": _Source(MR_BRAIN, "ch2.nii.gz", "aal.nii.gz"),
    "brain tumour MR": _Source(TUMOURS, "brain1_image.nrrd", "brain1_label.nrrd"),
    "lung tumour CT": _Source(TUMOURS, "lung2_image.nrrd", "lung2_label.nrrd"),
    "second brain tumour MR": _Source(TUMOURS, "brain2_image.nrrd", "brain2_label.nrrd"),
    "second lung tumour CT": _Source(TUMOURS, "lung1_image.nrrd", "lung1_label.nrrd"),
    "breast tumour MR": _Source(TUMOURS, "breast1_image.nrrd", "breast1_label.nrrd"),
    "coarse chest CT": _Source(COARSE_CHEST_CT, "CTChest4.nrrd", "Segmentation.seg.nrrd"),
}


def development_cases(cache: Path | None = None, progress: Progress | None = None) -> list[CaseFiles]:
    """The development images, fetched once (80 MB); one that cannot be had here has a `CaseFiles.problem`."""
    cases = []
    for done, (name, by_use) in enumerate(split().items()):
        uses = {structure: use for use, structures in by_use.items() for structure in structures}
        values = {s: (v,) for structures in by_use.values() for s, v in structures.items()}
        source = _SOURCES[name]
        share = part_of(progress, done / len(_SOURCES), (done + 1) / len(_SOURCES))
        try:
            folder = fetch(source.package, cache or default_cache(), share)
        except InputError as error:
            cases.append(CaseFiles(name, Path(source.image), Path(source.labels), problem=str(error)))
            continue
        cases.append(CaseFiles(name, folder / source.image, folder / source.labels, values, uses=uses))
    return cases


def split() -> dict[str, dict[str, dict[str, int]]]:
    """By image and use ("tuning", "reported"): the structures and their values."""
    document: dict[str, dict[str, dict[str, int]]] = json.loads(SPLIT.read_text(encoding="utf-8"))
    return {name: uses for name, uses in document.items() if name != "about"}
