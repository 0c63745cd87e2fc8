"""The demo's report: one HTML file with everything in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from PWSegmentationLib.demo.case import DemoCase
from PWSegmentationLib.demo.comparison import Comparison
from PWSegmentationLib.files import replacing
from PWSegmentationLib.segments.colors import Color


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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("PWSegmentationLib.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        case=case,
        grid=case.volume.grid,
        found=found,
        has_peer=all(c.peer for c in found),
        average=averages(found),
        css_color=_css,
        pictures={name: _data("webp", picture) for name, picture in pictures.items()},
        overview=_data("png", overview),
        made_by=made_by,
        seconds=seconds,
        files=[(f.name, f"{f.stat().st_size / 1e6:.1f} MB") for f in files],
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def averages(found: Sequence[Comparison]) -> dict[str, float]:
    """Mean Dice and total seconds of both methods; without the peer's where it is missing."""
    out = {"dice": mean(c.dice for c in found), "seconds": sum(c.prediction.seconds for c in found)}
    peers = [c.peer for c in found if c.peer is not None]
    if len(peers) == len(found):
        out |= {"peer_dice": mean(p.dice for p in peers), "peer_seconds": sum(p.seconds for p in peers)}
    return out


def _css(color: Color) -> str:
    return "#" + "".join(f"{round(255 * v):02x}" for v in color)


def _data(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
