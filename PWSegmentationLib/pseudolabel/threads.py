"""How many threads the label runs on: one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread for a while.

    The label is made of many small operations. A second thread gains them nothing on an idle machine, and on a busy
    one, where threads that wait for each other keep being suspended, it makes them several times slower.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
