"""Probability and uncertainty of the selected segment, laid over the image."""

import slicer
from slicer.i18n import tr as _

# The colours of the overlays (PWSegmentationLib.mrml.overlays), as the legend shows them.
COLORS = {
    "probability": ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"),
    "uncertainty": ("#000004", "#51127c", "#b73779", "#fc8961", "#fcfdbf"),
}


class OverlayControls:
    """Shows one overlay as the foreground of all slice views, and takes it away again."""

    def __init__(self, panel):
        self.panel = panel
        self._shownId = None
        self._asked = None

    def refresh(self):
        """Show what the parameters say, of the selected segment."""
        parameters, case = self.panel.parameters, self.panel.case
        kind = parameters.overlay if parameters is not None else "none"
        self._showLegend(kind)
        segmentId = self.panel.segments.current()
        if case is None or self.panel.jobs.isRunning:
            # What runs ends with a refresh.
            return
        self._asked = (segmentId, kind)
        wanted = kind != "none" and segmentId is not None
        job = case.start_overlays(segmentId, kind) if wanted else case.start_overlays()
        self.panel.jobs.start("overlay", job, self._onReady)

    def _onReady(self, job):
        with self.panel.showingErrors():
            self._show(job.result())
        parameters = self.panel.parameters
        if parameters is not None and self._asked != (self.panel.segments.current(), parameters.overlay):
            self.refresh()

    def _show(self, node):
        if node is None:
            self.hide()
            return
        opacity = self.panel.parameters.overlayOpacity
        slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=opacity)
        self._shownId = node.GetID()

    def hide(self):
        """Take our overlay from the views; another foreground stays."""
        if self._shownId is not None:
            for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                if composite.GetForegroundVolumeID() == self._shownId:
                    composite.SetForegroundVolumeID(None)
                    composite.SetForegroundOpacity(0.0)
            self._shownId = None

    def _showLegend(self, kind):
        label = self.panel.ui.overlayLegend
        label.visible = kind != "none"
        if kind == "none":
            return
        names = {
            "probability": _("unlikely 0 ··· 0.5 ··· 1 certain"),
            "uncertainty": _("certain 0 ··· 0.5 ··· 1 a coin toss"),
        }
        label.text = names[kind]
        stops = ", ".join(f"stop:{n / 4} {color}" for n, color in enumerate(COLORS[kind]))
        label.setStyleSheet(
            f"background: qlineargradient(x1:0, y1:0, x2:1, y2:0, {stops}); color: white; padding: 3px; "
            "font-weight: bold; qproperty-alignment: AlignCenter;"
        )
