"""``--set KEY=VALUE``: keys of a config on the command line."""

from __future__ import annotations

import argparse
from typing import Any

from PWSegmentationLib.errors import InputError


def add_changes_to(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    text = "set a key of the config; may be repeated"
    parser.add_argument("--set", metavar="KEY=VALUE", dest="changes", action="append", default=[], help=text)


def changes(args: argparse.Namespace) -> dict[str, Any]:
    """What was set."""
    return dict(_change(text) for text in args.changes)


def _change(text: str) -> tuple[str, Any]:
    """``KEY=VALUE``, the value as JSON, or else as a text."""
    import json

    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes KEY=VALUE, not '{text}'.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
