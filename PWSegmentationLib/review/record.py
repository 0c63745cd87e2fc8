"""What reviewers said, kept beside the case: status and comment of each segment, and the version they looked at.

``review.json`` in the case's folder holds the words, ``reviewed.seg.nrrd`` the voxels as they were when a segment was
last accepted or flagged. A status is Slicer's own (`segments.segmentation.Status`), and is written into a Slicer
segmentation's tags too, so that Slicer shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.export.seg_nrrd import set_statuses
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.files import read_json, write_json
from PWSegmentationLib.segments.segmentation import STATUSES, Segment, Segmentation, Status
from PWSegmentationLib.volume.grid import Grid

FORMAT = "PWSegmentation review 1"
RECORD, REVIEWED = "review.json", "reviewed.seg.nrrd"


@dataclass(frozen=True)
class Verdict:
    """What was said of a segment; ``by`` and ``at`` only where the reviewer wanted that."""

    status: Status = "notstarted"
    comment: str = ""
    by: str = ""
    at: str = ""


@dataclass(frozen=True, eq=False)
class ReviewRecord:
    """All that was said of a case, by segment name, and the segments as they were then."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    reviewed: Mapping[str, Segment] = field(default_factory=dict)

    def of(self, segment: Segment) -> Verdict:
        """What was said of a segment; else what its file says of its status."""
        found = self.verdicts.get(segment.name)
        if found is None:
            return Verdict(segment.status or "notstarted")
        # What was accepted is gone, or on another grid: nobody can tell whether this is it.
        is_lost = found.status == "completed" and segment.name not in self.reviewed
        return replace(found, status="inprogress") if is_lost else found

    def with_verdict(
        self,
        segment: Segment,
        *,
        status: Status | None = None,
        comment: str | None = None,
        by: str = "",
        dated: bool = False,
    ) -> ReviewRecord:
        """The record with a word more; a status other than "in progress" also keeps the segment as it is now."""
        if status is not None and status not in STATUSES:
            raise InputError(f"There is no status '{status}': choose among {', '.join(STATUSES)}.")
        was = self.of(segment)
        at = datetime.now(timezone.utc).isoformat(timespec="seconds") if dated else ""
        now = replace(was, status=status or was.status, comment=was.comment if comment is None else comment)
        now = replace(now, by=by or was.by, at=at or was.at)
        reviewed = dict(self.reviewed)
        if status in ("completed", "flagged"):
            reviewed[segment.name] = replace(segment, status=status)
        return ReviewRecord({**self.verdicts, segment.name: now}, reviewed)


def read_record(folder: Path, grid: Grid | None = None) -> ReviewRecord:
    """What was said of the case in ``folder``; nothing where nobody said anything.

    Voxels that lie on another grid than ``grid``, the segmentation's, are of no use any more and left out: what was
    accepted then is in progress.
    """
    path = folder / RECORD
    if not path.is_file():
        return ReviewRecord()
    document = read_json(path, "review")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path} is no review of this version: move it away.")
    try:
        verdicts = {name: _verdict(values) for name, values in document["segments"].items()}
    except (TypeError, AttributeError, KeyError) as error:
        raise InputError(f"{path} is damaged: move it away.") from error
    kept = folder / REVIEWED
    found = read_segmentation(kept) if kept.is_file() else None
    if found is None or (grid is not None and not found.grid.same_as(grid)):
        return ReviewRecord(verdicts)
    return ReviewRecord(verdicts, {s.name: s for s in found.segments})


def write_record(record: ReviewRecord, segmentation: Segmentation, folder: Path, file: Path) -> None:
    """Keep a record; ``segmentation`` is what ``file`` holds now.

    The voxels that were looked at are written before the words about them, and the tags of a Slicer segmentation last.
    """
    kept = [s for s in record.reviewed.values() if s.name in segmentation.names]
    if kept:
        numbered = tuple(replace(s, value=segmentation[s.name].value) for s in kept)
        write_segmentation(Segmentation(segmentation.grid, numbered), folder / REVIEWED)
    said = {name: {k: v for k, v in asdict(o).items() if v} for name, o in record.verdicts.items()}
    write_json({"format": FORMAT, "segments": said}, folder / RECORD)
    if file.name.lower().endswith(".seg.nrrd"):
        statuses: dict[str, Status] = {n: o.status for n, o in record.verdicts.items() if n in segmentation.names}
        changed = {n: s for n, s in statuses.items() if segmentation[n].status != s}
        if changed:
            set_statuses(file, changed)


def _verdict(values: Mapping[str, Any]) -> Verdict:
    found = Verdict(**{str(k): str(v) for k, v in values.items()})  # type: ignore[arg-type]
    if found.status not in STATUSES:
        raise KeyError(found.status)
    return found
