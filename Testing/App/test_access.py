"""The token: kept by the server, told apart from those of other servers, good wherever its address is opened from."""

from __future__ import annotations

import subprocess

from Testing.App.app_server import AppServer
from Testing.App.image_files import write_ball


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
