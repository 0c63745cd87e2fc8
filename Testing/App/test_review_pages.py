"""The pages of `pwseg review` as Chromium shows and prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from PWSegmentationLib.commandline.main import main
from Testing.Library.test_review import GRID, ball, good, leaked, write_case

# A4 less margins of 12 mm, in CSS pixels.
PRINTED_WIDTH, PRINTED_HEIGHT = 703, 1032
LONG = "a segment whose name is a good deal longer than what fits into a column"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases: one with ten segments, of which one has changed since it was flagged, and a small one."""
    made = tmp_path_factory.mktemp("review") / "ward 7"
    masks = {**good(), LONG: leaked(), "empty": np.zeros(GRID.shape, bool)}
    masks |= {f"nodule {n}": ball((10 + 6 * n, 10 + 5 * n, 20), 5.0) for n in range(6)}
    write_case(made / "patient 1", masks)
    write_case(made / "patient-2", good())
    assert main(["review", str(made / "patient 1"), "--flag", "left lesion", "--quiet", "--no-pages"]) == 0
    write_case(made / "patient 1", {**masks, "left lesion": ball((14, 24, 20), 7.0)})
    assert main(["review", str(made), "--quiet"]) == 0
    return made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    made = browser.new_page(viewport={"width": 1000, "height": 900})
    yield made
    made.close()


def opened(page: Page, path: Path) -> list[str]:
    """Open a page; what it asked the network for, and what went wrong."""
    said: list[str] = []
    address = path.as_uri()
    page.on("request", lambda request: said.append(request.url) if request.url.split("#")[0] != address else None)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    return [words for words in said if not words.startswith("data:")]


def broken_pictures(page: Page) -> list[Any]:
    return page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth < 100).map(i => i.alt)")


def most(page: Page, what: str, edge: str) -> float:
    """The largest ``edge`` of all elements that the selector ``what`` finds."""
    places = f"[...document.querySelectorAll('{what}')].map(e => e.getBoundingClientRect().{edge})"
    return float(page.evaluate(f"Math.max(...{places})"))


def test_both_pages_show_all_their_pictures_and_ask_for_nothing(page: Page, folder: Path) -> None:
    for path, pictures in ((folder / "review.html", 2), (folder / "patient 1" / "review.html", 10)):
        assert opened(page, path) == []
        assert page.evaluate("document.images.length") == pictures
        assert broken_pictures(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") == 1000


def test_the_work_list_leads_to_the_case_and_to_its_segments(page: Page, folder: Path) -> None:
    opened(page, folder / "review.html")
    page.click("text=patient 1 >> nth=0")
    page.wait_for_url("**/patient%201/review.html")
    page.click(f"table >> text={LONG}")
    top = page.evaluate(
        f"[...document.querySelectorAll('h3')].find(h => h.innerText == '{LONG}').getBoundingClientRect().top"
    )
    assert 0 <= top < 900
    assert "Dice 0." in page.locator("section", has_text="left lesion").first.inner_text()


@pytest.mark.parametrize(("name", "sheets"), [("review.html", 1), ("patient 1/review.html", 4)])
def test_printed_nothing_is_cut_and_no_sheet_is_wasted(page: Page, folder: Path, name: str, sheets: int) -> None:
    opened(page, folder / name)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PRINTED_WIDTH, "height": PRINTED_HEIGHT})
    # Cut off at the right: what is wider than the sheet. Cut in two: what may not be parted and is higher than one.
    right = page.evaluate(
        "Math.max(...[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right))"
    )
    assert right <= PRINTED_WIDTH
    highest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('section, img, tr')].map(e => e.getBoundingClientRect().height))"
    )
    assert highest < PRINTED_HEIGHT
    made = page.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", made)) == sheets
    assert made.count(b"/Subtype /Image") >= page.evaluate("document.images.length")
