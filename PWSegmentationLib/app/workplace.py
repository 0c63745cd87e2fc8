"""What one user has: a scene with views, a case on its image, and the page that shows them."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trame_slicer.core import SlicerApp

from PWSegmentationLib.app.appearance import Appearance
from PWSegmentationLib.app.case import Case, Overlay, Settings
from PWSegmentationLib.app.exporting import problems
from PWSegmentationLib.app.images import Opened, allowed, listed, open_image, open_sample
from PWSegmentationLib.app.page import Page
from PWSegmentationLib.app.page_state import PageState
from PWSegmentationLib.app.review import Review
from PWSegmentationLib.app.slice_mouse import SliceMouse
from PWSegmentationLib.app.tools import TOOLS, ToolName, Tools
from PWSegmentationLib.app.views import NAMES, SLICE_VIEWS, Server, Views
from PWSegmentationLib.app.window_level import WindowLevel
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import add_volume, prepare_scene
from PWSegmentationLib.mrml.nodes import Node
from PWSegmentationLib.session.child import ChildEngine
from PWSegmentationLib.session.engine import Method

_log = logging.getLogger(__name__)

_TURN_DEGREES = 15.0
# A fine-tune takes all cores; mouse and pictures go first.
_NICENESS = 4


@dataclass(frozen=True)
class Allowance:
    """What the user may do: open paths below ``roots`` (None: any, empty: none), upload so many bytes."""

    roots: tuple[Path, ...] | None = None
    upload_bytes: int = 2 * 1024**3


class Workplace:
    """Ties scene, views, case and page together; its methods are what buttons and keys call."""

    def __init__(self, server: Server, allowance: Allowance, device: str = "auto") -> None:
        self.allowance = allowance
        self.app = SlicerApp()
        prepare_scene(self.app.scene)
        self.settings = Settings()
        self.engine = ChildEngine(device, python=_engine_command())
        self.case: Case | None = None
        self.opened: Opened | None = None
        self.review: Review | None = None
        self.appearance: Appearance | None = None
        self.window: WindowLevel | None = None
        self.volume_node: Node | None = None
        # For whoever keeps the session.
        self.on_saved: Callable[[], None] = lambda: None
        self.on_voxels: Callable[[], None] = lambda: None
        self.on_replacing: Callable[[], None] = lambda: None
        self.on_try_again: Callable[[], Awaitable[None]] | None = None
        self._is_opening = False
        self._answers = 0
        self.state = PageState(server)
        by_path = allowance.roots is None or bool(allowance.roots)
        self.state.set(open_by_path=by_path, upload_limit=allowance.upload_bytes, open_list=listed(allowance.roots))
        self.page = Page(server, self)
        self.views = Views(self.app, server, self.page.fill_view, self._on_view_changed)
        self.page.build()
        self.tools = Tools(SliceMouse(self.views.slices))
        for tag in SLICE_VIEWS:
            self._on_view_changed(tag)
        self.case_changed()

    def close(self) -> None:
        """End the computing process and let everything go."""
        if self.case is not None:
            self.case.close()
        self.engine.close()

    # ---- images ----------------------------------------------------------------------------------------------

    async def open_sample(self) -> None:
        """Open the demo's chest CT."""
        await self.open(open_sample, "Fetching the sample (35 MB, the first time)…")

    async def open_path(self, text: str) -> None:
        """Open an image by its path on this computer."""
        await self.open(
            lambda: open_image(allowed(text, self.allowance.roots), inside=self.allowance.roots), "Reading the image…"
        )

    async def open(
        self, read: Callable[[], Opened], message: str, show: Callable[[Opened], None] | None = None
    ) -> None:
        """Read an image on a thread, and show it instead of the one before."""
        if self._is_opening:
            self._refuse("Another image is being opened: wait for it.")
            return
        self._is_opening = True
        try:
            self.state.set(opening=True, opening_text=message, open_error="")
            try:
                opened = await asyncio.get_running_loop().run_in_executor(None, read)
                (show or self.show)(opened)
            except InputError as error:
                self._refuse(str(error))
                return
            except Exception as error:
                _log.exception("opening failed")
                self._refuse(f"The image could not be opened: {error}.")
                return
        finally:
            self._is_opening = False
            self.state.set(opening=False)

    def _refuse(self, text: str) -> None:
        """Say why an image was not opened, where it was asked for and at the bottom."""
        self.state.set(open_error=text)
        self.say(text, error=True)

    async def open_upload(self, read: Callable[[], Opened]) -> Opened:
        """As `open`, but what is wrong is raised as `InputError`, for the upload's answer."""
        await self.open(read, "Reading the image…")
        if self.state.get("open_error"):
            raise InputError(self.state.get("open_error"))
        assert self.opened is not None
        return self.opened

    async def try_again(self) -> None:
        """Bring a session back that could not be before."""
        if self.on_try_again is not None:
            await self.on_try_again()

    def warn(self, text: str, *, again: bool = True) -> None:
        """Say why the session is not there, and what to do, for as long as it is so; ``again``: it may be tried."""
        self.state.set(unrestored=text, unrestored_again=again)

    def moved_source(self, path: Path) -> None:
        """The file that the image was read from is somewhere else now."""
        if self.opened is not None:
            self.opened = replace(self.opened, source=path)
            self.on_saved()

    def show(self, opened: Opened, segmentation: Callable[[], Node] | None = None) -> None:
        """Work on an image that was read; what was done on the one before is gone.

        ``segmentation()`` makes the node to go on with, and prompts beside it; by default an empty one.
        """
        self.on_replacing()
        self.close_image()
        self.opened = opened
        self.volume_node = add_volume(self.app.scene, opened.volume, opened.name)
        self.window = WindowLevel(opened, self.volume_node, self._tell_window)
        self.begin(segmentation() if segmentation is not None else self.new_segmentation(opened.name))

    def _tell_window(self, window: float, level: float) -> None:
        self.state.set(window=window, level=level)

    def new_segmentation(self, name: str) -> Node:
        """An empty segmentation for an image."""
        node = self.app.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segmentation")
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetOpacity2DFill(float(self.state.get("fill")))
        display.SetOpacity2DOutline(1.0)
        display.SetVisibility3D(False)
        return node

    def apply_settings(self, settings: Mapping[str, Any]) -> None:
        """Take over what was chosen in an earlier session."""
        for name, value in settings.items():
            if hasattr(self.settings, name):
                setattr(self.settings, name, value)
        chosen = self.settings
        self.state.set(
            brush=chosen.brush_mm,
            auto_segment=chosen.auto_segment,
            many_lesions=chosen.many_lesions,
            refine_seconds=chosen.refine_seconds,
            overlay=chosen.overlay,
            overlay_opacity=chosen.overlay_opacity,
            method=chosen.method,
        )
        self.set_method(chosen.method)

    def begin(self, segmentation: Node) -> None:
        """Begin a case on the image that is open; prompts that are in the scene are taken over."""
        assert self.volume_node is not None
        assert self.window is not None
        self.case = Case(self.app.scene, self.volume_node, segmentation, self.engine, self.settings, self)
        self.review = Review(self.case, self)
        self.appearance = Appearance(self.case, self.views, self.case_changed)
        self.views.show_volume(self.volume_node)
        self.state.set(image=self._image_facts(), open_dialog=False, open_error="", windows=self.window.names)
        self.choose_tool("inside")
        self.case_changed()
        self.say("Click into a structure: its segment appears.")

    def close_image(self) -> None:
        """Let go of the image and all that was made on it."""
        self.choose_tool(None)
        self.views.show_overlay(None, 0.0)
        for part in (self.review, self.appearance, self.case):
            if part is not None:
                part.close()
        self.case = self.review = self.appearance = self.window = self.opened = None
        scene, self.volume_node = self.app.scene, None
        for kind in ("vtkMRMLMarkupsNode", "vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode"):
            found = scene.GetNodesByClass(kind)
            for node in [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]:
                scene.RemoveNode(node)
        self.state.set(image=None)

    def _image_facts(self) -> dict[str, Any]:
        assert self.opened is not None
        grid = self.opened.volume.grid
        return {
            "name": self.opened.name,
            "size": " × ".join(str(n) for n in grid.shape),
            "spacing": " × ".join(f"{s:.2f}" for s in grid.spacing) + " mm",
        }

    # ---- views -----------------------------------------------------------------------------------------------

    def _on_view_changed(self, tag: str) -> None:
        # While the views are made there is nothing to say yet.
        if hasattr(self, "views"):
            self.state.set(**{f"slice_{tag}": self.views.slice_state(tag)})

    def choose_layout(self, layout: str) -> None:
        """Show four views, or one of them."""
        self.views.show(list(NAMES) if layout == "four" else [layout])
        self.state.set(layout=layout)

    def set_offset(self, tag: str, offset: float) -> None:
        """Show another slice."""
        self.views[tag].set_slice_value(float(offset))

    def choose_crossings(self, is_on: bool) -> None:
        """Show where slices cross, or not."""
        self.views.show_crossings(is_on)
        self.state.set(crossings=is_on)
        if is_on:
            # A tool would take the mouse from the handles.
            self.choose_tool(None)
            self.say("Drag a handle to turn or move the other slices, or choose a tool to go on.")

    def turn_slice(self, tag: str, axis: Literal["vertical", "horizontal"]) -> None:
        """Make a slice view oblique, or more so."""
        self.views.turn(tag, axis, _TURN_DEGREES)

    def reset_views(self) -> None:
        """Show all of the image in planes of its own axes."""
        self.views.reset()
        for tag in SLICE_VIEWS:
            self._on_view_changed(tag)

    def jump_to(self, position: Sequence[float]) -> None:
        """See `Listener`."""
        self.views.jump_to(position)

    # ---- tools -----------------------------------------------------------------------------------------------

    def choose_tool(self, name: str | None) -> None:
        """Turn a tool on; all others are off."""
        wanted: ToolName | None = next((t for t in TOOLS if t == name), None)
        if hasattr(self, "tools"):
            self.tools.choose(wanted, self.case)
            self.state.set(tool=self.tools.current)
        if wanted is not None and self.case is None:
            self.say("Open an image first.", error=True)

    def toggle_tool(self, name: str) -> None:
        """Turn a tool on, or off if it is on."""
        self.choose_tool(None if self.tools.current == name else name)

    def escape(self) -> None:
        """Put the tool away, else stop what is computed or looked at."""
        if self.tools.current is not None:
            self.choose_tool(None)
        elif self.review is not None and not self.review.cancel() and self.case is not None:
            self.case.cancel()

    def delete_prompt(self, number: int) -> None:
        """Delete a prompt of the list."""
        if self.case is not None and number < len(items := self.case.items()):
            self.case.delete_prompts([items[number]])

    def clear_prompts(self) -> None:
        """Delete all prompts of the selected segment."""
        if self.case is not None:
            self.case.delete_prompts(self.case.items())

    def jump_to_prompt(self, number: int) -> None:
        """Show where a prompt of the list is."""
        if self.case is not None and number < len(items := self.case.items()):
            self.jump_to(items[number].position)

    def open_export(self) -> None:
        """Offer what can be downloaded now."""
        if self.opened is None or self.case is None:
            self.say("Open an image first.", error=True)
            return
        self.state.set(export_dialog=True, export_error="", export_problems=problems(self.opened, self.case))

    def set_method(self, method: Method) -> None:
        """How to predict from the next prompt on."""
        self.settings.method = method
        if self.case is not None:
            self.case.set_method(method)
        self.on_saved()

    # ---- settings --------------------------------------------------------------------------------------------

    def set_overlay(self, overlay: Overlay) -> None:
        """See `Case.set_overlay`."""
        self.settings.overlay = overlay
        self.state.set(overlay=overlay)
        if self.case is not None:
            self.case.set_overlay(overlay)
        self.on_saved()

    def set_overlay_opacity(self, opacity: float) -> None:
        """How much of the image the overlay hides."""
        self.settings.overlay_opacity = opacity
        if self.settings.overlay != "none":
            for view in self.views.slices:
                if view.get_foreground_volume_id():
                    view.set_foreground_opacity(opacity)

    # ---- what the case tells ---------------------------------------------------------------------------------

    def say(self, text: str, *, error: bool = False) -> None:
        """See `Listener`."""
        self.state.set(message=text, message_is_error=error)

    def case_changed(self) -> None:
        """See `Listener`."""
        if self.review is not None:
            self.review.draw_changes()
        self.state.show_case(self.case, self.review, self._answers)
        self.on_saved()

    def progress_changed(self) -> None:
        """See `Listener`."""
        self.state.show_progress(self.case)

    def review_changed(self) -> None:
        """See `ReviewListener`."""
        if self.review is not None:
            self.review.draw_changes()
        self.state.show_review(self.case, self.review)

    def select_for_review(self, segment_id: str) -> None:
        """Select a segment of the work list, and show the place in it that is worth a look."""
        if self.case is not None and self.review is not None:
            self.case.select(segment_id)
            self.review.show(segment_id)

    def changes_shown(self) -> None:
        """See `ReviewListener`."""
        self.views.draw()

    def show_overlay(self, node: Node | None) -> None:
        """See `Listener`."""
        self.views.show_overlay(node, self.settings.overlay_opacity)

    def segments_written(self, segment_ids: Sequence[str] | None) -> None:
        """See `Listener`."""
        case = self.case
        if case is None:
            return
        self.on_voxels()
        # The page hears of it with what has changed, by `case_changed`.
        self._answers += 1
        if self.appearance is not None:
            self.appearance.renew_surfaces(case.segment_ids() if segment_ids is None else segment_ids)


def _engine_command() -> list[str]:
    """Python as a process that leaves the page its time."""
    nice = shutil.which("nice")
    return [nice, "-n", str(_NICENESS), sys.executable] if nice is not None else [sys.executable]
