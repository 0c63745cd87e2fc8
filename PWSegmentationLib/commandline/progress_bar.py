"""Progress on standard error, where it does not mix with results, and only for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PWSegmentationLib.progress import Progress


@contextmanager
def progress_bar(what: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar for one job, as a `Progress` function; nothing is drawn where standard error is no terminal."""
    from tqdm import tqdm

    # disable=None is tqdm's "unless a terminal".
    layout = "{desc:<28} {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=1.0, desc=what, bar_format=layout, disable=True if quiet else None, leave=False) as bar:

        def show(done: float, words: str) -> None:
            bar.set_description_str(words[:28] or what, refresh=False)
            bar.update(max(0.0, min(done, 1.0) - bar.n))

        yield show
