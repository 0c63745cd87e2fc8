"""What can be downloaded, why something cannot, and the writing of it: by the writer that every front end uses.

What is written is taken from the scene at one moment (`take`); writing it (`write`) needs the scene no more, so that it
is done on a thread while the page lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.app.case import Case
from PWSegmentationLib.app.images import Opened
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.file_names import file_names
from PWSegmentationLib.export.maps import write_map
from PWSegmentationLib.export.writing import check_installed, write_segmentation
from PWSegmentationLib.files import in_short
from PWSegmentationLib.mrml import segmentation_from_node
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.prompts.json_format import write_prompts
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.review.report import check_installed as check_report
from PWSegmentationLib.review.review import SegmentReview
from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.volume.dicom import series_files
from PWSegmentationLib.volume.volume import Volume


@dataclass(frozen=True)
class Format:
    """One thing that can be chosen: ``what`` it is made of, and its files' word and ending, IMAGE-WORD.ENDING."""

    what: Literal["segments", "map", "report", "prompts", "scene"]
    word: str
    ending: str


FORMATS: Mapping[str, Format] = {
    "segmentation": Format("segments", "segmentation", ".seg.nrrd"),
    "nifti": Format("segments", "labelmap", ".nii.gz"),
    "nrrd": Format("segments", "labelmap", ".nrrd"),
    "dicom": Format("segments", "segmentation", ".seg.dcm"),
    "stl": Format("segments", "surface", ".stl"),
    "obj": Format("segments", "surface", ".obj"),
    "ply": Format("segments", "surface", ".ply"),
    "probability": Format("map", "probability", ".nii.gz"),
    "uncertainty": Format("map", "uncertainty", ".nii.gz"),
    "report": Format("report", "review", ".html"),
    "prompts": Format("prompts", "prompts", ".json"),
    "scene": Format("scene", "scene", ".mrb"),
}


NOTHING = "Nothing is segmented yet: place a prompt in a structure first."


@dataclass(frozen=True)
class Wishes:
    """What the user has chosen: ``kinds`` of `FORMATS`; maps as numbers to 255 instead of fractions; provenance."""

    kinds: tuple[str, ...]
    eight_bit: bool = False
    provenance: bool = True


@dataclass(frozen=True, eq=False)
class Contents:
    """What there is to write, at one moment; ``predictions`` by segment name, of the segments that have voxels.

    ``reviews`` and ``reviewed``, segments as they were when they were reviewed last and not as they are, are for the
    report.
    """

    name: str
    source: Path
    segmentation: Segmentation
    predictions: Mapping[str, Prediction]
    prompts: PromptSet
    provenance: Mapping[str, Any]
    volume: Volume
    reviews: Sequence[SegmentReview] = ()
    reviewed: Mapping[str, Segment] = field(default_factory=dict)


def problems(opened: Opened, case: Case) -> dict[str, str]:
    """Of all that cannot be had now, the reason in one sentence."""
    return {kind: reason for kind, chosen in FORMATS.items() if (reason := _problem(kind, chosen, opened, case))}


def _problem(kind: str, chosen: Format, opened: Opened, case: Case) -> str:
    if chosen.what == "prompts":
        return "" if case.session.store.prompted() else "There are no prompts yet: place one first."
    if chosen.what == "scene":
        return ""
    filled = [i for i in case.segment_ids() if case.volume_ml(i)]
    if not filled:
        return NOTHING
    if kind == "dicom" and not opened.is_dicom:
        return "The image is not DICOM: choose another format, or open the DICOM series itself."
    forgotten = next((i for i in filled if case.session.prediction(i) is None), None)
    if chosen.what == "map" and forgotten is not None:
        name = case.segment(forgotten).GetName()
        return f"The {kind} of '{name}' is not known any more: select the segment and press Segment."
    try:
        if chosen.what == "report":
            check_report()
        check_installed(chosen.ending)
    except InputError as error:
        return str(error)
    return ""


def take(
    opened: Opened,
    case: Case,
    reviews: Sequence[SegmentReview] = (),
    reviewed: Mapping[str, Segment] | None = None,
) -> Contents:
    """What there is to write now; see `Contents`. To be called where the scene is used."""
    case.session.finish_writing()
    segmentation = segmentation_from_node(case.segmentation_node, case.session.volume_node)
    found = {case.segment(i).GetName(): case.session.prediction(i) for i in case.segment_ids()}
    filled = {s.name for s in segmentation.segments if s.voxels}
    return Contents(
        name=_stem(opened.name),
        source=opened.source,
        segmentation=segmentation,
        predictions={name: p for name, p in found.items() if p is not None and name in filled},
        prompts=case.session.store.prompt_set(),
        provenance=case.session.session.provenance(),
        volume=case.session.session.volume,
        reviews=reviews,
        reviewed=reviewed or {},
    )


def write(contents: Contents, wishes: Wishes, folder: Path, progress: Progress) -> list[Path]:
    """Write all that is wished for but the scene into ``folder``; the files. Needs no scene.

    Raises
    ------
    InputError
        With one sentence, if something cannot be had or written.
    """
    files: list[Path] = []
    kinds = [kind for kind in FORMATS if kind in wishes.kinds and FORMATS[kind].what != "scene"]
    try:
        for number, kind in enumerate(kinds):
            path = folder / file_name(contents.name, kind)
            progress(number / len(kinds), path.name)
            # Two labelmaps have their tables in common.
            files += [f for f in _write_one(contents, wishes, kind, path) if f not in files]
    except OSError as error:
        raise InputError(f"The files could not be written ({in_short(error)}): free some disk space.") from error
    return files


def _write_one(contents: Contents, wishes: Wishes, kind: str, path: Path) -> Sequence[Path]:
    chosen, grid = FORMATS[kind], contents.segmentation.grid
    if chosen.what == "segments":
        said = contents.provenance if wishes.provenance else None
        source = series_files(contents.source) if kind == "dicom" else ()
        return write_segmentation(contents.segmentation, path, provenance=said, source=source)
    if chosen.what == "map":
        paths = file_names(path, chosen.ending, list(contents.predictions))
        for name, file in paths.items():
            write_map(getattr(contents.predictions[name], kind), grid, file, eight_bit=wishes.eight_bit)
        return list(paths.values())
    if chosen.what == "report":
        return [_write_report(contents, path)]
    write_prompts(contents.prompts, path)
    return [path]


def _write_report(contents: Contents, path: Path) -> Path:
    """The page that `pwseg review` writes."""
    from PWSegmentationLib.review.record import ReviewRecord
    from PWSegmentationLib.review.report import draw, write_case_page
    from PWSegmentationLib.review.review import CaseReview
    from PWSegmentationLib.review.review_cases import ReviewCase, ReviewFiles

    files = ReviewFiles(contents.name, path.parent, contents.source, path)
    maps = (_Maps(contents.predictions, kind) for kind in ("probability", "uncertainty"))
    case = ReviewCase(files, contents.volume, contents.segmentation, contents.prompts, *maps)
    review = CaseReview(files, tuple(contents.reviews), case=case)
    return write_case_page(review, draw(review, ReviewRecord(reviewed=contents.reviewed)), path)


class _Maps(Mapping[str, NDArray[np.float32]]):
    """Maps over the whole image by segment, made when they are asked for: together they may not fit into memory."""

    def __init__(self, predictions: Mapping[str, Prediction], kind: str) -> None:
        self._predictions, self._kind = predictions, kind

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        found: NDArray[np.float32] = getattr(self._predictions[name], self._kind)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._predictions)

    def __len__(self) -> int:
        return len(self._predictions)


def file_name(name: str, kind: str) -> str:
    """What the file of a kind is called, for an image with this name."""
    chosen = FORMATS[kind]
    return f"{_stem(name)}-{chosen.word}{chosen.ending}"


def _stem(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "image"
