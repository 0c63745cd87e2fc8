"""Results as Markdown tables, aligned so that they can be read in a terminal, too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from PWSegmentationLib.evaluation.results import Result
from PWSegmentationLib.evaluation.summary import summary

Summary = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]

# Clicks after which the Dice is shown.
_CLICKS = (1, 3, 5, 10)
# Masks with a smaller Dice are worth fine-tuning.
_WEAK = 0.85


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    lines = [
        "|" + "|".join(f" {c:<{w}} " if i == 0 else f" {c:>{w}} " for i, (c, w) in enumerate(cells)) + "|"
        for cells in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    ]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def plain(text: str) -> str:
    """Text in which Markdown finds nothing to interpret."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", " ".join(text.split()))


def accuracy_table(results: Sequence[Result]) -> str:
    """Mean Dice after the last step, and how much the first method is ahead of each other one."""
    found = summary(results)
    methods = list(dict.fromkeys(r.method for r in results))
    rows = []
    for use, prompts, by_method in _lines(found):
        count = next(iter(by_method.values()))["structures"]
        cells = [_accuracy(by_method.get(m)) for m in methods]
        rows.append([f"{use}, {prompts}", str(count), *cells])
    return table(["prompts", "structures", *methods], rows)


def _accuracy(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no answer"
    gain = found.get("first method minus this")
    if not gain or not gain["structures"]:
        return f"{found['dice']:.3f}"
    low, high = gain["interval"]
    return f"{found['dice']:.3f} ({gain['dice']:+.2f}: {low:+.2f} to {high:+.2f})"


def border_table(found: Summary) -> str:
    """Surface Dice at 2 mm, 95th percentile of the surface distance, and time."""
    methods = _methods(found)
    rows = [
        [f"{use}, {prompts}", *(_border(by_method.get(m)) for m in methods)]
        for use, prompts, by_method in _lines(found)
    ]
    return table(["prompts", *methods], rows)


def _border(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "no answer"
    far = "–" if found["hd95 mm"] is None else f"{found['hd95 mm']:.1f} mm"
    return f"{found['surface dice']:.2f}, {far}, {found['seconds']:.2f} s ({found['seconds 95 %']:.1f} s)"


def challenge_table(found: Summary) -> str:
    """A box, then five corrective clicks."""
    rows = [
        [
            f"{use}, {method}",
            f"{n['dice auc']:.2f}",
            f"{n['surface dice auc']:.2f}",
            f"{n['dice by step'][0]:.3f}",
            f"{n['dice']:.3f}",
            f"{n['surface dice']:.3f}",
        ]
        for use, prompts, by_method in _lines(found)
        for method, n in by_method.items()
        if prompts == "box" and "surface dice auc" in n
    ]
    head = ["method", "Dice AUC", "surface Dice AUC", "Dice, box alone", "final Dice", "final surface Dice"]
    return table(head, rows) if rows else ""


def click_table(found: Summary) -> str:
    """One click, then corrections."""
    rows = []
    for use, prompts, by_method in _lines(found):
        for method, n in by_method.items() if prompts == "one click" else ():
            curve = n["dice by step"]
            shown = [f"{curve[c - 1]:.3f}" if c <= len(curve) else "" for c in _CLICKS]
            rows.append([f"{use}, {method}", *shown, f"{n['clicks to 0.85']:.1f}", f"{100 * n['reached 0.85']:.0f} %"])
    clicks = [f"Dice after {c} click{'s' if c > 1 else ''}" for c in _CLICKS]
    return table(["method", *clicks, "clicks to .85", "reached .85"], rows) if rows else ""


def calibration_table(found: Summary) -> str:
    """Expected calibration error, and AUROC of the uncertainty as a detector of errors."""
    methods = [
        m
        for m in _methods(found)
        if any("calibration error" in by_method.get(m, {}) for _, _, by_method in _lines(found))
    ]
    rows = [
        [f"{use}, {prompts}", *(_calibration(by_method.get(m, {})) for m in methods)]
        for use, prompts, by_method in _lines(found)
    ]
    return table(["prompts", *methods], rows) if methods else ""


def _calibration(n: Mapping[str, Any]) -> str:
    if "calibration error" not in n:
        return "no answer"
    auroc = n["uncertainty auroc"]
    return f"{n['calibration error']:.3f}" if auroc is None else f"{n['calibration error']:.3f}, {auroc:.2f}"


def fine_tuning_table(results: Sequence[Result]) -> str:
    """What fine-tuning adds to the first method's last answers that were below `_WEAK`; "" where nobody fine-tuned."""
    first = results[0].method
    last = {(r.method, r.use, r.prompts, r.case, r.structure): r.dice for r in sorted(results, key=lambda r: r.step)}
    rows = []
    for method in dict.fromkeys(r.method for r in results if "fine-tuned" in r.method and r.method != first):
        for use, prompts in dict.fromkeys((r.use, r.prompts) for r in results):
            pairs = [
                (last[k], last.get((method, k[1], k[2], k[3], k[4]))) for k in last if k[:3] == (first, use, prompts)
            ]
            gains = np.array([tuned - plain for plain, tuned in pairs if tuned is not None and plain < _WEAK])
            if len(gains):
                rows.append([f"{use}, {prompts}", str(len(gains)), f"{gains.mean():+.3f}", f"{gains.min():+.3f}"])
    return table(["prompts", f"masks below {_WEAK}", "mean gain", "worst"], rows) if rows else ""


def structure_table(results: Sequence[Result]) -> str:
    """Dice after the last step of the first method, and of the best other one, for every structure."""
    protocols = list(dict.fromkeys(r.prompts for r in results))
    last = {(r.use, r.case, r.structure, r.prompts, r.method): r.dice for r in sorted(results, key=lambda r: r.step)}
    first = results[0].method
    rows = []
    for use, case, structure in dict.fromkeys((r.use, r.case, r.structure) for r in results):
        cells = []
        for prompts in protocols:
            mine = {m: d for (u, c, s, p, m), d in last.items() if (u, c, s, p) == (use, case, structure, prompts)}
            others = [d for m, d in mine.items() if m != first]
            ours = f"{mine[first]:.3f}" if first in mine else "–"
            cells.append(f"{ours} ({max(others):.3f})" if others else ours)
        rows.append([plain(f"{case}, {structure}"), use, *cells])
    return table(["structure", "use", *protocols], rows)


def stage_table(speed: Mapping[str, Any]) -> str:
    """Time and memory of every stage beside its reference form."""
    rows = []
    for stage in speed["stages"]:
        memory, agreement = stage.get("memory ratio"), stage.get("agreement")
        words = f"{stage['stage']} ({stage['device']}): {stage['what']}" + (f"; {agreement}" if agreement else "")
        rows.append(
            [
                plain(words),
                plain(stage["reference"]),
                f"{1e3 * stage['seconds']:.1f} ms",
                f"{stage['ratio']:.1f}×",
                "–" if memory is None else f"{memory:.1f}×",
            ]
        )
    return table(["stage", "beside", "time", "times faster", "times less memory"], rows)


def _lines(found: Summary) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Use, protocol, and numbers by method."""
    for use, by_prompts in found.items():
        for prompts, by_method in by_prompts.items():
            yield use, prompts, by_method


def _methods(found: Summary) -> list[str]:
    return list(dict.fromkeys(m for _, _, by_method in _lines(found) for m in by_method))
