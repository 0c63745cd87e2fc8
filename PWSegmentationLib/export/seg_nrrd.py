"""Slicer's segmentation files (``.seg.nrrd``): an NRRD image of labels with names and colours in its header.

The fields are those of Slicer's developer guide, "Segmentation labelmap file format". The file is written here, and
not by a library, for two reasons: names are UTF-8 and segments that overlap need an axis of kind "list", which no
single writer offers; and slice by slice, layers need no interleaved copy of themselves.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import replacing
from PWSegmentationLib.segments.colors import Color, color
from PWSegmentationLib.segments.segmentation import STATUSES, Segment, Segmentation, Status
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid, Region
from PWSegmentationLib.volume.reading import itk_affine

STATUS_TAG = "Segmentation.Status"
TERMINOLOGY_TAG = "TerminologyEntry"
_HEADER_END = b"\n\n"


def write_seg_nrrd(segmentation: Segmentation, path: Path) -> None:
    """Write a segmentation; segments that overlap are on several layers. The file is made or overwritten in place."""
    layers, layer_of = segmentation.layers()
    header = [*_image_fields(layers, segmentation.grid), *_segment_fields(segmentation, layer_of)]
    # 16 + MAX_WBITS is the gzip container. The fastest level: labels are mostly runs of one value.
    packer = zlib.compressobj(level=1, wbits=16 + zlib.MAX_WBITS)
    with path.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode() + b"\n")
        for piece in _slices(layers):
            file.write(packer.compress(piece))
        file.write(packer.flush())


def read_seg_nrrd(path: Path) -> Segmentation:
    """Read what Slicer or `write_seg_nrrd` wrote.

    Raises
    ------
    InputError
        If the file is no segmentation, or damaged.
    """
    import SimpleITK

    fields = read_fields(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(f"Cannot read {path}: it is no segmentation, or it is damaged.") from error
    grid = Grid(image.GetSize(), itk_affine(image.GetSpacing(), image.GetDirection(), image.GetOrigin()))
    # The layer is the last axis of the array, or there is none.
    array = SimpleITK.GetArrayViewFromImage(image)
    layers = [array.T] if array.ndim == 3 else [array[..., n].T for n in range(array.shape[3])]
    segments, places = [], []
    # Numbers may have gaps, where a program left a segment out.
    for index in sorted(int(found[1]) for key in fields if (found := re.fullmatch(r"Segment(\d+)_ID", key))):
        of_segment = {k.split("_", 1)[1]: v for k, v in fields.items() if k.startswith(f"Segment{index}_")}
        try:
            places.append(_place(of_segment, len(layers), index))
            segments.append(_segment(of_segment, layers, *places[-1], index))
        except InputError as error:
            raise InputError(f"{path} is damaged: Segment{index}_{error}; save it again.") from error
    numbered = zip(segments, _values(places), strict=True)
    return Segmentation(grid, tuple(replace(segment, value=value) for segment, value in numbered))


def read_fields(path: Path) -> dict[str, str]:
    """The ``key:=value`` pairs of an NRRD file's header, unescaped."""
    with path.open("rb") as file:
        head = file.read(5)
        if not head.startswith(b"NRRD"):
            raise InputError(f"{path} is no NRRD file.")
        lines = iter(file.readline, b"")
        pairs = [line.decode("utf-8", "replace").rstrip("\r\n").partition(":=") for line in _until_blank(lines)]
    return {key: _unescaped(value) for key, separator, value in pairs if separator}


def set_statuses(path: Path, statuses: Mapping[str, Status]) -> None:
    """Change the status of segments, by name, in a segmentation file; all else in it stays as it is, byte for byte."""
    head, end, voxels = path.read_bytes().partition(_HEADER_END)
    lines = head.decode("utf-8").split("\n")
    fields = read_fields(path)
    for key, name in fields.items():
        if not re.fullmatch(r"Segment\d+_Name", key) or name not in statuses:
            continue
        tags = {**_tags(fields.get(key.replace("_Name", "_Tags"), "")), STATUS_TAG: statuses[name]}
        start = key.replace("_Name", "_Tags:=")
        lines = [line for line in lines if not line.startswith(start)]
        lines.append(start + _joined(tags))
    with replacing(path) as temporary:
        temporary.write_bytes("\n".join(lines).encode() + end + voxels)


def _until_blank(lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        if not line.strip():
            return
        yield line


def _place(fields: Mapping[str, str], layers: int, index: int) -> tuple[int, int]:
    """The layer that a segment is on, and its value there."""
    # Before 4.11, Slicer did not say: every segment had a layer of its own, and was 1 there.
    layer = _number(fields, "Layer", index if layers > 1 else 0)
    if not 0 <= layer < layers:
        raise InputError(f"Layer is {layer}, and there are {layers}")
    return layer, _number(fields, "LabelValue", 1 if layers > 1 else index + 1)


def _values(places: Sequence[tuple[int, int]]) -> list[int]:
    """A value for each segment: its own, or, where one on another layer has that already, as in Slicer, a free one."""
    taken = {value for _, value in places}
    free = (n for n in count(1) if n not in taken)
    first: dict[int, int] = {}
    return [value if first.setdefault(value, layer) == layer else next(free) for layer, value in places]


def _segment(fields: Mapping[str, str], layers: Sequence[NDArray[Any]], layer: int, value: int, index: int) -> Segment:
    mask = layers[layer] == value
    region = Region.around(mask)
    rgb = _rgb(fields.get("Color", ""))
    tags = _tags(fields.get("Tags", ""))
    status = tags.get(STATUS_TAG, "")
    made = Segment(
        fields.get("Name", fields["ID"]),
        value,
        color(index) if rgb is None else rgb,
        terminology=tags.get(TERMINOLOGY_TAG, ""),
        status=status if status in STATUSES else "",  # type: ignore[arg-type]
    )
    return made if region is None else replace(made, region=region, mask=mask[region.slices].copy())


def _number(fields: Mapping[str, str], key: str, otherwise: int) -> int:
    try:
        return int(fields.get(key, otherwise))
    except ValueError as error:
        raise InputError(f"{key} is '{fields[key]}', which is no whole number") from error


def _rgb(text: str) -> Color | None:
    """Red, green, blue in [0, 1]; None where there are no three numbers."""
    try:
        rgb = [float(v) for v in text.split()]
    except ValueError as error:
        raise InputError(f"Color is '{text}', which are no numbers") from error
    if len(rgb) != 3:
        return None
    if not all(0.0 <= v <= 1.0 for v in rgb):
        raise InputError(f"Color is '{text}', which is not from 0 to 1")
    return (rgb[0], rgb[1], rgb[2])


def _tags(text: str) -> dict[str, str]:
    return dict(pair.split(":", 1) for pair in text.split("|") if ":" in pair)


def _joined(tags: Mapping[str, str]) -> str:
    # Older versions of Slicer want the closing bar.
    return "".join(f"{key}:{_escaped(value)}|" for key, value in tags.items()) or "|"


def _image_fields(layers: Sequence[NDArray[Any]], grid: Grid) -> list[str]:
    several = len(layers) > 1
    affine = RAS_TO_LPS @ grid.affine
    directions = " ".join(_vector(affine[:3, axis]) for axis in range(3))
    sizes = " ".join(str(n) for n in grid.shape)
    return [
        "NRRD0004",
        f"type: {layers[0].dtype.name}",
        f"dimension: {4 if several else 3}",
        "space: left-posterior-superior",
        f"sizes: {f'{len(layers)} ' if several else ''}{sizes}",
        f"space directions: {'none ' if several else ''}{directions}",
        f"kinds: {'list ' if several else ''}domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(affine[:3, 3])}",
    ]


def _segment_fields(segmentation: Segmentation, layer_of: Mapping[str, int]) -> Iterator[str]:
    yield "Segmentation_MasterRepresentation:=Binary labelmap"
    # Older versions of Slicer want the closing bar, here and in the tags.
    yield "Segmentation_ContainedRepresentationNames:=Binary labelmap|"
    yield "Segmentation_ReferenceImageExtentOffset:=0 0 0"
    yield f"Segmentation_ConversionParameters:=Reference image geometry|{_geometry(segmentation.grid)}|&"
    whole = Region.whole(segmentation.grid.shape)
    for index, segment in enumerate(segmentation.segments):
        extent = whole if segment.region.is_empty else segment.region
        bounds = zip(extent.start, extent.stop, strict=True)
        tags = {STATUS_TAG: segment.status, TERMINOLOGY_TAG: segment.terminology}
        yield f"Segment{index}_ID:=Segment_{index + 1}"
        yield f"Segment{index}_Name:={_escaped(segment.name)}"
        yield f"Segment{index}_NameAutoGenerated:=0"
        yield f"Segment{index}_Color:={' '.join(f'{v:.6g}' for v in segment.color)}"
        yield f"Segment{index}_ColorAutoGenerated:=0"
        yield f"Segment{index}_LabelValue:={segment.value}"
        yield f"Segment{index}_Layer:={layer_of[segment.name]}"
        yield f"Segment{index}_Extent:={' '.join(f'{a} {b - 1}' for a, b in bounds)}"
        yield f"Segment{index}_Tags:={_joined({k: v for k, v in tags.items() if v})}"


def _geometry(grid: Grid) -> str:
    """The lattice that all segments are on, as Slicer writes it: IJK to RAS, row by row, and first and last indices."""
    values = [*(repr(float(v)) for v in grid.affine.ravel()), *(str(v) for n in grid.shape for v in (0, n - 1))]
    return "".join(f"{value};" for value in values)


def _slices(layers: Sequence[NDArray[Any]]) -> Iterator[bytes]:
    """The voxels in the file's order: layer fastest, then i, j, k."""
    little = layers[0].dtype.newbyteorder("<")
    for k in range(layers[0].shape[2]):
        piece = np.stack([layer[:, :, k].T for layer in layers], axis=-1)
        yield piece.astype(little, copy=False).tobytes()


def _vector(values: NDArray[np.float64]) -> str:
    """All digits, so that the grid comes back exactly."""
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)


def _escaped(name: str) -> str:
    """A value on one line, with NRRD's escapes; all other white space is kept as it is."""
    return re.sub(r"[\r\0]", " ", name).replace("\\", "\\\\").replace("\n", "\\n")
