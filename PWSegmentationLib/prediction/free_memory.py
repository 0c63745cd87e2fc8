"""How much memory a computation may ask for: of a GPU, of the machine, and of the control group it runs in.

A container or a job of a cluster has a limit that the machine's own figures do not know; beyond it the kernel kills
the process. On Linux control groups are files: version 2 has one tree of groups, version 1 one for memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def free_memory(device: str | torch.device) -> int:
    """Bytes that can be asked for."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [n for n in (free_on_machine(), free_in_group()) if n is not None]
    return min(limits, default=4 * 2**30)


def free_in_group(root: Path = Path("/")) -> int | None:
    """What the limits of this process's control group and of those around it leave, bytes; None without a limit."""
    left = [n for group in _groups(root) if (n := _left_in(group)) is not None]
    return min(left, default=None)


def free_on_machine() -> int | None:
    """What the machine has left, bytes; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the group and of all around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, name = line.split(":", 2)
        if number != "0" and "memory" not in kinds.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if number == "0" else "memory")
        group = mount / name.lstrip("/")
        # Inside a container the name may be the host's: its own group is then the mount itself.
        while group != mount and mount in group.parents:
            yield group
            group = group.parent
        yield mount


def _left_in(group: Path) -> int | None:
    """Limit less use, counting as free what the kernel would give up at once: pages of files not in use."""
    for limit_name, use_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, use = _number(group / limit_name), _number(group / use_name)
        # Version 1 says "no limit" with a number near 2^63.
        if limit is not None and use is not None and limit < 2**60:
            return max(0, limit - use + _statistic(group, cache_name))
    return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # not there, or "max"
        return None


def _statistic(group: Path, name: str) -> int:
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
