"""The pages of `pwseg demo` and `pwseg benchmark` on paper; those of `pwseg review` are in `test_review_pages`."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.demo.run import run_case
from Testing.App.app_server import ROOT
from Testing.App.test_review_pages import PRINTED_HEIGHT, PRINTED_WIDTH
from Testing.Library.test_demo import small_case


def demo_page(folder: Path) -> Path:
    return run_case(small_case(), folder).page


def benchmark_page(folder: Path) -> Path:
    page = folder / "accuracy.html"
    assert main(["benchmark", str(ROOT / "docs" / "accuracy-results.json"), "--page", str(page), "--quiet"]) == 0
    return page


@pytest.mark.parametrize("made", [demo_page, benchmark_page])
def test_nothing_is_cut_off_on_paper_nor_white_on_black(browser: Browser, tmp_path: Path, made) -> None:
    path = made(tmp_path)
    page = browser.new_page(viewport={"width": PRINTED_WIDTH, "height": PRINTED_HEIGHT}, color_scheme="dark")
    try:
        page.goto(path.as_uri())
        page.emulate_media(media="print", color_scheme="dark")
        places = "[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect())"
        assert page.evaluate(f"Math.max(...{places}.map(r => r.right))") <= PRINTED_WIDTH
        whole = "[...document.querySelectorAll('section, img, tr')].map(e => e.getBoundingClientRect())"
        assert page.evaluate(f"Math.max(...{whole}.map(r => r.height))") < PRINTED_HEIGHT
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        page.close()
