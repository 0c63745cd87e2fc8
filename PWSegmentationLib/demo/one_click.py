"""One click each in three organs and a brain: what the first prompt gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.annotator.protocols import SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.drawing.slices import (
    BACKGROUND,
    PLANES,
    REFERENCE,
    WORDS,
    DisplayVolume,
    SlicePanel,
    draw_contour,
    draw_prompts,
    draw_slice,
    encoded,
    frame_of,
)
from PWSegmentationLib.evaluation.metrics import dice
from PWSegmentationLib.files import replacing
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.prompts.prompts import PromptSet, SegmentPrompts
from PWSegmentationLib.samples.development import development_cases
from PWSegmentationLib.segments.colors import color
from PWSegmentationLib.volume.grid import Region
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What is clicked, in images of the development set; one click does better here than on most (docs/accuracy.md).
SHOWN = {"chest CT": ("spleen", "kidney_right", "adrenal_gland_left"), "brain MR": ("Caudate_L",)}
_MARGIN_MM = 40.0


@dataclass(frozen=True, eq=False)
class OneClick:
    """A structure, the click, the answer, and the reference on the image's grid."""

    structure: str
    prompts: SegmentPrompts
    prediction: Prediction
    volume: Volume
    reference: NDArray[np.bool_]
    dice: float


def one_clicks(cache: Path | None = None, *, device: str = "auto", progress: Progress | None = None) -> list[OneClick]:
    """Click in the middle of every structure of `SHOWN`; the images are fetched where they are missing."""
    cases = {files.name: files for files in development_cases(cache, progress)}
    return [found for name in SHOWN for found in _clicked(load_case(cases[name]), SHOWN[name], device)]


def _clicked(case: Case, structures: tuple[str, ...], device: str) -> Iterator[OneClick]:
    from PWSegmentationLib.session.session import Session

    session = Session(device)
    session.set_volume(case.volume)
    for structure in structures:
        reference = Reference.of(case.labels, case.structures[structure], case.volume.grid)
        prompts = SimulatedAnnotator(reference, protocol("one click")).start()
        session.prompts = PromptSet((prompts,))
        found = session.predict(prompts.name)
        truth = reference.over(Region.whole(case.volume.grid.shape))
        yield OneClick(structure, prompts, found, case.volume, truth, dice(found.mask, truth))


def one_click_figure(found: list[OneClick]) -> bytes:
    """A panel each, axial, through the click: the mask filled in, the reference dashed, the click a dot. PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(found), 3.75), facecolor=BACKGROUND, dpi=120)
    for number, one in enumerate(found):
        _panel(figure, number, len(found), one)
    return encoded(figure, "png")


def _panel(figure: Figure, number: int, count: int, one: OneClick) -> None:
    display = DisplayVolume.of(one.volume)
    mask, truth = display.turned(one.prediction.mask), display.turned(one.reference)
    click = np.round(display.grid.to_index([one.prompts.points[0].position])[0]).astype(int)
    ax = figure.add_axes(((number + 0.01) / count, 0.0, 0.98 / count, 0.92))
    panel = SlicePanel(ax, display, PLANES[0], (int(click[0]), int(click[1]), int(click[2])))
    centre, half = frame_of(display, mask | truth)
    draw_slice(panel, centre, min(half + _MARGIN_MM, 0.5 * float(display.size[:2].min())))
    draw_contour(panel, truth, REFERENCE, dashed=True)
    draw_contour(panel, mask, color(number), filled=True)
    draw_prompts(panel, one.prompts, color(number), faint=False)
    words = one.structure.replace("_", " ").lower()
    ax.set_title(f"{words}: Dice {one.dice:.2f}, {one.prediction.seconds:.1f} s", color=WORDS, fontsize=11, pad=5)


def write_one_click(
    path: Path, cache: Path | None = None, *, device: str = "auto", progress: Progress | None = None
) -> list[OneClick]:
    """Click, draw, and write the picture, a .png."""
    found = one_clicks(cache, device=device, progress=progress)
    with replacing(path) as temporary:
        temporary.write_bytes(one_click_figure(found))
    return found
