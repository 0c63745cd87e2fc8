"""What the page shows, as variables that trame keeps the same in the browser."""

from __future__ import annotations

from typing import Any

from PWSegmentationLib.app.case import Case
from PWSegmentationLib.app.review import Review
from PWSegmentationLib.app.views import SLICE_VIEWS, Server
from PWSegmentationLib.mrml import is_locked
from PWSegmentationLib.mrml.scene_questions import shown_ml
from PWSegmentationLib.segments.colors import css_color
from PWSegmentationLib.segments.segmentation import STATUS_WORDS

ROLES = {
    "inside": "point +",
    "outside": "point −",
    "box": "box",
    "scribble inside": "scribble +",
    "scribble outside": "scribble −",
}

LEGENDS = {
    "probability": "unlikely 0 ··· 0.5 ··· 1 certain",
    "uncertainty": "certain 0 ··· 0.5 ··· 1 a coin toss",
}

_FIRST: dict[str, Any] = {
    "image": None,
    "opening": False,
    "opening_text": "",
    "open_dialog": False,
    "open_error": "",
    "open_path": "",
    "open_list": [],
    "upload_text": "",
    "upload_limit": 0,
    "open_by_path": False,
    # Why the session is not written, and why it is not there: told until it is.
    "unsaved": "",
    "unrestored": "",
    "unrestored_again": True,
    "message": "",
    "message_is_error": False,
    "layout": "four",
    "crossings": False,
    "tool": None,
    "window": 400.0,
    "level": 40.0,
    "windows": [],
    "segments": [],
    # How often voxels have changed: for those who wait for it.
    "answers": 0,
    "current": None,
    "prompts": [],
    "busy": "",
    "busy_progress": 0,
    "busy_text": "",
    "busy_left": "",
    "can": {},
    "brush": 4.0,
    "auto_segment": True,
    "many_lesions": False,
    "refine_seconds": 20,
    "overlay": "none",
    "legends": LEGENDS,
    "overlay_opacity": 0.6,
    "fill": 0.4,
    "method": "auto",
    "help_dialog": False,
    "export_dialog": False,
    "export_kinds": ["segmentation"],
    "export_eight_bit": False,
    "export_provenance": True,
    # Of what cannot be had now, why not.
    "export_problems": {},
    # "segment" or "review".
    "pane": "segment",
    "review_rows": [],
    "review_now": None,
    "review_busy": "",
    "review_progress": 0,
    "review_changes": False,
    "exporting": False,
    "export_text": "",
    "export_error": "",
}


class PageState:
    """Writes the variables; only what has changed is sent."""

    def __init__(self, server: Server) -> None:
        self._state = server.state
        self.set(**_FIRST, **{f"slice_{tag}": {} for tag in SLICE_VIEWS})

    def get(self, name: str) -> Any:
        """The value of a variable."""
        return self._state[name]

    def set(self, **values: Any) -> None:
        """Give variables values, and tell the browser."""
        with self._state:
            for name, value in values.items():
                self._state[name] = value

    def show_case(self, case: Case | None, review: Review | None, answers: int = 0) -> None:
        """Segments, prompts, what can be done now, and the review; ``answers``: how often voxels have changed so far.

        All in one message: between two of them, a comment typed for the segment just selected would be lost.
        """
        self.set(**_case_values(case, answers), **_review_values(case, review))

    def show_review(self, case: Case | None, review: Review | None) -> None:
        """The work list, what is known of the selected segment, and how far looking at segments is."""
        self.set(**_review_values(case, review))

    def show_progress(self, case: Case | None) -> None:
        """How far the running job is."""
        jobs = case.jobs if case is not None else None
        if jobs is None or not jobs.is_running:
            self.set(busy="", busy_progress=0, busy_text="", busy_left="")
            return
        left = jobs.remaining_s
        self.set(
            busy=jobs.kind,
            busy_progress=round(100 * jobs.progress),
            busy_text=jobs.text,
            busy_left="" if left is None else f"{left:.0f} s left",
        )


def _case_values(case: Case | None, answers: int) -> dict[str, Any]:
    if case is None:
        return {"segments": [], "prompts": [], "current": None, "can": {}}
    prompted = set(case.session.store.prompted())
    current = case.current
    return {
        "segments": [_segment_row(case, i) for i in case.segment_ids()],
        "current": current,
        "prompts": [_prompt_row(n, item) for n, item in enumerate(case.items())],
        "answers": answers,
        "can": {
            "segment": current in prompted,
            "refine": bool(prompted) and case.jobs.kind != "refine",
            "undo": case.session.can_undo,
            "redo": case.session.can_redo,
            "spot": current is not None and case.session.prediction(current) is not None,
        },
    }


def _review_values(case: Case | None, review: Review | None) -> dict[str, Any]:
    if case is None or review is None:
        return {"review_rows": [], "review_now": None, "review_busy": "", "review_changes": False}
    rows = [_review_row(case, review, i) for i in case.segment_ids()]
    jobs, current = review.jobs, case.current
    return {
        # What needs a person most comes first; what is done last, before it what nobody knows of.
        "review_rows": sorted(rows, key=lambda r: (r["kind"] == "completed", r["need"] is None, -(r["need"] or 0))),
        "review_now": None if current not in case.segment_ids() else _findings(review, str(current)),
        "review_busy": (jobs.text or "segments") if jobs.is_running else "",
        "review_progress": round(100 * jobs.progress),
        "review_changes": review.shows_changes,
    }


def _segment_row(case: Case, segment_id: str) -> dict[str, Any]:
    segment = case.segment(segment_id)
    display = case.segmentation_node.GetDisplayNode()
    millilitres = case.volume_ml(segment_id)
    return {
        "id": segment_id,
        "name": segment.GetName(),
        "color": css_color(segment.GetColor()),
        "visible": bool(display.GetSegmentVisibility(segment_id)),
        "opacity": round(float(display.GetSegmentOpacity3D(segment_id)), 2),
        "locked": is_locked(case.segmentation_node, segment_id),
        "volume": "" if millilitres is None else shown_ml(millilitres),
    }


def _review_row(case: Case, review: Review, segment_id: str) -> dict[str, Any]:
    segment, found, status = case.segment(segment_id), review.of(segment_id), review.status(segment_id)
    return {
        "id": segment_id,
        "name": segment.GetName(),
        "color": css_color(segment.GetColor()),
        "kind": status,
        "status": STATUS_WORDS[status],
        "need": None if found is None else round(100 * found.need),
        "alarms": 0 if found is None else len(found.alarms),
    }


def _findings(review: Review, segment_id: str) -> dict[str, Any]:
    """What is known of a segment, in words."""
    found = review.of(segment_id)
    said = {"id": segment_id, "comment": review.comment(segment_id)}
    if found is None:
        return {**said, "measures": "Not checked as it is now.", "flags": [], "changes": ""}
    measures, since = found.measures, found.changes
    parts = f"{measures.components} part{'s' if measures.components != 1 else ''}"
    changes = ""
    if since is not None and not since.is_none:
        changes = (
            f"since it was reviewed: {since.added_ml:.2f} ml added, {since.removed_ml:.2f} ml removed, "
            f"Dice {since.dice:.3f}"
        )
    return {
        **said,
        "measures": f"{measures.volume_ml:.2f} ml, {measures.surface_mm2:.0f} mm², {parts}, "
        f"need for correction {found.need:.0%}",
        "flags": [{"text": flag.text, "alarm": flag.alarm} for flag in found.flags],
        "changes": changes,
    }


def _prompt_row(number: int, item: Any) -> dict[str, Any]:
    return {
        "number": number,
        "role": item.role,
        "positive": item.positive,
        "kind": ROLES[item.role],
        "place": "  ".join(f"{v:.0f}" for v in item.position),
    }
