"""``pwseg info``: what an image is, before prompts are placed in it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.volume.reading import Header
    from PWSegmentationLib.volume.volume import Volume


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "info",
        help="say what an image is",
        description="Print size, spacing, orientation, type and intensities of an image. Nothing about the patient.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("image", metavar="IMAGE", type=Path, help="image file or DICOM folder")
    parser.add_argument("--series", metavar="N", help="DICOM series number (or UID) where a folder holds several")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Read and report."""
    from PWSegmentationLib.volume.reading import read_header, read_volume

    facts = describe(read_header(args.image, series=args.series), read_volume(args.image, series=args.series))
    if args.json:
        print(json.dumps({"image": str(args.image), **facts}, indent=1))
    else:
        print("\n".join(f"{name:<12} {value}" for name, value in _lines(args.image, facts)))


def describe(header: Header, volume: Volume) -> dict[str, Any]:
    """The facts, as JSON takes them."""
    import numpy as np
    from nibabel.orientations import aff2axcodes

    from PWSegmentationLib.volume.intensity import robust_range

    grid, valid = volume.grid, volume.valid()
    low, high = robust_range(volume.array, valid)
    axes = grid.affine[:3, :3] / grid.spacing
    # How far the axis furthest from a body axis is turned away from it.
    tilt = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1))).max())
    return {
        "format": header.format,
        "shape": list(grid.shape),
        "spacing_mm": [round(v, 6) for v in grid.spacing],
        "extent_mm": [round(n * v, 3) for n, v in zip(grid.shape, grid.spacing, strict=True)],
        "orientation": "".join(str(c) for c in aff2axcodes(grid.affine)),
        "oblique_degrees": round(tilt, 2),
        "left_handed": bool(np.linalg.det(axes) < 0),
        "affine": grid.affine.tolist(),
        "dtype": volume.array.dtype.name,
        "robust_range": [low, high],
        "padding_below": volume.padding[0],
        "padding_above": volume.padding[1],
        "measured_fraction": round(float(np.count_nonzero(valid)) / valid.size, 4),
        "memory_mb": round(volume.array.nbytes / 1e6, 1),
    }


def _lines(path: Path, facts: dict[str, Any]) -> list[tuple[str, str]]:
    def joined(values: list[float], form: str) -> str:
        return " × ".join(format(v, form) for v in values)

    turned = f", turned by up to {facts['oblique_degrees']:g}°" if facts["oblique_degrees"] > 0.05 else ""
    handed = ", left-handed" if facts["left_handed"] else ""
    low, high = facts["robust_range"]
    limits = [f"{side} {facts[key]:g}" for side in ("below", "above") if facts[key := f"padding_{side}"] is not None]
    share = 100 - 100 * facts["measured_fraction"]
    padding = f"values {' and '.join(limits)}, {share:.1f} %" if limits else "none"
    return [
        ("image", f"{path} ({facts['format']})"),
        ("size", f"{joined(facts['shape'], 'd')} voxels"),
        ("spacing", f"{joined(facts['spacing_mm'], '.4g')} mm"),
        ("extent", f"{joined(facts['extent_mm'], '.1f')} mm"),
        ("orientation", f"{facts['orientation']} (where i, j, k point){turned}{handed}"),
        ("type", facts["dtype"]),
        ("intensities", f"{low:g} to {high:g} (0.5 to 99.5 %)"),
        ("padding", padding),
        ("memory", f"{facts['memory_mb']:.0f} MB"),
    ]
