"""Speed and memory of every stage: `python -m Testing.Benchmarks`, from the repository root.

Writes the figures as JSON and prints them as tables; says on stderr what it is doing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from Testing.Benchmarks import OUTPUT

# Name, module, function, and whether a GPU does it, too. Nothing of it is imported before it is asked for.
STAGES: dict[str, tuple[str, str, bool]] = {
    "gaussian": ("stages_label", "gaussian_label", False),
    "sampling": ("stages_label", "sampling", False),
    "geodesic": ("stages_label", "geodesic", True),
    "geodesic-exact": ("stages_label", "geodesic_exact", True),
    "region": ("stages_label", "region", True),
    "attention": ("stages_network", "attention", True),
    "attention-backward": ("stages_network", "attention_backward", True),
    "forward": ("stages_network", "forward", True),
    "forward-window": ("stages_network", "forward_window", True),
    "forward-published": ("stages_network", "forward_published", True),
    "draws": ("stages_network", "draws", True),
    "draws-volume": ("stages_network", "draws_volume", True),
    "draws-paper": ("stages_network", "draws_paper", True),
    "step": ("stages_network", "step", True),
    "training-pass": ("stages_network", "training_pass", True),
    "scene": ("stages_scene", "write", False),
}
LATENCY = "latency"
NAMES = (*STAGES, LATENCY)

# Of each stage: turns at most, seconds after which three turns are enough, passes for memory; and of a quick run.
_EFFORT: dict[str, Any] = {"turns": 9, "budget_s": 15.0, "passes": 3}
_QUICK_EFFORT: dict[str, Any] = {"turns": 3, "budget_s": 1.0, "passes": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code."""
    args = _parser().parse_args(arguments)
    unknown = [name for name in args.only or () if name not in NAMES]
    if unknown:
        sys.stderr.write(f"There is no stage '{unknown[0]}'; there are: {', '.join(NAMES)}.\n")
        return 2
    if args.threads < 1:
        sys.stderr.write(f"The number of threads must be at least 1; got {args.threads}.\n")
        return 2
    # Before numpy is loaded, whose matrix products have threads of their own.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(args.threads)
    report = run(args.only or NAMES, quick=args.quick, threads=args.threads)
    from PWSegmentationLib.files import replacing
    from Testing.Benchmarks.table import tables

    with replacing(args.output) as path:
        path.write_text(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    sys.stdout.write(tables(report) + "\n")
    return 0


def run(names: Sequence[str], *, quick: bool = False, threads: int = 1) -> dict[str, Any]:
    """Measure these stages: the report."""
    import torch

    from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
    from Testing.Benchmarks.measuring import Missing, compare

    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    report: dict[str, Any] = {
        "made by": machine_and_versions(),
        "device": torch.cuda.get_device_name() if "cuda" in devices else "cpu",
        "threads": torch.get_num_threads(),
        "quick": quick,
        "stages": [],
        "left out": {},
    }
    effort = _QUICK_EFFORT if quick else _EFFORT
    try:
        for name in (n for n in STAGES if n in names):
            module, function, on_gpu = STAGES[name]
            for device in devices if on_gpu else ["cpu"]:
                sys.stderr.write(f"{name} ({device})\n")
                make = getattr(import_module(f"Testing.Benchmarks.{module}"), function)
                try:
                    report["stages"].append(compare(make(quick, device), device, **effort))
                except Missing as reason:
                    report["left out"][name] = str(reason)
        if LATENCY in names:
            from Testing.Benchmarks.latency import latency

            parts = [latency(quick, device) for device in devices]
            report["latency"] = {k: [row for part in parts for row in part[k]] for k in parts[0]}
    finally:
        torch.set_num_threads(before)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m Testing.Benchmarks",
        description="Speed and memory of every stage, each as a ratio to a reference form measured beside it. "
        "All of it takes ten to thirteen minutes on two cores.",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=OUTPUT / "speed.json", help="JSON to write (%(default)s)"
    )
    parser.add_argument("--only", metavar="NAME", nargs="+", help=f"only these: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all of it works")
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        default=1,
        help="threads for torch and numpy (default 1: with more, a busy machine distorts times)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
