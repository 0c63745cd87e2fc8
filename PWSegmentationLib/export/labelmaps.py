"""A flat labelmap with its table beside it: names and values as JSON, colours as Slicer's colour table.

``NAME.labels.json`` holds ``{"liver": 1, ...}``, which `cases.label_names` reads. ``NAME.ctbl`` is what Slicer colours
the labelmap by; it cannot tell an underscore from a space, so that names come from the JSON file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from PWSegmentationLib.cases.label_names import read_names
from PWSegmentationLib.cases.labels import whole_numbers
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json
from PWSegmentationLib.segments.colors import Color
from PWSegmentationLib.segments.segmentation import Segmentation
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.writing import IMAGE_ENDINGS, check_ending, write_image_to


def side_cars(path: Path) -> tuple[Path, Path]:
    """Where the names and the colours of the labelmap ``path`` are."""
    stem = path.name[: -len(check_ending(path, IMAGE_ENDINGS))]
    return path.with_name(f"{stem}.labels.json"), path.with_name(f"{stem}.ctbl")


def write_labelmap(
    segmentation: Segmentation, paths: Sequence[Path], ending: str, priority: Sequence[str] | None = None
) -> None:
    """Write the labelmap, its names and its colours to three ``paths``; see `Segmentation.flat` for ``priority``."""
    write_image_to(segmentation.flat(priority), segmentation.grid, paths[0], ending)
    text = json.dumps(segmentation.values, indent=1, ensure_ascii=False)
    paths[1].write_text(text + "\n", encoding="utf-8")
    paths[2].write_text(_color_table(segmentation), encoding="utf-8")


def check_table(path: Path, values: Mapping[str, int]) -> None:
    """Raise `InputError` if the names that come with the labelmap ``path`` would be wrong for another labelmap.

    Labelmaps whose names differ in nothing but the ending have one table, which may not change for one of them alone.
    """
    stem = path.name[: -len(check_ending(path, IMAGE_ENDINGS))]
    table = _table_of(path)
    try:
        said = values if table is None else _single(table)
    except InputError:
        # Nothing can be read by such a table, and nothing be lost with it.
        return
    if said == values:
        return
    for other in (path.with_name(stem + ending) for ending in IMAGE_ENDINGS):
        if other.name != path.name and other.is_file() and _has_only(other, said.values()):
            raise InputError(
                f"{side_cars(path)[0]} would not fit {other} any more, whose names are in {table}: give {path.name} "
                "another name, or remove that file."
            )


def read_labelmap(path: Path) -> Segmentation:
    """A labelmap with its side-cars; without names (``labels.json`` in the folder counts too) "label 1", ...

    Raises
    ------
    InputError
        If it is no labelmap, or a value in it has no name.
    """
    volume = read_volume(path)
    labels = whole_numbers(volume.array, path)
    found = {int(v) for v in np.unique(labels)} - {0}
    table, colors = _table_of(path), side_cars(path)[1]
    values = {f"label {v}": v for v in sorted(found)} if table is None else _single(table)
    strange = sorted(found - set(values.values()))
    if strange:
        raise InputError(f"{path} holds the value {strange[0]}, which has no name: add it to {table}.")
    made = Segmentation.of_labels(labels, volume.grid, values)
    shown = _read_colors(colors) if colors.is_file() else {}
    return replace(made, segments=tuple(replace(s, color=shown.get(s.value, s.color)) for s in made.segments))


def read_table(path: Path) -> dict[str, int]:
    """A label table, ``{"liver": 1, ...}`` or a Slicer colour table (``.ctbl``): values by name."""
    if path.suffix.lower() == ".ctbl":
        return {name: value for value, name in _read_ctbl_names(path).items() if value}
    return _single(path)


def _table_of(path: Path) -> Path | None:
    """Where the names of a labelmap are; None where there are none."""
    return next((t for t in (side_cars(path)[0], path.with_name("labels.json")) if t.is_file()), None)


def _has_only(path: Path, values: Iterable[int]) -> bool:
    """Whether a file is a labelmap of no other ``values``: what lies beside one of the same name may be the image."""
    try:
        return bool(np.isin(whole_numbers(read_volume(path).array, path), [0, *values]).all())
    except InputError:
        return False


def _single(table: Path) -> dict[str, int]:
    if read_json(table, "label names") == {}:
        return {}
    names = read_names(table)
    several = next((n for n, v in names.items() if len(v) > 1), None)
    if several is not None:
        raise InputError(f"{table} gives '{several}' several values: an exported segment has one.")
    return {name: values[0] for name, values in names.items()}


def _color_table(segmentation: Segmentation) -> str:
    lines = ["# Color", "0 Background 0 0 0 0"]
    for segment in sorted(segmentation.segments, key=lambda s: s.value):
        name = re.sub(r"\s+", "_", segment.name.strip()) or "_"
        lines.append(" ".join(map(str, (segment.value, name, *segment.rgb, 255))))
    return "\n".join(lines) + "\n"


def _rows(path: Path) -> list[list[str]]:
    """The words of every line that says something of a value."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"Cannot read the label table {path}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no colour table in UTF-8: save it again, or remove it.") from error
    words = (line.split() for line in lines if not line.startswith("#"))
    return [w for w in words if len(w) >= 5 and w[0].isdecimal()]


def _read_colors(path: Path) -> dict[int, Color]:
    found: dict[int, Color] = {}
    for value, _, *rgb in _rows(path):
        if not all(v.isdecimal() and int(v) <= 255 for v in rgb[:3]):
            raise InputError(
                f"{path} gives the value {value} the colour '{' '.join(rgb[:3])}': write whole numbers from 0 to 255."
            )
        found[int(value)] = (int(rgb[0]) / 255, int(rgb[1]) / 255, int(rgb[2]) / 255)
    return found


def _read_ctbl_names(path: Path) -> dict[int, str]:
    return {int(w[0]): w[1].replace("_", " ") for w in _rows(path)}
