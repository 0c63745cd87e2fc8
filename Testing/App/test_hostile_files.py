"""Uploads that would have the server read other files than they hold, or more than there is room for."""

from __future__ import annotations

import base64
import io
import json
import random
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import SimpleITK

from PWSegmentationLib.app import upload_files
from PWSegmentationLib.errors import InputError
from Testing.App.app_server import AppServer
from Testing.App.image_files import ball, write_ball
from Testing.App.visitor import Visitor

META = "ObjectType = Image\nNDims = 3\nDimSize = 48 40 30\nElementType = MET_SHORT\nElementSpacing = 1 1 1\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 48 40 30\nendian: little\nencoding: raw\nspace: LPS\n"
NRRD += "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``cases``, which is open to the page, and ``private``, which is not, with voxels in both."""
    made = tmp_path_factory.mktemp("hostile")
    write_ball(made / "cases" / "ball.nrrd")
    (made / "private").mkdir()
    voxels = SimpleITK.GetArrayFromImage(ball()).tobytes()
    for name in ("cases", "private"):
        (made / name / "voxels.raw").write_bytes(voxels)
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[AppServer]:
    made = AppServer(tmp_path_factory.mktemp("state"), str(folder / "cases")).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def visitor(server: AppServer) -> Visitor:
    """Somebody who has opened an image."""
    made = Visitor(server)
    assert made.upload(ball__nrrd=(write_ball(server.state.parent / "ball.nrrd")).read_bytes()).status == 200
    return made


def headers(data_file: str) -> dict[str, str]:
    return {
        "mha": f"{META}ElementDataFile = {data_file}\n",
        "colon.mha": f"{META}ElementDataFile: {data_file}\n",
        # A line that only looks like the end of the header to who does not read it as its reader does.
        "hidden.mha": f"{META}Comment = x\rElementDataFile = LOCAL\nElementDataFile = {data_file}\n",
        "nrrd": f"{NRRD}data file: {data_file}\n",
        "joined.nrrd": f"{NRRD}DataFile: {data_file}\n",
        "returns.nrrd": f"{NRRD}data file: {data_file}\n".replace("\n", "\r"),
    }


@pytest.mark.parametrize("kind", list(headers("")))
def test_an_upload_that_names_another_file_is_refused(visitor, folder, kind):
    content = headers(str(folder / "private" / "voxels.raw"))[kind].encode()

    answer = visitor.upload(**{f"evil.{kind}".replace(".", "__"): content})

    assert answer.status == 400
    assert "takes its voxels from another file" in answer.text and "evil." in answer.text
    assert str(visitor.session) not in answer.text


def test_nor_does_a_zip_bring_it_in(visitor, folder):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("evil.mha", headers(str(folder / "private" / "voxels.raw"))["mha"])

    answer = visitor.upload(evil__zip=content.getvalue())

    assert answer.status == 400 and "holds no images" in answer.text


def test_whole_images_of_these_kinds_are_opened(visitor, tmp_path):
    for ending in ("mha", "nrrd"):
        for compressed in (False, True):
            path = tmp_path / f"whole.{ending}"
            SimpleITK.WriteImage(ball(), str(path), compressed)
            assert visitor.upload(**{f"whole__{ending}": path.read_bytes()}).status == 200


@pytest.mark.parametrize(
    ("name", "text", "is_open"),
    [
        ("beside.mhd", headers("voxels.raw")["mha"], True),
        ("beside.nhdr", headers("voxels.raw")["nrrd"], True),
        ("outside.mhd", headers("../private/voxels.raw")["mha"], False),
        ("outside.nhdr", headers("../private/voxels.raw")["nrrd"], False),
        ("list.mhd", headers("LIST\n../private/voxels.raw")["mha"], False),
        ("pattern.nhdr", headers("../private/voxels%d.raw 1 30 1")["nrrd"], False),
    ],
)
def test_an_image_of_the_open_folder_refers_to_files_in_it_only(folder, name, text, is_open):
    from PWSegmentationLib.app.images import open_image

    cases = folder / "cases"
    (cases / name).write_text(text)

    if is_open:
        assert open_image(cases / name, inside=(cases,)).volume.array.max() > 150
    else:
        with pytest.raises(InputError, match="takes its voxels from another file"):
            open_image(cases / name, inside=(cases,))


def prompts(stroke: dict[str, object]) -> bytes:
    segments = [{"name": "leak", "strokes": [stroke]}]
    return json.dumps({"format": "pwseg-prompts", "version": 1, "segments": segments}).encode()


@pytest.mark.parametrize("name", ["/etc/passwd", "cases/ball.nrrd", "/no/such/file.nrrd"])
def test_uploaded_prompts_that_name_a_file_are_refused_whatever_it_is(visitor, folder, name):
    answer = visitor.upload(p__json=prompts({"file": name if name.startswith("/") else str(folder / name)}))

    assert answer.status == 400
    assert "save the prompts with their strokes inside" in answer.text


@pytest.mark.parametrize("shape", [[4, 4, 4], [100_000, 100_000, 100_000], [-1, 4, 4]])
def test_strokes_unpack_to_no_more_than_their_shape(visitor, shape):
    bomb = base64.b64encode(zlib.compress(b"\1" * 50_000_000)).decode()

    answer = visitor.upload(p__json=prompts({"shape": shape, "affine": list(range(16)), "labels": bomb}))

    assert answer.status == 400 and "Segment 'leak'" in answer.text


def test_zips_in_one_upload_share_what_may_be_unpacked(tmp_path):
    server = AppServer(tmp_path / "state", "--max-upload", "0.002").start()
    try:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.dcm", b"\0" * 128 + b"DICM" + b"\0" * 1_500_000)
        answer = Visitor(server).upload(a__zip=content.getvalue(), b__zip=content.getvalue())
        assert answer.status == 400 and "too much" in answer.text
    finally:
        server.stop()


def test_zips_in_one_upload_share_how_many_files_there_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr(upload_files, "_MOST_FILES", 3)
    for name, count in (("a", 2), ("b", 1), ("c", 1)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for number in range(count):
                archive.writestr(f"{number}.dcm", b"\0" * 128 + b"DICM")

    with pytest.raises(InputError, match="too much"):
        upload_files.Batch(tmp_path, 1 << 20).unpack()

    assert len(list(tmp_path.glob("*.dcm"))) == 3


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_was_damaged_is_refused_in_one_sentence(tmp_path, kind):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a.dcm", b"\0" * 128 + b"DICM" + random.Random(0).randbytes(3000))
    whole = path.read_bytes()
    refused = 0
    for at in range(30, len(whole), 37):
        path.write_bytes(whole[:at] + bytes(255 - b for b in whole[at : at + 8]) + whole[at + 8 :])
        try:
            upload_files.unzip(path, 1 << 20)
        except InputError as error:
            refused += "damaged" in str(error)
    assert refused > 50


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 99, b"\x1f\x8b", b""])
def test_what_is_compressed_and_damaged_is_refused_in_one_sentence(tmp_path, head):
    (tmp_path / "0").write_bytes(head)
    with pytest.raises(InputError, match=r"'ct\.nii\.gz' is not an image"):
        upload_files.check_type(tmp_path / "0", "ct.nii.gz")
