"""The object every front end drives, and where it has the work done."""

from PWSegmentationLib.session.engine import Engine, FinetuneReport, Options, Request
from PWSegmentationLib.session.jobs import BackgroundEngine, Job
from PWSegmentationLib.session.session import Session

__all__ = ["BackgroundEngine", "Engine", "FinetuneReport", "Job", "Options", "Request", "Session"]
