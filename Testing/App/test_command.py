"""``pwseg app`` with wrong arguments: one sentence, and no server."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from Testing.App.app_server import ROOT
from Testing.timing import PATIENCE_S


def pwseg_app(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "PWSegmentationLib.commandline", "app", "--no-browser", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such-image.nii.gz",), "There is no file or folder"),
        (("--port", "70000"), "--port at most 65535"),
        (("--sessions", "0"), "must be above 0"),
        (("--max-upload", "nan"), "must be above 0"),
        (("--days", "inf"), "must be above 0"),
        (("--host", "nosuch.invalid"), "choose another --host"),
    ],
)
def test_a_wrong_argument_is_told_in_one_sentence(tmp_path, arguments, said):
    done = pwseg_app("--state", str(tmp_path / "state"), *arguments)

    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_file_is_no_folder_for_sessions(tmp_path):
    (tmp_path / "file").write_text("of the user")

    done = pwseg_app("--state", str(tmp_path / "file"), "--port", "0")

    assert done.returncode == 2
    assert "is a file: sessions need a folder, choose another --state" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_in_use_is_told_in_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        done = pwseg_app("--state", str(tmp_path / "state"), "--port", str(port))

    assert done.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr
