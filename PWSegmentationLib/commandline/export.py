"""``pwseg export``: a segmentation into other formats, or those of a folder of cases."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib.commandline.export_options import (
    add_export_options,
    label_table,
    source_files,
    write_all,
)
from PWSegmentationLib.commandline.file_checks import NamedFile, check_files, given, image_files, output_files
from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.segments.segmentation import Segmentation
    from PWSegmentationLib.volume.volume import Volume

_DESCRIPTION = """\
Write a segmentation in other formats: names, values, colours and voxels stay what they are.

SEGMENTATION is a Slicer segmentation (.seg.nrrd), a labelmap with its .labels.json and .ctbl, or a DICOM segmentation;
or a folder of cases (see `pwseg review --help`), of which each is written to OUT/CASE.ENDING.
"""

_EPILOG = """\
examples:
  pwseg export organs.seg.nrrd -o organs.nii.gz --labels table.json
  pwseg export organs.seg.nrrd --image DICOM_FOLDER -o organs.seg.dcm
  pwseg export organs.nii.gz -o organs.stl                     a file for each segment, organs.liver.stl, ...
  pwseg export CASES -o OUT --to .nii.gz --to .stl             every case of a folder
"""


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "export",
        help="write a segmentation in other formats",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("segmentation", metavar="SEGMENTATION", type=Path, help="a file, or a folder of cases")
    text = "a file, whose ending says the format, may be repeated; for a folder of cases a folder"
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, action="append", required=True, help=text)
    text = "for a folder of cases: the format, as its ending; may be repeated (default: .seg.nrrd)"
    parser.add_argument("--to", metavar="ENDING", action="append", default=[], help=text)
    text = "the image; a DICOM segmentation refers to its series, and is read onto its grid"
    parser.add_argument("--image", metavar="IMAGE", type=Path, help=text)
    parser.add_argument("--series", metavar="N", help="DICOM series number (or UID) where IMAGE holds several")
    add_export_options(parser)
    parser.add_argument("--quiet", action="store_true", help="do not list what was written")


def run(args: argparse.Namespace) -> None:
    """Read and write."""
    files = _folder(args) if args.segmentation.is_dir() else _file(args)
    if not args.quiet:
        print("\n".join(f"wrote {file}" for file in files))


def _file(args: argparse.Namespace) -> list[Path]:
    from PWSegmentationLib.export.reading import read_segmentation
    from PWSegmentationLib.export.writing import ENDINGS, check_installed
    from PWSegmentationLib.volume.reading import read_volume
    from PWSegmentationLib.volume.writing import check_ending

    if args.to:
        raise InputError("--to is for a folder of cases: give -o a file name with the ending.")
    for path in args.output:
        check_installed(check_ending(path, ENDINGS))
    _check_files(args, args.output, [(args.segmentation, args.image)], args.series)
    volume = None if args.image is None else read_volume(args.image, series=args.series)
    found = read_segmentation(args.segmentation, None if volume is None else volume.grid)
    _check_files(args, args.output, [(args.segmentation, args.image)], args.series, found.names)
    return _write(found, volume, args.output, args, source_files(args.image, args.series, args.output))


def _folder(args: argparse.Namespace) -> list[Path]:
    from PWSegmentationLib.export.file_names import own_file_names
    from PWSegmentationLib.export.writing import ENDINGS, check_installed
    from PWSegmentationLib.review.review_cases import find_review_cases, load_review_case
    from PWSegmentationLib.volume.writing import check_ending

    endings = args.to or [".seg.nrrd"]
    for ending in endings:
        check_installed(check_ending(f"x{ending}", ENDINGS))
    if len(args.output) > 1:
        raise InputError("For a folder of cases, give one -o, a folder.")
    cases = find_review_cases(args.segmentation)
    inputs = [(c.segmentation, c.image) for c in cases]
    outputs = {ending: own_file_names(args.output[0], ending, [c.name for c in cases]) for ending in endings}
    _check_files(args, [path for paths in outputs.values() for path in paths.values()], inputs, None)
    written: list[Path] = []
    for paths in outputs.values():
        for files in cases:
            case = load_review_case(files)
            path = paths[files.name]
            _check_files(args, [path], inputs, None, case.segmentation.names)
            written += _write(case.segmentation, case.volume, [path], args, source_files(files.image, None, [path]))
    return written


def _check_files(
    args: argparse.Namespace,
    outputs: Sequence[Path],
    inputs: Sequence[tuple[Path, Path | None]],
    series: str | None,
    names: Sequence[str] = (),
) -> None:
    """Raise `InputError` if an output is one of the ``inputs``, segmentations and their images, or is written twice.

    Surfaces are only looked for when the ``names`` of segments are known.
    """
    written = output_files(outputs, names, provenance=any(image is not None for _, image in inputs))
    read = [NamedFile(segmentation, "the segmentation itself") for segmentation, _ in inputs]
    read += [file for _, image in inputs for file in image_files(image, series, written)]
    check_files([*read, *given(args.labels, "--labels")], written)


def _write(
    found: Segmentation, volume: Volume | None, outputs: list[Path], args: argparse.Namespace, source: list[Path]
) -> list[Path]:
    from dataclasses import replace

    from PWSegmentationLib.export.provenance import provenance
    from PWSegmentationLib.segments.segmentation import label_values

    table = label_table(args)
    if table is not None:
        values = label_values(found.names, table)
        found = replace(found, segments=tuple(replace(s, value=values[s.name]) for s in found.segments))
    said = None if volume is None else provenance(volume, by=args.by, dated=args.dated)
    return write_all(found, outputs, args, said, source)
