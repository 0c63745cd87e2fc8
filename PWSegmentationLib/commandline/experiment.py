"""``pwseg experiment``: what each part of the method is worth, on synthetic volumes, in one command."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "experiment",
        help="ablations of the method on synthetic volumes",
        description="Make a synthetic multi-organ data set, train the compact network from points, boxes, scribbles "
        "and dense labels with each part of the method on and off, and write a table. Takes hours; it may be stopped "
        "at any time and goes on with the same command.",
    )
    parser.set_defaults(run=run)
    text = "folder for the data, the finished cells and table.md (default: experiment-output)"
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, default=Path("experiment-output"), help=text)
    text = "only parts whose name holds this (labels, points, attention, label); may be repeated"
    parser.add_argument("--only", metavar="PART", action="append", default=[], help=text)
    parser.add_argument("--seeds", metavar="N", type=int, default=3, help="repetitions (default: 3)")
    parser.add_argument("--steps", metavar="N", type=int, help="training steps per cell (default: 1000)")
    text = "cells at a time, each in a process of its own with one thread (default: 1)"
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help=text)
    text = "a few steps on a few small volumes: shows that it works, and nothing else"
    parser.add_argument("--smoke", action="store_true", help=text)
    parser.add_argument("--quiet", action="store_true", help="no line per cell")


def run(args: argparse.Namespace) -> None:
    """Run what is missing and print the table."""
    import sys

    from PWSegmentationLib.evaluation import experiment

    if min(args.seeds, args.jobs) < 1 or (args.steps is not None and args.steps < 1):
        raise InputError("--seeds, --steps and --jobs take a whole number from 1.")
    rows = [r for r in experiment.ROWS if not args.only or any(o in r.part for o in args.only)]
    if not rows:
        # In quotes: some names have a comma in them.
        parts = ", ".join(f"'{part}'" for part in dict.fromkeys(r.part for r in experiment.ROWS))
        raise InputError(f"There is no part '{args.only[0]}'; there are: {parts}.")
    plan = experiment.Plan(seeds=tuple(range(args.seeds)))
    if args.steps is not None:
        plan = replace(plan, steps=args.steps)
    if args.smoke:
        plan = experiment.Plan(2, 1, 1, edge=32, steps=2, window=16, draws=2, seeds=(0,))

    def say(words: str) -> None:
        if not args.quiet:
            print(words, file=sys.stderr)

    args.output.mkdir(parents=True, exist_ok=True)
    print(experiment.page(experiment.run(args.output, plan, rows, jobs=args.jobs, done=say)))
