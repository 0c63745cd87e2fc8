"""``pwseg app``: the tool in a browser."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.extras import not_installed

_DESCRIPTION = """\
Segment in a web browser: points, boxes and scribbles in four views, on 3D Slicer's own libraries. Nothing leaves this
computer.

IMAGE is a NIfTI, NRRD or MHA file, a DICOM folder, or "sample" for a chest CT (35 MB, fetched once). With a FOLDER of
images the page offers those, and no paths outside of it.
"""

_EPILOG = """\
examples:
  pwseg app                             an empty page: open an image there
  pwseg app chest-ct.nii.gz
  pwseg app sample
  pwseg app /data/cases --host 0.0.0.0  for other computers in the network: asks for the token that is printed

Sessions stay in the folder of --state, also when the server is stopped, and are deleted when nobody used them for
--days. Over an untrusted network use an SSH tunnel: the server speaks plain HTTP.
"""


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "app",
        help="segment in a web browser",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("image", metavar="IMAGE", nargs="?", default="", help='image, folder, or "sample"')
    parser.add_argument("--host", default="127.0.0.1", help="address to serve at (default: this computer only)")
    parser.add_argument("--port", type=int, default=8090, help="port to serve at, 0 for any (default: 8090)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--token", action="store_true", help="ask for a token on this computer, too: others use it")
    parser.add_argument("--state", metavar="FOLDER", type=Path, help="where sessions are kept (default: in the cache)")
    parser.add_argument("--days", type=float, default=7.0, help="delete sessions unused for so long (default: 7)")
    parser.add_argument("--sessions", type=int, default=4, help="sessions in use at a time (default: 4)")
    text = "largest upload, GB (default: 2)"
    parser.add_argument("--max-upload", metavar="GB", type=float, default=2.0, help=text)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")


def run(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    try:
        import trame_slicer  # noqa: F401
    except ImportError as error:
        raise not_installed("The browser app is not installed", "app") from error
    _check_drawing()
    import asyncio

    from PWSegmentationLib.app.gateway import serve

    def say(address: str) -> None:
        print(f"PWSegmentation is at {address}\nCtrl-C stops it; sessions are kept.", flush=True)

    asyncio.run(serve(options(args), say))


def _check_drawing() -> None:
    """Raise `InputError` where views cannot be drawn without a screen."""
    import ctypes
    import sys

    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError as error:
        text = "Views cannot be drawn here: install EGL (Debian: apt-get install libegl1 libgl1-mesa-dri)."
        raise InputError(text) from error


def options(args: argparse.Namespace) -> Any:
    """The gateway's options. Raises `InputError` for arguments that cannot be meant."""
    from PWSegmentationLib.app.access import is_loopback
    from PWSegmentationLib.app.gateway import Options
    from PWSegmentationLib.app.images import holds_dicom
    from PWSegmentationLib.samples.packages import default_cache

    # "nan" and "inf" are numbers, too.
    are_counts = all(math.isfinite(n) and n > 0 for n in (args.sessions, args.max_upload, args.days))
    if not are_counts or not 0 <= args.port <= 65535:
        raise InputError("--sessions, --max-upload and --days must be above 0, and --port at most 65535.")
    image: str = args.image
    roots: tuple[Path, ...] | None = None if is_loopback(args.host) else ()
    if image and image != "sample":
        path = Path(image).expanduser().resolve()
        if not path.exists():
            raise InputError(f"There is no file or folder {path}.")
        is_folder_of_images = path.is_dir() and not holds_dicom(path)
        image, roots = ("", (path,)) if is_folder_of_images else (str(path), roots)
    return Options(
        folder=args.state or default_cache() / "app-sessions",
        image=image,
        host=args.host,
        port=args.port,
        open_browser=not args.no_browser,
        always_token=args.token,
        roots=roots,
        upload_bytes=int(args.max_upload * 1e9),
        sessions=args.sessions,
        days=args.days,
        device=args.device,
    )
