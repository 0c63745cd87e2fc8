"""The process of one user: his workplace and a web server for it on this machine, which only the gateway may talk to.

Started by `workers`; its orders come on the standard input, one JSON document, and when that closes it ends itself,
so that a gateway that was killed leaves no orphan.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

KEY_HEADER = "X-PWSegmentation-Key"

# To end in good order; what is left then is closed by the system.
_ENDING_S = 5.0
# To write the session of a large image.
_SAVING_S = 60.0

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Orders:
    """What a worker is to do: ``folder`` keeps the session; ``key`` is what the gateway shows; ``image`` is a path,
    "sample" or empty; ``roots`` as in `Allowance`.
    """

    folder: Path
    key: str
    image: str = ""
    roots: tuple[Path, ...] | None = None
    upload_bytes: int = 2 * 1024**3
    device: str = "auto"

    def to_json(self) -> str:
        """One line."""
        document = {**self.__dict__, "folder": str(self.folder)}
        document["roots"] = None if self.roots is None else [str(r) for r in self.roots]
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """The inverse of `to_json`."""
        document = json.loads(text)
        roots = document["roots"]
        document["roots"] = None if roots is None else tuple(Path(r) for r in roots)
        return cls(**{**document, "folder": Path(document["folder"])})


def main() -> int:
    """Serve one workplace until the standard input closes; the exit code."""
    orders = Orders.from_json(sys.stdin.readline())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    # Nothing of what trame would take from a command line is ours.
    sys.argv = sys.argv[:1]
    # Pictures are compressed already.
    os.environ["WSLINK_WS_COMPRESS"] = "0"
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

    from trame.app import get_server

    from PWSegmentationLib.app.keeping import Keeper
    from PWSegmentationLib.app.transfer import routes
    from PWSegmentationLib.app.workplace import Allowance, Workplace

    server = get_server("pwseg", client_type="vue3")
    place = Workplace(server, Allowance(orders.roots, orders.upload_bytes), orders.device)
    keeper = Keeper(place, orders.folder)

    # Of the task, that nobody else refers to.
    tasks: list[asyncio.Future[None]] = []

    def on_bind(wslink_server: Any) -> None:
        app: web.Application = wslink_server.app
        app.middlewares.append(_guard(orders.key))
        app.add_routes(routes(place, orders.folder))

    def on_ready(**_: Any) -> None:
        sys.stdout.write(json.dumps({"port": server.port}) + "\n")
        sys.stdout.flush()
        _end_with_input(asyncio.get_running_loop(), keeper.save, server.stop, place.close)
        tasks.append(asyncio.ensure_future(keeper.begin(orders.image)))

    server.controller.add("on_server_bind")(on_bind)
    server.controller.add("on_server_ready")(on_ready)
    try:
        server.start(port=0, host="127.0.0.1", open_browser=False, show_connection_info=False, timeout=0)
    finally:
        keeper.save()
        place.close()
    return 0


def _guard(key: str) -> Any:
    """Refuse whoever does not show the key: other users of this machine."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get(KEY_HEADER, ""), key):
            raise web.HTTPForbidden(text="Not for you.")
        return await handler(request)

    return guard


def _end_with_input(
    loop: asyncio.AbstractEventLoop,
    save: Callable[[], None],
    stop: Callable[[], Awaitable[None]],
    close: Callable[[], None],
) -> None:
    """Save and stop when the standard input ends, and end the process, whatever becomes of that."""
    saved = threading.Event()

    async def end() -> None:
        save()
        saved.set()
        try:
            await stop()
        except Exception:
            # Pages may go while they are told to.
            _log.exception("the server did not stop in good order")
            close()
            os._exit(0)

    def watch() -> None:
        while sys.stdin.readline():
            pass
        asyncio.run_coroutine_threadsafe(end(), loop)
        saved.wait(_SAVING_S)
        # Where the process ends by itself, this thread is gone with it.
        time.sleep(_ENDING_S)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
