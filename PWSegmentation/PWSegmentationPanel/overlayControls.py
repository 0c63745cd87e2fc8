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
        # What the views showed before, by composite node: foreground and its opacity.
        self._before = {}
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
        else:
            # Made anew from the prompts, it need not be in files.
            for made in (node, node.GetDisplayNode()):
                made.SetSaveWithScene(False)
            for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                if not self._showsOverlay(composite):
                    before = composite.GetForegroundVolumeID(), composite.GetForegroundOpacity()
                    self._before[composite.GetID()] = before
            opacity = self.panel.parameters.overlayOpacity
            slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=opacity)
        for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            if volume is not node and self.panel.logic.isOverlay(volume):
                slicer.mrmlScene.RemoveNode(volume)

    def hide(self):
        """Take overlays from the views, which show what they did before; another foreground stays."""
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if self._showsOverlay(composite):
                volumeId, opacity = self._before.get(composite.GetID(), (None, 0.0))
                isThere = volumeId is not None and slicer.mrmlScene.GetNodeByID(volumeId) is not None
                composite.SetForegroundVolumeID(volumeId if isThere else None)
                composite.SetForegroundOpacity(opacity if isThere else 0.0)
        self._before = {}

    def _showsOverlay(self, composite):
        volume = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        return volume is not None and self.panel.logic.isOverlay(volume)

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
