"""From a click to the mask on the real chest CT: ``python -m Testing.Benchmarks.clicks``; two minutes.

Every structure that is measured there gets a click and a second one where the first answer is most wrong. Timed is
what a front end does between a click and a mask to show: `Session.add_prompt` and `Session.predict`, in this process,
after the image is set and one click elsewhere has loaded the network. Memory is the most that this process held, less
what it held with the image and the libraries and before the first click.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from PWSegmentationLib import Session
from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.files import write_json
from PWSegmentationLib.samples.development import development_cases
from Testing.Benchmarks import OUTPUT


def main() -> int:
    """Measure, and write it."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.clicks", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT / "clicks.json", help="JSON to write (%(default)s)")
    output = parser.parse_args().output
    case = load_case(next(files for files in development_cases() if files.name == "chest CT"))
    # The libraries are there before, as in a program that is open.
    import torch

    from PWSegmentationLib.prediction import predict, promptable  # noqa: F401

    before = psutil.Process().memory_info().rss
    _click_twice(case, "heart")
    seconds = {name: _click_twice(case, name) for name in case.structures}
    every = [s for both in seconds.values() for s in both]
    report: dict[str, Any] = {
        "made by": {**machine_and_versions(), "threads": torch.get_num_threads()},
        # Of a machine that does other things too, the figures are of them as well.
        "load average": [round(v, 1) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "shape": list(case.volume.grid.shape),
        "click to mask, s": {
            "median": round(median(every), 2),
            "95th percentile": round(float(np.percentile(every, 95)), 2),
            "worst": round(max(every), 2),
            "by structure": {n: [round(s, 2) for s in both] for n, both in seconds.items()},
        },
        "memory on top of the image, GB": round((_most_held() - before) / 1e9, 2),
    }
    write_json(report, output)
    sys.stdout.write(f"{report}\n")
    return 0


def _click_twice(case: Case, name: str) -> list[float]:
    """Seconds from each of two clicks to its mask, in a session of their own."""
    reference = Reference.of(case.labels, case.structures[name], case.volume.grid)
    annotator = SimulatedAnnotator(reference, protocol("one click"))
    session = Session("cpu")
    session.set_volume(case.volume)
    prompts, seconds = annotator.start(), list[float]()
    for _ in range(2):
        started = time.perf_counter()
        session.add_prompt(name, prompts.points[-1])
        found = session.predict(name)
        seconds.append(time.perf_counter() - started)
        corrected = annotator.correct(prompts, found.region, found.region_mask)
        if corrected is None:
            break
        prompts = corrected
    return seconds


def _most_held() -> int:
    """Bytes, of this process, so far."""
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().peak_wset)
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


if __name__ == "__main__":
    sys.exit(main())
