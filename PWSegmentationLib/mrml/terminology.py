"""Standard codes on segments of the scene; the codes themselves are in `segments.terminology`."""

from __future__ import annotations

from typing import Any

import vtk


def set_terminology(segment: Any, entry: str) -> None:
    """Put ``entry`` on a vtkSegment, in Slicer versions with and without `SetTerminology`."""
    if hasattr(segment, "SetTerminology"):
        segment.SetTerminology(entry)
    else:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)


def terminology_of(segment: Any) -> str:
    """The entry on a vtkSegment, in Slicer versions with and without `GetTerminology`; "" where there is none."""
    if hasattr(segment, "GetTerminology"):
        return str(segment.GetTerminology() or "")
    tag, entry = segment.GetTerminologyEntryTagName(), vtk.reference("")
    if segment.HasTag(tag):
        segment.GetTag(tag, entry)
    return str(entry)
