"""What every command that writes segments lets the user choose."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.segments.segmentation import Segmentation


def add_export_options(group: Any) -> None:
    """Add label table, priority, who and when."""
    text = 'values of a labelmap, {"liver": 1, ...} or a Slicer .ctbl; every segment must be in it'
    group.add_argument("--labels", metavar="TABLE", type=Path, help=text)
    text = "which segments have a voxel that several share, in a labelmap; names separated by commas, the first wins"
    group.add_argument("--priority", metavar="NAMES", help=text)
    text = "who made this, for the provenance (default: nobody is named)"
    group.add_argument("--by", metavar="NAME", default="", help=text)
    group.add_argument("--dated", action="store_true", help="say in the provenance when this was made")


def label_table(args: argparse.Namespace) -> dict[str, int] | None:
    """The values chosen, by name; None for 1, 2, ..."""
    from PWSegmentationLib.export.labelmaps import read_table

    return None if args.labels is None else read_table(args.labels)


def priority_of(args: argparse.Namespace) -> list[str] | None:
    """The names in ``--priority``; None without it."""
    return None if args.priority is None else [name.strip() for name in args.priority.split(",")]


def source_files(image: Path | None, series: str | None, outputs: Sequence[Path]) -> list[Path]:
    """The files of the DICOM series that ``image`` is, where one of the outputs refers to them."""
    from PWSegmentationLib.volume.dicom import is_dicom, series_files

    if image is None or not any(p.name.lower().endswith(".seg.dcm") for p in outputs):
        return []
    return series_files(image, series) if image.is_dir() or is_dicom(image) else []


def write_all(
    segmentation: Segmentation,
    outputs: Sequence[Path],
    args: argparse.Namespace,
    provenance: Mapping[str, Any] | None,
    source: Sequence[Path],
) -> list[Path]:
    """Write every output; the files."""
    from PWSegmentationLib.export.writing import check_segments, write_segmentation

    priority = priority_of(args)
    check_segments(outputs, segmentation.values, priority)
    files: list[Path] = []
    for path in outputs:
        written = write_segmentation(segmentation, path, priority=priority, provenance=provenance, source=source)
        files += [f for f in written if f not in files]
    return files
