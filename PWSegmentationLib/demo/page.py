"""The demo's report: one HTML file with everything in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from PWSegmentationLib.demo.case import DemoCase
from PWSegmentationLib.demo.comparison import Comparison
from PWSegmentationLib.drawing.pages import data_url, templates
from PWSegmentationLib.files import replacing
from PWSegmentationLib.segments.colors import css_color


def write_page(
    path: Path,
    case: DemoCase,
    found: Sequence[Comparison],
    pictures: Mapping[str, bytes],
    overview: bytes,
    made_by: Mapping[str, Any],
    seconds: Mapping[str, float],
    files: Sequence[Path],
) -> None:
    """Write the report; ``pictures`` are WebP by segment, ``overview`` is PNG, ``files`` are listed."""
    page = templates("PWSegmentationLib.demo").get_template("page.html.jinja")
    text = page.render(
        case=case,
        grid=case.volume.grid,
        found=found,
        has_peer=all(c.peer for c in found),
        average=averages(found),
        css_color=css_color,
        pictures={name: data_url("webp", picture) for name, picture in pictures.items()},
        overview=data_url("png", overview),
        made_by=made_by,
        seconds=seconds,
        files=[(f.name, f"{f.stat().st_size / 1e6:.1f} MB") for f in files],
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def averages(found: Sequence[Comparison]) -> dict[str, float]:
    """Mean Dice and total seconds of both methods; without the peer's where it is missing."""
    out = {"dice": mean(c.dice for c in found), "seconds": sum(c.prediction.seconds for c in found)}
    peers = [c.peer for c in found if c.peer is not None]
    if len(peers) == len(found):
        out |= {"peer_dice": mean(p.dice for p in peers), "peer_seconds": sum(p.seconds for p in peers)}
    return out
