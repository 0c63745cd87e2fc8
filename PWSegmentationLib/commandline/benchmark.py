"""``pwseg benchmark``: accuracy and time beside Grow from seeds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.evaluation.benchmark import Result


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "benchmark",
        help="accuracy and time beside Grow from seeds",
        description="Let a simulated annotator prompt the 17 development structures (fetched once, 80 MB) and compare "
        "with Grow from seeds on the same prompts in the same run.",
    )
    parser.set_defaults(run=run)
    text = "folder for results.json and table.md (default: benchmark-output)"
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, default=Path("benchmark-output"), help=text)
    parser.add_argument("--cache", metavar="FOLDER", type=Path, help="where the cases are kept")
    parser.add_argument("--only", metavar="STRUCTURE", action="append", help="only this structure; may be repeated")
    parser.add_argument("--finetune", metavar="SECONDS", type=float, default=0.0, help="also with a fine-tuned network")
    text = "instead: what the exact rewrite of the attention saves, as ratios (a few minutes, 8 GB)"
    parser.add_argument("--method", action="store_true", help=text)
    parser.add_argument("--quiet", action="store_true", help="no line per structure")


def run(args: argparse.Namespace) -> None:
    """Fetch, run, write, print."""
    import sys
    from dataclasses import replace

    from PWSegmentationLib.errors import InputError
    from PWSegmentationLib.evaluation import benchmark
    from PWSegmentationLib.evaluation.development import development_cases

    if args.method:
        _method(args.output)
        return
    cases, missing = development_cases(args.cache)
    for sentence in missing:
        print(f"left out: {sentence}", file=sys.stderr)
    if args.only:
        wanted = {s for c in cases for s in c.structures} & set(args.only)
        cases = [replace(c, structures={n: v for n, v in c.structures.items() if n in wanted}) for c in cases]
    if not any(c.structures for c in cases):
        raise InputError("There is nothing to measure: no case could be fetched, or none has the structure asked for.")

    def say(result: Result) -> None:
        if not args.quiet:
            where = f"{result.case}, {result.structure}, {result.prompts}"
            print(f"{where}: {result.method} {result.dice:.3f}, {result.seconds:.1f} s", file=sys.stderr)

    results = benchmark.run(cases, finetune_s=args.finetune, done=say)
    benchmark.write(results, args.output / "results.json")
    (args.output / "table.md").write_text(benchmark.table(results) + "\n", encoding="utf-8")
    print(benchmark.table(results))


def _method(folder: Path) -> None:
    from dataclasses import asdict

    from PWSegmentationLib.evaluation import method_speed
    from PWSegmentationLib.evaluation.provenance import provenance
    from PWSegmentationLib.networks.model_files import write_json

    ratios = method_speed.measure()
    rows = [{**asdict(r), "times": r.times} for r in ratios]
    write_json({"ratios": rows, "provenance": provenance()}, folder / "method.json")
    print(method_speed.table(ratios))
