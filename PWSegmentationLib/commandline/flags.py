"""``pwseg flags``: how often the review's alarms are right."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "flags",
        help="how often the review's alarms are right",
        description="Plant errors (leak, missing part, swapped label, shifted geometry) into references of labelled "
        "images, review them beside the good ones, and count the errors found and the false alarms.",
    )
    parser.set_defaults(run=run)
    text = "folder of labelled cases (default: the development images, fetched once, 80 MB)"
    parser.add_argument("cases", metavar="CASES", nargs="?", type=Path, help=text)
    text = "every finding, as JSON (default: flags-output/flags.json)"
    parser.add_argument(
        "-o", "--output", metavar="FILE.json", type=Path, default=Path("flags-output/flags.json"), help=text
    )
    text = "how the structures were prompted: 'points 5+10', 'points 20+20', scribbles, ... (default: points 5+10)"
    parser.add_argument("--prompts", metavar="NAME", default="points 5+10", help=text)
    text = "only structures marked so, 'tuning' or 'reported'; may be repeated (default: all)"
    parser.add_argument("--use", metavar="USE", action="append", help=text)
    parser.add_argument("--repeats", type=int, default=3, help="errors of each kind for a structure (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of prompts and errors (default: 0)")
    parser.add_argument("--cache", metavar="FOLDER", type=Path, help="where the development images are kept")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no table")


def run(args: argparse.Namespace) -> None:
    """Measure, write, print."""
    from PWSegmentationLib.annotator.protocols import protocol
    from PWSegmentationLib.cases.folders import find_cases
    from PWSegmentationLib.commandline.file_checks import NamedFile, case_files, check_files
    from PWSegmentationLib.commandline.progress_bar import progress_bar
    from PWSegmentationLib.errors import InputError
    from PWSegmentationLib.evaluation.flag_measurement import document, measure_flags, table
    from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
    from PWSegmentationLib.files import write_json
    from PWSegmentationLib.samples.development import development_cases

    if min(args.seed, args.repeats) < 0:
        raise InputError("--seed and --repeats take a whole number from 0.")
    prompting = protocol(args.prompts)
    cases = development_cases(args.cache) if args.cases is None else find_cases(args.cases)
    check_files(case_files(cases), [NamedFile(args.output, "--output")])
    uses = args.use or ("tuning", "reported", "")
    with progress_bar("planting errors", quiet=args.quiet) as progress:
        found = measure_flags(cases, prompting, uses=uses, repeats=args.repeats, seed=args.seed, progress=progress)
    write_json({"made by": machine_and_versions(), "prompts": prompting.name, **document(found)}, args.output)
    if not args.quiet:
        print(table(found))
        print(f"\nfindings: {args.output}")
