"""Segmentations back from files, whatever their format."""

from __future__ import annotations

from pathlib import Path

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.labelmaps import read_labelmap
from PWSegmentationLib.export.placing import placed
from PWSegmentationLib.export.seg_nrrd import read_fields, read_seg_nrrd
from PWSegmentationLib.segments.segmentation import Segmentation
from PWSegmentationLib.volume.dicom import is_dicom
from PWSegmentationLib.volume.grid import Grid


def read_segmentation(path: str | Path, grid: Grid | None = None) -> Segmentation:
    """Read a Slicer segmentation, a labelmap with its side-cars, or a DICOM segmentation.

    Parameters
    ----------
    grid
        The image's; what covers a part of it, as DICOM segmentations do, is put onto it.

    Raises
    ------
    InputError
        If there is no such file, or it holds no segmentation.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no segmentation {path}.")
    name = path.name.lower()
    if is_dicom(path):
        from PWSegmentationLib.export.dicom_seg import read_dicom_seg

        return read_dicom_seg(path, grid)
    found = _read_image(path, name)
    return found if grid is None else placed(found, grid)


def _read_image(path: Path, name: str) -> Segmentation:
    # Slicer's files are recognised by what is in them: their name may have lost its ".seg".
    if name.endswith(".nrrd") and any(k.endswith("_LabelValue") or k == "Segment0_ID" for k in read_fields(path)):
        return read_seg_nrrd(path)
    if name.endswith(".seg.nrrd"):
        return read_seg_nrrd(path)
    return read_labelmap(path)
