"""What fits of the program's numbers are made of: structures that are not reported, held out in turn.

The structures are those to learn from, those for tuning, and procedural scenes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.pretraining.material import LEARNT_FROM, by_size, learnt_from, made_up, tuned_on
from PWSegmentationLib.samples.development import development_cases, split
from PWSegmentationLib.volume.volume import Volume
from Testing.Benchmarks import OUTPUT

Case = TypeVar("Case")
See: TypeAlias = Callable[[str, str, Volume, Reference, int], Iterator[Case]]
"""Called with source, name, image, what is right, and number of a structure: its cases."""

SOURCES = ("learning", "tuning", "procedural")
# Clicks inside and outside.
WAYS = ((2, 2), (3, 5), (5, 10), (8, 4), (20, 20))
# How many structures that are not measured, of each image.
_COUNT = {"chest CT": 48, "brain MR": 27}
_SCENES = 75
# A source's structures are dealt out in so many parts, each to the next free process.
_PARTS = 4


def fit_arguments(name: str, about: str | None) -> argparse.ArgumentParser:
    """Of the command ``Testing.Benchmarks.NAME``."""
    parser = argparse.ArgumentParser(prog=f"python -m Testing.Benchmarks.{name}", description=about)
    parser.add_argument(
        "-o", "--output", type=Path, default=OUTPUT / f"{name}.json", help="JSON to write (%(default)s)"
    )
    parser.add_argument("--cases", type=_folder, help="folder that keeps what was seen, for the next fit")
    parser.add_argument("-j", "--jobs", type=_jobs, default=2, help="processes (2)")
    return parser


def _jobs(words: str) -> int:
    if not words.isdecimal() or int(words) < 1:
        raise argparse.ArgumentTypeError("it takes a whole number from 1.")
    return int(words)


def _folder(words: str) -> Path:
    if Path(words).exists() and not Path(words).is_dir():
        raise argparse.ArgumentTypeError(f"{words} is a file: give a folder.")
    return Path(words)


def structures(source: str, part: int = 0, parts: int = 1) -> Iterator[tuple[int, str, Volume, Reference]]:
    """Every ``parts``-th structure of one of `SOURCES`: its number and name, the image, and what is right."""
    if source == "procedural":
        for number in range(part, _SCENES, parts):
            volume, references = made_up(1_000_000 + number)
            for name in by_size(references, 1, np.random.default_rng(number)):
                yield number, f"{number}, {name}", volume, references[name]
        return
    for number, (image, name) in list(enumerate(_real(source)))[part::parts]:
        if source == "tuning":
            volume, reference = tuned_on(image, name)
        else:
            volume, references = learnt_from(image)
            reference = references[name]
        yield number, f"{image}, {name}", volume, reference


def _real(source: str) -> Iterator[tuple[str, str]]:
    """Image and name of the real structures of a source."""
    if source == "tuning":
        yield from ((image, name) for image, uses in split().items() for name in uses.get("tuning", {}))
        return
    for image in LEARNT_FROM:
        names = np.random.default_rng(5).permutation(sorted(learnt_from(image)[1]))
        yield from ((image, str(name)) for name in names[: _COUNT[image]])


def kept_or_seen(
    folder: Path | None,
    jobs: int,
    see: See[Case],
    read: Callable[[Path], list[Case]],
    write: Callable[[Sequence[Case], Path], None],
) -> list[Case]:
    """The cases of all structures: from ``folder`` if they are there; else seen, and kept there."""
    kept = None if folder is None else folder / "cases.npz"
    if kept is not None and kept.exists():
        return read(kept)
    # The packages are fetched once, not by each process.
    development_cases()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_part, see, source, part) for source in SOURCES for part in range(_PARTS)]
        found = [case for each in waiting for case in each.result()]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write(found, kept)
    return found


def _part(see: See[Case], source: str, part: int) -> list[Case]:
    """The cases of every so many structures of a source, from ``part`` on."""
    torch.set_num_threads(1)
    found: list[Case] = []
    for number, name, volume, reference in structures(source, part, _PARTS):
        found += see(source, name, volume, reference, number)
        sys.stderr.write(f"{source}: {name}\n")
    return found


def in_turn(names: Sequence[str], folds: int) -> Iterator[tuple[list[int], list[int]]]:
    """Numbers of cases to fit to, and of those left out, by the ``names`` of their structures."""
    order = np.random.default_rng(0).permutation(sorted(set(names)))
    fold = {name: number % folds for number, name in enumerate(order)}
    for left_out in range(folds):
        yield (
            [number for number, name in enumerate(names) if fold[name] != left_out],
            [number for number, name in enumerate(names) if fold[name] == left_out],
        )
