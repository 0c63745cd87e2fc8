"""One server and one browser for all tests, and a page on the demo's chest CT that the tests hand on to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from Testing.App.app_page import AppPage
from Testing.App.app_server import AppServer
from Testing.App.chromium import launch
from Testing.App.image_files import write_ball

# Package scope: browser and server end before the tests of other folders begin.
SIZE = {"width": 1280, "height": 800}


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = launch(playwright)
        yield made
        made.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    made = AppServer(tmp_path_factory.mktemp("app"), "sample").start()
    yield made
    made.stop()


@pytest.fixture(scope="package")
def _shared(server: AppServer, browser: Browser) -> Iterator[AppPage]:
    context = browser.new_context(viewport=SIZE, accept_downloads=True)
    page = AppPage(context.new_page()).open(server.address)
    page.wait_for_image()
    yield page
    context.close()


@pytest.fixture
def chest(_shared: AppPage) -> Iterator[AppPage]:
    """A page on the chest CT, with no segments."""
    _shared.clear()
    _shared.find("reset").click()
    yield _shared
    # What went wrong in this test is not told of the ones after it.
    errors, _shared.errors = _shared.errors, []
    assert errors == []


@pytest.fixture
def new_tab(browser: Browser) -> Iterator[Callable[[], AppPage]]:
    contexts = []

    def make() -> AppPage:
        contexts.append(browser.new_context(viewport=SIZE, accept_downloads=True))
        return AppPage(contexts[-1].new_page())

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    return write_ball(tmp_path / "ball.nrrd")


@pytest.fixture
def restartable(tmp_path: Path, ball: Path) -> Iterator[AppServer]:
    made = AppServer(tmp_path / "state", str(ball)).start()
    yield made
    made.stop()
