"""A case looked at: every segment with its measures, flags, status and changes, and how much it needs a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.review.changes import Changes, changes
from PWSegmentationLib.review.flags import Evidence, Flag, flags
from PWSegmentationLib.review.measures import Maps, Measures, measure
from PWSegmentationLib.review.next_annotation import Suggestion, suggest
from PWSegmentationLib.review.record import ReviewRecord, Verdict, read_record
from PWSegmentationLib.review.review_cases import ReviewCase, ReviewFiles, load_review_case
from PWSegmentationLib.review.second_opinion import second_opinion
from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import Region

# How likely a segment with such a flag needs correction: the share of those flagged that were wrong in what
# docs/review.md measures, rounded; a guess for the rest.
_WRONG = {
    "geometry": 0.95,
    "empty": 0.95,
    "swapped": 0.95,
    "side": 0.9,
    "prompts": 0.9,
    "leak": 0.8,
    "missing part": 0.8,
    "confidence": 0.5,
    "components": 0.05,
    "border": 0.03,
    "thin": 0.03,
}
_SPOTS = 3
# Of a segment of which nothing is known.
_UNKNOWN = 0.15


@dataclass(frozen=True, eq=False)
class SegmentReview:
    """One segment looked at.

    ``need`` is how much correction to expect, 0 to 1: the Dice that its own probability expects to be missing,
    together with how often segments with its flags are wrong. ``changes`` are those since it was last reviewed.
    ``suggestions`` are where another prompt would help most, if it is segmented again.
    """

    segment: Segment
    measures: Measures
    flags: tuple[Flag, ...]
    verdict: Verdict
    changes: Changes | None
    need: float
    suggestions: tuple[Suggestion, ...] = ()

    @property
    def alarms(self) -> tuple[Flag, ...]:
        """The flags that say it should be looked at."""
        return tuple(flag for flag in self.flags if flag.alarm)

    @property
    def is_done(self) -> bool:
        """Whether it was accepted, and has not changed since."""
        return self.verdict.status == "completed" and (self.changes is None or self.changes.is_none)


@dataclass(frozen=True, eq=False)
class CaseReview:
    """A case looked at; or its ``problem``, one sentence, if that could not be done."""

    files: ReviewFiles
    segments: tuple[SegmentReview, ...] = ()
    problem: str = ""
    case: ReviewCase | None = field(default=None, repr=False)

    @property
    def need(self) -> float:
        """That of the segment that needs it most; a case that cannot be reviewed needs it most of all."""
        return 1.0 if self.problem else max((s.need for s in self.segments), default=0.0)


@dataclass(frozen=True)
class WorkItem:
    """One line of the work list: a segment of a case, or a case with a problem."""

    case: str
    segment: str
    need: float
    status: str
    reasons: str


def review_files(files: ReviewFiles, *, progress: Progress | None = None) -> CaseReview:
    """Read and review a case; what is wrong with it is told, not raised."""
    try:
        case = load_review_case(files)
        return review_case(case, read_record(files.folder, case.segmentation.grid), progress=progress)
    except (InputError, OSError, MemoryError) as error:
        return CaseReview(files, problem=str(error) or "There is not enough memory to read it.")


def review_case(case: ReviewCase, record: ReviewRecord, *, progress: Progress | None = None) -> CaseReview:
    """Look at every segment of a case; a fraction of a second each, and that of a prediction where it has prompts."""
    found = []
    segments = case.segmentation.segments
    for index, segment in enumerate(segments):
        if progress is not None:
            progress(index / len(segments), f"{case.files.name}: {segment.name}")
        found.append(review_segment(case, segment, record))
    return CaseReview(case.files, tuple(found), case=case)


def review_segment(case: ReviewCase, segment: Segment, record: ReviewRecord) -> SegmentReview:
    """Look at one segment of a case."""
    grid, name = case.segmentation.grid, segment.name
    prompts = next((p for p in case.prompts if p.name == name), None)
    others = tuple(p for p in case.prompts if p.name != name)
    opinion = second_opinion(case.volume, prompts, others) if prompts is not None and case.fits else None
    evidence = Evidence(
        grid=grid,
        image_grid=case.volume.grid,
        prompts=prompts,
        others=others,
        opinion=opinion,
        neighbours=tuple(s for s in case.segmentation.segments if s.name != name),
    )
    maps = Maps(Region.whole(grid.shape), case.probability.get(name), case.uncertainty.get(name))
    measures = measure(segment, grid, maps if case.fits else None)
    signs = flags(segment, measures, evidence)
    reviewed = record.reviewed.get(name)
    since = None if reviewed is None else changes(reviewed, segment, grid)
    said = record.of(segment)
    spots = () if opinion is None else tuple(suggest(opinion, prompts, _SPOTS, case=case.files.name))
    return SegmentReview(segment, measures, signs, said, since, need(measures, signs, said, since), spots)


def need(measures: Measures, signs: Sequence[Flag], verdict: Verdict, since: Changes | None) -> float:
    """How much correction to expect, 0 to 1; 0 for what was accepted and has not changed, 1 for what was flagged."""
    if verdict.status == "flagged":
        return 1.0
    if verdict.status == "completed" and (since is None or since.is_none):
        return 0.0
    right = 1.0 - (_UNKNOWN if measures.expected_dice is None else 1.0 - measures.expected_dice)
    for kind in {flag.kind for flag in signs}:
        worth = 1.0 if any(f.alarm for f in signs if f.kind == kind) else 0.1
        right *= 1.0 - (_WRONG[kind] * worth if _WRONG[kind] > 0.1 else _WRONG[kind])
    return round(1.0 - right, 4)


def work_list(reviews: Sequence[CaseReview]) -> list[WorkItem]:
    """All segments of all cases, those that need a person most first."""
    items = []
    for review in reviews:
        if review.problem:
            items.append(WorkItem(review.files.name, "", 1.0, "", review.problem))
        for found in review.segments:
            reasons = " ".join(flag.text for flag in found.alarms or found.flags)
            items.append(WorkItem(review.files.name, found.segment.name, found.need, found.verdict.status, reasons))
    return sorted(items, key=lambda item: -item.need)


def best_spots(reviews: Sequence[CaseReview], count: int) -> list[Suggestion]:
    """Where in all cases another prompt would help most, in segments that are not done; the best first."""
    spots = [spot for r in reviews for s in r.segments if not s.is_done for spot in s.suggestions]
    return sorted(spots, key=lambda spot: -spot.gain)[:count]
