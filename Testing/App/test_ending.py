"""Ends: of a session that its user deletes, of a server that is killed; and how many sessions there are at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from PWSegmentationLib.app import workers as workers_module
from PWSegmentationLib.app.worker import Orders
from PWSegmentationLib.app.workers import Workers
from PWSegmentationLib.errors import InputError
from Testing.App.app_server import AppServer
from Testing.App.visitor import Visitor
from Testing.timing import wait_until


def processes(server: AppServer) -> list[int]:
    """Of the sessions of a server."""
    assert server.process is not None
    command = ["ps", "-o", "pid=", "--ppid", str(server.process.pid)]
    return [int(n) for n in subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()]


def run(work: Coroutine[None, None, None]) -> None:
    """On a thread of its own: the browser of the tests has the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def is_there(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_an_ended_session_is_gone_though_others_ask_for_it(restartable):
    visitor = Visitor(restartable)
    assert visitor.ready().status == 200
    folder = restartable.state / visitor.session
    wait_until((folder / "session.json").is_file, "the session to be written")
    stop, answers = threading.Event(), set()

    def ask() -> None:
        while not stop.is_set():
            answers.add(visitor.ask("GET", f"/sessions/{visitor.session}/ready").status)

    # As other tabs do.
    asking = [threading.Thread(target=ask) for _ in range(3)]
    for thread in asking:
        thread.start()
    assert visitor.ask("POST", f"/sessions/{visitor.session}/remove").status == 200
    time.sleep(2.0)
    stop.set()
    for thread in asking:
        thread.join()

    assert 404 in answers and answers <= {200, 404}
    wait_until(lambda: not any(restartable.state.iterdir()), "its folder to go")
    wait_until(lambda: not processes(restartable), "its process to end")


def test_other_tabs_of_an_ended_session_say_so(restartable, new_tab):
    one = new_tab().open(restartable.address)
    one.wait_for_image("ball")
    address = one.page.url
    other = one.page.context.new_page()
    other.goto(address)
    other.wait_for_selector(".pw-frame")
    one.page.on("dialog", lambda dialog: dialog.accept())

    one.find("end-session").click()

    other.get_by_text("This session is not there any more").wait_for()
    one.page.wait_for_url(lambda url: "/s/" in url and url != address)
    assert not (restartable.state / address.rstrip("/").rsplit("/", 1)[1]).exists()


def test_no_process_outlives_a_server_that_was_killed_with_pages_open(restartable):
    visitor = Visitor(restartable)
    visitor.ready()
    (pid,) = processes(restartable)

    async def connect_and_kill() -> None:
        async with aiohttp.ClientSession() as client:
            url = f"{restartable.address}s/{visitor.session}/ws"
            sockets = [await client.ws_connect(url) for _ in range(4)]
            restartable.process.kill()
            for socket in sockets:
                await socket.close()

    run(connect_and_kill())
    restartable.process.wait()
    restartable.process.stdout.close()
    restartable.process = None

    try:
        wait_until(lambda: not is_there(pid), "the process to end")
    finally:
        if is_there(pid):
            os.kill(pid, signal.SIGKILL)


class SlowlyEnding(workers_module.Worker):
    """A process that is not there and takes its time to end."""

    async def close(self) -> None:
        await asyncio.sleep(0.1)


def test_no_more_sessions_than_may_be_and_one_process_for_each(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_module, "Worker", SlowlyEnding)

    async def work() -> None:
        workers = Workers(tmp_path, Orders, most=1)
        first, second, third = (workers.new() for _ in range(3))
        old = await workers.worker(first)
        # Who has just come is not sent away.
        with pytest.raises(InputError, match="1 sessions are in use"):
            await workers.worker(second)
        old.began_at = old.used_at = time.monotonic() - 60

        found = await asyncio.gather(*(workers.worker(s) for s in (second, second, third)), return_exceptions=True)

        assert found[0] is found[1]
        assert isinstance(found[2], InputError)

    run(work())


def test_a_session_that_could_not_be_started_is_started_when_it_is_asked_for_again(restartable):
    visitor = Visitor(restartable)
    log = restartable.state / visitor.session / "worker.log"
    # Nothing can be written there: as good as a full disk.
    log.mkdir()
    answer = visitor.ready()
    assert answer.status == 409 and "could not be started" in answer.text

    log.rmdir()

    assert visitor.ready().status == 200


def test_sessions_bounds_how_many_are_in_use(tmp_path, ball, new_tab):
    server = AppServer(tmp_path / "state", str(ball), "--sessions", "1").start()
    try:
        one, two = Visitor(server), Visitor(server)
        assert one.ready().status == 200
        assert two.ready().status == 409
        # A page that had been open says what the server says.
        tab = new_tab()
        tab.page.goto(f"{server.address}s/{two.session}/")
        tab.page.get_by_text("sessions are in use").wait_for()
        assert len(processes(server)) == 1
        one.ask("POST", f"/sessions/{one.session}/remove")
        # And goes on when there is room.
        tab.page.wait_for_selector(".pw-frame")
    finally:
        server.stop()
