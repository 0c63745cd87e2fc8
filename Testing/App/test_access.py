"""The token: kept by the server, told apart from those of other servers, good wherever its address is opened from."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from PWSegmentationLib.app.access import cookie_name, guard
from Testing.App.app_server import ROOT, AppServer
from Testing.App.image_files import write_ball
from Testing.App.test_sessions import in_its_own_loop
from Testing.App.visitor import Answer
from Testing.timing import PATIENCE_S


def test_servers_on_one_host_do_not_lock_each_other_out(tmp_path, new_tab):
    tab = new_tab()
    image = str(write_ball(tmp_path / "ball.nrrd"))
    servers = [AppServer(tmp_path / name, image, "--token").start() for name in "ab"]
    try:
        for server in servers:
            tab.open(server.address)
        session = tab.page.url
        first = f"http://127.0.0.1:{servers[0].port}/"
        # With the cookies of both.
        for address in (session, first):
            assert tab.page.request.get(address).status == 200
    finally:
        for server in servers:
            server.stop()


def test_a_restarted_server_knows_its_pages_by_the_same_token(tmp_path, new_tab):
    server = AppServer(tmp_path / "state", str(write_ball(tmp_path / "ball.nrrd")), "--token").start()
    try:
        tab = new_tab().open(server.address)
        tab.wait_for_image("ball")
        address, port = server.address, server.port
        server.stop()
        tab.page.get_by_role("alert").wait_for()
        server.start(port)

        assert server.address == address
        tab.page.get_by_role("alert").wait_for(state="detached")
        tab.wait_for_image("ball")
        assert (tmp_path / "state" / "token").stat().st_mode & 0o777 == 0o600

        # With another token the page says what to do.
        server.stop()
        (tmp_path / "state" / "token").unlink()
        server.start(port)
        tab.page.get_by_text("open the address it printed").wait_for()
    finally:
        server.stop()


def test_the_link_in_a_mail_works(tmp_path, new_tab):
    server = AppServer(tmp_path / "state", "--token").start()
    try:
        tab = new_tab()
        mail = f'<a href="{server.address}">open</a>'
        tab.page.route("http://mail.example/*", lambda route: route.fulfill(body=mail, content_type="text/html"))
        tab.page.goto("http://mail.example/inbox")

        tab.page.click("a")

        tab.page.wait_for_selector(".pw-frame")
        assert "token" not in tab.page.url
    finally:
        server.stop()


def test_the_state_folder_keeps_its_permissions(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "thesis.txt").write_text("of somebody")

    server = AppServer(shared).start()
    server.stop()

    assert shared.stat().st_mode & 0o777 == 0o755
    assert (shared / "pwseg-sessions").stat().st_mode & 0o777 == 0o700
    listed = subprocess.run(["ls", str(shared)], capture_output=True, text=True, check=True).stdout
    assert listed.split() == ["pwseg-sessions", "thesis.txt"]


ASKED_AT_ONCE = """
import asyncio, os, signal, sys
from pathlib import Path
from PWSegmentationLib.app.gateway import Options, serve

signal.signal(signal.SIGINT, signal.SIG_IGN)
stop = lambda address: os.kill(os.getpid(), signal.SIGINT)
asyncio.run(serve(Options(Path(sys.argv[1]), port=0, open_browser=False), stop))
"""


def test_a_server_in_the_background_of_a_script_stops_though_asked_as_soon_as_its_address_is_known(tmp_path):
    # Such a script's commands begin with that signal ignored.
    command = [sys.executable, "-c", ASKED_AT_ONCE, str(tmp_path / "state")]

    assert subprocess.run(command, cwd=ROOT, timeout=PATIENCE_S, check=False).returncode == 0


# ---- who is let in, by the guard alone ---------------------------------------------------------------------------


def asked(
    token: str | None, path: str = "/", headers: Mapping[str, str] | None = None, host: str = "127.0.0.1"
) -> Answer:
    """What a server that listens on ``host`` answers; ``inside`` to who is let in."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="inside")

    async def ask() -> Answer:
        app = web.Application(middlewares=[guard(token, host)])
        app.router.add_get("/", page)
        async with TestClient(TestServer(app)) as client:
            own = {k: v.format(client.port) for k, v in (headers or {}).items()}
            answer = await client.get(path, headers=own)
            return Answer(answer.status, answer.headers, await answer.text())

    return in_its_own_loop(ask())


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=secre", "/?token=secrets"])
@pytest.mark.parametrize("cookie", ["", "wrong"])
def test_without_the_very_token_nobody_is_let_in(path: str, cookie: str) -> None:
    answer = asked("secret", path, {"Cookie": f"{cookie_name('secret')}={cookie}"} if cookie else None)
    assert answer.status == 403 and "inside" not in answer.text


@pytest.mark.parametrize("proxy", ["http", "https"])
def test_a_token_once_shown_is_a_cookie_that_pages_and_scripts_of_others_do_not_get(proxy: str) -> None:
    shown = asked("secret", "/?token=secret", {"X-Forwarded-Proto": proxy})
    cookie, *limits = shown.headers["Set-Cookie"].split("; ")
    assert shown.status == 200 and {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(limits)
    assert ("Secure" in limits) == (proxy == "https")
    assert shown.headers["Cache-Control"] == "no-store"
    assert asked("secret", headers={"Cookie": cookie}).text == "inside"


@pytest.mark.parametrize("name", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "127.0.0.1"])
def test_a_server_of_this_computer_is_called_by_its_names_alone(name: str) -> None:
    answer = asked(None, headers={"Host": name})
    assert answer.text == "inside"
    assert answer.headers["X-Frame-Options"] == "DENY" and answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:{}", "10.0.0.1", ""]
)
def test_who_calls_a_server_of_this_computer_otherwise_is_refused(name: str) -> None:
    assert asked(None, headers={"Host": name}).status == 403


def test_a_server_for_others_may_be_called_anything() -> None:
    headers = {"Host": "server.hospital.example", "Cookie": f"{cookie_name('secret')}=secret"}
    assert asked("secret", headers=headers, host="0.0.0.0").text == "inside"


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "http://127.0.0.1"])
@pytest.mark.parametrize("token", [None, "secret"])
def test_what_pages_of_other_origins_send_is_refused(origin: str, token: str | None) -> None:
    cookie = {"Cookie": f"{cookie_name('secret')}=secret"}
    assert asked(token, headers={**cookie, "Origin": origin}).status == 403
    assert asked(token, headers={**cookie, "Origin": "http://127.0.0.1:{}"}).text == "inside"
