"""Training on several processes started by torchrun, and on one in the same words; and processes for other work."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed

from PWSegmentationLib.errors import InputError


@dataclass(frozen=True)
class Processes:
    """``rank`` of ``count``; a process that is alone talks to nobody."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this one writes and speaks."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """Over all processes."""
        return sum(self.gather(value)) / self.count

    def any(self, value: bool) -> bool:
        """Whether it holds in any process."""
        return any(self.gather(value))

    def gather(self, value: Any) -> list[Any]:
        """Everybody's, in order of rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def joined(device: str, passes: int) -> Iterator[Processes]:
    """The processes that torchrun started, connected while the block runs; otherwise this one.

    Raises `InputError` if they cannot share the ``passes`` of a step evenly.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if passes % count:
        raise InputError(
            f'"accumulate" ({passes}) must be a multiple of the number of processes ({count}), which share the passes '
            "of a step."
        )
    if count == 1:
        yield Processes()
        return
    processes = Processes(int(os.environ["RANK"]), count, int(os.environ.get("LOCAL_RANK", "0")))
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(processes.local_rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    try:
        yield processes
    finally:
        distributed.destroy_process_group()


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """``jobs`` processes, each with one thread; who leaves the block does not want what has not begun.

    Raises `InputError` where one of them was killed.
    """
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise InputError(
            "One of the processes was killed, perhaps for want of memory: run the same command again, with fewer "
            "--jobs; what was finished is kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
