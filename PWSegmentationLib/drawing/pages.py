"""Pages of reports: templates, and what is put into a page so that it needs no other file."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def templates(package: str, *, html: bool = True) -> Environment:
    """The templates beside the code of ``package``; what they do not know is an error. ``html``: values are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
    )


def data_url(kind: str, content: bytes) -> str:
    """A picture, "png" or "webp", as the address of itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
