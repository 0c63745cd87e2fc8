"""``pwseg evaluate``: a trained model on cases whose truth is known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PWSegmentationLib.commandline.file_checks import NamedFile, case_files, check_files, given, model_files
from PWSegmentationLib.commandline.progress_bar import progress_bar
from PWSegmentationLib.errors import InputError


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="measure a trained model",
        description="Segment densely labelled cases and print Dice, 95 % Hausdorff distance and surface Dice (2 mm).",
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", type=Path, help="a folder that `pwseg train` wrote, or .safetensors")
    parser.add_argument("data", metavar="DATA", type=Path, help="a datalist JSON, a folder of cases, or a data set")
    parser.add_argument("--layout", choices=("auto", "btcv", "chaos", "mscmrseg"), default="auto")
    text = "which cases (default: test if there are any, else selection, else training)"
    parser.add_argument("--cases", choices=("training", "selection", "test"), help=text)
    parser.add_argument("--samples", metavar="K", type=int, default=6, help="stochastic passes (default: 6; 0: none)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="also write the numbers, JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    """Segment, compare, print."""
    from PWSegmentationLib.cases.sources import read_cases
    from PWSegmentationLib.evaluation.model_evaluation import as_json, evaluate, means, table, write
    from PWSegmentationLib.prediction.trained_model import TrainedModel
    from PWSegmentationLib.session.local import choose_device

    model = TrainedModel.load(args.model, choose_device(args.device))
    data = read_cases(args.data, args.layout)
    missing = [name for name in model.structures if name not in data.named]
    if missing:
        raise InputError(f"The data do not name '{missing[0]}', which the model segments: add it to their labels.")
    cases = getattr(data, args.cases) if args.cases else data.test or data.selection or data.training
    unlabelled = [c.name for c in cases if c.labels is None]
    if unlabelled or not cases:
        raise InputError(
            f"The case '{unlabelled[0]}' has no dense labels to compare with: add them or leave it out."
            if unlabelled
            else f"There is no {args.cases} case in {args.data}: choose another set with --cases."
        )
    read = [NamedFile(args.data, "the data"), *model_files(args.model), *case_files(cases)]
    check_files(read, given(args.output, "--output"))
    with progress_bar("evaluating", quiet=args.quiet) as progress:
        scores = evaluate(model, cases, data.named, draws=args.samples, progress=progress)
    if args.output:
        write(scores, args.output)
    print(json.dumps(as_json(means(scores)), indent=1) if args.json else table(scores))
