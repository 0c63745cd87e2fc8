"""Images by upload and by path: what is read, and what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from playwright.sync_api import Browser

from PWSegmentationLib.export.reading import read_segmentation
from Testing.App.app_page import AppPage
from Testing.App.app_server import AppServer
from Testing.App.conftest import SIZE
from Testing.App.image_files import SHAPE, ball, dicom_zip, write_ball
from Testing.timing import wait_until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server's user keeps images: one of them, and beside the folder one that is not to be seen."""
    made = tmp_path_factory.mktemp("images")
    write_ball(made / "cases" / "ball.nrrd")
    write_ball(made / "secret.nrrd")
    return made / "cases"


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[AppServer]:
    made = AppServer(tmp_path_factory.mktemp("uploads"), str(folder), "--max-upload", "0.002").start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def _tab(small_server: AppServer, browser: Browser) -> Iterator[AppPage]:
    context = browser.new_context(viewport=SIZE, accept_downloads=True)
    made = AppPage(context.new_page()).open(small_server.address)
    # One image after the other, whatever was made on the one before.
    made.page.on("dialog", lambda dialog: dialog.accept())
    yield made
    context.close()


@pytest.fixture
def tab(_tab: AppPage) -> Iterator[AppPage]:
    """A page whose dialog for opening images is open."""
    if not _tab.find("open-dialog").is_visible():
        _tab.find("open").click()
    yield _tab
    assert _tab.errors == []


def test_an_uploaded_image_is_segmented(tab, tmp_path):
    path = tmp_path / "my ball.nii.gz"
    write_ball(path)

    tab.find("upload-file").set_input_files(path)

    tab.wait_for_image("my ball")
    tab.choose("inside")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))
    labels, _affine = tab.labels(tmp_path)
    found = labels > 0
    truth = SimpleITK.GetArrayFromImage(ball()).T > 150
    assert labels.shape == SHAPE
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_a_zip_of_a_dicom_series_is_opened_without_the_name_of_the_patient(tab, tmp_path):
    tab.find("upload-file").set_input_files(dicom_zip(tmp_path / "study.zip"))

    tab.wait_for_image("DICOM series")
    assert "48 × 40 × 30" in tab.page.locator(".pw-image").inner_text()
    assert "Somebody" not in tab.page.content()


def test_a_dicom_segmentation_belongs_to_the_series_that_was_uploaded(tab, tmp_path):
    tab.find("upload-file").set_input_files(dicom_zip(tmp_path / "study.zip"))
    tab.wait_for_image("DICOM series")
    tab.choose("inside")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))

    files = tab.unzipped(tmp_path, "dicom", "segmentation")

    path = files["DICOM-series-segmentation.seg.dcm"]
    assert pydicom.dcmread(path).StudyInstanceUID == "1.2.3"
    wanted = read_segmentation(files["DICOM-series-segmentation.seg.nrrd"])
    found = read_segmentation(path, wanted.grid)
    assert found.names == wanted.names == ("Segment 1",)
    assert wanted.grid.shape == SHAPE
    assert np.array_equal(found.flat(), wanted.flat()) and wanted.flat().any()


def test_what_is_not_dicom_becomes_no_dicom_segmentation(tab):
    tab.page.locator(".pw-list-item", has_text="ball.nrrd").click()
    tab.wait_for_image("ball")
    tab.choose("inside")
    tab.answered(lambda: tab.click("Red", 0.5, 0.5))

    tab.choose_downloads()

    assert not tab.find("export-dicom").is_enabled()
    assert "not DICOM" in tab.find("export-note-dicom").inner_text()
    answer = tab.page.request.post(f"{tab.page.url.rstrip('/')}/download", data={"kinds": ["dicom"]})
    assert answer.status == 400
    assert "not DICOM" in answer.text()
    tab.find("close-export").click()
    tab.find("export-dialog").wait_for(state="hidden")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.pdf", b"%PDF-1.7 not an image"),
        ("ct.nii.gz", b"this is not gzip at all"),
        ("ct.nrrd", b"\0" * 500),
        ("ct.zip", b"PK\3\4 damaged"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(tab, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)

    tab.find("upload-file").set_input_files(path)

    tab.find("open-error").wait_for()
    text = tab.find("open-error").inner_text()
    assert ("cannot be read" in text or "can be read" in text) and str(tmp_path) not in text
    assert tab.find("open-dialog").is_visible()


def test_too_large_an_upload_is_refused_by_the_server_itself(tab, small_server):
    session = tab.page.url.rstrip("/")

    answer = tab.page.request.put(f"{session}/upload/{'a' * 32}?name=ct.nii", data=b"\0" * 3_000_000)

    assert answer.status == 400
    assert "cannot be uploaded" in answer.text()


def test_a_zip_that_unpacks_to_too_much_is_refused(tab, tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", b"\0" * 5_000_000)

    tab.find("upload-file").set_input_files(path)

    tab.wait_for_refusal("too much")


def test_nothing_is_left_of_uploads_that_were_refused(tab, tmp_path, small_server):
    path = tmp_path / "x.nrrd"
    path.write_bytes(b"no")
    tab.find("upload-file").set_input_files(path)
    tab.find("open-error").wait_for()

    state = next(p for p in small_server.state.iterdir() if p.name in tab.page.url)

    assert not list(state.glob("incoming/*/*"))
    assert state.stat().st_mode & 0o077 == 0


def test_only_paths_within_the_folder_are_opened(tab, folder):
    tab.find("path").locator("input").fill(str(folder.parent / "secret.nrrd"))
    tab.find("open-path").click()
    tab.wait_for_refusal("not open to this page")

    tab.page.locator(".pw-list-item", has_text="ball.nrrd").click()

    tab.wait_for_image("ball")
    wait_until(lambda: not tab.find("open-dialog").is_visible(), "the dialog to close")
