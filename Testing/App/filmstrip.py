"""Makes the pictures of the app for README and docs: ``python -m Testing.App.filmstrip FILE.png``."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright

from Testing.App.app_page import AppPage
from Testing.App.app_server import ROOT, AppServer
from Testing.App.chromium import launch
from Testing.App.conftest import SIZE
from Testing.timing import wait_until

WIDTH, HEIGHT, CAPTION, GAP, COLUMNS = 620, 388, 34, 10, 3
# The frame in which a progress bar moves.
REFINING = 5
BACK, WORDS = "#0b0d10", "#d5d9e0"


def main() -> int:
    """Drive the app through its main states, and put a picture of each into one file."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = AppServer(Path(folder) / "state").start()
        browser = launch(playwright)
        try:
            frames = film(AppPage(browser.new_page(viewport=SIZE)).open(server.address))
        finally:
            browser.close()
            server.stop()
    strip(frames).save(target, optimize=True)
    return 0


def film(tab: AppPage) -> list[tuple[str, Image.Image]]:
    """The main states, each with a sentence."""
    frames: list[tuple[str, Image.Image]] = []

    def keep(words: str) -> None:
        # Surfaces follow a moment after the slices, and sharp pictures after the quick ones.
        before, now = b"", tab.page.screenshot()
        while now != before and len(frames) != REFINING:
            tab.page.wait_for_timeout(4000)
            before, now = now, tab.page.screenshot()
        picture = Image.open(io.BytesIO(now)).convert("RGB")
        frames.append((f"{len(frames) + 1}  {words}", picture))

    tab.find("empty-open").wait_for()
    keep("Open an image, or the sample")
    tab.find("sample").click()
    tab.wait_for_image()
    tab.choose("inside")
    tab.answered(lambda: tab.click("Green", 0.54, 0.80))
    tab.find("prompt").first.click()
    keep("One click in the aorta")
    tab.page.keyboard.press("a")
    wait_until(lambda: len(tab.segments) == 2, "a second segment")
    tab.choose("box")
    tab.answered(lambda: tab.drag("Green", (0.21, 0.53), (0.48, 0.90)))
    tab.find("prompt").first.click()
    keep("A box around the liver")
    tab.find("overlay-uncertainty").click()
    tab.find("legend").wait_for()
    keep("Where it is uncertain")
    tab.find("overlay-none").click()
    tab.clear()
    tab.find("open").click()
    prompts = ROOT / "Resources" / "Prompts" / "chest-ct.json"
    tab.answered(lambda: tab.find("upload-file").set_input_files(prompts), patience_s=900)
    tab.find("close-open").click()
    tab.find("reset").click()
    keep("Six structures from saved prompts")
    # With few prompts it ends at once.
    tab.page.keyboard.press("r")
    wait_until(lambda: tab.page.evaluate("window.trame.state.get('busy_progress')") > 15, "progress")
    keep("Refine: a network learns this case, the page goes on")
    tab.find("cancel").click()
    wait_until(lambda: not tab.find("progress").is_visible(), "the end of refining")
    tab.find("crossings").click()
    tab.drag("Green", (0.965, 0.497), (0.92, 0.70))
    keep("Oblique slices by the handles where slices cross")
    tab.find("crossings").click()
    tab.find("reset").click()
    tab.find("pane-review").click()
    tab.find("next-review").click()
    wait_until(lambda: tab.find("flag").count(), "what was found", patience_s=300)
    keep("Review: what needs a person most comes first")
    tab.find("download").click()
    tab.find("export-nifti").check()
    keep("Download, through the writer that every front end uses")
    return frames


def strip(frames: list[tuple[str, Image.Image]]) -> Image.Image:
    """All frames side by side, with words under them."""
    rows = -(-len(frames) // COLUMNS)
    size = (COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + CAPTION) + GAP)
    sheet = Image.new("RGB", size, BACK)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 15)
    for number, (words, picture) in enumerate(frames):
        row, column = divmod(number, COLUMNS)
        left, top = GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + CAPTION)
        sheet.paste(picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (left, top))
        draw.text((left + 2, top + HEIGHT + 7), words, fill=WORDS, font=font)
    return sheet


if __name__ == "__main__":
    sys.exit(main())
