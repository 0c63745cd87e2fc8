"""The demo from the download to the page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PWSegmentationLib.demo.case import DemoCase, chest_ct
from PWSegmentationLib.demo.comparison import Comparison, compare
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.files import replacing
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Progress, part_of
from PWSegmentationLib.samples.catalogue import CHEST_CT
from PWSegmentationLib.samples.packages import default_cache, fetch


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo found and wrote."""

    found: tuple[Comparison, ...]
    files: tuple[Path, ...]
    page: Path
    seconds: Mapping[str, float]

    def table(self) -> str:
        """A line per segment, for a terminal."""
        from PWSegmentationLib.demo.page import averages

        average = averages(self.found)
        head: tuple[str, ...] = ("structure", "mL", "reference mL", "agreement", "s", "Grow from seeds", "s")
        rows: list[tuple[str, ...]] = [
            (
                one.name,
                f"{one.prediction.volume_ml:.1f}",
                f"{one.reference_ml:.1f}",
                f"{one.dice:.3f}",
                f"{one.prediction.seconds:.2f}",
                *((f"{one.peer.dice:.3f}", f"{one.peer.seconds:.2f}") if one.peer else ("not installed", "")),
            )
            for one in self.found
        ]
        last = [average[k] for k in ("dice", "seconds", "peer_dice", "peer_seconds") if k in average]
        rows.append(("mean, total", "", "", *(f"{v:.3f}" if n % 2 == 0 else f"{v:.2f}" for n, v in enumerate(last))))
        return _aligned([head, *rows])


def run_demo(
    output: Path,
    *,
    cache: Path | None = None,
    screenshot: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> DemoOutcome:
    """Fetch the chest CT and do all of `run_case`."""
    _check_installed()
    folder = fetch(CHEST_CT, cache or default_cache(), part_of(progress, 0.0, 0.1))
    if progress is not None:
        progress(0.1, "reading the image")
    case = chest_ct(folder)
    return run_case(case, output, screenshot=screenshot, device=device, progress=part_of(progress, 0.15, 1.0))


def run_case(
    case: DemoCase,
    output: Path,
    *,
    screenshot: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> DemoOutcome:
    """Segment a case, compare, and write into the folder ``output``: segments, maps, the page.

    Raises
    ------
    InputError
        If a package that the page needs is not installed, or the case's prompts cannot be used.
    """
    _check_installed()
    from PWSegmentationLib.demo.figures import overview_figure, segment_figure
    from PWSegmentationLib.demo.page import averages, write_page
    from PWSegmentationLib.drawing.slices import DisplayVolume
    from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
    from PWSegmentationLib.segments.colors import color

    clock = _Clock(progress)
    predictions = _segment(case, device, clock.part(0.0, 0.4))
    clock.lap("segmenting")
    files = _write(case, predictions, output, clock.part(0.4, 0.5))
    clock.lap("writing")
    found = []
    for index, prediction in enumerate(predictions.values()):
        clock.say(0.5 + 0.25 * index / len(predictions), f"Grow from seeds: {prediction.segment}")
        found.append(compare(case, prediction, color(index)))
    clock.lap("Grow from seeds")
    display = DisplayVolume.of(case.volume)
    pictures = {}
    for index, one in enumerate(found):
        clock.say(0.75 + 0.2 * index / len(found), f"drawing {one.name}")
        pictures[one.name] = segment_figure(display, one)
    average = averages(found)
    words = [f"PWSegmentation, agreement {average['dice']:.3f}", f"Grow from seeds, {average.get('peer_dice', 0):.3f}"]
    overview = overview_figure(display, found, (words[0], words[1]))
    clock.lap("drawing")
    page = output / "index.html"
    write_page(page, case, found, pictures, overview, machine_and_versions(), clock.laps, files)
    if screenshot is not None:
        with replacing(screenshot) as temporary:
            temporary.write_bytes(overview)
    clock.say(1.0, "done")
    return DemoOutcome(tuple(found), (*files, page), page, clock.laps)


class _Clock:
    """Seconds of the demo's steps, and its progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._since = time.perf_counter()
        self.laps: dict[str, float] = {}

    def say(self, done: float, words: str) -> None:
        if self._progress is not None:
            self._progress(done, words)

    def part(self, start: float, stop: float) -> Progress | None:
        return part_of(self._progress, start, stop)

    def lap(self, what: str) -> None:
        now = time.perf_counter()
        self.laps[what], self._since = now - self._since, now


def _segment(case: DemoCase, device: str, progress: Progress | None) -> dict[str, Prediction]:
    from PWSegmentationLib.session.session import Session

    session = Session(device)
    session.set_volume(case.volume)
    session.prompts = case.prompts
    session.predict(progress=progress)
    return session.predictions()


def _write(
    case: DemoCase, predictions: Mapping[str, Prediction], output: Path, progress: Progress | None
) -> tuple[Path, ...]:
    from PWSegmentationLib.export.maps import map_paths
    from PWSegmentationLib.export.writing import write_segments
    from PWSegmentationLib.volume.writing import write_image

    grid = case.volume.grid
    files = [*write_segments(predictions, grid, output / f"{case.name}.seg.nrrd")]
    files += write_segments(predictions, grid, output / f"{case.name}-labels.nii.gz")
    paths = map_paths(output / f"{case.name}-probability.nii.gz", list(predictions))
    for index, (name, path) in enumerate(paths.items()):
        if progress is not None:
            progress(index / len(paths), f"writing {path.name}")
        write_image(predictions[name].probability, grid, path)
    return (*files, *paths.values())


def _check_installed() -> None:
    import importlib.util

    missing = [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise not_installed(f"The demo's page needs {' and '.join(missing)}", "demo")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other: the first to the left, numbers to the right."""
    columns = max(len(row) for row in rows)
    full = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in full) for column in range(columns)]
    lines = [
        "  ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in full
    ]
    return "\n".join(line.rstrip() for line in lines)
