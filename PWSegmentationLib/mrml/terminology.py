"""Standard codes on segments of the scene, and the tags that hold them; the codes are in `segments.terminology`."""

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
    return segment_tag(segment, segment.GetTerminologyEntryTagName())


def segment_tag(segment: Any, tag: str) -> str:
    """The text of a vtkSegment's tag; "" where it has none."""
    if not segment.HasTag(tag):
        return ""
    text = vtk.reference("")
    segment.GetTag(tag, text)
    return str(text)
