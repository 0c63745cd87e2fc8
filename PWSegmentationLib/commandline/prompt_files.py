"""Prompts from the files named on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.prompts.prompts import Prompt, PromptSet


@dataclass(frozen=True)
class PromptFile:
    """``option NAME=FILE``, as given."""

    option: str
    name: str
    path: Path


class AppendPromptFile(argparse.Action):
    """Collects every ``NAME=FILE`` option in one list: segments are numbered in the order they are named."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Split ``NAME=FILE`` and append it."""
        name, equals, path = str(values).partition("=")
        if not equals or not name.strip() or not path:
            parser.error(f"argument {option}: expected NAME=FILE, got '{values}'")
        given = [*(getattr(namespace, self.dest) or ()), PromptFile(str(option), name.strip(), Path(path))]
        setattr(namespace, self.dest, given)


def gather(sets: Sequence[Path], files: Sequence[PromptFile], radius: float) -> PromptSet:
    """The prompts of whole sets (``--prompts``), then those of single files.

    Segments keep their order, and those without a prompt are kept, for `prompts.checks` to refuse.

    Raises
    ------
    InputError
        If nothing is given, or a file cannot be read or holds something else than its option says.
    """
    from PWSegmentationLib.prompts.json_format import read_prompts
    from PWSegmentationLib.prompts.prompts import PromptSet, SegmentPrompts

    if not sets and not files:
        raise InputError("There are no prompts: give --prompts, --points, --box, --curves or --scribbles.")
    named = [(segment.name, tuple(segment)) for path in sets for segment in read_prompts(path)]
    named += [(file.name, tuple(_read(file, radius))) for file in files]
    found = PromptSet()
    for name, prompts in named:
        if name not in found:
            found = found.with_segment(SegmentPrompts(name))
        for prompt in prompts:
            found = found.with_prompt(name, prompt)
    return found


def _read(file: PromptFile, radius: float) -> Sequence[Prompt]:
    from PWSegmentationLib.prompts.markups import read_markups
    from PWSegmentationLib.prompts.prompts import Box, Point, Scribble

    if file.option == "--scribbles":
        return [_read_strokes(file.path)]
    kind: type[Prompt]
    kind, words = {
        "--points": (Point, "points"),
        "--negative-points": (Point, "points"),
        "--box": (Box, "a ROI"),
        "--curves": (Scribble, "lines or curves"),
        "--negative-curves": (Scribble, "lines or curves"),
    }[file.option]
    prompts = read_markups(file.path, radius=radius, positive=not file.option.startswith("--negative"))
    if not all(isinstance(p, kind) for p in prompts):
        raise InputError(f"{file.path} holds something else than {words}, which {file.option} takes.")
    return prompts


def _read_strokes(path: Path) -> Prompt:
    from PWSegmentationLib.prompts.prompts import Strokes
    from PWSegmentationLib.volume.reading import read_volume

    volume = read_volume(path)
    try:
        return Strokes.from_labelmap(volume.array, volume.grid.affine)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
