"""``pwseg review``: look at segments, say what is to be done about them, and what comes next."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib.commandline.progress_bar import progress_bar
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.progress import part_of

if TYPE_CHECKING:
    from PWSegmentationLib.review.record import ReviewRecord
    from PWSegmentationLib.review.review import CaseReview, WorkItem
    from PWSegmentationLib.review.review_cases import ReviewFiles
    from PWSegmentationLib.segments.segmentation import Status

_DESCRIPTION = """\
Review the segments of a case, or of all cases in a folder.

A case is a folder with image.nii.gz (or .nrrd, .mha, DICOM), segmentation.seg.nrrd (or .seg.dcm, .nii.gz; or
labels.nii.gz) and, where there are, prompts.json and probability and uncertainty maps as `pwseg segment` writes them.
The work list has the segments that most likely need correction first; every case gets a page, review.html, and a folder
of cases one more. What is said of a segment is kept in the case's review.json, and in a Slicer segmentation's tags.
"""

_EPILOG = """\
examples:
  pwseg review CASES                                   the work list, and pages to look at
  pwseg review CASES --next                            the one segment that needs a person most
  pwseg review CASES/patient-7 --accept spleen --accept liver
  pwseg review CASES/patient-7 --flag pancreas --comment "tail is missing"
"""


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "review",
        help="measures, flags, status and a work list of segments; pages to look at",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a case, or a folder of cases")
    say = parser.add_argument_group("say something of segments of one case; SEGMENT may be 'all'")
    for option, text in (
        ("--accept", "it is right: status completed; kept as the version that was reviewed"),
        ("--flag", "it is wrong: status flagged"),
        ("--fix", "somebody is correcting it: status in progress"),
        ("--reopen", "back to not started"),
    ):
        say.add_argument(option, metavar="SEGMENT", action="append", default=[], help=text)
    text = "what is to be said of the segments named (or, with none, of the case's only segment)"
    say.add_argument("--comment", metavar="TEXT", help=text)
    say.add_argument("--by", metavar="NAME", default="", help="who says so (default: nobody is named)")
    say.add_argument("--dated", action="store_true", help="keep when it was said")
    show = parser.add_argument_group("show")
    show.add_argument("--next", action="store_true", help="only the segment that needs a person most, and no pages")
    text = "also list the N spots, over all cases, where another prompt would help most"
    show.add_argument("--spots", metavar="N", type=int, default=0, help=text)
    show.add_argument("--no-pages", action="store_true", help="write no pages")
    show.add_argument("--json", action="store_true", help="print everything as JSON and nothing else")
    show.add_argument("--quiet", action="store_true", help="no progress bar and no table")


def run(args: argparse.Namespace) -> None:
    """Say, look, show."""
    from PWSegmentationLib.review.report import check_installed
    from PWSegmentationLib.review.review import best_spots, work_list
    from PWSegmentationLib.review.review_cases import find_review_cases

    cases = find_review_cases(args.folder)
    pages = not (args.no_pages or args.next)
    if pages:
        check_installed()
    _say(args, cases)
    with progress_bar("reviewing", quiet=args.quiet or args.json) as progress:
        reviews = _look(cases, args.folder, progress, pages=pages)
    items = work_list(reviews)
    if args.next:
        items = [item for item in items if item.status != "completed" or item.need > 0][:1]
    if args.json:
        document: dict[str, Any] = {"work list": [asdict(i) for i in items], "cases": [_document(r) for r in reviews]}
        document["spots"] = [asdict(spot) for spot in best_spots(reviews, args.spots)]
        print(json.dumps(document, indent=1, ensure_ascii=False))
    elif not args.quiet:
        print(_table(items) if items else "Nothing is left to review.")
        for spot in best_spots(reviews, args.spots):
            place = "R {:.1f}, A {:.1f}, S {:.1f} mm".format(*spot.position)
            print(f"prompt {spot.case}, {spot.segment} at {place} (slice {spot.k}): Dice +{spot.gain:.3f} expected")
        if pages:
            print(f"pages: {args.folder / 'review.html'}")
    if reviews and all(r.problem for r in reviews):
        raise InputError(reviews[0].problem)


def _say(args: argparse.Namespace, cases: Sequence[ReviewFiles]) -> None:
    """Keep what was said of segments."""
    said: list[tuple[str, Status | None]] = []
    statuses: tuple[tuple[str, Status], ...] = (
        ("accept", "completed"),
        ("flag", "flagged"),
        ("fix", "inprogress"),
        ("reopen", "notstarted"),
    )
    for option, chosen in statuses:
        said += [(name, chosen) for name in getattr(args, option)]
    if not said and args.comment is None:
        return
    if len(cases) > 1:
        raise InputError(f"{args.folder} holds {len(cases)} cases: name one case to say something of its segments.")
    from PWSegmentationLib.review.record import read_record, write_record
    from PWSegmentationLib.review.review_cases import load_review_case

    case = load_review_case(cases[0])
    segmentation, record = case.segmentation, read_record(cases[0].folder, case.segmentation.grid)
    if not said:
        if len(segmentation.names) != 1:
            raise InputError("Say which segment the comment is about: --flag, --fix, --accept or --reopen SEGMENT.")
        said = [(segmentation.names[0], None)]
    for name, status in said:
        for each in segmentation.names if name == "all" else (name,):
            record = record.with_verdict(
                segmentation[each], status=status, comment=args.comment, by=args.by, dated=args.dated
            )
    write_record(record, segmentation, cases[0].folder, cases[0].segmentation)


def _look(cases: Sequence[ReviewFiles], folder: Path, progress: Any, *, pages: bool) -> list[CaseReview]:
    """Review every case and write its page, one in memory at a time; then the folder's."""
    from dataclasses import replace

    from PWSegmentationLib.review.record import read_record
    from PWSegmentationLib.review.report import PAGE, Pictures, draw, write_case_page, write_folder_page
    from PWSegmentationLib.review.review import review_files

    reviews, overviews = [], {}
    for index, files in enumerate(cases):
        share = part_of(progress, index / len(cases), (index + 1) / len(cases))
        found = review_files(files, progress=share)
        if pages:
            pictures = Pictures(None, {})
            if found.case is not None:
                record: ReviewRecord = read_record(files.folder, found.case.segmentation.grid)
                pictures = draw(found, record)
            if files.folder.is_dir():
                write_case_page(found, pictures, files.folder / PAGE)
            overviews[files.name] = pictures.overview
        reviews.append(replace(found, case=None))
    if pages and (len(cases) > 1 or cases[0].folder.resolve() != folder.resolve()):
        write_folder_page(reviews, overviews, folder / PAGE, folder.resolve().name)
    return reviews


def _document(review: CaseReview) -> dict[str, Any]:
    """A case's review as JSON values."""
    if review.problem:
        return {"case": review.files.name, "problem": review.problem}
    segments = [
        {
            "name": s.segment.name,
            "value": s.segment.value,
            "need": s.need,
            **asdict(s.verdict),
            "measures": asdict(s.measures),
            "flags": [asdict(flag) for flag in s.flags],
            "changes": None if s.changes is None else asdict(s.changes),
        }
        for s in review.segments
    ]
    return {"case": review.files.name, "need": review.need, "segments": segments}


def _table(items: Sequence[WorkItem]) -> str:
    from PWSegmentationLib.segments.segmentation import STATUS_WORDS

    case = max(4, *(len(i.case) for i in items))
    segment = max(7, *(len(i.segment) for i in items))
    lines = [f"{'case':<{case}}  {'segment':<{segment}}  need  {'status':<12}  why"]
    for item in items:
        status = STATUS_WORDS.get(item.status, "")
        need = f"{100 * item.need:.0f} %"
        lines.append(
            f"{item.case:<{case}}  {item.segment:<{segment}}  {need:>5}  {status:<12}  {item.reasons}".rstrip()
        )
    return "\n".join(lines)
