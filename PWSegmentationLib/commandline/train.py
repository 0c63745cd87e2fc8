"""``pwseg train``: a data set in, a model out."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib.commandline.config_changes import add_changes_to, changes
from PWSegmentationLib.commandline.file_checks import NamedFile, case_files, check_files
from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.cases.case_files import CaseFiles

# What is written under a name that an input may have, too.
_FILES = ("model.safetensors", "model.json", "state.json", "log.jsonl", "test.json")

_EPILOG = """\
examples:
  pwseg train config.json -o runs/liver
  pwseg train FOLDER_OF_CASES -o runs/liver --set supervision=points --set steps=5000
  torchrun --nproc-per-node 2 -m PWSegmentationLib.commandline train config.json -o runs/liver --set accumulate=2

A run that was stopped goes on with the same command, to the same result. The folder gets model.safetensors and
model.json (the weights that the selection set chose), the training state, log.jsonl and TensorBoard files; and
test.json once, at the end, if there is a test set.
"""


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a network on a data set",
        description="Train a probabilistic UNETR on densely or sparsely labelled cases.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    text = "a training config (JSON with the key data), a datalist JSON, or a folder of cases"
    parser.add_argument("data", metavar="CONFIG_OR_FOLDER", type=Path, help=text)
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="where the run is kept")
    add_changes_to(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")


def run(args: argparse.Namespace) -> None:
    """Train, then look at the test set once."""
    from PWSegmentationLib.cases.sources import read_cases
    from PWSegmentationLib.training.config import config_from_dict
    from PWSegmentationLib.training.dataset_training import train

    config = config_from_dict({**_document(args.data), **changes(args)}, Path())
    cases = read_cases(config.data, config.layout).only(config.structures)
    every = (*cases.training, *cases.selection, *cases.test)
    if config.layout == "auto" and Path(config.data).is_dir():
        _check_place(args.output.resolve(), Path(config.data).resolve(), every)
    read = [NamedFile(args.data, "the data"), *case_files(every)]
    check_files(read, [NamedFile(args.output / name, "a file of the run") for name in _FILES])
    report = train(config, cases, args.output, quiet=args.quiet)
    if not args.quiet and _is_first():
        print(f"trained {report.steps} steps; kept those of step {report.best_step}: {report.model}")
    if cases.test and all(c.labels for c in cases.test) and _is_first() and not (args.output / "test.json").exists():
        _test(args, config.device, cases.test, cases.named)


def _check_place(output: Path, data: Path, cases: Iterable[CaseFiles]) -> None:
    """An `InputError` for a run among its cases: whoever goes on with it would take it for one of them."""
    homes = {case.image.parent.parent for case in cases} - set(data.parents)
    # The run's own folder has folders, too.
    if homes & {output, output.parent}:
        raise InputError(f"The output {output} lies among the cases: choose a folder outside of {data}.")


def _test(args: argparse.Namespace, device: str, cases: Any, named: dict[str, tuple[int, ...]]) -> None:
    from PWSegmentationLib.commandline.progress_bar import progress_bar
    from PWSegmentationLib.evaluation.model_evaluation import evaluate, table, write
    from PWSegmentationLib.networks.device import choose_device
    from PWSegmentationLib.prediction.trained_model import TrainedModel

    model = TrainedModel.load(args.output, choose_device(device))
    with progress_bar("testing", quiet=args.quiet) as progress:
        scores = evaluate(model, cases, named, progress=progress)
    write(scores, args.output / "test.json")
    if not args.quiet:
        print(table(scores))


def _document(path: Path) -> dict[str, Any]:
    """The config in ``path``, its data path made absolute; or one that names ``path`` as the data."""
    from PWSegmentationLib.files import read_json

    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if path.is_dir():
        return {"data": str(path.resolve())}
    document = read_json(path, "training config")
    if isinstance(document, dict) and isinstance(document.get("training"), list):
        return {"data": str(path.resolve())}
    if not isinstance(document, dict):
        raise InputError(f"{path} is neither a training config nor a datalist: both are JSON objects.")
    if isinstance(document.get("data"), str):
        document["data"] = str((path.parent / document["data"]).resolve())
    return document


def _is_first() -> bool:
    import os

    return os.environ.get("RANK", "0") == "0"
