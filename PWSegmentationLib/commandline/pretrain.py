"""``pwseg pretrain``: the weights that ship with the extension, from nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from PWSegmentationLib.commandline.config_changes import add_changes_to, changes
from PWSegmentationLib.commandline.file_checks import NamedFile, check_files, given
from PWSegmentationLib.errors import InputError

_EPILOG = """\
examples:
  pwseg pretrain -o runs/promptable --jobs 2
  pwseg pretrain config.json -o runs/promptable --set steps=20000
  pwseg pretrain -o runs/promptable --ship Resources/Models/promptable.safetensors

First the tasks are made, the longer part on a CPU: FOLDER/tasks to learn from and FOLDER/selection to select by. What
is there is not made again, and a run that was stopped goes on with the same command.
"""


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pretrain",
        help="train the promptable network",
        description="Train the network that refines the label of any prompted structure, on procedural scenes and on "
        "real images whose structures nothing is measured on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    text = "a pretraining config, JSON (default: the defaults)"
    parser.add_argument("config", metavar="CONFIG", type=Path, nargs="?", help=text)
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="where the run is kept")
    text = "processes that make tasks, each with one thread (default: 1)"
    parser.add_argument("--jobs", metavar="N", type=int, default=1, help=text)
    add_changes_to(parser)
    parser.add_argument("--tasks-only", action="store_true", help="make the tasks and stop")
    text = "when trained, calibrate the model and write it here in half precision, with its card"
    parser.add_argument("--ship", metavar="FILE", type=Path, help=text)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> None:
    """Make what tasks are missing, then train."""
    from PWSegmentationLib.files import read_json
    from PWSegmentationLib.pretraining.config import PretrainingConfig
    from PWSegmentationLib.pretraining.pretrain import make_tasks, pretrain
    from PWSegmentationLib.training.schedule import checked_config

    if args.jobs < 1:
        raise InputError("--jobs takes a whole number from 1.")
    document = read_json(args.config, "pretraining config") if args.config else {}
    if not isinstance(document, dict):
        raise InputError(f"{args.config} is no pretraining config: it must be a JSON object.")
    config = checked_config(PretrainingConfig, {**document, **changes(args)})

    def say(words: str) -> None:
        if not args.quiet:
            print(words, file=sys.stderr)

    models = [args.output / "model.safetensors", *([args.ship] if args.ship else ())]
    written = [NamedFile(path, "a model") for model in models for path in (model, model.with_suffix(".json"))]
    check_files(given(args.config, "the config itself"), written)
    make_tasks(config, args.output, jobs=args.jobs, say=say)
    if args.tasks_only:
        return
    report = pretrain(config, args.output, quiet=args.quiet)
    if not args.quiet:
        print(f"trained {report.steps} steps; kept those of step {report.best_step}: {report.model}")
    if args.ship:
        from PWSegmentationLib.pretraining.shipping import ship

        temperature, bias = ship(args.output, args.ship, " ".join(["pwseg", *sys.argv[1:]]))
        if not args.quiet:
            print(f"wrote {args.ship}, temperature {temperature:.2f}, bias {bias:+.2f}")
