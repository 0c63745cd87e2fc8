"""Another image in the place of the one that is worked on: not without a question, however it is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from Testing.App.app_page import AppPage
from Testing.App.app_server import AppServer
from Testing.App.image_files import write_ball
from Testing.timing import wait_until


@pytest.fixture
def worked(tmp_path: Path, new_tab: Callable[[], AppPage]) -> AppPage:
    """A page with a segment."""
    write_ball(tmp_path / "cases" / "ball.nrrd")
    server = AppServer(tmp_path / "state", str(tmp_path / "cases")).start()
    tab = new_tab().open(server.address)
    tab.find("empty-open").click()
    tab.page.locator(".pw-list-item", has_text="ball.nrrd").click()
    tab.wait_for_image("ball")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))
    yield tab
    server.stop()


def drop(tab: AppPage, path: Path) -> None:
    """Let go of a file over a view, as the browser does."""
    x, y = tab.at("Red", 0.5, 0.5)
    session = tab.page.context.new_cdp_session(tab.page)
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})


def test_work_is_not_closed_without_a_question(worked, tmp_path):
    tab, asked, answer = worked, [], ["dismiss"]

    def on_dialog(dialog) -> None:
        asked.append(dialog.message)
        getattr(dialog, answer[0])()

    def refused(act: Callable[[], object]) -> None:
        before = len(asked)
        act()
        # The browser is heard only while it is waited for.
        wait_until(lambda: tab.page.wait_for_timeout(50) or len(asked) > before, "the question")

    tab.page.on("dialog", on_dialog)
    other = write_ball(tmp_path / "other.nrrd")

    refused(lambda: drop(tab, other))
    tab.find("open").click()
    refused(lambda: tab.find("upload-file").set_input_files(other))
    tab.find("path").locator("input").fill("ball.nrrd")
    refused(lambda: tab.find("open-path").click())
    refused(lambda: tab.page.locator(".pw-list-item", has_text="ball.nrrd").click())
    refused(lambda: tab.find("dialog-sample").click())

    assert all("ball and its segment are closed for good: download first" in text for text in asked)
    tab.page.wait_for_timeout(1000)
    assert tab.segments == ["Segment 1"] and tab.find("image-name").inner_text() == "ball"
    tab.find("close-open").click()

    # Prompts are added to what there is.
    prompts = tab.download(tmp_path, "prompts")
    count = len(asked)
    drop(tab, prompts)
    wait_until(lambda: tab.page.wait_for_timeout(50) or tab.prompts == ["point +"] * 2, "the prompts of the file")
    assert len(asked) == count

    # Nor is a name taken that no file could have.
    tab.find("segment-name").first.fill("L" * 300)
    tab.find("segment-name").first.press("Enter")
    tab.wait_for_message("is too long: choose one of 64 letters at most")

    answer[0] = "accept"
    drop(tab, other)
    tab.wait_for_image("other")
