"""The benchmark's page: Markdown with pictures beside it, or one HTML file with everything in it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PWSegmentationLib.drawing.pages import data_url, templates
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation import charts, tables
from PWSegmentationLib.evaluation.pictures import picture_name
from PWSegmentationLib.evaluation.results import Result, Results
from PWSegmentationLib.evaluation.summary import GOOD_DICE, summary
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.files import read_json, replacing

_WORST = 8
_NEEDED = {"matplotlib": "matplotlib", "jinja2": "jinja2", "markdown_it": "markdown-it-py"}


@dataclass(frozen=True)
class Notes:
    """What somebody who looked at the pictures says: of structures, by "case/structure", and in general. Markdown."""

    failures: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Worst:
    """A structure with a low mean Dice of the first method over all protocols, and the protocol it is worst with."""

    case: str
    structure: str
    use: str
    mean_dice: float
    prompts: str
    dice: float
    why: str
    picture: str | None


def check_installed() -> None:
    """Raise `InputError` unless everything the page needs is installed."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise not_installed(f"The page needs {' and '.join(missing)}", "benchmark")


def read_notes(path: Path | None) -> Notes:
    """Read notes, none if there is no path. Raises `InputError` for another form."""
    if path is None:
        return Notes()
    document = read_json(path, "notes")
    known = document if isinstance(document, dict) else {"failures": None}
    failures, remarks = known.get("failures", {}), known.get("remarks", [])
    if not isinstance(failures, dict) or not isinstance(remarks, list):
        raise InputError(f'{path} should hold {{"failures": {{"CASE/STRUCTURE": TEXT}}, "remarks": [TEXT, ...]}}.')
    return Notes(failures, remarks)


def write_page(
    path: Path,
    results: Results,
    pictures: Path,
    *,
    notes: Notes | None = None,
    speed: Mapping[str, Any] | None = None,
) -> None:
    """Write the page of ``results``.

    Parameters
    ----------
    path
        ``.html``, or ``.md`` with the pictures in a folder ``STEM-pictures`` beside it.
    pictures
        Folder with the pictures of single answers; those of the worst structures are shown.
    notes
        Why structures fail, from somebody who looked.
    speed
        What ``python -m Testing.Benchmarks`` measured.
    """
    worst = worst_structures(results.results, pictures, notes or Notes())
    images = _charts(results, speed)
    images |= {w.picture: (pictures / w.picture).read_bytes() for w in worst if w.picture is not None}
    if path.suffix == ".html":
        text = _html(_markdown(results, worst, images, _embedded(images), notes or Notes(), speed))
    else:
        folder = path.with_name(f"{path.stem}-pictures")
        for name, content in images.items():
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
        links = {name: f"{folder.name}/{name}" for name in images}
        text = _markdown(results, worst, images, links, notes or Notes(), speed)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def worst_structures(results: Sequence[Result], pictures: Path, notes: Notes) -> list[Worst]:
    """The structures with the lowest mean Dice of the first method, worst first."""
    last: dict[tuple[str, str, str], dict[str, float]] = {}
    for r in sorted(results, key=lambda r: r.step):
        if r.method == results[0].method:
            last.setdefault((r.case, r.structure, r.use), {})[r.prompts] = r.dice
    found = []
    for (case, structure, use), by_prompts in last.items():
        prompts, dice = min(by_prompts.items(), key=lambda item: item[1])
        name = picture_name(case, structure, prompts)
        picture = name if (pictures / name).is_file() else None
        why = notes.failures.get(f"{case}/{structure}", "")
        found.append(
            Worst(case, structure, use, sum(by_prompts.values()) / len(by_prompts), prompts, dice, why, picture)
        )
    return sorted(found, key=lambda w: w.mean_dice)[:_WORST]


def _charts(results: Results, speed: Mapping[str, Any] | None) -> dict[str, bytes]:
    found = summary(results.results)
    made = {
        "dice-over-clicks.png": charts.dice_over_clicks(found),
        "structures.png": charts.structures(results.results),
        "reliability.png": charts.reliability(found),
        "latency.png": charts.latency(speed) if speed is not None else None,
    }
    return {name: content for name, content in made.items() if content is not None}


def _markdown(
    results: Results,
    worst: Sequence[Worst],
    images: Mapping[str, bytes],
    links: Mapping[str, str],
    notes: Notes,
    speed: Mapping[str, Any] | None,
) -> str:
    environment = templates("PWSegmentationLib.evaluation", html=False)
    environment.filters["plain"] = tables.plain
    found = summary(results.results)
    return environment.get_template("report.md.jinja").render(
        found=found,
        results=results.results,
        settings=results.settings,
        made_by=results.made_by,
        failures=results.failures,
        methods=list(dict.fromkeys(r.method for r in results.results)),
        structures=len({(r.case, r.structure) for r in results.results}),
        cases=len({r.case for r in results.results}),
        good_dice=f"{GOOD_DICE:.2f}".lstrip("0"),
        tables=tables,
        worst=worst,
        links={name: links[name] for name in images},
        notes=notes,
        speed=speed,
    )


def _embedded(images: Mapping[str, bytes]) -> dict[str, str]:
    return {name: data_url(name.rsplit(".", 1)[-1], content) for name, content in images.items()}


def _html(markdown: str) -> str:
    from jinja2 import Environment, PackageLoader
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    environment = Environment(loader=PackageLoader("PWSegmentationLib.evaluation", "."), autoescape=True)
    return environment.get_template("report.html.jinja").render(body=body)
