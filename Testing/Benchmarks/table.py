"""The report as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def tables(report: dict[str, Any]) -> str:
    """All of the report's figures as plain text."""
    parts = []
    if report["stages"]:
        keys = [
            "seconds",
            "reference seconds",
            "ratio",
            "megabytes",
            "reference megabytes",
            "memory ratio",
            "difference",
        ]
        head = ["stage", "device", "seconds", "reference", "ratio", "MB", "reference", "ratio", "difference", "turns"]
        rows = [
            [row["stage"], row["device"], *(_number(row[key]) for key in keys), str(row["repeats"])]
            for row in report["stages"]
        ]
        parts += [_table(head, rows)]
        parts += ["\n".join(f"{r['stage']}: {r['agreement']}" for r in report["stages"] if r["agreement"])]
    for title, rows in report.get("latency", {}).items():
        keys = ["megavoxels", "region megavoxels", "seconds", "from", "to", "first seconds", "whole seconds"]
        head = [title[3:], "device", "megavoxels", "region", "seconds", "from", "to", "first answer", "whole volume"]
        lines = []
        for row in rows:
            of = f"{row['diameter mm']:g} mm" if "diameter mm" in row else "×".join(map(str, row["shape"]))
            figures = row | dict(zip(("from", "to"), row["spread"], strict=True))
            lines.append([of, row["device"], *(_number(figures.get(key)) for key in keys)])
        parts += [f"One more click to its mask, {title}\n\n{_table(head, lines)}"]
    parts += [f"{name}: left out, {why}." for name, why in report["left out"].items()]
    return "\n\n".join(p for p in parts if p)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need; the first to the left, the others to the right."""
    widths = [max(len(line[n]) for line in (head, *rows)) for n in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(x, widths, strict=True)))
        for x in lines
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
