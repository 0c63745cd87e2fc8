"""The server that browsers talk to: who may, whose session it is, and on to the process of that session."""

from __future__ import annotations

import asyncio
import errno
import html
import signal
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from PWSegmentationLib.app.access import guard, is_loopback
from PWSegmentationLib.app.proxy import hand_on
from PWSegmentationLib.app.state_folder import kept_token, private_folder
from PWSegmentationLib.app.worker import Orders
from PWSegmentationLib.app.workers import Workers
from PWSegmentationLib.errors import InputError

_WAITING = """<!doctype html><html><head><title>PWSegmentation</title></head>
<body style="background:#14171c;color:#d5d9e0;font:15px system-ui,sans-serif;display:grid;place-items:center;
height:95vh;margin:0"><div id="text" role="status">Starting your session…</div>
<script>
async function look() {{
  let status = 0, text = "The server cannot be reached. This page goes on when it is back.";
  try {{
    const answer = await fetch("/sessions/{session}/ready", {{ cache: "no-store" }});
    // What a proxy says that cannot reach us is a page.
    if (answer.headers.get("content-type")?.startsWith("text/plain")) text = await answer.text();
    status = answer.status;
  }} catch {{
    // Nobody answers.
  }}
  if ([200, 403, 404].includes(status)) return location.reload();
  // Too many sessions, or one that does not start: it may go when asked again.
  document.getElementById("text").textContent = text;
  setTimeout(look, status === 503 ? 200 : 3000);
}}
look();
</script></body></html>"""

_TEXT = """<!doctype html><title>PWSegmentation</title><body style="background:#14171c;color:#d5d9e0;
font:15px system-ui,sans-serif;display:grid;place-items:center;height:95vh;margin:0"><div>{text}
<p><a style="color:#5aa7ff" href="/">Begin a new session</a></p></div>"""

_PAGE = ("", "index.html")


@dataclass(frozen=True)
class Options:
    """How to serve; see `pwseg app --help`."""

    folder: Path
    image: str = ""
    host: str = "127.0.0.1"
    port: int = 8090
    open_browser: bool = True
    always_token: bool = False
    roots: tuple[Path, ...] | None = None
    upload_bytes: int = 2 * 1024**3
    sessions: int = 4
    days: float = 7.0
    idle_s: float = 1800.0
    device: str = "auto"


class Gateway:
    """Serves the sessions below one folder."""

    def __init__(self, options: Options) -> None:
        self.options = options
        folder = private_folder(options.folder)
        self.token = kept_token(folder) if options.always_token or not is_loopback(options.host) else None
        self._workers = Workers(folder, self._orders, most=options.sessions, idle_s=options.idle_s, days=options.days)

    def _orders(self, folder: Path, key: str) -> Orders:
        chosen = self.options
        return Orders(folder, key, chosen.image, chosen.roots, chosen.upload_bytes, chosen.device)

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(middlewares=[guard(self.token, self.options.host)], client_max_size=1 << 20)
        app.add_routes(
            [
                web.get("/", self._new),
                web.get("/sessions/{session}", self._known),
                web.get("/sessions/{session}/ready", self._ready),
                web.post("/sessions/{session}/remove", self._remove),
                web.route("*", "/s/{session}/{path:.*}", self._session),
            ]
        )
        app.cleanup_ctx.append(self._running)
        # Before open connections are waited for: pages keep theirs.
        app.on_shutdown.append(self._close)
        return app

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, connect=30)
        # As it is sent: what is compressed is handed on compressed, what is not is not.
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as self._client:
            task = asyncio.get_running_loop().create_task(self._workers.look_after())
            yield
            task.cancel()

    async def _close(self, _app: web.Application) -> None:
        await self._workers.close()

    # ---- answers ---------------------------------------------------------------------------------------------

    async def _new(self, _request: web.Request) -> web.StreamResponse:
        try:
            session = self._workers.new()
        except InputError as error:
            return web.Response(status=503, text=_TEXT.format(text=html.escape(str(error))), content_type="text/html")
        raise web.HTTPFound(f"/s/{session}/")

    async def _known(self, request: web.Request) -> web.Response:
        """Whether a session is there; nothing is started for that."""
        if self._workers.exists(request.match_info["session"]):
            return web.Response(text="ok")
        return web.Response(status=404, text="There is no such session any more.")

    async def _ready(self, request: web.Request) -> web.Response:
        session = request.match_info["session"]
        if not self._workers.exists(session):
            return web.Response(status=404, text="There is no such session any more.")
        try:
            worker = await self._workers.worker(session)
            # Who waits does so here, not by asking a hundred times.
            await asyncio.wait_for(asyncio.shield(worker.port()), 10.0)
        except asyncio.TimeoutError:
            return web.Response(status=503, text="Starting…")
        except InputError as error:
            return web.Response(status=409, text=str(error))
        # Another text means another process: the page is to be loaded again.
        return web.Response(text=worker.life)

    async def _remove(self, request: web.Request) -> web.Response:
        await self._workers.remove(request.match_info["session"])
        return web.Response(text="ok")

    async def _session(self, request: web.Request) -> web.StreamResponse:
        session, path = request.match_info["session"], request.match_info["path"]
        if not self._workers.exists(session):
            text = "This session is not there any more: it was ended, or not used for long."
            return web.Response(status=404, text=_TEXT.format(text=text), content_type="text/html")
        try:
            worker = await self._workers.worker(session)
            if worker.is_ready or path not in _PAGE:
                port = await worker.port()
                return await hand_on(request, worker, port, path or "index.html", self._client)
        except InputError as error:
            if path not in _PAGE:
                return web.Response(status=503, text=str(error))
        # It says what `_ready` says, and goes on when there is room.
        return web.Response(text=_WAITING.format(session=session), content_type="text/html")


async def serve(options: Options, say: Callable[[str], None]) -> None:
    """Serve until the process is asked to stop.

    Raises
    ------
    InputError
        If the address cannot be used.
    """
    gateway = Gateway(options)
    # Before anybody hears of the address: whoever does may ask at once, and in the background of a script nobody else
    # would take Ctrl-C's signal.
    stop = _stopping()
    # All that is answered comes from processes that have ended by then.
    runner = web.AppRunner(gateway.app(), access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port)
        try:
            await site.start()
        except OSError as error:
            raise InputError(_refusal(options, error)) from error
        address = _address(options.host, runner.addresses[0][1], gateway.token)
        say(address)
        if options.open_browser:
            webbrowser.open(address)
        await stop.wait()
    finally:
        await runner.cleanup()


def _refusal(options: Options, error: OSError) -> str:
    """Why the address cannot be served, and which option to change."""
    is_about_host = isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    if is_about_host:
        return f"{options.host} is no address of this computer: choose another --host, 0.0.0.0 for all that it has."
    return f"Port {options.port} of {options.host} cannot be used ({error.strerror}): choose another, --port."


def _address(host: str, port: int, token: str | None) -> str:
    shown = {"0.0.0.0": _own_name(), "::": _own_name()}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def _own_name() -> str:
    return socket.gethostname()


def _stopping() -> asyncio.Event:
    """An event that is set when the process is asked to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not on Windows, where Ctrl-C comes as KeyboardInterrupt.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop
