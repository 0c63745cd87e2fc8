"""``pwseg evaluate``: a trained model on cases whose truth is known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib.commandline.file_checks import NamedFile, case_files, check_files, given, model_files
from PWSegmentationLib.commandline.progress_bar import progress_bar
from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.cases.case_files import CaseFiles
    from PWSegmentationLib.cases.case_set import CaseSet


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
    text = "which cases (default: test if there are any, else those that the model does not know, else selection)"
    parser.add_argument("--cases", choices=("training", "selection", "test", "all"), help=text)
    parser.add_argument("--samples", metavar="K", type=int, default=6, help="stochastic passes (default: 6; 0: none)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="also write the numbers, JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    """Segment, compare, print."""
    from PWSegmentationLib.cases.sources import read_cases
    from PWSegmentationLib.evaluation.model_evaluation import as_json, evaluate, means, table, write
    from PWSegmentationLib.networks.device import choose_device
    from PWSegmentationLib.prediction.trained_model import TrainedModel

    if args.samples < 0:
        raise InputError("--samples takes a whole number from 0.")
    model = TrainedModel.load(args.model, choose_device(args.device))
    data = read_cases(args.data, args.layout)
    missing = [name for name in model.structures if name not in data.named]
    if missing:
        raise InputError(f"The data do not name '{missing[0]}', which the model segments: add it to their labels.")
    which, cases = _chosen(args.cases, data, model.card)
    if not cases:
        raise InputError(f"There is no {which} case in {args.data}: choose another set with --cases.")
    unlabelled = [c.name for c in cases if c.labels is None]
    if unlabelled:
        raise InputError(f"The case '{unlabelled[0]}' has no dense labels to compare with: add them or leave it out.")
    read = [NamedFile(args.data, "the data"), *model_files(args.model), *case_files(cases)]
    check_files(read, given(args.output, "--output"))
    with progress_bar("evaluating", quiet=args.quiet) as progress:
        scores = evaluate(model, cases, data.named, draws=args.samples, progress=progress)
    if args.output:
        write(scores, args.output)
    print(json.dumps(as_json(means(scores)), indent=1) if args.json else table(scores))
    if not args.quiet:
        print(f"{_said(which, len(cases), len(_all(data)))}; --cases chooses.", file=sys.stderr)


def _chosen(asked: str | None, data: CaseSet, card: Mapping[str, Any]) -> tuple[str, tuple[CaseFiles, ...]]:
    """Which cases are measured, in a word, and they themselves."""
    if asked is not None:
        return asked, _all(data) if asked == "all" else getattr(data, asked)
    if data.test:
        return "test", data.test
    learnt = card.get("data", {})
    known = {*learnt.get("training", ()), *learnt.get("selection", ())}
    # Whoever measures on other data wants all of them, and not the fifth that training on them would select by.
    new = tuple(c for c in _all(data) if c.name not in known)
    if new:
        return "new", new
    return ("selection", data.selection) if data.selection else ("training", data.training)


def _all(data: CaseSet) -> tuple[CaseFiles, ...]:
    return (*data.training, *data.selection, *data.test)


def _said(which: str, count: int, total: int) -> str:
    """What the figures stand on."""
    about = {
        "training": ", learnt from if the model was trained on these data",
        "selection": ", by which the weights were chosen if the model was trained on these data",
        "new": ", none of which the model knows by its name",
    }
    return f"measured on {count} of {total} cases ({which}{about.get(which, '')})"
