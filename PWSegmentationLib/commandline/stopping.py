"""Ctrl-C, or a request to end, as an exception in whatever runs, until it is heeded."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import NoReturn

AGAIN_S = 1.0
"""Seconds after which a command that still runs is told again: long enough to take unfinished files away."""


class Stopping:
    """While entered, SIGINT and SIGTERM raise KeyboardInterrupt, so that unfinished files are taken away.

    Compiled code in between may drop that exception, or make another of it (while a package is imported or a file is
    mapped), and the command would go on, or fail with something that says nothing. So it is raised again every
    ``AGAIN_S``, and ``code`` says so whatever else comes of it. Signals that are ignored, as in the background of a
    script, stay ignored.
    """

    def __init__(self) -> None:
        self.code = 0
        """The exit code of what was stopped, 128 + the signal's number; 0 if nothing asked."""
        self._left = threading.Event()
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Stopping:
        for number in (signal.SIGINT, signal.SIGTERM):
            # None: set by whoever embeds Python, and could not be put back.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _stop(self, number: int, _frame: FrameType | None) -> NoReturn:
        if not self.code:
            self.code = 128 + number
            threading.Thread(target=self._repeat, args=(number,), daemon=True).start()
        raise KeyboardInterrupt

    def _repeat(self, number: int) -> None:
        while not self._left.wait(AGAIN_S):
            if sys.platform == "win32":
                _thread.interrupt_main(signal.Signals(number))
            else:  # wakes up what waits, too
                signal.pthread_kill(threading.main_thread().ident or 0, number)
