"""Images whose voxels lie in another file: that may be any file of this computer, so it must be one the user may open.

NRRD and MetaImage headers are text that can name any path. An image that was uploaded must be whole; one that was
opened by its path may refer to files within the folders that are open to the user.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from pathlib import Path

from PWSegmentationLib.errors import InputError

_NRRD_FIELD = re.compile(rb"^\s*data ?file\s*:(?!=)\s*(.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_META_FIELD = re.compile(rb"^ElementDataFile[ \t]*[=:][ \t]*(.*?)\s*$", re.MULTILINE)
_META_WORD = b"ElementDataFile"
# Real headers have some kilobytes.
_MOST_HEADER_BYTES = 1 << 24
# These are read by nibabel, which looks no further than a file of the same name.
_OTHERS = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")


def check_inside(path: Path, inside: Sequence[Path]) -> None:
    """Raise `InputError` if reading an image file would read a file outside of the folders ``inside``.

    With no folders the file must hold its voxels itself. DICOM refers to nothing.
    """
    from PWSegmentationLib.volume.dicom import is_dicom

    if not path.is_file() or path.stat().st_size == 0 or path.name.lower().endswith(_OTHERS) or is_dicom(path):
        return
    for name in _data_files(path):
        # Patterns and lists name many files; few have them, and each would have to be looked up.
        is_one = name and name.split()[0] != "LIST" and "%" not in name
        target = (path.parent / name).resolve() if is_one else None
        if target is None or not any(target.is_relative_to(folder.resolve()) for folder in inside):
            raise InputError(
                f"{path} takes its voxels from another file that is not open to this page: save it as one file "
                "(.nii.gz, .nrrd or .mha), and open that."
            )


def _data_files(path: Path) -> list[str]:
    """What a header names as its data; nothing where the voxels follow it."""
    import SimpleITK

    # The reader that will be taken goes by the contents, too: HDF5, which can refer to any file, may be called .nrrd.
    reader = SimpleITK.ImageFileReader.GetImageIOFromFileName(str(path))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if reader == "NrrdImageIO":
            header = _nrrd_header(content)
            return (
                [""] if header is None else [found.decode("utf-8", "replace") for found in _NRRD_FIELD.findall(header)]
            )
        if reader == "MetaImageIO":
            return _meta_files(content)
    raise InputError(f"{path} cannot be read here: save it as NIfTI, NRRD or MHA, and open that.")


def _nrrd_header(content: mmap.mmap) -> bytes | None:
    """All up to the first empty line, with plain ends of lines; None if that is too much to be one."""
    ends = [at for mark in (b"\n\n", b"\n\r\n", b"\r\r") if (at := content.find(mark)) >= 0]
    size = min(ends, default=len(content))
    return re.sub(rb"\r\n?", b"\n", content[:size]) if size <= _MOST_HEADER_BYTES else None


def _meta_files(content: mmap.mmap) -> list[str]:
    # Its lines can be made to look otherwise to us than to its reader: so the word must be there once in all.
    at = content.find(_META_WORD)
    found = _META_FIELD.match(content[at : at + 4096]) if at >= 0 else None
    if found is None or content.find(_META_WORD, at + 1) >= 0 or (at > 0 and content[at - 1 : at] != b"\n"):
        return [""]
    name = found[1].decode("utf-8", "replace")
    return [] if name.upper() == "LOCAL" else [name]
