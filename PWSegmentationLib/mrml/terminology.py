"""Standard codes on segments of the scene; the codes themselves are in `segments.terminology`."""

from __future__ import annotations

from typing import Any


def set_terminology(segment: Any, entry: str) -> None:
    """Put ``entry`` on a vtkSegment, in Slicer versions with and without `SetTerminology`."""
    if hasattr(segment, "SetTerminology"):
        segment.SetTerminology(entry)
    else:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
