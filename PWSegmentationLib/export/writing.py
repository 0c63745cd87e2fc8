"""The one way from segments to a file: the ending says which format, and side-cars go with it as a group.

A file and its side-cars are replaced together or not at all: see `files.replacing_together`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.file_names import file_names
from PWSegmentationLib.export.labelmaps import check_table, side_cars, write_labelmap
from PWSegmentationLib.export.seg_nrrd import write_seg_nrrd
from PWSegmentationLib.extras import no_highdicom, not_installed
from PWSegmentationLib.files import replacing_together, sha256
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.segments.colors import Color
from PWSegmentationLib.segments.segmentation import Segmentation
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.writing import IMAGE_ENDINGS, check_ending

SEGMENTATION_ENDINGS = (".seg.nrrd", ".seg.dcm")
SURFACE_ENDINGS = (".stl", ".obj", ".ply")
ENDINGS = SEGMENTATION_ENDINGS + IMAGE_ENDINGS + SURFACE_ENDINGS


def write_segmentation(
    segmentation: Segmentation,
    path: str | Path,
    *,
    priority: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    source: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Write segments to a file whose ending says how.

    ``.seg.nrrd``
        A Slicer segmentation with values, names, colours, terminology and status. Segments may overlap.
    ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``
        A labelmap, ``NAME.labels.json`` with its values by name, and ``NAME.ctbl`` with its colours. Segments may
        overlap only where ``priority`` says who has the voxel.
    ``.seg.dcm``
        A DICOM segmentation (see `export.dicom_seg`). Segments may overlap.
    ``.stl``, ``.obj``, ``.ply``
        Surfaces in mm (see `export.surfaces`); several segments are written to one file each, ``STEM.SEGMENT.stl``.

    Parameters
    ----------
    priority
        Names of segments; see `Segmentation.flat`.
    provenance
        How the segments came about (see `export.provenance`); goes beside the file as ``FILE.provenance.json``.
    source
        The files of the DICOM series that the image came from.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        If the ending is unknown, what is asked for cannot be had in that format, or a labelmap of the same name and
        another ending would be left with a wrong table.
    OSError
        If the file cannot be written; what was there before is untouched.
    """
    path = Path(path)
    ending = check_ending(path, ENDINGS)
    paths = [path]
    if ending in IMAGE_ENDINGS:
        check_table(path, segmentation.values)
        paths += side_cars(path)
    elif ending in SURFACE_ENDINGS:
        paths = list(file_names(path, ending, [s.name for s in segmentation.segments if s.voxels]).values())
        if not paths:
            raise InputError("There is no surface to write: every segment is empty.")
    described = paths + ([provenance_path(path)] if provenance is not None else [])
    with replacing_together(described) as temporary:
        _write(segmentation, temporary, ending, priority, source)
        if provenance is not None:
            _write_provenance(provenance, dict(zip(paths, temporary, strict=False)), temporary[-1])
    return tuple(described)


def write_segments(
    predictions: Mapping[str, Prediction],
    grid: Grid,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    colors: Mapping[str, Color] | None = None,
    values: Mapping[str, int] | None = None,
    **options: object,
) -> tuple[Path, ...]:
    """Write predictions, all on ``grid``, to a file whose ending says how; see `write_segmentation`.

    Parameters
    ----------
    predictions
        By segment name.
    names, colors, values
        See `Segmentation.of`.
    options
        Those of `write_segmentation`: priority, provenance, source.

    Returns
    -------
    The files written.

    Raises
    ------
    InputError
        If the ending is unknown, segments overlap in a labelmap, or a segment has no value.
    """
    made = Segmentation.of(predictions, grid, names=names, colors=colors, values=values)
    return write_segmentation(made, path, **options)  # type: ignore[arg-type]


def files_of(path: Path, names: Sequence[str], *, provenance: bool) -> tuple[list[Path], list[Path]]:
    """The files, and their side-cars, that `write_segmentation` may write for segments called ``names``.

    Surfaces of segments that turn out empty are not written. Raises `InputError` if the ending is unknown.
    """
    ending = check_ending(path, ENDINGS)
    beside = [provenance_path(path)] if provenance else []
    if ending in SURFACE_ENDINGS:
        return list(dict.fromkeys([path, *file_names(path, ending, names).values()])), beside
    return [path], [*(side_cars(path) if ending in IMAGE_ENDINGS else ()), *beside]


def check_segments(paths: Iterable[Path], values: Mapping[str, int], priority: Sequence[str] | None) -> None:
    """Raise `InputError` if one of ``paths`` cannot hold the names, ``values`` by name, or ``priority`` names others.

    Or if one of them is a labelmap whose table would be wrong for another labelmap.
    """
    from PWSegmentationLib.export.dicom_seg import check_names

    made = Segmentation.of({}, Grid((1, 1, 1), np.eye(4)), names=list(values), values=values)
    for name in priority or ():
        made[name]
    for path in paths:
        ending = check_ending(path, ENDINGS)
        if ending in IMAGE_ENDINGS:
            check_table(path, values)
        elif ending == ".seg.dcm":
            check_names(made.names)


def check_installed(ending: str) -> None:
    """Raise `InputError` if a package that the format needs is missing."""
    if ending == ".seg.dcm" and importlib.util.find_spec("highdicom") is None:
        raise no_highdicom()
    if ending in SURFACE_ENDINGS and importlib.util.find_spec("vtkmodules") is None:
        raise not_installed("Surfaces need VTK", "surfaces")


def provenance_path(path: Path) -> Path:
    """Where the provenance of ``path`` is."""
    return path.with_name(f"{path.name}.provenance.json")


def _write(
    segmentation: Segmentation,
    paths: Sequence[Path],
    ending: str,
    priority: Sequence[str] | None,
    source: Sequence[Path],
) -> None:
    if ending == ".seg.nrrd":
        write_seg_nrrd(segmentation, paths[0])
    elif ending == ".seg.dcm":
        from PWSegmentationLib.export.dicom_seg import write_dicom_seg

        write_dicom_seg(segmentation, paths[0], source)
    elif ending in SURFACE_ENDINGS:
        from PWSegmentationLib.export.surfaces import write_surface

        for segment, path in zip((s for s in segmentation.segments if s.voxels), paths, strict=False):
            write_surface(segment, segmentation.grid, path, ending)
    else:
        write_labelmap(segmentation, paths, ending, priority)


def _write_provenance(provenance: Mapping[str, Any], files: Mapping[Path, Path], path: Path) -> None:
    digests = {final.name: sha256(temporary) for final, temporary in files.items()}
    document = {**provenance, "files": digests}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
