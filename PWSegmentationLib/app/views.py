"""The four views: made in Slicer's way, shown in the page as pictures, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from trame_slicer.core import SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import ViewLayoutDefinition

from PWSegmentationLib.app.slice_mouse import View
from PWSegmentationLib.mrml.nodes import Node, matrix_to_array

# trame's server and its state carry no types.
Server: TypeAlias = Any

# Tags as Slicer has them, and what people call the views.
SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
THREE_D = "ThreeD"
NAMES = {**SLICE_VIEWS, THREE_D: "3D"}

# Frames a second at most; each costs the time to draw and to compress it.
_FRAMES = 25.0
_QUALITY = 70

# As in Slicer, of the frame of a slice view and of the line where it crosses another.
_COLORS = {"Red": "#f34a33", "Green": "#6dad4a", "Yellow": "#efd64d"}
BACKGROUND = ("#0b0d10", "#171b21")

# From and to which side of the patient a direction of the world points.
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


class Views:
    """Makes the views of a scene, and looks after them.

    ``fill(tag, view)`` puts page elements over a view; ``on_changed(tag)`` is called when a slice view shows another
    place.
    """

    def __init__(
        self, app: SlicerApp, server: Server, fill: Callable[[str, View], None], on_changed: Callable[[str], None]
    ) -> None:
        self._app = app
        self._made: dict[str, View] = {}

        def put(_server: Server, _view_id: str, view: View) -> None:
            fill(view.get_singleton_tag(), view)

        register_rca_factories(
            app.view_manager,
            server,
            slice_view_ui_f=put,
            three_d_view_ui_f=put,
            target_fps=_FRAMES,
            blur_fps=_FRAMES,
            interactive_quality=_QUALITY,
        )
        definitions = [ViewLayoutDefinition.slice_view(o, label=t, color=_COLORS[t]) for t, o in SLICE_VIEWS.items()]  # type: ignore[arg-type]
        definitions.append(ViewLayoutDefinition.threed_view(name=THREE_D, background_color=BACKGROUND))
        for definition in definitions:
            view = app.view_manager.create_view(definition)
            tag = definition.singleton_tag
            self._made[tag] = view
            # Without a GPU these cost more than all else that is drawn.
            view.render_window().SetMultiSamples(0)
            view.renderer().SetUseDepthPeeling(False)
            view.renderer().SetUseDepthPeelingForVolumes(False)
            if tag in SLICE_VIEWS:
                view.set_background_color_from_string("#000000")
                view.modified.connect(lambda _view, tag=tag: on_changed(tag))
        # With no tool chosen the left button changes window and level.
        interaction = app.app_logic.GetInteractionNode()
        if interaction is not None:
            interaction.SetCurrentInteractionMode(interaction.AdjustWindowLevel)
        self._was_turned = False
        # Slice views that nobody has zoomed or moved: they go on showing all of the image when their size changes.
        self._untouched: set[str] = set()
        for tag in SLICE_VIEWS:
            self._watch(tag)
        self._made[THREE_D].interactor().AddObserver("LeftButtonPressEvent", self._on_turn, 10.0)
        self.show(list(NAMES))

    def _watch(self, tag: str) -> None:
        view = self._made[tag]
        for event in ("RightButtonPressEvent", "MiddleButtonPressEvent"):
            view.interactor().AddObserver(event, lambda *_: self._untouched.discard(tag), 10.0)

        def on_wheel(interactor: Any, _event: str) -> None:
            if interactor.GetControlKey():
                self._untouched.discard(tag)

        def on_left(interactor: Any, _event: str) -> None:
            if interactor.GetShiftKey():
                self._untouched.discard(tag)

        view.interactor().AddObserver("LeftButtonPressEvent", on_left, 11.0)
        for event in ("MouseWheelForwardEvent", "MouseWheelBackwardEvent"):
            view.interactor().AddObserver(event, on_wheel, 10.0)
        # After the view itself has taken its new size.
        view.interactor().AddObserver("WindowResizeEvent", lambda *_: self._on_resized(tag), -1.0)

    def _on_resized(self, tag: str) -> None:
        if tag in self._untouched:
            view = self._made[tag]
            offset = view.get_slice_value()
            view.fit_view_to_content()
            view.set_slice_value(offset)

    def _on_turn(self, _interactor: object, _event: str) -> None:
        self._was_turned = True

    def __getitem__(self, tag: str) -> View:
        return self._made[tag]

    @property
    def slices(self) -> list[View]:
        """The three slice views."""
        return [self._made[tag] for tag in SLICE_VIEWS]

    def show(self, tags: Sequence[str]) -> None:
        """Draw these views only."""
        self._app.view_manager.set_current_view_ids(list(tags))

    # ---- what is shown ---------------------------------------------------------------------------------------

    def show_volume(self, node: Node) -> None:
        """Show an image, all of it, in planes of its own axes."""
        for view in self.slices:
            view.set_background_volume_id(node.GetID())
            view.set_foreground_volume_id(None)
        self.reset()

    def show_overlay(self, node: Node | None, opacity: float) -> None:
        """Lay a volume over the image, or nothing."""
        for view in self.slices:
            view.set_foreground_volume_id(node.GetID() if node is not None else None)
            view.set_foreground_opacity(opacity if node is not None else 0.0)

    def reset(self) -> None:
        """Go back to planes of the image's own axes, and fit the image into the views."""
        for tag, orientation in SLICE_VIEWS.items():
            view = self._made[tag]
            view.get_view_node().SetOrientation(orientation)
            view._logic.RotateSliceToLowestVolumeAxes(False)
            view.fit_view_to_content()
            view.schedule_render()
        self._untouched = set(SLICE_VIEWS)
        self.reset_camera()

    def reset_camera(self) -> None:
        """Look at all surfaces from the front."""
        self._was_turned = False
        view = self._made[THREE_D]
        view.fit_view_to_content()
        view.schedule_render()

    def show_surfaces(self) -> None:
        """Draw surfaces that have changed; until somebody has turned them, so that all are seen."""
        if not self._was_turned:
            self.reset_camera()
            return
        view = self._made[THREE_D]
        view.renderer().ResetCameraClippingRange()
        view.schedule_render()

    def show_crossings(self, is_on: bool) -> None:
        """Show where slices cross, with Slicer's handles to turn and move the other slices by."""
        logic = self._app.app_logic
        for view in self.slices:
            shown = view._logic.GetSliceDisplayNode()
            # Nearby, as by default, would be where the mouse was pressed last.
            shown.SetIntersectingSlicesInteractiveHandlesVisibilityMode(shown.AlwaysVisible)
        for operation in (
            logic.IntersectingSlicesVisibility,
            logic.IntersectingSlicesInteractive,
            logic.IntersectingSlicesRotation,
            logic.IntersectingSlicesTranslation,
        ):
            logic.SetIntersectingSlicesEnabled(operation, is_on)
        self.draw()

    def jump_to(self, position: Sequence[float]) -> None:
        """Show a position, mm RAS, in all slice views; they are moved only where it would be out of sight."""
        at = [float(v) for v in position]
        for view in self.slices:
            node = view.get_view_node()
            node.JumpSliceByOffsetting(*at)
            x, y = (np.linalg.inv(matrix_to_array(node.GetXYToRAS())) @ [*at, 1.0])[:2]
            width, height = node.GetDimensions()[:2]
            if not (0 <= x < width and 0 <= y < height):
                node.JumpSliceByCentering(*at)
            view.modified.emit(view)

    def turn(self, tag: str, axis: Literal["vertical", "horizontal"], degrees: float) -> None:
        """Turn a slice view about its own vertical or horizontal: an oblique slice."""
        node = self._made[tag].get_view_node()
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        to_world = matrix_to_array(node.GetSliceToRAS())
        turn = np.eye(4)
        a = 0 if axis == "vertical" else 1
        turn[a, a] = turn[2, 2] = c
        turn[a, 2], turn[2, a] = s, -s
        turned = to_world @ turn
        for row in range(3):
            for column in range(3):
                node.GetSliceToRAS().SetElement(row, column, float(turned[row, column]))
        node.UpdateMatrices()
        self._untouched.discard(tag)
        self._made[tag].modified.emit(self._made[tag])

    def draw(self) -> None:
        """Draw all views that are shown."""
        for view in self._made.values():
            view.schedule_render()

    # ---- what is seen ----------------------------------------------------------------------------------------

    def slice_state(self, tag: str) -> dict[str, Any]:
        """Where a slice view is: offset and its range, mm; size of a pixel, mm; which way is right, left, up, down."""
        view = self._made[tag]
        node = view.get_view_node()
        low, high = view.get_slice_range()
        axes = matrix_to_array(node.GetSliceToRAS())[:3, :3]
        return {
            "offset": round(float(view.get_slice_value()), 3),
            "low": round(float(min(low, high)), 3),
            "high": round(float(max(low, high)), 3),
            "step": round(abs(float(view.get_slice_step())), 4) or 1.0,
            "pixel_mm": node.GetFieldOfView()[0] / max(1, node.GetDimensions()[0]),
            "right": _letters(axes[:, 0]),
            "left": _letters(-axes[:, 0]),
            "up": _letters(axes[:, 1]),
            "down": _letters(-axes[:, 1]),
        }


def _letters(direction: Any) -> str:
    """The sides of the patient that a direction points to, the strongest first: "R", "AS", ..."""
    order = np.argsort(-np.abs(direction))
    return "".join(_LETTERS[a][int(direction[a] > 0)] for a in order if abs(direction[a]) > 0.3)
