"""What becomes of the work where something is in the way: the image gone, a file damaged, no room on the disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from Testing.App.app_page import AppPage
from Testing.App.app_server import AppServer
from Testing.App.image_files import ball as ball_image
from Testing.App.image_files import write_ball
from Testing.App.visitor import Visitor
from Testing.timing import wait_until


@pytest.fixture
def worked(restartable: AppServer, new_tab: Callable[[], AppPage]) -> tuple[AppPage, Path]:
    """A page with a segment on the ball, its server stopped, and the folder that it is kept in."""
    tab = new_tab().open(restartable.address)
    tab.wait_for_image("ball")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))
    tab.find("segment-name").fill("tumour")
    tab.find("segment-name").press("Enter")
    named = "window.trame.state.get('segments')[0]?.name"
    wait_until(lambda: tab.page.evaluate(named) == "tumour", "the name to be known to the server")
    session = tab.page.url.rstrip("/").rsplit("/", 1)[1]
    restartable.stop()
    return tab, restartable.state / session


def again(server: AppServer, tab: AppPage) -> None:
    """Start the server again, and see what the page says."""
    server.start(int(tab.page.url.split(":")[2].split("/")[0]))
    tab.open(tab.page.url)


def warning(tab: AppPage, words: str) -> str:
    found = tab.find("unrestored")
    return wait_until(lambda: found.is_visible() and words in found.inner_text() and found.inner_text(), words)


def test_work_on_an_image_that_is_gone_waits_for_it(worked, restartable, ball):
    tab, folder = worked
    before = (folder / "session.json").read_bytes()
    ball.rename(ball.with_suffix(".away"))
    # The command names an image that is there.
    restartable._command[restartable._command.index(str(ball))] = str(write_ball(ball.with_name("another.nrrd")))

    again(restartable, tab)

    said = warning(tab, "Your segment is kept")
    assert f"the image {ball} is not there: put it back and press Try again." in said
    tab.find("try-again").click()
    tab.page.wait_for_timeout(2500)
    assert tab.find("unrestored").is_visible() and (folder / "session.json").read_bytes() == before

    ball.with_suffix(".away").rename(ball)
    tab.page.reload()

    tab.wait_for_image("ball")
    wait_until(lambda: tab.segments == ["tumour"] and tab.volume_ml > 1, "the segment")
    assert not tab.find("unrestored").is_visible()


def test_segments_look_after_a_restart_as_before(restartable, new_tab):
    tab = new_tab().open(restartable.address)
    tab.wait_for_image("ball")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))
    tab.find("fill").fill("0.15")
    tab.find("segment-opacity").fill("0.5")
    tab.find("segment-visible").click()

    def looks() -> list[object]:
        return tab.page.evaluate(
            "[...window.trame.state.get('segments').map(s => [s.visible, s.opacity])[0], "
            "Number(window.trame.state.get('fill'))]"
        )

    wait_until(lambda: looks() == [False, 0.5, 0.15], "the looks")
    tab.page.wait_for_timeout(1500)
    restartable.stop()

    again(restartable, tab)

    tab.wait_for_image("ball")
    wait_until(lambda: tab.segments and looks() == [False, 0.5, 0.15], "the same looks")
    shown = tab.colored("Red")
    tab.find("segment-visible").click()
    wait_until(lambda: tab.colored("Red") > shown + 80, "the segment to be seen again")


def test_another_image_does_not_write_over_work_that_waits(worked, restartable, ball):
    tab, folder = worked
    before = {name: (folder / name).read_bytes() for name in ("session.json", "segments.seg.nrrd")}
    other = ball.with_name("other.nrrd")
    ball.rename(other)
    again_with = restartable._command.index(str(ball))
    restartable._command[again_with] = str(other)
    again(restartable, tab)
    warning(tab, "Your segment is kept")

    asked: list[str] = []
    tab.page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    tab.find("empty-open").click()
    tab.find("path").locator("input").fill(str(other))
    tab.find("open-path").click()

    tab.wait_for_image("other")
    assert "Your segment is kept" in asked[0]
    wait_until(lambda: (folder / "session.json").is_file(), "the new session to be written")
    assert {name: (folder / "aside" / "1" / name).read_bytes() for name in before} == before


def test_another_image_of_the_same_name_is_told(worked, restartable, ball):
    tab, folder = worked
    image = ball_image()
    SimpleITK.WriteImage(image + 3, str(ball))
    again(restartable, tab)
    tab.wait_for_message("the image has other voxels now: check your segments")
    assert tab.segments == ["tumour"]
    restartable.stop()

    before = json.loads((folder / "session.json").read_text())["segments"]
    SimpleITK.WriteImage(image[:40, :, :], str(ball))
    again(restartable, tab)

    assert "another one now: put the one of 48 × 40 × 30 voxels back" in warning(tab, "Your segment is kept")
    assert json.loads((folder / "session.json").read_text())["segments"] == before


@pytest.mark.parametrize("damaged", ["session.json", "segments.seg.nrrd"])
def test_damaged_files_are_told_and_kept(worked, restartable, damaged):
    tab, folder = worked
    (folder / damaged).write_bytes(b"{ half")

    again(restartable, tab)

    warning(tab, "damaged")
    kept = folder / "aside" / "1" if damaged == "session.json" else folder
    assert (kept / damaged).read_bytes() == b"{ half"
    assert (kept / "session.json").is_file() and (kept / "segments.seg.nrrd").is_file()
    if damaged == "session.json":
        # There is nothing to try again.
        tab.find("warning-read").click()
        tab.find("unrestored").wait_for(state="detached")
        tab.wait_for_image("ball")


def test_an_image_that_is_called_as_the_sample_comes_back_as_itself(tmp_path):
    server = AppServer(tmp_path / "state", str(write_ball(tmp_path / "Chest CT.nrrd"))).start()
    try:
        visitor = Visitor(server)
        visitor.ready()
        document = tmp_path / "state" / visitor.session / "session.json"
        wait_until(document.is_file, "the session to be written")
    finally:
        server.stop()

    kept = json.loads(document.read_text())
    assert kept["is_sample"] is False
    assert kept["image"]["shape"] == [48, 40, 30] and np.shape(kept["image"]["affine"]) == (4, 4)


def test_what_cannot_be_written_is_told_until_it_can(restartable, new_tab):
    tab = new_tab().open(restartable.address)
    tab.wait_for_image("ball")
    session = tab.page.url.rstrip("/").rsplit("/", 1)[1]
    # Nothing can take its place: as good as a full disk.
    (restartable.state / session / "segments.seg.nrrd" / "in the way").mkdir(parents=True)

    tab.answered(lambda: tab.click("Red", 0.5, 0.5))

    tab.find("unsaved").wait_for()
    assert "Not saved" in tab.find("unsaved").inner_text()
    assert "Download your segments now" in tab.find("unsaved").inner_text()
    # It stays, whatever else is said.
    tab.choose("outside")
    assert tab.find("unsaved").is_visible()

    (restartable.state / session / "segments.seg.nrrd" / "in the way").rmdir()
    (restartable.state / session / "segments.seg.nrrd").rmdir()

    tab.find("unsaved").wait_for(state="detached")
    assert (restartable.state / session / "segments.seg.nrrd").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte, where one may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_full_disk_work_can_be_downloaded_and_is_kept_as_soon_as_there_is_room(small_disk, ball):
    def prompts(name: str, r: float) -> bytes:
        point = {"position": [r, -20, 22], "positive": True}
        segments = [{"name": name, "points": [point]}]
        return json.dumps({"format": "pwseg-prompts", "version": 1, "segments": segments}).encode()

    server = AppServer(small_disk / "state").start()
    try:
        visitor = Visitor(server)
        assert visitor.upload(ball__nrrd=ball.read_bytes(), p__json=prompts("one", -24)).status == 200
        folder = small_disk / "state" / visitor.session
        files = [folder / name for name in ("segments.seg.nrrd", "session.json")]
        # With its voxels, and not beside something that is being written still.
        wait_until(lambda: files[0].is_file() and files[0].stat().st_size > 20_000, "the segment to be answered")
        wait_until(
            lambda: all(f.is_file() and time.time() - f.stat().st_mtime > 6 for f in files), "the segment to be written"
        )
        # No room for the segments; for the prompts there is.
        (small_disk / "fill").write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 8192))
        assert visitor.upload(p__json=prompts("two", -12)).status == 200

        wish = json.dumps({"kinds": ["segmentation"], "provenance": False}).encode()
        where = wait_until(
            lambda: (a := visitor.ask("POST", f"/s/{visitor.session}/download", wish)).status == 200 and a.text, "files"
        )
        assert "two" in visitor.ask("GET", f"/s/{visitor.session}/download/{where}").text
        answer = visitor.upload(other__nrrd=ball.read_bytes())
        assert answer.status == 507 and "No space left" in answer.text
        assert "two" not in (folder / "session.json").read_text()

        (small_disk / "fill").unlink()

        wait_until(lambda: "two" in (folder / "session.json").read_text(), "the second segment to be written")
    finally:
        server.stop()
