"""The experiment: one network, one data set, and what each part of the method is worth.

Every cell trains the compact network on the synthetic abdomen (`synthetic`) from one kind of label and with one part
switched, selects on volumes of its own, and measures Dice and calibration on test volumes that nothing else sees.
Finished cells are kept as JSON and not run again; a cell that was interrupted goes on where it was.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.sources import read_cases
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation import tables
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.evaluation.model_evaluation import as_json, evaluate, means
from PWSegmentationLib.evaluation.synthetic import write_phantoms
from PWSegmentationLib.files import read_json, write_json
from PWSegmentationLib.prediction.trained_model import TrainedModel
from PWSegmentationLib.training.config import TrainingConfig, config_from_dict
from PWSegmentationLib.training.dataset_training import train
from PWSegmentationLib.training.processes import workers


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiment; the defaults are what the tables are made with."""

    training: int = 20
    selection: int = 4
    test: int = 10
    edge: int = 64
    steps: int = 1000
    window: int = 32
    draws: int = 4
    seeds: tuple[int, ...] = (0, 1, 2)


@dataclass(frozen=True)
class Row:
    """A line of the table: the part it belongs to, its name, and what it changes in the config."""

    part: str
    name: str
    changes: Mapping[str, Any]


# Each part is compared with the first line of "labels" that has its supervision.
ROWS = (
    Row("labels", "dense", {"supervision": "dense"}),
    Row("labels", "10 + 10 points", {"supervision": "points"}),
    Row("labels", "boxes", {"supervision": "box"}),
    Row("labels", "scribbles", {"supervision": "scribbles"}),
    Row("number of points", "3 + 3", {"supervision": "points", "points_inside": 3, "points_outside": 3}),
    Row("number of points", "30 + 30", {"supervision": "points", "points_inside": 30, "points_outside": 30}),
    Row("attention, from points", "off", {"supervision": "points", "attention": "off"}),
    Row("attention, from points", "paper", {"supervision": "points", "attention": "paper"}),
    Row("attention, from dense", "off", {"supervision": "dense", "attention": "off"}),
    Row("attention, from dense", "paper", {"supervision": "dense", "attention": "paper"}),
    Row("label, from points", "nothing unknown", {"supervision": "points", "unknown_below": 0.0}),
    Row("label, from points", "no weighting", {"supervision": "points", "weighting": False}),
    Row(
        "label, from points",
        "neither",
        {"supervision": "points", "unknown_below": 0.0, "weighting": False},
    ),
    Row("label, from points", "Gaussian", {"supervision": "points", "pseudo_label": "gaussian"}),
)


def run(
    folder: Path,
    plan: Plan | None = None,
    rows: Sequence[Row] = ROWS,
    *,
    jobs: int = 1,
    done: Callable[[str], None] = lambda words: None,
) -> list[dict[str, Any]]:
    """Every cell that is not there yet, ``jobs`` at a time; returns all of them and writes ``table.md``."""
    plan = plan or Plan()
    # Before several processes want to make it.
    data(folder, plan)
    # Seed by seed: a table of one seed is there long before that of three.
    wanted = [(row, seed) for seed in plan.seeds for row in rows]
    cells: list[dict[str, Any]] = []
    with _processes(jobs) as apply:
        for cell in apply(partial(_kept, folder, plan), *zip(*wanted, strict=True)):
            cells.append(cell)
            dice, seconds = cell["means"]["mean"]["dice"], cell["seconds"]
            done(f"{cell['part']}, {cell['name']}, seed {cell['seed']}: Dice {dice:.3f}, {seconds:.0f} s")
            (folder / "table.md").write_text(page(cells) + "\n", encoding="utf-8")
    return cells


def data(folder: Path, plan: Plan) -> CaseSet:
    """The data set of the plan, made once."""
    here = folder / f"data-{plan.training}-{plan.selection}-{plan.test}-{plan.edge}"
    if not (here / "dataset.json").is_file():
        write_phantoms(here, plan.training, plan.selection, plan.test, edge=plan.edge)
    return read_cases(here / "dataset.json")


def table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: mean and standard deviation over the seeds."""
    head = ["part", "", "Dice", "ratio to dense", "surface Dice (2 mm)", "calibration error", "seeds"]
    rows = []
    dense = {c["seed"]: c["means"]["mean"]["dice"] for c in cells if (c["part"], c["name"]) == ("labels", "dense")}
    for (part, name), mine in _by_row(cells).items():
        columns = [[c["means"]["mean"][kind] for c in mine] for kind in ("dice", "surface_dice", "calibration_error")]
        ratios = [c["means"]["mean"]["dice"] / dense[c["seed"]] for c in mine if dense.get(c["seed"])]
        numbers = [columns[0], ratios, columns[1], columns[2]]
        rows.append([part, name, *map(_spread, numbers), str(len(mine))])
    return tables.table(head, rows)


def structures_table(cells: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the Dice of each structure, mean over the seeds, and the time of a cell."""
    names = list(dict.fromkeys(name for c in cells for name in c["means"] if name != "mean"))
    rows = []
    for (part, name), mine in _by_row(cells).items():
        dice = [_spread([c["means"].get(n, {}).get("dice") for c in mine]) for n in names]
        rows.append([part, name, *dice, f"{statistics.median(c['seconds'] for c in mine):.0f}"])
    return tables.table(["part", "", *names, "seconds"], rows)


def page(cells: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: both tables, and what they were made with."""
    plan = cells[0]["plan"]
    sizes = (
        f"{plan['training']} training, {plan['selection']} selection and {plan['test']} test volumes of "
        f"{plan['edge']}³ voxels; {plan['steps']} steps with two windows of {plan['window']}³; {plan['draws']} draws; "
        "mean ± standard deviation over the seeds."
    )
    made = list(dict.fromkeys(", ".join(f"{k} {v}" for k, v in c["provenance"].items()) for c in cells))
    return "\n\n".join(
        [
            table(cells),
            "Dice of each structure:",
            structures_table(cells),
            sizes,
            *(f"Measured with {words}." for words in made),
        ]
    )


def _by_row(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """The cells of each row, in the order of the first of each."""
    out: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        out.setdefault((cell["part"], cell["name"]), []).append(cell)
    return out


def _check(cell: Mapping[str, Any], plan: Plan, config: Mapping[str, Any], folder: Path) -> None:
    """An `InputError` if a cell that is there was made with other sizes or another config."""
    sizes = {k: v for k, v in asdict(plan).items() if k != "seeds"}
    for ours, theirs in ((sizes, cell["plan"]), (config, cell["config"])):
        different = [k for k in ours if theirs.get(k) != ours[k]]
        if different:
            raise InputError(
                f'{folder} holds cells with another "{different[0]}" ({theirs.get(different[0])}): choose another '
                "output folder."
            )


@contextmanager
def _processes(jobs: int) -> Iterator[Callable[..., Iterable[dict[str, Any]]]]:
    """``map``, in this process or in several, each with one thread; its results come in order."""
    if jobs == 1:
        yield map
        return
    # Cells that have begun save their state where somebody stops this.
    with workers(jobs) as pool:
        yield pool.map


def _kept(folder: Path, plan: Plan, row: Row, seed: int) -> dict[str, Any]:
    """The cell from its file, or trained and measured and then kept there."""
    path = folder / "cells" / f"{_slug(row)}-{seed}.json"
    config = _config(folder, plan, row, seed)
    if not path.is_file():
        write_json(_cell(folder, plan, row, config), path)
    cell: dict[str, Any] = read_json(path, "cell of the experiment")
    _check(cell, plan, _told(config), folder)
    return cell


def _config(folder: Path, plan: Plan, row: Row, seed: int) -> TrainingConfig:
    document = {
        "data": str(folder),
        "mirror": False,
        "steps": plan.steps,
        "learning_rate": 2e-3,
        "amp": "bf16",
        "window": plan.window,
        "select_every": max(1, plan.steps // 6),
        "patience": 0,
        "save_every": max(1, plan.steps // 12),
        "device": "cpu",
        "seed": seed,
        **row.changes,
    }
    return config_from_dict(document)


def _told(config: TrainingConfig) -> dict[str, Any]:
    """The config as a cell keeps it: without where its data lie, and as JSON has it."""
    document = {**config.document, "structures": list(config.structures)}
    del document["data"]
    return document


def _cell(folder: Path, plan: Plan, row: Row, config: TrainingConfig) -> dict[str, Any]:
    """Train and measure one cell."""
    started = time.perf_counter()
    cases = data(folder, plan)
    work = folder / "runs" / f"{_slug(row)}-{config.seed}"
    report = train(config, cases, work, quiet=True)
    scores = evaluate(TrainedModel.load(work), cases.test, cases.named, draws=plan.draws)
    # The network is made again by the same command; what it said is what is kept.
    shutil.rmtree(work)
    return {
        "part": row.part,
        "name": row.name,
        "seed": config.seed,
        "plan": asdict(plan),
        "config": _told(config),
        "means": as_json(means(scores)),
        "scores": [asdict(s) for s in scores],
        "selection": report.selection,
        "best_step": report.best_step,
        "seconds": time.perf_counter() - started,
        "provenance": machine_and_versions(),
    }


def _spread(found: Sequence[float | None]) -> str:
    values = [v for v in found if v is not None]
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _slug(row: Row) -> str:
    return "".join(c if c.isalnum() else "-" for c in f"{row.part}-{row.name}").strip("-")
