"""What there is to review: folders with an image and a segmentation of it.

::

    CASE/
        image.nii.gz            as in `cases.folders`: any image file, or a folder with a DICOM series
        segmentation.seg.nrrd   or .seg.dcm, .nii.gz, ...; else labels.nii.gz (or .nrrd, .mha) with labels.json
        prompts.json            what was asked
        probability.nii.gz      of the only segment; probability.SEGMENT.nii.gz where there are several
        uncertainty.nii.gz      likewise

`pwseg segment CASE/image.nii.gz --prompts CASE/prompts.json -o CASE/segmentation.seg.nrrd --probability
CASE/probability.nii.gz --uncertainty CASE/uncertainty.nii.gz` makes such a folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.cases.folders import find_cases
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.file_names import file_names
from PWSegmentationLib.export.maps import as_fraction
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.prompts.json_format import read_prompts
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.segments.segmentation import Segmentation
from PWSegmentationLib.volume.reading import IMAGE_ENDINGS, read_volume
from PWSegmentationLib.volume.volume import Volume

_SEGMENTATION = ("segmentation.seg.nrrd", "segmentation.seg.dcm", *(f"segmentation{e}" for e in IMAGE_ENDINGS))


@dataclass(frozen=True)
class ReviewFiles:
    """Where the parts of a case are; ``problem`` is one sentence where it cannot be reviewed."""

    name: str
    folder: Path
    image: Path
    segmentation: Path
    prompts: Path | None = None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class ReviewCase:
    """A case in memory. ``fits`` says whether the segmentation is on the image's grid; nothing is resampled.

    ``probability`` and ``uncertainty`` are float32 ``[i, j, k]`` by segment name, of those segments that have them.
    """

    files: ReviewFiles
    volume: Volume
    segmentation: Segmentation
    prompts: PromptSet = field(default_factory=PromptSet)
    probability: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    uncertainty: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether the segmentation's grid is the image's."""
        return self.segmentation.grid.same_as(self.volume.grid)


def find_review_cases(folder: Path) -> list[ReviewFiles]:
    """The cases in ``folder``, or ``folder`` itself if it is one, in the order of their names.

    What cannot be reviewed is listed with its problem. Raises `InputError` if there is none.
    """
    found = []
    for case in find_cases(folder):
        place = case.image if case.problem else case.image.parent
        own = next((place / n for n in _SEGMENTATION if (place / n).is_file()), case.labels)
        problem = case.problem
        if not problem and own is None:
            problem = f"The case {place} has no segmentation: put segmentation.seg.nrrd (or labels.nii.gz) there."
        found.append(ReviewFiles(case.name, place, case.image, own or place, case.prompts, problem))
    return found


def load_review_case(files: ReviewFiles) -> ReviewCase:
    """Read a case. Raises `InputError` with one sentence if it cannot be reviewed."""
    if files.problem:
        raise InputError(files.problem)
    volume = read_volume(files.image)
    segmentation = read_segmentation(files.segmentation, volume.grid)
    prompts = PromptSet() if files.prompts is None else read_prompts(files.prompts)
    maps = [_maps(files.folder, kind, segmentation.names, volume) for kind in ("probability", "uncertainty")]
    return ReviewCase(files, volume, segmentation, prompts, *maps)


def _maps(folder: Path, kind: str, names: Sequence[str], volume: Volume) -> dict[str, NDArray[np.float32]]:
    """The maps of a kind that are there, by segment; one on another grid is none of this image."""
    found = {}
    for ending in IMAGE_ENDINGS:
        for name, path in file_names(folder / f"{kind}{ending}", ending, names).items():
            if name not in found and path.is_file():
                read = read_volume(path)
                if read.grid.same_as(volume.grid):
                    found[name] = as_fraction(read.array)
    return found
