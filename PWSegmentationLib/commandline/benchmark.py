"""``pwseg benchmark``: accuracy per interaction, calibration and time, beside what users would pick instead."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.cases.case_files import CaseFiles
    from PWSegmentationLib.evaluation.methods import Method
    from PWSegmentationLib.evaluation.results import Failure, Result, Results


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "benchmark",
        help="accuracy per interaction, calibration and time, beside other methods",
        description="Let a simulated annotator prompt every structure of labelled images, answer, measure, and write "
        "results (JSON) and a page with tables and pictures. Interrupted, the same command goes on where it stopped.",
    )
    parser.set_defaults(run=run)
    text = (
        "folder of cases: a subfolder each with image.*, labels.* and labels.json; or the JSON of an earlier run, to "
        "make its page anew (default: the development images, fetched once, 80 MB)"
    )
    parser.add_argument("cases", metavar="CASES", nargs="?", type=Path, help=text)
    text = "results (default: benchmark-output/results.json); pictures go into a folder beside it"
    default = Path("benchmark-output/results.json")
    parser.add_argument("-o", "--output", metavar="FILE.json", type=Path, default=default, help=text)
    text = "where the page goes, .html (one file) or .md (with pictures beside it); default: beside the results"
    parser.add_argument("--page", metavar="FILE", type=Path, help=text)
    what = parser.add_argument_group("what is measured")
    text = (
        "auto (the network), image-aware or gaussian (the label alone), or fine-tuned; may be repeated (default: auto)"
    )
    what.add_argument("--method", metavar="NAME", action="append", help=text)
    text = (
        "other methods: growcut, gaussian, random-walk, separated by commas, or none (default: all that are installed)"
    )
    what.add_argument("--against", metavar="NAMES", help=text)
    text = (
        "'one click', box, scribbles, 'points 5+10', ...; may be repeated (default: all of these); also "
        "'suggested spots', 'uncertain spots' and 'random spots': a click, then answers where we or chance ask"
    )
    what.add_argument("--prompts", metavar="NAME", action="append", help=text)
    what.add_argument("--only", metavar="STRUCTURE", action="append", default=[], help="may be repeated")
    what.add_argument("--seed", type=int, default=0, help="of the simulated annotator (default: 0)")
    text = "clicks miss by up to so many mm, with every way of prompting"
    what.add_argument("--jitter", metavar="MM", type=float, default=0.0, help=text)
    text = "this share of the clicks is wrong, with every way of prompting"
    what.add_argument("--wrong", metavar="SHARE", type=float, default=0.0, help=text)
    what.add_argument("--finetune", metavar="SECONDS", type=float, default=20.0, help="for the method fine-tuned")
    what.add_argument("--device", default="cpu", help="cpu (default), cuda or auto")
    parser.add_argument("--cache", metavar="FOLDER", type=Path, help="where the development images are kept")
    parser.add_argument("--restart", action="store_true", help="forget what the output file holds")
    text = "go on although another version made what the output file holds; the page names both"
    parser.add_argument("--mixed", action="store_true", help=text)
    text = "speed measurements (python -m Testing.Benchmarks) for the page"
    parser.add_argument("--speed", metavar="FILE.json", type=Path, help=text)
    text = 'what to say on the page: {"failures": {"CASE/STRUCTURE": TEXT}, "remarks": [TEXT]}'
    parser.add_argument("--notes", metavar="FILE.json", type=Path, help=text)
    parser.add_argument("--quiet", action="store_true", help="no progress and no lines")


def run(args: argparse.Namespace) -> None:
    """Measure what is missing, write, print."""
    from PWSegmentationLib.commandline.file_checks import NamedFile, check_files, given
    from PWSegmentationLib.errors import InputError
    from PWSegmentationLib.evaluation.report import check_installed, read_notes, write_page
    from PWSegmentationLib.evaluation.results import Results
    from PWSegmentationLib.evaluation.tables import accuracy_table

    if args.seed < 0:
        raise InputError("--seed takes a whole number from 0.")
    if args.output.suffix != ".json":
        raise InputError(f"The results go into a .json file; {args.output} is none.")
    again = args.cases is not None and args.cases.suffix == ".json"
    page = args.page or (args.cases if again else args.output).with_suffix(".html")
    if page.suffix not in (".html", ".md"):
        raise InputError(f"The page can be .html or .md; {page} is neither.")
    read = [*given(args.cases if again else None, "the results"), *given(args.notes, "--notes")]
    check_files(
        [*read, *given(args.speed, "--speed")],
        [*given(None if again else args.output, "--output"), NamedFile(page, "--page")],
    )
    # What is missing or wrong is found out before hours of work, not after.
    check_installed()
    notes, speed = read_notes(args.notes), _read_speed(args.speed)
    if again:
        results, path = Results.read(args.cases), args.cases
    else:
        results, path = _measure(args), args.output
    if not results.results:
        raise InputError(_nothing(results.failures))
    write_page(page, results, pictures_folder(path), notes=notes, speed=speed)
    print(accuracy_table(results.results))
    if results.failures:
        print(f"\nnot measured: {len(results.failures)}, listed on the page")
    print(f"\nresults: {path}\npage:    {page}")


def pictures_folder(results: Path) -> Path:
    """Where the pictures of a results file are."""
    return results.with_name(results.stem + "-pictures")


def _measure(args: argparse.Namespace) -> Results:
    from dataclasses import replace

    from PWSegmentationLib.annotator.protocols import PROTOCOLS, Noise, protocol
    from PWSegmentationLib.commandline.progress_bar import progress_bar
    from PWSegmentationLib.errors import InputError
    from PWSegmentationLib.evaluation.benchmark import Benchmark
    from PWSegmentationLib.evaluation.results import Results

    protocols = [protocol(name) for name in dict.fromkeys(args.prompts)] if args.prompts else list(PROTOCOLS)
    noise = Noise(args.jitter, args.wrong)
    if noise != Noise():
        protocols = [replace(p, noise=noise) for p in protocols]
    methods = _methods(args)
    settings = {
        "cases": "development images" if args.cases is None else args.cases.resolve().name,
        "prompts": [p.name for p in protocols],
        "jitter_mm": args.jitter,
        "wrong_share": args.wrong,
        "methods": [m.name for m in methods],
        "seed": args.seed,
        "device": args.device,
    }
    if args.restart:
        args.output.unlink(missing_ok=True)
    results = Results.resume(args.output, settings, mixed=args.mixed)
    with progress_bar("images", quiet=args.quiet) as progress:
        cases = _cases(args, progress)
    known = {s for c in cases for s in c.structures}
    for name in set(args.only) - known if all(c.structures for c in cases) else ():
        raise InputError(f"No case has a structure '{name}': choose among {', '.join(sorted(known))}.")
    pictures = pictures_folder(args.output)
    benchmark = Benchmark(protocols, methods, results, args.output, pictures=pictures, seed=args.seed)
    with progress_bar("benchmark", quiet=args.quiet) as progress:
        return benchmark.run(cases, only=args.only, progress=progress, said=None if args.quiet else _say)


def _cases(args: argparse.Namespace, progress: Any) -> list[CaseFiles]:
    from PWSegmentationLib.cases.folders import find_cases
    from PWSegmentationLib.samples.development import development_cases

    return development_cases(args.cache, progress) if args.cases is None else find_cases(args.cases)


def _methods(args: argparse.Namespace) -> list[Method]:
    """Ours, and the peers asked for; unless asked for by name, those that are installed."""
    import sys

    from PWSegmentationLib.errors import InputError
    from PWSegmentationLib.evaluation.methods import PEERS, methods
    from PWSegmentationLib.networks.device import choose_device

    # Else every structure would fail by itself, and the others be measured alone.
    choose_device(args.device)
    ours = args.method or ["auto"]
    options = {"finetune_s": args.finetune, "device": args.device}
    if args.against is not None:
        named = [] if args.against == "none" else [n.strip() for n in args.against.split(",")]
        return methods(list(dict.fromkeys(ours)), list(dict.fromkeys(named)), **options)
    found = methods(list(dict.fromkeys(ours)), [], **options)
    for key in PEERS:
        try:
            found += methods([], [key])
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    return found


def _read_speed(path: Path | None) -> dict[str, Any] | None:
    from PWSegmentationLib.errors import InputError
    from PWSegmentationLib.files import read_json

    if path is None:
        return None
    document = read_json(path, "speed measurements")
    if not isinstance(document, dict) or not {"stages", "latency", "made by"} <= set(document):
        raise InputError(f"{path} does not hold speed measurements: make it with python -m Testing.Benchmarks.")
    return document


def _say(results: Sequence[Result], failures: Sequence[Failure]) -> None:
    """A line for every way of prompting: the last Dice of each method."""
    import sys

    from tqdm import tqdm

    last: dict[str, dict[str, float]] = {}
    for r in results:
        last.setdefault(f"{r.case}, {r.structure}, {r.prompts}", {})[r.method] = r.dice
    lines = [f"{where}: " + ", ".join(f"{m} {d:.3f}" for m, d in found.items()) for where, found in last.items()]
    for line in lines + [_line(f) for f in failures]:
        tqdm.write(line, file=sys.stderr)


def _line(failure: Failure) -> str:
    where = ", ".join(n for n in (failure.case, failure.structure, failure.prompts, failure.method) if n)
    return f"not measured: {where}: {failure.sentence}"


def _nothing(failures: Sequence[Failure]) -> str:
    reason = f" {failures[0].sentence}" if failures else " No case has a structure asked for."
    return f"There is nothing to measure.{reason}"
