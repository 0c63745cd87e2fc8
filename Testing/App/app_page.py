"""The page as a user sees and uses it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from playwright.sync_api import Page

from Testing.timing import PATIENCE_S, wait_until

SLICES = ("Red", "Green", "Yellow")
VIEWS = (*SLICES, "ThreeD")


# Beside what is thrown and is no error: of itself it says no more than "Object".
TELL_OBJECTS = """
addEventListener("unhandledrejection", (event) => setTimeout(() => {
  if (event.defaultPrevented || event.reason instanceof Error) return;
  throw new Error(`not caught: ${JSON.stringify(event.reason)}`);
}));
"""


class AppPage:
    """One tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.add_init_script(TELL_OBJECTS)
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, address: str) -> AppPage:
        """Go to an address, and wait until the page is there."""
        self.page.goto(address)
        self.page.wait_for_selector(".pw-frame")
        return self

    def find(self, test: str) -> Any:
        """An element by its name for tests."""
        return self.page.locator(f"[data-test={test}]")

    def wait_for_refusal(self, words: str) -> None:
        """The sentence why something was not opened has these words; one of the time before may stand there still."""
        error = self.find("open-error")
        wait_until(lambda: error.is_visible() and words in error.inner_text(), f"the refusal '{words}'")

    @property
    def message(self) -> str:
        """The sentence at the bottom."""
        return self.find("message").inner_text()

    def wait_for_message(self, part: str) -> str:
        """Wait until the sentence at the bottom has ``part`` in it."""
        return wait_until(lambda: part in self.message and self.message, lambda: f"'{part}', there is '{self.message}'")

    def wait_for_image(self, name: str = "Chest CT") -> None:
        """Wait until an image is shown, in all slice views."""
        # One of the same name may be shown still, behind the dialog where this one was asked for.
        self.find("open-dialog").wait_for(state="hidden")
        self.page.wait_for_selector(f"[data-test=image-name]:has-text('{name}')")
        # The image comes first, then the tool that is on at the beginning.
        wait_until(lambda: self.page.evaluate("window.trame.state.get('opening') === false"), "the image to be opened")
        for tag in SLICES:
            wait_until(lambda tag=tag: np.ptp(self.picture(tag)[40:-60, 40:-60]) > 150, f"the image in {tag}")

    # ---- views

    def picture(self, tag: str) -> np.ndarray:
        """A view as it is on the screen, ``[row, column, rgb]``."""
        png = self.page.locator(f"#view-{tag}").screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    def colored(self, tag: str) -> int:
        """How many pixels of a view have the colour of the first segment, orange: more red than blue."""
        inner = self.picture(tag)[30:-40, 30:-40]
        red, green, blue = inner[..., 0], inner[..., 1], inner[..., 2]
        # Not the yellow of letters, nor the red and green of points.
        return int(((red - blue > 50) & (red - green > 10) & (green - blue > 15)).sum())

    def at(self, tag: str, x: float, y: float) -> tuple[float, float]:
        """A place of a view, as fractions of its width and height, on the page."""
        box = self.page.locator(f"#view-{tag}").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def colored_red(self, tag: str) -> int:
        """How many pixels of a view are red, as what was removed since a review is."""
        inner = self.picture(tag)[30:-40, 30:-40]
        red, green, blue = inner[..., 0], inner[..., 1], inner[..., 2]
        return int(((red - green > 60) & (red - blue > 60) & (abs(green - blue) < 25)).sum())

    def click(self, tag: str, x: float, y: float) -> None:
        """Click into a view."""
        self.page.mouse.move(*self.at(tag, x, y))
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, tag: str, *places: tuple[float, float]) -> None:
        """Press at the first place, move over the others, release at the last."""
        self.page.mouse.move(*self.at(tag, *places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(tag, *place), steps=6)
        self.page.mouse.up()

    # ---- what is asked, and answered

    @property
    def answers(self) -> int:
        """How often voxels have changed so far."""
        return int(self.find("segments").get_attribute("data-answers") or 0)

    def answered(self, act: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
        """Do something, and wait until voxels have changed."""
        before = self.answers
        act()
        wait_until(
            lambda: self.answers > before, lambda: f"an answer, there is '{self.message}'", patience_s=patience_s
        )

    def choose(self, tool: str) -> None:
        """Turn a tool on."""
        button = self.find(f"tool-{tool}")
        if button.get_attribute("aria-pressed") != "true":
            button.click()
        wait_until(lambda: button.get_attribute("aria-pressed") == "true", f"the tool {tool}")

    @property
    def segments(self) -> list[str]:
        """Names of the segments in the table."""
        return [box.input_value() for box in self.find("segment-name").all()]

    @property
    def volume_ml(self) -> float:
        """Volume of the first segment, as the table says; 0 where it says nothing."""
        text = self.find("segment-volume").first.inner_text()
        return float(text.split()[0]) if text else 0.0

    @property
    def prompts(self) -> list[str]:
        """Kinds of the prompts in the list."""
        return [row.inner_text().split("\n")[0].strip() for row in self.find("prompt").all()]

    def prompt_enough_to_refine(self) -> None:
        """Six points for the selected segment on the chest CT, not answered: with fewer refining ends at once."""
        self.find("auto").uncheck()
        inside, outside = ((0.54, 0.75), (0.54, 0.80), (0.54, 0.86)), ((0.50, 0.80), (0.58, 0.80), (0.45, 0.70))
        for tool, places in (("inside", inside), ("outside", outside)):
            self.choose(tool)
            for place in places:
                self.click("Green", *place)

    @property
    def statuses(self) -> dict[str, str]:
        """Of the segments in the work list, in its order."""
        rows = self.find("work-item").all()
        return {r.locator(".pw-name").inner_text(): r.locator("[data-test=work-status]").inner_text() for r in rows}

    def work_item(self, name: str) -> Any:
        """The row of a segment in the work list."""
        return self.page.locator("[data-test=work-item]", has_text=name)

    def wait_for_selection(self, name: str) -> None:
        """The segment is selected in the work list: what is pressed or typed now is about it."""
        item = self.work_item(name)
        wait_until(lambda: "pw-selected" in (item.get_attribute("class") or ""), f"{name} to be selected")

    def select_for_review(self, name: str) -> None:
        """Choose a segment in the work list."""
        self.work_item(name).click()
        self.wait_for_selection(name)

    def clear(self) -> None:
        """Remove all segments, and put the tools back."""
        self.page.keyboard.press("Escape")
        wait_until(
            lambda: not self.page.locator(".pw-tool-button[aria-pressed=true]").count(), "the tool to be put away"
        )
        while self.find("segment-row").count():
            count = self.find("segment-row").count()
            if self.find("segment-remove").count():
                self.find("segment-remove").first.click()
            wait_until(lambda count=count: self.find("segment-row").count() < count, "the segment to go")

    # ---- files

    def choose_downloads(self, *kinds: str, provenance: bool = False) -> None:
        """Open the dialog, and choose these kinds of files and no others."""
        self.find("download").click()
        self.find("export-dialog").wait_for()
        wanted = {f"export-{kind}" for kind in kinds} | ({"export-provenance"} if provenance else set())
        for box in self.page.locator("[data-test=export-dialog] input[type=checkbox]").all():
            if box.is_enabled():
                box.set_checked(box.get_attribute("data-test") in wanted)

    def download(self, folder: Path, *kinds: str, provenance: bool = False) -> Path:
        """Save files of these kinds: one as it is, several as a zip."""
        self.choose_downloads(*kinds, provenance=provenance)
        with self.page.expect_download() as waiting:
            self.find("export").click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        self.find("export-dialog").wait_for(state="hidden")
        return path

    def unzipped(self, folder: Path, *kinds: str, provenance: bool = False) -> dict[str, Path]:
        """Save several files; where they lie, by name."""
        with zipfile.ZipFile(self.download(folder, *kinds, provenance=provenance)) as archive:
            archive.extractall(folder)
            return {name: folder / name for name in archive.namelist()}

    def labels(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """The labelmap that is downloaded: voxels and affine."""
        files = self.unzipped(folder, "nifti")
        image = nibabel.load(next(path for name, path in files.items() if name.endswith(".nii.gz")))
        return np.asarray(image.dataobj), image.affine
