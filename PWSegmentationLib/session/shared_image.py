"""The image where both processes can read it: copied once, piece by piece, into memory that has no name.

A file without a name (POSIX), or a mapping of the page file (Windows), is gone as soon as no process holds it any
more. So nothing is left behind, no matter which side is killed, and no other program can open it.
"""

from __future__ import annotations

import mmap
import os
import secrets
import sys
import tempfile
import time
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import in_short

# Copied in pieces of about so many bytes, 2 ms each.
_PIECE = 8 << 20


class SharedImage:
    """A copy of ``array`` (any strides) that another process can map.

    The order of the axes in memory is kept, so that sums come out the same to the last bit.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        # Slowest axis first.
        self._order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        self._source: NDArray[Any] | None = array.transpose(self._order)
        self._shape, self._dtype, self._bytes = array.shape, array.dtype, array.nbytes
        self._rows = 0
        try:
            self._memory = _NamedMemory(self._bytes) if sys.platform == "win32" else _UnnamedFile(self._bytes)
        except OSError as error:
            raise _no_room(error) from error

    @property
    def is_complete(self) -> bool:
        """Whether all of it has been copied."""
        return self._source is None

    def copy(self, until: float) -> bool:
        """Copy at least one piece, and on until ``until`` (`time.monotonic`); true once all of it is there.

        Raises `InputError` where there is no room for it.
        """
        while self._source is not None:
            row_bytes = self._bytes // len(self._source)
            stop = min(len(self._source), self._rows + max(1, _PIECE // row_bytes))
            piece = np.ascontiguousarray(self._source[self._rows : stop])
            try:
                self._memory.write(piece.reshape(-1).view(np.uint8), self._rows * row_bytes)
            except OSError as error:
                raise _no_room(error) from error
            self._rows = stop
            if stop == len(self._source):
                self._source = None
            elif time.monotonic() > until:
                break
        return self.is_complete

    def description(self) -> dict[str, Any]:
        """What `map_image` needs, besides the open file."""
        return {
            "shape": [self._shape[axis] for axis in self._order],
            "order": self._order,
            "dtype": self._dtype.str,
            "name": self._memory.name,
        }

    @property
    def descriptor(self) -> int | None:
        """The open file to send along; None on Windows, where the name says it all."""
        return self._memory.descriptor

    def close(self) -> None:
        """Give the memory back, as soon as no other process has it mapped."""
        self._source = None
        self._memory.close()


def map_image(description: dict[str, Any], descriptor: int | None) -> NDArray[Any]:
    """The array ``[i, j, k]`` that a `SharedImage` describes, without a copy; ``descriptor`` is closed.

    Writing to it changes nothing for the other side.
    """
    shape, dtype = description["shape"], np.dtype(description["dtype"])
    size = int(np.prod(shape)) * dtype.itemsize
    if sys.platform == "win32":
        memory = mmap.mmap(-1, size, tagname=description["name"], access=mmap.ACCESS_COPY)
    else:
        assert descriptor is not None
        memory = mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY)
        os.close(descriptor)
    array = np.frombuffer(memory, dtype).reshape(shape)
    return array.transpose(np.argsort(description["order"]))


class _UnnamedFile:
    """Memory behind an open file without a name: of memory on Linux, of the temporary folder elsewhere."""

    name = ""

    def __init__(self, size: int) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor: int | None = os.memfd_create("pwsegmentation-image")
        else:
            with tempfile.TemporaryFile(prefix="pwsegmentation-") as file:
                self.descriptor = os.dup(file.fileno())
        self._closing = weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, size)

    def write(self, piece: NDArray[np.uint8], offset: int) -> None:
        # Written, not mapped: a full disk is then an error and not the end of the program.
        assert self.descriptor is not None
        view = piece.data
        while view.nbytes:
            count = os.pwrite(self.descriptor, view, offset)
            view, offset = view[count:], offset + count

    def close(self) -> None:
        self._closing()


class _NamedMemory:
    """A mapping of Windows' page file, under a name that nobody can guess."""

    descriptor: int | None = None

    def __init__(self, size: int) -> None:
        self.name = f"pwsegmentation-{secrets.token_hex(16)}"
        self._memory = mmap.mmap(-1, size, tagname=self.name)  # type: ignore[call-arg, unused-ignore]

    def write(self, piece: NDArray[np.uint8], offset: int) -> None:
        self._memory[offset : offset + piece.nbytes] = piece.tobytes()

    def close(self) -> None:
        self._memory.close()


def _no_room(error: OSError) -> InputError:
    return InputError(f"There is no room for a second copy of the image ({in_short(error)}): close other programs.")
