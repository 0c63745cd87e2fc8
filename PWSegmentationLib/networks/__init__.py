"""Networks. Importing this package imports neither torch nor MONAI; they load with the first class asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.networks.pmsa import ProbabilisticSelfAttention
    from PWSegmentationLib.networks.presets import PRESETS, UNETRConfig
    from PWSegmentationLib.networks.unetr import NetworkOutput, ProbabilisticUNETR

_HOME = {
    "ProbabilisticSelfAttention": "PWSegmentationLib.networks.pmsa",
    "PRESETS": "PWSegmentationLib.networks.presets",
    "UNETRConfig": "PWSegmentationLib.networks.presets",
    "NetworkOutput": "PWSegmentationLib.networks.unetr",
    "ProbabilisticUNETR": "PWSegmentationLib.networks.unetr",
}

__all__ = ["PRESETS", "NetworkOutput", "ProbabilisticSelfAttention", "ProbabilisticUNETR", "UNETRConfig"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
