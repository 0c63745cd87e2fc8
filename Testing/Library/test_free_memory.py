"""Limits of control groups, from folders laid out as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from PWSegmentationLib.prediction.free_memory import free_in_group, free_memory

GB = 10**9


def group(root: Path, where: str, **files: int | str) -> None:
    folder = root / "sys/fs/cgroup" / where
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / f"memory.{name}").write_text(f"{value}\n")


def belongs(root: Path, line: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line + "\n")


def test_version_2_counts_the_tightest_group_around_and_gives_back_the_cache(tmp_path: Path) -> None:
    belongs(tmp_path, "0::/slurm/job_7/step_0")
    group(tmp_path, "slurm/job_7/step_0", max="max", current=GB)
    group(tmp_path, "slurm/job_7", max=8 * GB, current=3 * GB, stat=f"anon 5\ninactive_file {GB}")
    group(tmp_path, "slurm", max=100 * GB, current=4 * GB)
    assert free_in_group(tmp_path) == 6 * GB


def test_version_1_in_a_container_whose_group_has_another_name_outside(tmp_path: Path) -> None:
    belongs(tmp_path, "9:cpu:/x\n4:memory:/docker/abc")
    group(tmp_path, "memory", limit_in_bytes=2 * GB, usage_in_bytes=GB, stat="total_inactive_file 0")
    assert free_in_group(tmp_path) == GB


@pytest.mark.parametrize("limit", ["max", 9223372036854771712])
def test_no_limit_is_none(tmp_path: Path, limit: int | str) -> None:
    belongs(tmp_path, "0::/")
    group(tmp_path, "", **({"max": limit, "current": 1} if limit == "max" else {"limit_in_bytes": limit}))
    assert free_in_group(tmp_path) is None
    assert free_in_group(tmp_path / "not linux") is None


def test_this_machine_has_some() -> None:
    assert free_memory("cpu") > 10**8
