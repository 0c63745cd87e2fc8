"""How segments came about, as a JSON document beside every export.

It says what made them (versions, the network's weights, seed, settings), what was asked (the prompts) and of which
image (its grid and a digest of its voxels). It says who and when only where somebody asks for that, and nothing that
identifies the patient: no file names, no DICOM attributes.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from PWSegmentationLib import __version__
from PWSegmentationLib.files import sha256
from PWSegmentationLib.prompts.json_format import prompts_to_dict
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.volume.volume import Volume

FORMAT = "PWSegmentation provenance 1"
_PACKAGES = ("numpy", "scipy", "torch", "monai")
# Of images that are still there: a digest takes a second for a large one.
_digests: WeakKeyDictionary[Volume, str] = WeakKeyDictionary()


def provenance(
    volume: Volume,
    *,
    prompts: PromptSet | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    model: Path | None = None,
    methods: Mapping[str, str] | None = None,
    by: str = "",
    dated: bool = False,
) -> dict[str, Any]:
    """The document, JSON values throughout.

    Parameters
    ----------
    prompts
        What was asked; strokes and all.
    seed, settings
        What was chosen.
    model
        File of the network's weights, where one was used; its digest goes into the document.
    methods
        What produced each segment, for people (`Prediction.method`), by name.
    by, dated
        Who, and whether to say when; nothing by default.
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "software": {"PWSegmentation": __version__, "python": platform.python_version(), **_versions()},
        "image": image_digest(volume),
    }
    if model is not None and model.is_file():
        document["model"] = {"sha256": sha256(model)}
    given = {
        "seed": seed,
        "settings": None if settings is None else dict(settings),
        "methods": None if methods is None else dict(methods),
        "prompts": None if prompts is None else prompts_to_dict(prompts),
        "by": by or None,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds") if dated else None,
    }
    return document | {key: value for key, value in given.items() if value is not None}


def image_digest(volume: Volume) -> dict[str, Any]:
    """Grid and SHA-256 of the voxels, slice by slice in the order of a file; it names no file and no patient."""
    if volume not in _digests:
        digest = hashlib.sha256(str(volume.array.dtype).encode())
        for k in range(volume.array.shape[2]):
            digest.update(volume.array[:, :, k].T.tobytes())
        _digests[volume] = digest.hexdigest()
    return {
        "shape": list(volume.grid.shape),
        "affine": volume.grid.affine.tolist(),
        "voxels sha256": _digests[volume],
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
