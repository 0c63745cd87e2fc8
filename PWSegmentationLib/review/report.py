"""The review as a page: one HTML file per case and per folder, with everything in it, to look at or to print."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PWSegmentationLib import __version__
from PWSegmentationLib.drawing.pages import data_url, templates
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.files import replacing
from PWSegmentationLib.review.record import ReviewRecord
from PWSegmentationLib.review.review import CaseReview, work_list
from PWSegmentationLib.segments.segmentation import STATUS_WORDS

PAGE = "review.html"


@dataclass(frozen=True)
class Pictures:
    """WebP pictures of a case: of all segments, and of each by name."""

    overview: bytes | None
    segments: Mapping[str, bytes]


def check_installed() -> None:
    """Raise `InputError` unless everything that the pages need is installed."""
    missing = [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        raise not_installed(f"The report needs {' and '.join(missing)}", "review")


def draw(review: CaseReview, record: ReviewRecord) -> Pictures:
    """Draw the pictures of a case that was read."""
    from PWSegmentationLib.drawing.slices import DisplayVolume
    from PWSegmentationLib.review.pictures import overview_picture, segment_picture

    if review.case is None:
        return Pictures(None, {})
    display = DisplayVolume.of(review.case.volume)
    made = {}
    for found in review.segments:
        name = found.segment.name
        picture = segment_picture(review.case, display, found, record.reviewed.get(name))
        if picture is not None:
            made[name] = picture
    return Pictures(overview_picture(review.case, display), made)


def write_case_page(review: CaseReview, pictures: Pictures, path: Path) -> Path:
    """Write the page of one case."""
    order = sorted(review.segments, key=lambda s: -s.need)
    grid = None if review.case is None else review.case.volume.grid
    shown = {name: data_url("webp", picture) for name, picture in pictures.segments.items()}
    overview = None if pictures.overview is None else data_url("webp", pictures.overview)
    return _render("case.html.jinja", path, review=review, order=order, grid=grid, pictures=shown, overview=overview)


def write_folder_page(
    reviews: Sequence[CaseReview], overviews: Mapping[str, bytes | None], path: Path, title: str
) -> Path:
    """Write the page of a folder: the work list, and a picture of every case (WebP, by case name)."""
    links = {r.files.name: _link(r.files.folder, path.parent) for r in reviews}
    shown = {name: data_url("webp", picture) for name, picture in overviews.items() if picture is not None}
    counts = {status: sum(s.verdict.status == status for r in reviews for s in r.segments) for status in STATUS_WORDS}
    return _render(
        "folder.html.jinja",
        path,
        reviews=sorted(reviews, key=lambda r: -r.need),
        items=work_list(reviews),
        links=links,
        pictures=shown,
        counts=counts,
        title=title,
    )


def _render(template: str, path: Path, **values: Any) -> Path:
    page = (
        templates("PWSegmentationLib.review")
        .get_template(template)
        .render(version=__version__, words=STATUS_WORDS, **values)
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _link(folder: Path, start: Path) -> str:
    """The case's page, relative to where the folder's page is."""
    try:
        return quote((folder / PAGE).relative_to(start).as_posix())
    except ValueError:
        return (folder / PAGE).resolve().as_uri()
