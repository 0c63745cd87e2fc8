"""Speed of the browser app: ``python -m Testing.Benchmarks.app``, from the repository root; a minute.

Two figures, both as a user sees them, in Chromium: seconds from the mouse event to the first picture in which the
segment is seen, and pictures a second while a slice view is scrolled and a fine-tune runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Page, sync_playwright

from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.files import write_json
from Testing.App.app_page import AppPage
from Testing.App.app_server import AppServer
from Testing.App.chromium import launch
from Testing.App.conftest import SIZE
from Testing.Benchmarks import OUTPUT
from Testing.timing import wait_until

# Structures of the middle axial slice, as parts of the view: aorta, heart (four).
CLICKS = ((0.519, 0.629), (0.53, 0.50), (0.50, 0.38), (0.58, 0.40), (0.545, 0.42))
SCROLLING_S = 8.0
# Pictures of what was done before do not come later than this after one another.
_QUIET_S = 0.7

# Counts pixels near the click that get another colour, in every picture that comes. In the first half second that is
# the point with its name; no segment is there so soon. The image is grey: what changes its colour later is the segment.
_POINT_MS, _CHANGED = 500, 100
_WATCH = """
() => {
  const view = document.querySelector("#view-Red"), canvas = document.createElement("canvas"), half = 60;
  canvas.width = canvas.height = 2 * half;
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  window.watched = { frames: [], pressed: 0, seen: 0, at: [0, 0], before: null };
  function near(image) {
    const scale = image.naturalWidth / view.clientWidth, [x, y] = window.watched.at;
    pen.drawImage(image, x * scale - half, y * scale - half, 2 * half, 2 * half, 0, 0, 2 * half, 2 * half);
    return pen.getImageData(0, 0, 2 * half, 2 * half).data;
  }
  function changed(now, before) {
    let count = 0;
    for (let n = 0; n < now.length; n += 4) {
      const redder = now[n] - now[n + 1] - before[n] + before[n + 1];
      const bluer = now[n + 2] - now[n + 1] - before[n + 2] + before[n + 1];
      if (Math.abs(redder) + Math.abs(bluer) > 30) count++;
    }
    return count;
  }
  function look(event) {
    if (!event.target.matches?.("#view-Red img")) return;
    const now = performance.now(), watched = window.watched;
    watched.frames.push(now);
    if (!watched.pressed || watched.seen) return;
    if (now - watched.pressed < POINT_MS) watched.before = near(event.target);
    else if (changed(near(event.target), watched.before) > CHANGED) watched.seen = now;
  }
  document.addEventListener("load", look, true);
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("#view-Red")) return;
    const box = view.getBoundingClientRect(), watched = window.watched;
    watched.at = [event.clientX - box.left, event.clientY - box.top];
    watched.before = near(view.querySelector("img"));
    watched.seen = 0;
    watched.pressed = event.timeStamp;
  }, true);
}
""".replace("POINT_MS", str(_POINT_MS)).replace("CHANGED", str(_CHANGED))


def main() -> int:
    """Measure both, and write them."""
    parser = argparse.ArgumentParser(prog="python -m Testing.Benchmarks.app", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT / "app.json", help="JSON to write (%(default)s)")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = AppServer(Path(folder) / "state", "sample").start()
        browser = launch(playwright)
        try:
            tab = AppPage(browser.new_page(viewport=SIZE)).open(server.address)
            tab.wait_for_image()
            tab.page.evaluate(_WATCH)
            report: dict[str, Any] = {
                # Of a machine that does other things too, the figures are of them as well.
                "load average": [round(v, 1) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
                "made by": {
                    **machine_and_versions(),
                    "trame-slicer": version("trame-slicer"),
                    "Chromium": browser.version,
                },
                "click to mask, s": clicks(tab),
                "frames a second while refining": scrolling(tab),
            }
        finally:
            browser.close()
            server.stop()
    write_json(report, output)
    sys.stdout.write(f"{report}\n")
    return 0


def clicks(tab: AppPage) -> dict[str, Any]:
    """Seconds from mouse event to mask: of the first click, which also starts the engine, and of the others."""
    found = []
    said = []
    for number, (x, y) in enumerate(CLICKS):
        if number > 0:
            tab.page.keyboard.press("a")
            wait_until(lambda count=number + 1: len(tab.segments) == count, "a new segment")
        tab.choose("inside")
        _wait_for_quiet(tab.page)
        tab.answered(lambda x=x, y=y: tab.click("Red", x, y))
        watched = wait_until(lambda: (w := _watched(tab.page))["seen"] and w, "the mask")
        found.append(round((watched["seen"] - watched["pressed"]) / 1000, 3))
        said.append(tab.message)
    return {"median": median(found[1:]), "first": found[0], "all": found[1:], "what the page said": said}


def scrolling(tab: AppPage) -> dict[str, Any]:
    """Pictures a second of the axial view while its slider is moved and a network is fitted."""
    tab.prompt_enough_to_refine()
    tab.find("refine-seconds").fill("60")
    tab.find("refine-seconds").press("Tab")
    tab.page.keyboard.press("r")
    tab.wait_for_message("Refining")
    bar = tab.page.locator("[data-test=progress] [data-progress]")
    wait_until(lambda: bar.count() and int(bar.get_attribute("data-progress") or 0) > 5, "the fine-tune to be at work")
    tab.page.mouse.move(*tab.at("Red", 0.5, 0.5))
    until, before = time.monotonic() + SCROLLING_S, len(_watched(tab.page)["frames"])
    step = 0
    while time.monotonic() < until:
        tab.page.mouse.wheel(0, 100 if (step // 30) % 2 else -100)
        step += 1
        tab.page.wait_for_timeout(25)
    frames = _watched(tab.page)["frames"][before:]
    tab.find("cancel").click()
    apart = [b - a for a, b in pairwise(frames)]
    return {
        "mean": round(len(frames) / SCROLLING_S, 1),
        "median": round(1000 / median(apart), 1) if apart else 0.0,
        "longest pause, s": round(max(apart) / 1000, 2) if apart else None,
    }


def _wait_for_quiet(page: Page) -> None:
    """Until no view is drawn any more: else the segment before would be taken for the one that is asked for."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < _QUIET_S:
        count = len(_watched(page)["frames"])
        if count != seen:
            seen, since = count, time.monotonic()
        page.wait_for_timeout(50)


def _watched(page: Page) -> dict[str, Any]:
    return page.evaluate("window.watched")


if __name__ == "__main__":
    sys.exit(main())
