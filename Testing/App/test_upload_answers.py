"""What the server answers to uploads that are not as they should be: one sentence, with the user's own names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from Testing.App.app_server import AppServer
from Testing.App.image_files import write_ball
from Testing.App.visitor import Visitor
from Testing.timing import wait_until

INSIDE = {"name": "sphere", "points": [{"position": [-24, -20, 22], "positive": True}]}
PROMPTS = json.dumps({"format": "pwseg-prompts", "version": 1, "segments": [INSIDE]}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    made = AppServer(tmp_path_factory.mktemp("answers") / "state").start()
    yield made
    made.stop()


@pytest.fixture
def visitor(server: AppServer) -> Visitor:
    return Visitor(server)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_ball(tmp_path_factory.mktemp("image") / "ball.nrrd").read_bytes()


@pytest.fixture(autouse=True)
def _room(server: AppServer) -> Iterator[None]:
    """No more sessions than may be in use."""
    yield
    for folder in [p for p in server.state.iterdir() if p.is_dir()]:
        Visitor(server, folder.name).ask("POST", f"/sessions/{folder.name}/remove")


def test_files_of_prompts_without_an_image_are_no_fault_of_the_server(visitor):
    answer = visitor.upload(a__json=PROMPTS, b__json=PROMPTS)
    assert answer.status == 400 and "several files of prompts" in answer.text

    answer = visitor.upload(a__json=PROMPTS)
    assert answer.status == 400 and "Open the image that the prompts belong to first" in answer.text

    answer = visitor.upload(a__json=b'{"a":' * 100_000)
    assert answer.status == 400


def test_prompts_beside_an_image_are_placed_on_it(visitor, server, image):
    # With the byte order mark that some editors on Windows put in front.
    assert visitor.upload(ball__nrrd=image, p__json=b"\xef\xbb\xbf" + PROMPTS).status == 200

    document = server.state / visitor.session / "session.json"
    wait_until(lambda: document.is_file() and "sphere" in document.read_text(), "the prompts")

    answer = visitor.upload(other__nrrd=image, p__json=b'{"format": "something"}')
    assert answer.status == 400 and "not a prompt set" in answer.text
    assert json.loads(document.read_text())["name"] == "ball"


def test_of_two_uploads_at_once_the_second_waits(visitor, image):
    first, answer = visitor.put("first.nrrd", image)
    assert answer.status == 200
    second, answer = visitor.put("second.nrrd", image)
    assert answer.status == 400 and "in another tab" in answer.text
    # As the page does then.
    visitor.ask("DELETE", f"/s/{visitor.session}/upload/{second}")

    assert visitor.finish(first).status == 200

    assert visitor.finish(first).status == 400
    assert visitor.upload(second__nrrd=image).status == 200


@pytest.mark.parametrize("name", ["mine.nrrd", "mine.nii.gz", "mine.dcm"])
def test_refusals_name_the_file_as_the_user_does(visitor, server, name):
    heads = {"nrrd": b"NRRD0004\nnonsense\n\n", "gz": b"", "dcm": b"\0" * 128 + b"DICM" + b"nonsense" * 9}
    content = heads[name.rsplit(".", 1)[1]]
    if name.endswith("gz"):
        import gzip

        content = gzip.compress(b"\0" * 344 + b"n+1\0" + b"\0" * 20)

    answer = visitor.upload(**{name.replace(".", "__"): content})

    assert answer.status == 400 and "mine" in answer.text
    assert str(server.state) not in answer.text


def test_no_room_for_an_upload_is_told_in_one_sentence(visitor, server, image):
    visitor.ready()
    folder: Path = server.state / visitor.session / "incoming"
    shutil.rmtree(folder, ignore_errors=True)
    # Nothing can be made in it: as good as a full disk.
    folder.write_text("in the way")

    answer = visitor.upload(ball__nrrd=image)

    assert answer.status == 507
    assert "cannot be kept on the server" in answer.text and len(answer.text.splitlines()) == 1
