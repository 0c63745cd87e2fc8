"""How segments look: colour, visibility, opacity, and their surfaces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from PWSegmentationLib.app.case import Case
from PWSegmentationLib.app.surfaces import Surfaces
from PWSegmentationLib.app.views import Views

# Surfaces are made when the new voxels have been on the screen for a moment.
_SURFACE_DELAY_S = 0.15


class Appearance:
    """The looks of the segments of one case; ``on_changed()`` is called when they have changed."""

    def __init__(self, case: Case, views: Views, on_changed: Callable[[], None]) -> None:
        self._case = case
        self._views = views
        self._on_changed = on_changed
        self._surfaces = Surfaces(case.session.scene, case.segmentation_node)
        self._display = case.segmentation_node.GetDisplayNode()
        self._stale: set[str] = set()
        self._surfacing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Take the surfaces away."""
        if self._surfacing is not None:
            self._surfacing.cancel()
        self._surfaces.close()

    def set_fill(self, opacity: float) -> None:
        """How opaque all segments are in slices."""
        self._display.SetOpacity2DFill(float(opacity))
        self._views.draw()

    def toggle_visible(self, segment_id: str) -> None:
        """Show or hide a segment."""
        self._display.SetSegmentVisibility(segment_id, not self._display.GetSegmentVisibility(segment_id))
        self._restyle(segment_id)

    def set_color(self, segment_id: str, code: str) -> None:
        """Give a segment another colour, "#rrggbb"."""
        segment = self._case.segment(segment_id)
        if segment is not None:
            segment.SetColor(*(int(code[n : n + 2], 16) / 255 for n in (1, 3, 5)))
            self._restyle(segment_id)

    def set_opacity(self, segment_id: str, opacity: float) -> None:
        """How opaque a segment is, in slices and in 3D."""
        self._display.SetSegmentOpacity(segment_id, float(opacity))
        self._restyle(segment_id)

    def _restyle(self, segment_id: str) -> None:
        self._surfaces.restyle(segment_id)
        self._on_changed()
        self._views.draw()

    def renew_surfaces(self, segment_ids: Iterable[str]) -> None:
        """These segments have other voxels: make their surfaces anew, one after the other, soon."""
        self._stale.update(segment_ids)
        if self._surfacing is None or self._surfacing.done():
            self._surfacing = asyncio.get_running_loop().create_task(self._make_surfaces())

    async def _make_surfaces(self) -> None:
        await asyncio.sleep(_SURFACE_DELAY_S)
        self._surfaces.forget_removed()
        self._views.show_surfaces()
        while self._stale:
            self._surfaces.update(self._stale.pop())
            self._views.show_surfaces()
            await asyncio.sleep(0.01)
