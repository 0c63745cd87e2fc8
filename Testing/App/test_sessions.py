"""Whose session it is: two users, a server that was restarted, a token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PWSegmentationLib.app.job_runner import JobRunner
from PWSegmentationLib.app.worker import Orders
from PWSegmentationLib.app.workers import Workers
from Testing.App.app_server import AppServer
from Testing.App.image_files import SHAPE
from Testing.timing import wait_until


def test_two_users_at_once_see_nothing_of_each_other_and_a_restarted_server_knows_both(restartable, new_tab, tmp_path):
    one, two = new_tab().open(restartable.address), new_tab().open(restartable.address)
    assert one.page.url != two.page.url
    for tab in (one, two):
        tab.wait_for_image("ball")
    one.choose("inside")
    one.answered(lambda: one.click("Red", 0.5, 0.5))
    volume = one.volume_ml
    two.choose("box")
    two.answered(lambda: two.drag("Red", (0.35, 0.3), (0.65, 0.7)))

    assert one.prompts == ["point +"]
    assert two.prompts == ["box"]

    one.find("segment-name").fill("sphere")
    one.find("segment-name").press("Enter")
    one.page.keyboard.press("Shift+A")
    one.wait_for_message("All segments are completed")

    port = restartable.port
    began = time.monotonic()
    restartable.stop()
    # It does not wait for pages that stay open.
    assert time.monotonic() - began < 20
    one.page.get_by_role("alert").wait_for()
    restartable.start(port)

    # The page goes on by itself.
    one.page.get_by_role("alert").wait_for(state="detached")
    one.wait_for_image("ball")
    wait_until(lambda: one.prompts == ["point +"], "the prompt")
    assert one.volume_ml == volume
    labels, _affine = one.labels(tmp_path)
    assert labels.shape == SHAPE and labels.any()
    # What was said in a review is known, too, and what was accepted.
    one.find("pane-review").click()
    wait_until(lambda: one.statuses == {"sphere": "completed"}, "the status")
    one.find("fix").click()
    one.find("pane-segment").click()
    one.choose("outside")
    one.answered(lambda: one.click("Red", 0.5, 0.45))
    assert one.prompts == ["point +", "point −"]
    one.find("pane-review").click()
    one.find("check").click()
    wait_until(lambda: one.find("review-changes").is_visible(), "the changes since before the restart")


def in_its_own_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of ``work``; on a thread, for the browser's loop runs on this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()


def test_two_requests_while_room_is_made_get_one_process(tmp_path):
    async def ask() -> None:
        workers = Workers(tmp_path, lambda folder, key: Orders(folder=folder, key=key), most=1)
        old, new = workers.new(), workers.new()
        first = await workers.worker(old)
        # Who has only just come is not sent away.
        first.began_at -= 60

        async def ends_slowly() -> None:
            await asyncio.sleep(0.05)

        first.close = ends_slowly
        one, two = await asyncio.gather(workers.worker(new), workers.worker(new))
        assert one is two and one is not first

    in_its_own_loop(ask())


def test_files_where_the_user_works_are_not_taken_for_modules(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('of the user')")
    (tmp_path / "sessions").mkdir()
    monkeypatch.chdir(tmp_path)

    async def start() -> None:
        workers = Workers(tmp_path / "sessions", Orders, most=1)
        worker = await workers.worker(workers.new())
        try:
            assert await worker.port() > 0
        finally:
            await worker.close()

    in_its_own_loop(start())


def test_a_job_that_is_replaced_while_it_is_polled_leaves_its_successor_alone():
    class Counting:
        def __init__(self, on_poll):
            self.progress, self.text, self.remaining_s = 0.0, "", None
            self.polls, self.on_poll = 0, on_poll

        def poll(self):
            self.polls += 1
            return self.on_poll(self.polls)

        def cancel(self):
            pass

    async def run() -> list[str]:
        ended: list[str] = []
        runner = JobRunner(lambda: None)
        second = Counting(lambda polls: polls >= 3)

        def replaced(_polls: int) -> bool:
            runner.start("second", second, lambda _: ended.append("second"))
            return True

        runner.start("first", Counting(replaced), lambda _: ended.append("first"))
        await asyncio.sleep(0.3)
        return ended

    assert in_its_own_loop(run()) == ["second"]


def test_without_the_token_nothing_is_seen(tmp_path, ball, new_tab):
    server = AppServer(tmp_path / "state", str(ball), "--host", "0.0.0.0").start()
    try:
        plain, _, token = server.address.partition("?token=")
        plain = f"http://127.0.0.1:{server.port}/"
        tab = new_tab()
        request = tab.page.request
        for address in (plain, f"{plain}?token=wrong", f"{plain}s/{'0' * 32}/", f"{plain}s/{'0' * 32}/ws"):
            answer = request.get(address, max_redirects=0)
            assert answer.status == 403, address
            assert "ball" not in answer.text()
        # No session was begun.
        assert [p.name for p in (tmp_path / "state").iterdir()] == ["token"]
        refused = tab.page.evaluate(
            """address => new Promise(done => { const socket = new WebSocket(address);
            socket.onopen = () => done(false); socket.onerror = () => done(true); })""",
            f"ws://127.0.0.1:{server.port}/s/{'0' * 32}/ws",
        )
        assert refused

        tab.open(f"{plain}?token={token}")

        tab.wait_for_image("ball")
        assert "token" not in tab.page.url
    finally:
        server.stop()


def test_pages_of_other_sites_reach_nothing(restartable, browser):
    request = browser.new_context().request
    address = restartable.address
    assert request.get(address, headers={"Origin": "http://evil.example"}).status == 403
    assert request.get(address, headers={"Host": "evil.example"}).status == 403


def test_the_page_asks_nobody_but_its_own_server(restartable, new_tab):
    tab = new_tab()
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))

    tab.open(restartable.address)
    tab.wait_for_image("ball")

    own = (restartable.address, restartable.address.replace("http", "ws"), "blob:", "data:")
    assert [url for url in asked if not url.startswith(own)] == []


def test_who_opens_the_address_again_is_offered_the_session_of_before(restartable, new_tab):
    one = new_tab().open(restartable.address)
    one.wait_for_image("ball")
    one.answered(lambda: one.click("Red", 0.5, 0.5))
    address = one.page.url
    wait_until(lambda: one.page.evaluate("localStorage.getItem('pwseg-session')"), "the browser to remember")

    one.open(restartable.address)

    one.page.get_by_text("You worked on ball before, a segment").wait_for()
    assert one.page.url != address
    one.page.get_by_text("go on with that").click()
    one.wait_for_image("ball")
    assert one.page.url == address and one.segments == ["Segment 1"]
    assert not one.page.locator(".pw-earlier").count()


def test_in_a_small_window_no_part_of_the_panel_lies_over_another(restartable, new_tab):
    tab = new_tab()
    tab.page.set_viewport_size({"width": 700, "height": 500})
    tab.open(restartable.address)
    tab.wait_for_image("ball")
    # What does not fit into its part lies over the next.
    panes = "[...document.querySelectorAll('.pw-pane')].filter(e => e.offsetHeight)"
    assert set(tab.page.evaluate(f"{panes}.map(e => e.scrollHeight - e.clientHeight)")) == {0}
    # Nor does the bar reach out of the window.
    assert tab.page.evaluate("document.querySelector('.pw-bar').scrollWidth <= window.innerWidth")


def test_a_page_goes_on_when_its_connection_alone_was_closed(restartable, new_tab):
    tab = new_tab()
    # As a laptop's sleep does, or a proxy to which it was silent for too long.
    tab.page.add_init_script(
        """const Real = WebSocket;
        window.sockets = [];
        window.WebSocket = class extends Real { constructor(...a) { super(...a); window.sockets.push(this); } };"""
    )
    tab.open(restartable.address)
    tab.wait_for_image("ball")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))
    # The page has to have been seen by the watch on the server, too.
    tab.page.wait_for_timeout(6000)

    tab.page.evaluate("window.sockets.forEach((socket) => socket.close())")

    tab.page.wait_for_selector(".pw-frame", state="detached")
    tab.wait_for_image("ball")
    assert tab.prompts == ["point +"] and tab.volume_ml > 1
