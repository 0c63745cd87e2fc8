"""Dense segments, with probability and uncertainty, from a few points, boxes and scribbles in a 3D image.

``Session`` is what front ends drive. Data flows one way: `prompts` and `volume` → `pseudolabel` → `networks` (fitted
by `training`) → `prediction` → `segments`. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.errors import EngineLost, EngineUnavailable, InputError
    from PWSegmentationLib.prediction.prediction import Prediction
    from PWSegmentationLib.progress import Cancelled
    from PWSegmentationLib.prompts.json_format import read_prompts, write_prompts
    from PWSegmentationLib.prompts.prompts import Box, Point, PromptSet, Scribble, SegmentPrompts, Strokes
    from PWSegmentationLib.session.child import ChildEngine
    from PWSegmentationLib.session.session import Session
    from PWSegmentationLib.volume.grid import Grid, Region
    from PWSegmentationLib.volume.reading import read_volume
    from PWSegmentationLib.volume.volume import Volume

__version__ = "0.1.0"

_HOME = {
    "Box": "prompts.prompts",
    "Cancelled": "progress",
    "ChildEngine": "session.child",
    "EngineLost": "errors",
    "EngineUnavailable": "errors",
    "Grid": "volume.grid",
    "InputError": "errors",
    "Point": "prompts.prompts",
    "Prediction": "prediction.prediction",
    "PromptSet": "prompts.prompts",
    "Region": "volume.grid",
    "Scribble": "prompts.prompts",
    "SegmentPrompts": "prompts.prompts",
    "Session": "session.session",
    "Strokes": "prompts.prompts",
    "Volume": "volume.volume",
    "read_prompts": "prompts.json_format",
    "read_volume": "volume.reading",
    "write_prompts": "prompts.json_format",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    # `import PWSegmentationLib; PWSegmentationLib.pseudolabel.gaussian(...)` works without a second import.
    if not name.startswith("_"):
        try:
            return import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
