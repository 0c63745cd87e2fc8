"""The picture of `pwseg review`'s pages in the docs: ``python -m Testing.Library.review_pictures``.

Needs Playwright and Chromium (``CHROMIUM`` names its program; default: the one that Debian installs).
"""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.commandline.main import main as pwseg
from PWSegmentationLib.evaluation.planted_errors import plant
from PWSegmentationLib.export.writing import write_segmentation
from PWSegmentationLib.prompts.json_format import write_prompts
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.samples.development import development_cases
from PWSegmentationLib.segments.colors import color
from PWSegmentationLib.segments.segmentation import Segment, Segmentation
from PWSegmentationLib.volume.writing import write_image

PICTURE = Path(__file__).parents[2] / "Resources" / "Screenshots" / "review.png"
PLANTED = {"Hippocampus_L": "missing part", "Putamen_R": "leak"}


def prompted(case: Case, names: list[str]) -> tuple[dict[str, Reference], PromptSet]:
    references = {n: Reference.of(case.labels, case.structures[n], case.volume.grid) for n in names}
    asked = {n: SimulatedAnnotator(r, protocol("points 5+10")).start() for n, r in references.items()}
    return references, PromptSet(tuple(replace(p, name=n) for n, p in asked.items()))


def write_planted(case: Case, names: list[str], folder: Path) -> None:
    """The reference, with an error in two of its segments."""
    references, prompts = prompted(case, names)
    write_image(case.volume.array, case.volume.grid, folder / "image.nii.gz")
    write_prompts(prompts, folder / "prompts.json")
    segments = []
    for number, (name, reference) in enumerate(references.items()):
        region, mask = reference.region, reference.mask
        if name in PLANTED:
            made = plant(PLANTED[name], case.volume, references, name, np.random.default_rng(1))
            assert made is not None
            region, mask = made
        segments.append(Segment(name, number + 1, color(number), region, mask))
    write_segmentation(Segmentation(case.volume.grid, tuple(segments)), folder / "segmentation.seg.nrrd")


def write_predicted(case: Case, names: list[str], folder: Path) -> None:
    """What the program makes of a few prompts, with its probability and uncertainty."""
    write_image(case.volume.array, case.volume.grid, folder / "image.nii.gz")
    write_prompts(prompted(case, names)[1], folder / "prompts.json")
    maps = [f"--{kind}={folder / kind}.nii.gz" for kind in ("probability", "uncertainty")]
    words = ["segment", folder / "image.nii.gz", "--prompts", folder / "prompts.json", "--quiet", *maps]
    assert pwseg([*map(str, words), "-o", str(folder / "segmentation.seg.nrrd")]) == 0


def photographs(folder: Path) -> list[bytes]:
    from playwright.sync_api import sync_playwright

    pages = [folder / "review.html", folder / "patient-1" / "review.html", folder / "patient-2" / "review.html"]
    with sync_playwright() as playwright:
        program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        taken = []
        for path in pages:
            page = browser.new_page(viewport={"width": 1000, "height": 1150}, color_scheme="light")
            page.goto(path.as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth")
            broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
            assert (wide, broken) == (1000, 0)
            taken.append(page.screenshot())
        browser.close()
    return taken


def main() -> None:
    from PIL import Image

    cases = {files.name: files for files in development_cases()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "ward 7"
        brain, tumour = load_case(cases["brain MR"]), load_case(cases["brain tumour MR"])
        tuning = [s for s, use in cases["brain MR"].uses.items() if use == "tuning"]
        write_planted(brain, tuning, folder / "patient-1")
        write_predicted(tumour, ["tumour"], folder / "patient-2")
        assert pwseg(["review", str(folder / "patient-1"), "--accept", "Thalamus_R", "--quiet", "--no-pages"]) == 0
        assert pwseg(["review", str(folder), "--quiet"]) == 0
        pictures = [Image.open(io.BytesIO(p)).convert("RGB") for p in photographs(folder)]
    joined = Image.new("RGB", (sum(p.width for p in pictures) + 40, pictures[0].height), "#888")
    for index, picture in enumerate(pictures):
        joined.paste(picture, (index * 1020, 0))
    joined.resize((joined.width // 2, joined.height // 2), Image.Resampling.LANCZOS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
