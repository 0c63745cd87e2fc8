"""Messages between the program and the process that does its work, over a stream socket.

A message is a JSON document and, where it has large arrays, their bytes: two lengths, the document, the bytes. Nothing
in it can run. On POSIX an open file (shared memory) can go along.
"""

from __future__ import annotations

import array
import json
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LENGTHS = struct.Struct("!IQ")
# No message is larger, bytes; a length beyond it means that somebody else is talking.
LONGEST = 1 << 36
# While a message is arriving, a wait for the next piece, s.
_NEXT_PIECE_S = 0.002
_DESCRIPTOR_BYTES = array.array("i").itemsize


class Disconnected(Exception):  # noqa: N818 - ends are no errors
    """The other side is gone."""


@dataclass(frozen=True, eq=False)
class Message:
    """What was said: ``document["type"]`` names the kind; ``body`` uint8; ``descriptor`` of an open file."""

    document: dict[str, Any]
    body: NDArray[np.uint8]
    descriptor: int | None = None


class Connection:
    """One end of a socket, which it owns.

    ``blocking`` says whether `receive` and `send` wait; a message beyond ``longest`` bytes is not taken.
    """

    def __init__(self, end: socket.socket, *, blocking: bool, longest: int = LONGEST) -> None:
        self.longest = longest
        end.setblocking(blocking)
        self._end = end
        self._blocking = blocking
        # Bytes to be sent, each with the file that goes along.
        self._outgoing: deque[tuple[memoryview, int | None]] = deque()
        self._descriptors: deque[int] = deque()
        self._head = memoryview(bytearray(_LENGTHS.size))
        self._parts: list[memoryview] = []
        self._body = np.empty(0, np.uint8)
        self._filled = 0

    def close(self) -> None:
        """Let go; the other side notices."""
        self._end.close()

    # ---- sending ----------------------------------------------------------------------------------------------

    def send(
        self, document: dict[str, Any], arrays: Sequence[NDArray[Any]] = (), descriptor: int | None = None
    ) -> None:
        """Send a message; where this must not wait, `flush` sends what could not be sent now."""
        self.send_pieces(self.pieces(document, arrays, descriptor))

    def send_pieces(self, pieces: Sequence[tuple[memoryview, int | None]]) -> None:
        """Send what `pieces` gave."""
        self._outgoing.extend(pieces)
        self.flush()

    @staticmethod
    def pieces(
        document: dict[str, Any], arrays: Sequence[NDArray[Any]] = (), descriptor: int | None = None
    ) -> list[tuple[memoryview, int | None]]:
        """A message as bytes, piece by piece, each with the file that goes along."""
        if descriptor is not None:
            document = {**document, "with_file": True}
        text = json.dumps(document, separators=(",", ":")).encode()
        bodies = [np.ascontiguousarray(a).reshape(-1).view(np.uint8).data for a in arrays]
        head = memoryview(_LENGTHS.pack(len(text), sum(b.nbytes for b in bodies)) + text)
        return [(head, descriptor), *((b, None) for b in bodies if b.nbytes)]

    def flush(self) -> None:
        """Send what is waiting, as far as it goes. Raises `Disconnected`."""
        while self._outgoing:
            part, descriptor = self._outgoing[0]
            try:
                files = [] if descriptor is None else [descriptor]
                sent = socket.send_fds(self._end, [part], files) if files else self._end.send(part)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise Disconnected from error
            if sent == part.nbytes:
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (part[sent:], None)

    # ---- receiving --------------------------------------------------------------------------------------------

    def receive(self, until: float = 0.0) -> Message | None:
        """The next message, None if it is not (wholly) there.

        Does not work on it beyond ``until`` (`time.monotonic`). Raises `Disconnected`.
        """
        while True:
            if not self._parts:
                self._parts = [self._head]
            view = self._parts[0]
            while self._filled < view.nbytes:
                try:
                    count = self._read(view[self._filled :])
                except (BlockingIOError, InterruptedError):
                    if not self._await_piece(until):
                        return None
                    continue
                except OSError as error:
                    raise Disconnected from error
                if count == 0:
                    raise Disconnected
                self._filled += count
                if not self._blocking and time.monotonic() > until and self._filled < view.nbytes:
                    return None
            message = self._completed()
            if message is not None:
                return message

    def _await_piece(self, until: float) -> bool:
        """Wait a moment for more of a message that has begun; false if there is none, or no time."""
        begun = self._filled > 0 or self._parts[0] is not self._head
        left = until - time.monotonic()
        return begun and left > 0 and bool(select.select([self._end], [], [], min(left, _NEXT_PIECE_S))[0])

    def _read(self, view: memoryview) -> int:
        if not hasattr(self._end, "recvmsg_into"):  # Windows
            return self._end.recv_into(view)
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        count, ancillary, _, _ = self._end.recvmsg_into([view], socket.CMSG_SPACE(4 * _DESCRIPTOR_BYTES), flags)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                files = array.array("i")
                files.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
                self._descriptors.extend(files)
        return count

    def _completed(self) -> Message | None:
        """Go on to the next part of the message; the message if that was the last."""
        part = self._parts.pop(0)
        self._filled = 0
        if part is self._head:
            text_bytes, body_bytes = _LENGTHS.unpack(self._head)
            if text_bytes + body_bytes > self.longest:
                raise Disconnected
            self._text = bytearray(text_bytes)
            self._body = np.empty(body_bytes, np.uint8)
            self._parts = [memoryview(self._text), *([self._body.data] if body_bytes else [])]
            return None
        if self._parts:
            return None
        document = json.loads(self._text)
        descriptor = self._descriptors.popleft() if document.get("with_file") else None
        body, self._body = self._body, np.empty(0, np.uint8)
        return Message(document, body, descriptor)
