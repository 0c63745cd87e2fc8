"""The benchmark's plots, PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from PWSegmentationLib.evaluation.results import Result
from PWSegmentationLib.evaluation.summary import GOOD_DICE
from PWSegmentationLib.evaluation.tables import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The first method, then the others: told apart by those who see no red or green, too.
_COLORS = ("#0b6bcb", "#d1600a", "#7a7f87", "#8d5fb8", "#1a8f6f", "#b03060")
_INK = "#2a2f38"


def dice_over_clicks(found: Summary) -> bytes | None:
    """Mean Dice and the middle half of the structures, over corrective clicks; a row for each use."""
    wanted = [
        (use, [p for p in ("one click", "box") if any("dice by step" in n for n in by_prompts.get(p, {}).values())])
        for use, by_prompts in found.items()
    ]
    wanted = [(use, prompts) for use, prompts in wanted if prompts]
    if not wanted:
        return None
    columns = max(len(prompts) for _, prompts in wanted)
    figure = _figure(4.6 * columns, 3.3 * len(wanted))
    panels = figure.subplots(len(wanted), columns, sharey=True, squeeze=False)
    colors = _colors_of(found)
    for row, (use, prompts) in zip(panels, wanted, strict=True):
        for ax, name in zip(row, prompts, strict=False):
            for method, n in found[use][name].items():
                _curve(ax, n, method, colors[method], first=0 if name == "box" else 1)
            ax.axhline(GOOD_DICE, color="#b9bec6", linewidth=0.8, linestyle="dotted")
            ax.set(title=f"{use}: {'a box, then clicks' if name == 'box' else 'clicks alone'}", ylim=(0, 1))
            ax.set(xlabel="corrective clicks" if name == "box" else "clicks", ylabel="Dice" if ax is row[0] else "")
        for ax in row[len(prompts) :]:
            ax.set_visible(False)
    # Not every method answers in every panel.
    shown = {label: h for ax in panels.flat for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    names = [name for name in colors if name in shown]
    figure.legend([shown[n] for n in names], names, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return _png(figure)


def _curve(ax: Axes, n: Mapping[str, Any], method: str, color: str, first: int) -> None:
    clicks = np.arange(len(n["dice by step"])) + first
    ax.fill_between(clicks, n["lower quartile by step"], n["upper quartile by step"], color=color, alpha=0.13, lw=0)
    ax.plot(clicks, n["dice by step"], color=color, marker="o", markersize=3.5, label=method)
    ax.set_xticks(clicks)


def reliability(found: Summary) -> bytes | None:
    """How often voxels of a stated probability are inside; a panel for each use, a line for each way of prompting."""
    first = next(iter(_colors_of(found)), "")
    panels = {
        use: {p: by_method[first]["bins"] for p, by_method in by_prompts.items() if "bins" in by_method.get(first, {})}
        for use, by_prompts in found.items()
    }
    panels = {use: lines for use, lines in panels.items() if lines}
    if not panels:
        return None
    figure = _figure(4.2 * len(panels), 3.9)
    for ax, (use, lines) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="#b9bec6", linewidth=0.8, linestyle="dotted")
        for (prompts, bins), color in zip(lines.items(), _COLORS, strict=False):
            known = [(p, s) for p, s in zip(bins["probability"], bins["inside"], strict=True) if p is not None]
            ax.plot(*zip(*known, strict=True), color=color, marker="o", markersize=3, linewidth=1.2, label=prompts)
        ax.set(title=use, xlabel="probability", ylabel="share of voxels inside", xlim=(0, 1), ylim=(0, 1))
        ax.set_aspect("equal")
        ax.legend(loc="upper left", frameon=False, fontsize=7)
    return _png(figure)


def structures(results: Sequence[Result]) -> bytes:
    """Dice of every structure by every method; a panel for each of the first three ways of prompting."""
    names = list(dict.fromkeys(r.prompts for r in results))[:3]
    keys = list(dict.fromkeys((r.use, r.case, r.structure) for r in results))
    last = {(r.use, r.case, r.structure, r.prompts, r.method): r.dice for r in sorted(results, key=lambda r: r.step)}
    methods = list(dict.fromkeys(r.method for r in results))
    figure = _figure(3.2 + 2.6 * len(names), 1.0 + 0.2 * len(keys))
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    y = -np.arange(len(keys))
    for ax, name in zip(panels, names, strict=True):
        rows = [[last.get((*key, name, m), np.nan) for m in methods] for key in keys]
        spread = np.array(rows)
        ax.hlines(y, np.nanmin(spread, axis=1), np.nanmax(spread, axis=1), color="#d8dce2", linewidth=1, zorder=1)
        for index in reversed(range(len(methods))):
            size, color = (22, _COLORS[0]) if index == 0 else (11, _COLORS[index % len(_COLORS)])
            ax.scatter(spread[:, index], y, s=size, color=color, label=methods[index], zorder=2 if index else 3)
        ax.set(title=name, xlim=(0, 1), xlabel="Dice", ylim=(y[-1] - 0.8, 0.8))
    mark = {"tuning": " (tuned on)"}
    panels[0].set_yticks(y, [f"{c}, {s}{mark.get(u, '')}" for u, c, s in keys], fontsize=7)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    return _png(figure)


def latency(speed: Mapping[str, Any]) -> bytes | None:
    """Seconds from a click to the mask over the volume's size, and over the object's."""
    by_volume, by_object = speed["latency"]["by volume"], speed["latency"]["by object"]
    if not by_volume:
        return None
    figure = _figure(8.8, 3.3)
    left, right = figure.subplots(1, 2)
    size = [v["megavoxels"] for v in by_volume]
    low, high = np.array([v["spread"] for v in by_volume]).T
    left.fill_between(size, low, high, color=_COLORS[0], alpha=0.15, linewidth=0)
    left.plot(size, [v["seconds"] for v in by_volume], color=_COLORS[0], marker="o", label="where the prompts are")
    whole = [(v["megavoxels"], v["whole seconds"]) for v in by_volume if v.get("whole seconds") is not None]
    if whole:
        left.plot(*zip(*whole, strict=True), color=_COLORS[2], marker="o", label="the whole volume")
    left.set(
        title="the same organ in larger volumes", xlabel="volume, millions of voxels", ylabel="seconds to the mask"
    )
    left.set(xscale="log", yscale="log")
    left.legend(frameon=False, fontsize=8)
    right.plot([o["diameter mm"] for o in by_object], [o["seconds"] for o in by_object], color=_COLORS[0], marker="o")
    right.set(
        title="larger objects in the same volume", xlabel="diameter of the object, mm", xscale="log", ylim=(0, None)
    )
    return _png(figure)


def _colors_of(found: Summary) -> dict[str, str]:
    """One colour for a method in all panels."""
    names = dict.fromkeys(m for by_prompts in found.values() for by_method in by_prompts.values() for m in by_method)
    return {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(names)}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=130, layout="constrained", facecolor="white")


def _png(figure: Figure) -> bytes:
    for ax in figure.axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8, colors=_INK)
        ax.title.set_fontsize(10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"optimize": True})
    return buffer.getvalue()
