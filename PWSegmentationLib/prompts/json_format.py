"""Prompt sets as JSON, the format `pwseg-prompts` version 1.

```
{"format": "pwseg-prompts", "version": 1, "coordinateSystem": "RAS",
 "segments": [{"name": "spleen",
   "points":    [{"position": [r, a, s], "positive": true}],
   "boxes":     [{"center": [r, a, s], "size": [x, y, z], "orientation": [9 numbers, optional]}],
   "scribbles": [{"points": [[r, a, s], ...], "radius": 2.0, "positive": true}],
   "strokes":   [{"file": "strokes.nrrd"} or {"shape": [i, j, k], "affine": [16 numbers], "labels": "..."}]}]}
```

Millimetres; `coordinateSystem` may be "LPS". `orientation` is row-major, its columns are the box axes. Strokes are
either a labelmap file (1 foreground, 2 background; its path is relative to the JSON file) or the voxels themselves:
uint8, `k` fastest, zlib-compressed, base64. Files written here hold them inline, so that one file is the whole set.

Entries of other names are refused: a misspelt "positive" would turn a prompt into its opposite.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json, replacing
from PWSegmentationLib.prompts.prompts import (
    IDENTITY,
    Box,
    Point,
    PromptSet,
    Scribble,
    SegmentPrompts,
    Strokes,
)
from PWSegmentationLib.volume.grid import RAS_TO_LPS

FORMAT = "pwseg-prompts"
VERSION = 1

_MOST_VOXELS = 2**31


def read_prompts(path: str | Path) -> PromptSet:
    """Read a prompt set from a `pwseg-prompts` JSON file.

    Raises
    ------
    InputError
        With one sentence that names the file and what is wrong in it.
    """
    path = Path(path)
    document = read_json(path, "prompts")
    try:
        return prompts_from_dict(document, folder=path.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_prompts(prompts: PromptSet, path: str | Path) -> None:
    """Write a prompt set as `pwseg-prompts` JSON; an existing file is replaced at once or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(prompts_to_dict(prompts), indent=1) + "\n", encoding="utf-8")


def prompts_to_dict(prompts: PromptSet) -> dict[str, Any]:
    """The prompt set as plain lists and numbers, RAS."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "coordinateSystem": "RAS",
        "segments": [_segment_to_dict(segment) for segment in prompts],
    }


def prompts_from_dict(document: Any, folder: Path | None = None) -> PromptSet:
    """The inverse of `prompts_to_dict`; ``folder`` is where stroke files are looked for; without it there may be none.

    Raises
    ------
    InputError
        With one sentence that says what is wrong.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f'This is not a prompt set: "format" must be "{FORMAT}".')
    if document.get("version") != VERSION:
        raise InputError(f"Prompt sets of version {document.get('version')!r} are not known here; {VERSION} is.")
    _refuse_unknown(document, ("format", "version", "coordinateSystem", "segments"), "The prompt set")
    system = document.get("coordinateSystem", "RAS")
    if system not in ("RAS", "LPS"):
        raise InputError(f'"coordinateSystem" must be "RAS" or "LPS", not {system!r}.')
    flip = np.ones(3) if system == "RAS" else np.diag(RAS_TO_LPS)[:3]
    segments = document.get("segments")
    if not isinstance(segments, list):
        raise InputError('A prompt set needs "segments", a list.')
    return PromptSet(tuple(_segment_from_dict(s, flip, folder) for s in segments))


def _segment_to_dict(segment: SegmentPrompts) -> dict[str, Any]:
    out: dict[str, Any] = {"name": segment.name}
    if segment.points:
        out["points"] = [{"position": list(p.position), "positive": p.positive} for p in segment.points]
    if segment.boxes:
        out["boxes"] = [_box_to_dict(b) for b in segment.boxes]
    if segment.scribbles:
        out["scribbles"] = [
            {"points": [list(p) for p in s.points], "radius": s.radius, "positive": s.positive}
            for s in segment.scribbles
        ]
    if segment.strokes:
        out["strokes"] = [
            {
                "shape": list(s.labels.shape),
                "affine": s.grid.affine.ravel().tolist(),
                "labels": base64.b64encode(zlib.compress(np.ascontiguousarray(s.labels).tobytes())).decode("ascii"),
            }
            for s in segment.strokes
        ]
    return out


def _box_to_dict(box: Box) -> dict[str, Any]:
    out: dict[str, Any] = {"center": list(box.center), "size": list(box.size)}
    if box.orientation != IDENTITY:
        out["orientation"] = list(box.orientation)
    return out


def _segment_from_dict(item: Any, flip: np.ndarray, folder: Path | None) -> SegmentPrompts:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str):
        raise InputError('Every segment needs a "name".')
    name = item["name"]
    _refuse_unknown(item, ("name", "points", "boxes", "scribbles", "strokes"), f"Segment '{name}'")
    try:
        return SegmentPrompts(
            name,
            tuple(_point_from_dict(p, flip) for p in item.get("points", ())),
            tuple(_box_from_dict(b, flip) for b in item.get("boxes", ())),
            tuple(_scribble_from_dict(s, flip) for s in item.get("scribbles", ())),
            tuple(_strokes_from_dict(s, flip, folder) for s in item.get("strokes", ())),
        )
    except InputError as error:
        raise InputError(f"Segment '{name}': {error}") from error
    except KeyError as error:
        raise InputError(f"Segment '{name}' has a prompt without {error}.") from error
    except (TypeError, ValueError, AttributeError, zlib.error) as error:
        raise InputError(f"Segment '{name}' has a prompt that cannot be read ({error}).") from error


def _point_from_dict(item: dict[str, Any], flip: np.ndarray) -> Point:
    _refuse_unknown(item, ("position", "positive"), "a point")
    return Point(_flipped(item["position"], flip), _sign(item))


def _scribble_from_dict(item: dict[str, Any], flip: np.ndarray) -> Scribble:
    _refuse_unknown(item, ("points", "radius", "positive"), "a scribble")
    return Scribble(tuple(_flipped(p, flip) for p in item["points"]), item["radius"], _sign(item))


def _box_from_dict(item: dict[str, Any], flip: np.ndarray) -> Box:
    _refuse_unknown(item, ("center", "size", "orientation"), "a box")
    axes: Any = item.get("orientation")
    if axes is not None and len(axes) == 9:
        axes = (np.asarray(axes, dtype=float).reshape(3, 3) * flip[:, None]).ravel()
    return Box(_flipped(item["center"], flip), item["size"], axes)


def _strokes_from_dict(item: dict[str, Any], flip: np.ndarray, folder: Path | None) -> Strokes:
    if "file" in item:
        from PWSegmentationLib.volume.reading import read_volume

        _refuse_unknown(item, ("file",), "a stroke file")
        if folder is None:
            raise InputError("its strokes lie in a file of their own: save the prompts with their strokes inside.")
        volume = read_volume(folder / item["file"])
        return Strokes.from_labelmap(volume.array, volume.grid.affine)
    _refuse_unknown(item, ("shape", "affine", "labels"), "a stroke labelmap")
    shape = tuple(int(n) for n in item["shape"])
    # No more than the shape says, though a few bytes can unpack to any number of them.
    packed, size = base64.b64decode(item["labels"]), math.prod(shape)
    if min(shape) < 1 or size > _MOST_VOXELS:
        raise InputError(f"its strokes have the shape {shape}: an image has no such.")
    labels = np.frombuffer(zlib.decompressobj().decompress(packed, size + 1), np.uint8).reshape(shape)
    affine = np.asarray(item["affine"], dtype=float).reshape(4, 4)
    return Strokes.from_labelmap(labels, np.diag([*flip, 1.0]) @ affine)


def _flipped(position: Any, flip: np.ndarray) -> Any:
    """``position`` in RAS; anything that is not three numbers is left for the prompt itself to refuse."""
    try:
        return tuple(float(v) * f for v, f in zip(position, flip, strict=True))
    except (TypeError, ValueError):
        return position


def _sign(item: dict[str, Any]) -> bool:
    sign = item.get("positive", True)
    if not isinstance(sign, bool):
        raise InputError(f'"positive" must be true or false, not {sign!r}.')
    return sign


def _refuse_unknown(item: Any, known: tuple[str, ...], what: str) -> None:
    """Raise `InputError` if ``what``, a JSON object, has other entries than the ``known`` ones."""
    unknown = sorted(str(key) for key in item if key not in known) if isinstance(item, dict) else []
    if unknown:
        raise InputError(f'{what} has the unknown entry "{unknown[0]}"; known are {", ".join(known)}.')
