"""Sample images are fetched once, verified, and never half there. Real pip, a mirror on disk."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.demo.case import chest_ct
from PWSegmentationLib.samples import packages
from PWSegmentationLib.samples.catalogue import CHEST_CT
from PWSegmentationLib.samples.packages import Package, default_cache, fetch

MEMBERS = {
    "tiny/data/a.txt": "A",
    "tiny/data/b.txt": "B",
    "tiny/code.py": "raise SystemExit",
    "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-1.0.dist-info/RECORD": "",
}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only package index there is."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def package(mirror: Path) -> Package:
    """A wheel in the mirror, like the real ones."""
    wheel = mirror / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in MEMBERS.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Package("tiny", "1.0", wheel.name, digest, ("tiny/data/a.txt", "tiny/data/b.txt"), 1)


def test_a_package_is_fetched_once(package, mirror, tmp_path):
    folder = fetch(package, tmp_path / "cache")
    assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "b.txt"]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["tiny-1.0"]
    (mirror / package.file).unlink()
    assert fetch(package, tmp_path / "cache") == folder, "the second time needs no network"


def test_no_network_is_one_sentence_and_leaves_nothing(package, mirror, tmp_path):
    wheel = (mirror / package.file).read_bytes()
    (mirror / package.file).unlink()
    with pytest.raises(InputError, match="connect to the network once"):
        fetch(package, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    # What was put there by hand, as the sentence says, is taken.
    (tmp_path / "cache" / package.file).write_bytes(wheel)
    assert (fetch(package, tmp_path / "cache") / "a.txt").read_text() == "A"


def test_a_wrong_file_is_refused(package, mirror, tmp_path):
    with zipfile.ZipFile(mirror / package.file, "a") as archive:
        archive.writestr("tiny/more.txt", "more")
    with pytest.raises(InputError, match="SHA-256 differs"):
        fetch(package, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_interrupted_run_is_taken_up(package, mirror, tmp_path, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packages, "_extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(package, tmp_path / "cache")
    # The download had ended, so it is not repeated.
    (mirror / package.file).rename(mirror / "elsewhere")
    assert (fetch(package, tmp_path / "cache") / "b.txt").read_text() == "B"
    # A folder that lost a file is filled again.
    (mirror / "elsewhere").rename(mirror / package.file)
    (tmp_path / "cache" / "tiny-1.0" / "b.txt").unlink()
    assert (fetch(package, tmp_path / "cache") / "b.txt").read_text() == "B"


def test_several_may_fetch_the_same_at_once(package, mirror, tmp_path):
    def one(cache: Path) -> str:
        return (fetch(package, cache) / "b.txt").read_text()

    with ThreadPoolExecutor(8) as pool:
        for attempt in range(20):
            cache = tmp_path / f"cache {attempt}"
            cache.mkdir()
            shutil.copy(mirror / package.file, cache)
            assert list(pool.map(one, [cache] * 8)) == ["B"] * 8
            assert [p.name for p in cache.iterdir()] == ["tiny-1.0"]


def test_a_cache_that_cannot_be_written_is_told_with_a_way_that_every_command_has(package, tmp_path):
    (tmp_path / "file").write_text("of the user")
    with pytest.raises(InputError, match=r"cannot be written .*: set PWSEG_CACHE"):
        fetch(package, tmp_path / "file" / "cache")


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("PWSEG_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("PWSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "pwsegmentation"


def test_the_demo_prompts_belong_to_the_real_chest_ct():
    """The image the demo shows, fetched as the demo fetches it."""
    real = chest_ct(fetch(CHEST_CT, default_cache()))
    for segment in real.prompts:
        reference = real.reference_mask(segment.name)
        inside = [reference[tuple(real.volume.grid.to_voxel(p.position))] for p in segment.points if p.positive]
        outside = [reference[tuple(real.volume.grid.to_voxel(p.position))] for p in segment.points if not p.positive]
        assert all(inside) and not any(outside)
