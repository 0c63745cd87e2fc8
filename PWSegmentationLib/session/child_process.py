"""A child process and the connection to it: started without waiting, watched, ended; its output kept.

The connection is an inherited socket on POSIX. On Windows, where sockets are not inherited through a launcher such as
Slicer's, the child calls a port of this machine and shows a token that only it was given.
"""

from __future__ import annotations

import hmac
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from numpy.typing import NDArray

from PWSegmentationLib.errors import EngineUnavailable
from PWSegmentationLib.files import in_short
from PWSegmentationLib.session.messages import LONGEST, Connection, Disconnected, Message

MODULE = "PWSegmentationLib.session.worker"
# How the child learns where to connect: "descriptor NUMBER" or "port NUMBER TOKEN".
CONNECTION_VARIABLE = "PWSEG_ENGINE_CONNECTION"

# A child must not do what was asked of the program it belongs to.
_NOT_FOR_A_CHILD = (
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHONWARNINGS",
    "PYTHONSAFEPATH",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONEXECUTABLE",
    "__PYVENV_LAUNCHER__",
)
# Where a Python finds its own files; another Python has others.
_OF_THIS_PYTHON = ("PYTHONHOME", "PYTHONPATH")
_LOG_BYTES = 16_384
# What a caller may say before it has shown the token.
_LONGEST_HELLO = 4096


class ChildProcess:
    """``python -m PWSegmentationLib.session.worker``, running from the moment this exists until `close`.

    ``through_port`` says whether the child connects to a port, as on Windows.

    Raises
    ------
    EngineUnavailable
        If there is no such Python, or the system does not let it start.
    """

    def __init__(self, python: Sequence[str], *, through_port: bool = sys.platform == "win32") -> None:
        self.pid: int | None = None
        self.heard_at = time.monotonic()
        self._connection: Connection | None = None
        self._callers: list[Connection] = []
        self._listener: socket.socket | None = None
        self._token = secrets.token_hex(32)
        self._log = _Log()
        environment = child_environment(python)
        if through_port:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self._listener.setblocking(False)
            port = self._listener.getsockname()[1]
            environment[CONNECTION_VARIABLE] = f"port {port} {self._token}"
            self._process = self._start(python, environment, ())
        else:
            ours, theirs = socket.socketpair()
            with theirs:
                environment[CONNECTION_VARIABLE] = f"descriptor {theirs.fileno()}"
                self._process = self._start(python, environment, (theirs.fileno(),))
            self._connection = Connection(ours, blocking=False)
        self._closing = weakref.finalize(self, _kill, self._process)

    def _start(
        self, python: Sequence[str], environment: dict[str, str], files: tuple[int, ...]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*python, "-m", MODULE],
                # Where "-m" finds the library, whatever else is installed in that Python.
                cwd=Path(__file__).parents[2],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log.file,
                stderr=subprocess.STDOUT,
                pass_fds=files,
                # A group of its own, so that a launcher and what it launched can be ended together.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise EngineUnavailable(
                f"The Python '{python[0]}' cannot be started ({in_short(error)}): choose another one in the settings."
            ) from error
        finally:
            self._log.file.close()

    # ---- the connection ---------------------------------------------------------------------------------------

    def receive(self, until: float) -> Message | None:
        """The next message, None if there is none yet. Raises `Disconnected` when the child is gone."""
        if self._connection is None:
            self._answer_the_door()
        if self._connection is None:
            if self._process.poll() is not None:
                raise Disconnected
            return None
        self._connection.flush()
        message = self._connection.receive(until)
        if message is not None:
            self.heard_at = time.monotonic()
        return message

    def send(
        self, document: dict[str, object], arrays: Sequence[NDArray[Any]] = (), descriptor: int | None = None
    ) -> None:
        """Send without waiting. Raises `Disconnected`."""
        if self._connection is None:
            raise Disconnected
        self._connection.send(document, arrays, descriptor)

    def _answer_the_door(self) -> None:
        """Let in who calls and shows the token; who does not is turned away."""
        assert self._listener is not None
        with suppress(BlockingIOError):
            while True:
                caller = Connection(self._listener.accept()[0], blocking=False, longest=_LONGEST_HELLO)
                self._callers.append(caller)
        for caller in tuple(self._callers):
            try:
                message = caller.receive()
                said = None if message is None else message.document
                is_ours = said is not None and hmac.compare_digest(said["token"], self._token)
            except (Disconnected, ValueError, TypeError, KeyError, AttributeError):
                said, is_ours = {}, False
            if said is not None and is_ours:
                self.pid = said["pid"]
                caller.longest = LONGEST
                self._connection = caller
            elif said is not None:
                caller.close()
                self._callers.remove(caller)
        if self._connection is not None:
            self._callers.remove(self._connection)
            for other in self._callers:
                other.close()
            self._callers.clear()
            self._listener.close()

    # ---- the process ------------------------------------------------------------------------------------------

    def log(self) -> str:
        """The last that the child has written to its standard output and error."""
        return self._log.tail()

    def how_it_ended(self) -> str:
        """A few words on why the process is gone, for people."""
        with suppress(subprocess.TimeoutExpired):
            # It has closed its end already, so this is a matter of milliseconds.
            self._process.wait(0.02)
        code = self._process.returncode or 0
        if code == 0:
            return "it ended"
        if code == -getattr(signal, "SIGKILL", 9):
            return "it was killed, as happens when memory runs out"
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"

    def close(self) -> None:
        """End the process at once. It holds nothing that could be lost."""
        if sys.platform == "win32" and self.pid is not None and self._process.poll() is None:
            # Behind a launcher, which would leave it alone; elsewhere both are of one group.
            with suppress(OSError):
                os.kill(self.pid, signal.SIGTERM)
        self._closing()
        for end in (self._connection, *self._callers, self._listener):
            if end is not None:
                end.close()


def child_environment(python: Sequence[str]) -> dict[str, str]:
    """This process's environment without what would confuse the child."""
    strange = _NOT_FOR_A_CHILD if python[0] == sys.executable else (*_NOT_FOR_A_CHILD, *_OF_THIS_PYTHON)
    environment = {name: value for name, value in os.environ.items() if name not in strange}
    return {**environment, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONFAULTHANDLER": "1"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    # Once it is known to have ended, its number may be another's.
    if process.poll() is None:
        with suppress(OSError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        # The rest of a large process's end is not waited for; the next `Popen` takes notice of it.
        process.wait(0.02)


class _Log:
    """A file for the child's output: a pipe would have to be read all the time, or the child would stand still."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="pwsegmentation-", suffix=".log")
        self.file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._reader = Path(name).open("rb")  # noqa: SIM115 - read from as long as the child lives
        if sys.platform == "win32":
            weakref.finalize(self, _remove, self._reader, Path(name))
        else:
            Path(name).unlink()

    def tail(self) -> str:
        size = self._reader.seek(0, os.SEEK_END)
        self._reader.seek(max(0, size - _LOG_BYTES))
        return self._reader.read().decode("utf-8", "replace")


def _remove(reader: IO[bytes], path: Path) -> None:
    reader.close()
    with suppress(OSError):
        path.unlink()
