"""Reading and writing JSON with a sentence for what is wrong; digests; replacing files whole, never half of one."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError


def resource(name: str) -> Path:
    """A file of ``Resources``: beside the code once the program is installed, else in the checkout."""
    package = Path(__file__).resolve().parent
    installed, checkout = (root / "Resources" / name for root in (package, package.parent))
    return installed if installed.is_file() else checkout


def shipped_weights() -> Path:
    """The weights of the promptable network that ship; the file may be missing."""
    return resource("Models/promptable.safetensors")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, with its file type; move it over ``path`` when the block succeeds.

    The old file stays untouched if the block raises. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Writers choose the format by the ending, and some endings have two dots (.nii.gz, .seg.nrrd).
    ending = "".join(path.suffixes[-2:]) if len(path.suffixes) > 1 else path.suffix
    with tempfile.TemporaryDirectory(prefix=".pwseg-", dir=path.parent) as folder:
        temporary = Path(folder) / f"writing{ending}"
        yield temporary
        temporary.replace(path)


@contextmanager
def replacing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give a temporary path for each of ``paths``, files of one folder; move all when the block succeeds.

    The first file is what the others, its side-cars, tell about. A kill between two moves cannot leave a side-car
    beside a file it does not describe: side-cars that would change are taken away first, and come last. The old files
    stay untouched if the block raises.
    """
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pwseg-", dir=folder) as hidden:
        temporary = [Path(hidden) / f"{n}{''.join(path.suffixes[-2:])}" for n, path in enumerate(paths)]
        yield temporary
        for new, path in zip(temporary[1:], paths[1:], strict=True):
            if path.is_file() and path.read_bytes() != new.read_bytes():
                path.unlink()
        for new, path in zip(temporary, paths, strict=True):
            new.replace(path)


def read_json(path: Path, what: str) -> Any:
    """The JSON document in ``path``; an `InputError` that calls it ``what`` ("prompts") if it cannot be read."""
    try:
        # With or without a byte order mark, which some editors on Windows put in front.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"Cannot read the {what} {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error


def write_json(document: Mapping[str, Any], path: Path) -> Path:
    """Write a JSON document, whole or not at all; an `InputError` if it cannot be written."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} could not be written ({in_short(error)}): free some space and try again.") from error
    return path


def sha256(path: Path) -> str:
    """Of a file's contents, hexadecimal."""
    digest = hashlib.sha256()
    update(digest, path)
    return digest.hexdigest()


def update(digest: hashlib._Hash, path: Path) -> None:
    """Add a file's contents to ``digest``, never more than a block of it in memory."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def in_short(error: Exception) -> str:
    """What an error says, on one line; of one that says nothing, what kind it is."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0][:100] if lines else type(error).__name__
