"""`pwseg app` as a process of its own, as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from Testing.timing import PATIENCE_S

ROOT = Path(__file__).parents[2]


class AppServer:
    """The command, and the address that it prints. Started anew on the same folder it is the server restarted."""

    def __init__(self, state: Path, *arguments: str) -> None:
        self._command = [sys.executable, "-m", "PWSegmentationLib.commandline", "app", *arguments, "--no-browser"]
        self.state = state
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self, port: int = 0) -> AppServer:
        """Start it, and wait for the address."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [*self._command, "--port", str(port), "--state", str(self.state)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "http" in line, line
        self.address = line.split()[-1]
        return self

    @property
    def port(self) -> int:
        """The port that it serves."""
        return int(self.address.split("//")[1].split("/")[0].rsplit(":", 1)[1])

    def stop(self) -> None:
        """As Ctrl-C does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(PATIENCE_S)
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None
