"""The object every front end drives, and where it has the work done."""

from PWSegmentationLib.session.engine import Engine, FinetuneReport, Options, Task
from PWSegmentationLib.session.session import Session

__all__ = ["Engine", "FinetuneReport", "Options", "Session", "Task"]
