"""The folder that a server keeps its sessions in, and what it has to remember of itself: its token."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import in_short

# Within a folder that others can look into.
_OWN = "pwseg-sessions"
_TOKEN = "token"


def private_folder(folder: Path) -> Path:
    """``folder``, made if it is missing, if only its owner can look into it; else a folder of our own in it.

    What was there keeps its permissions: others may need it.

    Raises
    ------
    InputError
        If there is no such folder and none can be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_private(folder):
            folder = folder / _OWN
            folder.mkdir(exist_ok=True, mode=0o700)
            if not _is_private(folder):
                raise InputError(
                    f"Others can look into {folder}: make it private (chmod 700), or choose another --state."
                )
    except FileExistsError as error:
        raise InputError(f"{error.filename} is a file: sessions need a folder, choose another --state.") from error
    except OSError as error:
        raise InputError(f"No sessions can be kept in {folder} ({in_short(error)}): choose another --state.") from error
    return folder


def _is_private(folder: Path) -> bool:
    found = folder.stat()
    # Windows has other means, and says 0o777 of every folder.
    return os.name == "nt" or (found.st_mode & 0o077 == 0 and found.st_uid == os.geteuid())


def kept_token(folder: Path) -> str:
    """The token of the server on this folder, the same one after a restart: pages that are open go on."""
    path = folder / _TOKEN
    try:
        token = path.read_text(encoding="ascii").strip()
        if len(token) >= 32 and path.stat().st_mode & 0o077 == 0:
            return token
    except (OSError, ValueError):
        pass
    token = secrets.token_urlsafe(24)
    try:
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    except OSError as error:
        raise InputError(
            f"The token cannot be kept in {folder} ({in_short(error)}): choose another --state."
        ) from error
    return token
