"""``pwseg convert``: a checkpoint of the paper's own code as a model of ours."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from PWSegmentationLib.commandline.file_checks import NamedFile, check_files
from PWSegmentationLib.errors import InputError


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "convert",
        help="convert a checkpoint of the paper's code",
        description="Turn a .pt checkpoint of PW4MedSeg (arXiv 2403.02566) into a model for `pwseg predict`. Nothing "
        "in the file is executed.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a .pt file")
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="folder for the model")
    text = "what an output channel is; once per channel, in order (the paper's code has one organ per model)"
    parser.add_argument("--structure", metavar="NAME", action="append", required=True, help=text)
    text = "voxel size it was trained at, mm (default: 1, as the paper's code has it)"
    parser.add_argument("--spacing", metavar="MM", type=float, default=1.0, help=text)
    text = "robust percentiles (default) or the ct window, which is ours and not the paper's"
    parser.add_argument("--intensity", choices=("robust", "ct"), default="robust", help=text)


def run(args: argparse.Namespace) -> None:
    """Convert and write."""
    from PWSegmentationLib.networks.model_files import save_model
    from PWSegmentationLib.networks.published_checkpoint import card_of_published, load_published
    from PWSegmentationLib.prediction.preparation import Preparation

    weights = args.output / "model.safetensors"
    read = [NamedFile(args.checkpoint, "the checkpoint itself")]
    if not (math.isfinite(args.spacing) and args.spacing > 0):
        raise InputError(f"A voxel cannot be {args.spacing:g} mm wide: give --spacing a number above 0.")
    check_files(read, [NamedFile(path, "the model") for path in (weights, weights.with_suffix(".json"))])
    network = load_published(args.checkpoint)
    if len(set(args.structure)) != network.out_channels:
        raise InputError(
            f"The network has {network.out_channels} output channels and {len(set(args.structure))} structures are "
            "named: give --structure once per channel."
        )
    card = {
        **card_of_published(args.checkpoint),
        "structures": {name: value for value, name in enumerate(args.structure, start=1)},
        "preparation": Preparation(args.spacing, args.intensity).document,
        "window": network.config.window,
        "promptable": False,
    }
    print(f"wrote {save_model(network, weights, card)}")
