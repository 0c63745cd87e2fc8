"""Whatever interrupts writing, a file is the old one or the new one, whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.export.writing import SURFACE_ENDINGS, write_segmentation
from PWSegmentationLib.files import sha256
from PWSegmentationLib.segments.segmentation import Segmentation
from PWSegmentationLib.volume.grid import Grid

ROOT = Path(__file__).parents[2]
GRID = Grid((96, 96, 64), np.diag([1.0, 1.0, 2.0, 1.0]))
ENDINGS = (".seg.nrrd", ".nii.gz", ".nrrd", ".mha", ".seg.dcm", ".stl", ".obj", ".ply")
# Writes the segmentation NUMBER to PATH, over and over, the names and values of its segments telling which it is.
WRITER = """
import sys, itertools
sys.path.insert(0, {root!r})
from Testing.Library.test_interrupted_writing import numbered, rounded
from PWSegmentationLib.export.writing import write_segmentation
if sys.argv[3] == "as nobody":
    import os
    # What is imported late may lie where nobody else may read; the second time there is a table to be read.
    for number in (0, 2):
        write_segmentation(numbered(number), sys.argv[1].replace("protected", "open"))
    os.seteuid(65534)
for number in itertools.count(int(sys.argv[2])) if sys.argv[3] == "forever" else [int(sys.argv[2])]:
    made = rounded(number) if sys.argv[1].endswith((".stl", ".obj", ".ply", ".dcm")) else numbered(number)
    write_segmentation(made, sys.argv[1], provenance={{"number": number}})
    print(number, flush=True)
"""


def numbered(number: int) -> Segmentation:
    """Noise, so that it is not compressed away; another table for each number."""
    labels = np.random.default_rng(number).integers(0, 3, GRID.shape).astype(np.uint8)
    first = 1 + number % 2
    return Segmentation.of_labels(labels, GRID, {f"a{number}": first, f"b{number}": 3 - first})


def rounded(number: int) -> Segmentation:
    """A ball, for surfaces: that of noise takes a minute."""
    distance = np.linalg.norm(np.moveaxis(np.indices(GRID.shape), 0, -1) - 40, axis=-1)
    return Segmentation.of_labels((distance < 20 + number).astype(np.uint8), GRID, {f"ball {number}": 1})


def child(path: Path, number: int, how: str, limit: int | None = None) -> subprocess.Popen[str]:
    def confine() -> None:
        import resource

        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    words = [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(path), str(number), how]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=confine)


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nii.gz"])
def test_killed_while_writing(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    write_segmentation(numbered(0), path, provenance={"number": 0})
    found = set()
    for attempt in range(4):
        process = child(path, 1 + 1000 * attempt, "forever")
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit(), process.communicate()
        # Nothing to wait for: the point is that the kill may come at any moment of the writing that follows.
        time.sleep(0.031 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        read = read_segmentation(path)
        document_path = tmp_path / f"out{ending}.provenance.json"
        # A file whose side-cars are not there yet has no names; it never has those of another file.
        if read.names[0].startswith("a"):
            number = int(read.names[0][1:])
            expected = numbered(number)
            assert read.values == expected.values
            for a, b in zip(read.segments, expected.segments, strict=True):
                np.testing.assert_array_equal(a.mask, b.mask)
            found.add(number)
        if document_path.is_file():
            document = json.loads(document_path.read_text(encoding="utf-8"))
            assert document["files"] == {
                name: sha256(tmp_path / name) for name in document["files"] if (tmp_path / name).is_file()
            }
    assert len(found) > 1


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk(tmp_path: Path, ending: str) -> None:
    """No file may grow beyond 20 kB: writing fails as on a full disk."""
    path = tmp_path / f"out{ending}"
    made = rounded(0) if ending in (*SURFACE_ENDINGS, ".seg.dcm") else numbered(0)
    old = write_segmentation(made, path, provenance={"number": 0})
    before = {p.name: p.read_bytes() for p in old}
    process = child(path, 1, "once", limit=20_000)
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert "OSError" in said
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_write_protected_folder(tmp_path: Path) -> None:
    folder = tmp_path / "protected"
    folder.mkdir()
    path = folder / "out.nii.gz"
    write_segmentation(numbered(0), path)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    folder.chmod(0o555)
    # The superuser may write everywhere: as nobody, then, who must be let in.
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)
    _, said = child(path, 1, "as nobody" if os.geteuid() == 0 else "once").communicate()
    folder.chmod(0o755)
    assert "PermissionError" in said
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
