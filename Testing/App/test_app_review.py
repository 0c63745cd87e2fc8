"""Reviewing in the browser: what the page says of segments, and accept, fix, flag, next, changes, report."""

from __future__ import annotations

import re

import pytest

from PWSegmentationLib.export.reading import read_segmentation
from Testing.App.app_page import AppPage
from Testing.timing import wait_until

AORTA, SPINE = ("Red", 0.519, 0.629), ("Red", 0.5, 0.7)


@pytest.fixture
def two_segments(chest: AppPage) -> AppPage:
    """Two segments and the pane in which they are reviewed; the second one is selected."""
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    chest.page.keyboard.press("a")
    chest.answered(lambda: chest.click(*SPINE))
    chest.find("pane-review").click()
    yield chest
    for name in chest.statuses:
        chest.select_for_review(name)
        chest.find("fix").click()
        chest.wait_for_message(f"{name}: in progress")
    chest.find("pane-segment").click()


def test_check_tells_of_each_segment_and_goes_to_the_place_of_a_flag(two_segments):
    assert "Not checked" in two_segments.find("review-measures").inner_text()
    offset = two_segments.page.locator("#view-Red .pw-offset")
    two_segments.find("slider-Red").focus()
    two_segments.find("slider-Red").press("ArrowRight")

    two_segments.find("check").click()

    two_segments.wait_for_message("of 2 segments should be looked at")
    for name in ("Segment 1", "Segment 2"):
        two_segments.select_for_review(name)
        text = wait_until(lambda: "mm²" in (t := two_segments.find("review-measures").inner_text()) and t, "figures")
        assert float(text.split()[0]) > 1
    flag = two_segments.find("flag").first
    before = offset.inner_text()
    two_segments.find("slider-Red").focus()
    for _ in range(8):
        two_segments.find("slider-Red").press("ArrowRight")
    moved = wait_until(lambda: (t := offset.inner_text()) != before and t, "another slice")
    flag.click()
    wait_until(lambda: offset.inner_text() != moved, "the place of the flag")


def test_accept_and_flag_by_keys_lock_go_on_and_go_into_the_file(two_segments, tmp_path):
    two_segments.select_for_review("Segment 1")
    two_segments.find("comment").fill("edge | to be checked")
    two_segments.find("comment").press("Enter")
    two_segments.page.keyboard.press("Shift+A")

    wait_until(lambda: two_segments.statuses["Segment 1"] == "completed", "the status")
    two_segments.wait_for_selection("Segment 2")
    assert two_segments.segments == ["Segment 1", "Segment 2"]
    two_segments.page.keyboard.press("Shift+F")
    wait_until(lambda: two_segments.statuses["Segment 2"] == "flagged", "the status")
    two_segments.page.keyboard.press("Shift+N")
    # What needs a person comes first, what is done last.
    wait_until(lambda: list(two_segments.statuses) == ["Segment 2", "Segment 1"], "what needs a person to come first")
    # Whoever chooses a segment is not taken elsewhere by a look that ends only then.
    two_segments.select_for_review("Segment 1")
    wait_until(lambda: two_segments.find("comment").input_value() == "edge / to be checked", "the comment")
    found = read_segmentation(two_segments.download(tmp_path, "segmentation"))
    assert {s.name: s.status for s in found.segments} == {"Segment 1": "completed", "Segment 2": "flagged"}
    # Accepted, it does not change.
    two_segments.click("Red", 0.45, 0.4)
    two_segments.wait_for_message("is locked")


def test_a_comment_is_not_lost_where_the_selection_changes_before_or_while_it_is_typed(two_segments):
    # What is typed as soon as a segment is seen to be selected is about that segment.
    two_segments.page.evaluate(
        "window.pwApart = []; trame.state.watch(['current'], (id) => {"
        " const now = trame.state.get('review_now')?.id; if (now !== id) window.pwApart.push([id, now]); }); null"
    )
    for name in ("Segment 1", "Segment 2", "Segment 1", "Segment 2"):
        two_segments.select_for_review(name)
    assert two_segments.page.evaluate("window.pwApart") == []

    two_segments.find("comment").focus()
    two_segments.page.keyboard.type("half a com")
    # A look that was asked for before leads elsewhere meanwhile.
    two_segments.page.evaluate("trame.trigger('pwseg_key', ['Shift+F'])")
    two_segments.wait_for_selection("Segment 1")

    two_segments.select_for_review("Segment 2")
    assert two_segments.find("comment").input_value() == "half a com"


def test_whoever_goes_on_with_a_segment_is_not_led_away_from_it_by_a_look_that_ends_then(two_segments):
    two_segments.select_for_review("Segment 1")
    two_segments.page.evaluate("for (const key of ['Shift+A', 'Shift+X']) trame.trigger('pwseg_key', [key]); null")
    two_segments.wait_for_message("Segment 1: in progress")
    wait_until(lambda: not two_segments.find("review-progress").is_visible(), "the end of looking")

    two_segments.wait_for_selection("Segment 1")


def test_what_has_changed_since_it_was_accepted_is_told_shown_and_reported(two_segments, tmp_path):
    clicked_first = shown_offset(two_segments)
    two_segments.select_for_review("Segment 1")
    two_segments.find("accept").click()
    wait_until(lambda: two_segments.statuses["Segment 1"] == "completed", "the status")
    wait_until(lambda: not two_segments.find("review-progress").is_visible(), "the end of looking")
    two_segments.select_for_review("Segment 1")
    two_segments.find("fix").click()
    two_segments.wait_for_message("Segment 1: in progress")
    two_segments.find("pane-segment").click()
    two_segments.choose("outside")
    # Accepting has led to another place: back to the first click, and a little above it.
    two_segments.find("reset").click()
    wait_until(lambda: shown_offset(two_segments) == clicked_first, "the place of the first click")
    clicked_at = four_slices_up(two_segments)
    two_segments.answered(lambda: two_segments.click(*AORTA))
    # The click may make the other segment different, too.
    wait_until(lambda: not two_segments.find("progress").is_visible(), "the end of computing")
    two_segments.find("pane-review").click()
    two_segments.find("check").click()

    text = wait_until(
        lambda: two_segments.find("review-changes").is_visible() and two_segments.find("review-changes").inner_text(),
        "the changes",
    )

    added, removed, dice = (float(v) for v in re.findall(r"\d+\.\d+", text))
    assert removed > 0.1 and dice < 1
    # Looking has led to a place of doubt; the other segment may still be looked at.
    wait_until(lambda: not two_segments.find("review-progress").is_visible(), "the end of looking")
    back_to(two_segments, clicked_at)
    plain = two_segments.colored_red("Red")
    two_segments.find("show-changes").check()
    wait_until(lambda: two_segments.colored_red("Red") > plain + 20, "what was removed, in red")
    two_segments.find("show-changes").uncheck()
    with two_segments.page.expect_download() as waiting:
        two_segments.find("report").click()
    assert waiting.value.suggested_filename == "Chest-CT-review.html"
    page = waiting.value.path().read_text(encoding="utf-8")
    assert "Segment 1" in page and f"+{added:.2f} and −{removed:.2f} mL" in page and "data:image/webp" in page


def four_slices_up(page: AppPage) -> str:
    """In the red view, by keys; the offset that is shown then."""
    page.find("slider-Red").focus()
    for _ in range(4):
        offset = pressed(page, "ArrowRight")
    return offset


def back_to(page: AppPage, offset: str) -> None:
    """Through the slices of the red view to the one at ``offset``, by keys."""
    page.find("slider-Red").focus()
    now = shown_offset(page)
    for _ in range(200):
        if now == offset:
            return
        now = pressed(page, "ArrowRight" if millimetres(now) < millimetres(offset) else "ArrowLeft")
    raise AssertionError(f"{offset} was not reached")


def pressed(page: AppPage, key: str) -> str:
    """One slice on in the red view: the offset that is shown then."""
    before = shown_offset(page)
    page.find("slider-Red").press(key)
    return str(wait_until(lambda: (now := shown_offset(page)) != before and now, "the next slice"))


def shown_offset(page: AppPage) -> str:
    """Of the slice in the red view, as it is written there."""
    return str(page.page.locator("#view-Red .pw-offset").inner_text())


def millimetres(offset: str) -> float:
    """Along the axis towards superior."""
    found = re.search(r"[-−]?\d+(\.\d+)?", offset)
    assert found is not None, offset
    return float(found[0].replace("−", "-"))


def test_nothing_to_review_is_said(chest):
    chest.page.keyboard.press("Shift+N")
    chest.wait_for_message("nothing to review")
