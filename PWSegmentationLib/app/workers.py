"""The processes of all users: started when needed, ended when nobody looks for long, found by their session."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aiohttp import WSCloseCode, web

from PWSegmentationLib.app.kept_files import DOCUMENT
from PWSegmentationLib.app.worker import Orders
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import in_short

_ID = re.compile(r"[0-9a-f]{32}")
_STARTING_S = 120.0
_ENDING_S = 20.0
# Who has just come need not have a page yet.
_YOUNG_S = 30.0
# Of folders of sessions that were ended, until they are deleted.
_ENDED = ".ended-"

_log = logging.getLogger(__name__)


class Worker:
    """One process, and the port that it serves."""

    def __init__(self, session: str, orders: Orders) -> None:
        self.session = session
        self.orders = orders
        self.began_at = self.used_at = time.monotonic()
        self.life = secrets.token_hex(4)
        #: Those that look at it.
        self.sockets: set[web.WebSocketResponse] = set()
        self._process: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[int] | None = None

    @property
    def key(self) -> str:
        """What the process wants to be shown."""
        return self.orders.key

    @property
    def is_alive(self) -> bool:
        """Whether the process is there, or coming."""
        task = self._starting
        if task is not None and task.done() and (task.cancelled() or task.exception() is not None):
            return False
        return self._process is None or self._process.returncode is None

    @property
    def is_used(self) -> bool:
        """Whether somebody looks at it, or has only just come."""
        return bool(self.sockets) or time.monotonic() - self.began_at < _YOUNG_S

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        task = self._starting
        return task is not None and task.done() and not task.cancelled() and task.exception() is None and self.is_alive

    async def port(self) -> int:
        """The port, once the process answers. Raises `InputError` if it does not come up."""
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> int:
        # What we were found by, and not the folder where the user works: files there may be called like modules.
        found_by = f"import sys; sys.path[:] = {sys.path!r}"
        command = (sys.executable, "-c", f"{found_by}; from PWSegmentationLib.app.worker import main; sys.exit(main())")
        try:
            log = (self.orders.folder / "worker.log").open("ab")
        except OSError as error:
            raise InputError(f"The session could not be started: {in_short(error)}.") from error
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for the gateway, which ends its processes in good order.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self.orders.to_json().encode() + b"\n")
        await self._process.stdin.drain()
        try:
            while line := await asyncio.wait_for(self._process.stdout.readline(), _STARTING_S):
                if line.startswith(b"{"):
                    asyncio.get_running_loop().create_task(self._drain(self._process.stdout))
                    return int(json.loads(line)["port"])
        except asyncio.TimeoutError:
            self._process.kill()
        last = (self.orders.folder / "worker.log").read_text(errors="replace").strip().splitlines()[-1:]
        raise InputError(f"The session could not be started: {''.join(last) or 'it ended at once'}.")

    @staticmethod
    async def _drain(stream: asyncio.StreamReader) -> None:
        while await stream.read(1 << 16):
            pass

    async def close(self) -> None:
        """End the process; what was done is kept, and pages that look at it are told."""
        told = [socket.close(code=WSCloseCode.GOING_AWAY) for socket in list(self.sockets)]
        await asyncio.gather(*told, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _ENDING_S)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()


class Workers:
    """All sessions below one private folder, and the processes of those that are in use.

    Parameters
    ----------
    folder
        Where sessions are kept: a private folder, see `private_folder`.
    make_orders
        Orders for a session's folder and key.
    most
        Processes at a time; each takes memory.
    idle_s
        A process that nobody looks at for so long is ended; its session stays.
    days
        Sessions that nobody used for so long are deleted.
    """

    def __init__(
        self,
        folder: Path,
        make_orders: Callable[[Path, str], Orders],
        *,
        most: int = 4,
        idle_s: float = 1800.0,
        days: float = 7.0,
    ) -> None:
        self._folder = folder
        self._make_orders = make_orders
        self._most = most
        self._idle_s = idle_s
        self._days = days
        self._workers: dict[str, Worker] = {}
        # One at a time begins or ends, so that there are no more than may be, and no two in one folder.
        self._changing = asyncio.Lock()
        self._ending: set[str] = set()
        self.delete_old()

    def new(self) -> str:
        """A new session; its name. Raises `InputError` if there is no room for it."""
        session = secrets.token_hex(16)
        try:
            (self._folder / session).mkdir(mode=0o700)
        except OSError as error:
            raise InputError(f"No session can be begun: {in_short(error)}. Have room made on the server.") from error
        return session

    def exists(self, session: str) -> bool:
        """Whether there is such a session."""
        is_known = bool(_ID.fullmatch(session)) and session not in self._ending
        return is_known and (self._folder / session).is_dir()

    async def worker(self, session: str) -> Worker:
        """The process of a session, started if there is none. Raises `InputError` if there are too many."""
        worker = self._workers.get(session)
        if worker is not None and worker.is_alive:
            worker.used_at = time.monotonic()
            return worker
        async with self._changing:
            worker = self._workers.get(session)
            if worker is not None and worker.is_alive:
                return worker
            await self._make_room()
            if not self.exists(session):
                raise InputError("This session is not there any more: it was ended.")
            folder = self._folder / session
            worker = self._workers[session] = Worker(session, self._make_orders(folder, secrets.token_hex(24)))
            os.utime(folder)
            return worker

    async def _make_room(self) -> None:
        self._workers = {s: w for s, w in self._workers.items() if w.is_alive}
        if len(self._workers) < self._most:
            return
        unused = [w for w in self._workers.values() if not w.is_used]
        if not unused:
            raise InputError(
                f"{self._most} sessions are in use, and there is no room for more: close one, or start the server with "
                "a larger --sessions."
            )
        await self._end(min(unused, key=lambda w: w.used_at))

    async def _end(self, worker: Worker) -> None:
        self._workers.pop(worker.session, None)
        await worker.close()

    async def remove(self, session: str) -> None:
        """End a session for good: its process, its image, all that was made."""
        if not self.exists(session):
            return
        self._ending.add(session)
        try:
            folder, ended = self._folder / session, self._folder / f"{_ENDED}{session}"
            # First, so that nobody finds it there any more, whatever happens to the process and to us.
            # Not everywhere while files in it are open: then it goes with the process.
            with suppress(OSError):
                folder.rename(ended)
            async with self._changing:
                worker = self._workers.get(session)
                if worker is not None:
                    await self._end(worker)
            for left in (folder, ended):
                if left.exists():
                    await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        finally:
            self._ending.discard(session)

    async def look_after(self) -> None:
        """End what is idle, delete what is old; for ever."""
        while True:
            await asyncio.sleep(min(60.0, self._idle_s / 4))
            now = time.monotonic()
            for worker in list(self._workers.values()):
                async with self._changing:
                    if not worker.is_used and now - worker.used_at > self._idle_s:
                        await self._end(worker)
            self.delete_old()

    def delete_old(self) -> None:
        """Delete sessions that were not used for long, and those in which nothing was done."""
        now = time.time()
        for folder in self._folder.iterdir():
            if folder.name.startswith(_ENDED) and folder.name.removeprefix(_ENDED) not in self._ending:
                # Of a server that was stopped meanwhile.
                shutil.rmtree(folder, ignore_errors=True)
            if not _ID.fullmatch(folder.name) or folder.name in self._workers or folder.name in self._ending:
                continue
            document = folder / DOCUMENT
            age = now - (document if document.is_file() else folder).stat().st_mtime
            limit = self._days * 86400 if document.is_file() else 3600.0
            if age > limit:
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        """End all processes; the sessions stay."""
        async with self._changing:
            await asyncio.gather(*(self._end(w) for w in list(self._workers.values())))
