"""The segments: Slicer's own table, and buttons to add, remove, lock and export."""

import qt
import slicer
from slicer.i18n import tr as _

# Kinds of files, and the ending of one that was given none.
KINDS = {
    _("Segmentation (*.seg.nrrd)"): "seg.nrrd",
    _("Labelmap (*.nii.gz *.nrrd)"): "nii.gz",
    _("DICOM segmentation (*.seg.dcm)"): "seg.dcm",
    _("Surfaces (*.stl *.obj *.ply)"): "stl",
}


class SegmentList:
    """Knows which segment is selected, and makes new ones."""

    def __init__(self, panel):
        self.panel = panel
        self._table = panel.ui.segmentsTable
        self._table.setMinimumHeight(120)
        self._table.connect("selectionChanged(QItemSelection,QItemSelection)", self.onSelectionChanged)
        panel.ui.addSegmentButton.connect("clicked(bool)", self.onAddButton)
        panel.ui.removeSegmentButton.connect("clicked(bool)", self.onRemoveButton)
        panel.ui.lockSegmentButton.connect("clicked(bool)", self.onLockButton)
        panel.ui.exportButton.connect("clicked(bool)", self.onExportButton)

    # ---- which

    def current(self):
        """The ID of the selected segment; None if there is none."""
        ids = self.ids()
        selected = [i for i in self._table.selectedSegmentIDs() if i in ids]
        return selected[0] if selected else (ids[0] if len(ids) == 1 else None)

    def node(self):
        """The segmentation that the table shows; None if there is none."""
        return self._table.segmentationNode()

    def ids(self):
        """IDs of all segments."""
        node = self.node()
        return list(node.GetSegmentation().GetSegmentIDs()) if node is not None else []

    def currentOrNew(self):
        """The selected segment, or a new one."""
        return self.current() or self.add()

    def select(self, segmentId):
        self._table.setSelectedSegmentIDs([segmentId])

    def selectNext(self):
        """Select the next segment in the table, round and round."""
        ids = self.ids()
        if ids:
            current = self.current()
            self.select(ids[(ids.index(current) + 1) % len(ids)] if current else ids[0])

    # ---- make

    def add(self, forPrompt=False):
        """A new segment, selected; its ID. ``forPrompt``: undo takes it back together with its first prompt."""
        case = self.panel.case
        base = _("Lesion") if self.panel.parameters.manyLesions else _("Segment")
        segmentId = case.add_segment(self._freeName(base), for_prompt=forPrompt)
        self.select(segmentId)
        return segmentId

    def _freeName(self, base):
        segmentation = self._table.segmentationNode().GetSegmentation()
        taken = {segmentation.GetSegment(i).GetName() for i in self.ids()}
        number = 1
        while f"{base} {number}" in taken:
            number += 1
        return f"{base} {number}"

    # ---- buttons

    def onSelectionChanged(self):
        self.panel.onSegmentSelected()

    def onAddButton(self, checked=False):
        with self.panel.showingErrors():
            if self.panel.openCase() is not None:
                self.add()
                self.panel.refresh()

    def onRemoveButton(self, checked=False):
        segmentId = self.current()
        if self.panel.case is not None and segmentId is not None:
            self.panel.stopJob()
            with self.panel.showingErrors():
                self.panel.tools.choose(None)
                self.panel.case.remove_segment(segmentId)
            self.panel.refresh()

    def onLockButton(self, checked=False):
        segmentId = self.current()
        if segmentId is not None:
            from PWSegmentationLib.mrml import set_locked

            set_locked(self._table.segmentationNode(), segmentId, checked)
            self.panel.refresh()

    def onExportButton(self, checked=False):
        dialog = qt.QFileDialog(slicer.util.mainWindow(), _("Export segments"), "", ";;".join(KINDS))
        dialog.setAcceptMode(qt.QFileDialog.AcceptSave)
        dialog.setDefaultSuffix(next(iter(KINDS.values())))
        dialog.connect("filterSelected(QString)", lambda kind: dialog.setDefaultSuffix(KINDS[kind]))
        if dialog.exec_():
            self.export(dialog.selectedFiles()[0])
        dialog.deleteLater()

    def export(self, path):
        """Write all segments to a file."""
        from PWSegmentationLib.mrml import export_segments

        with self.panel.showingErrors():
            case = self.panel.case
            session = case.session if case is not None else None
            if case is not None:
                case.finish_writing()
            export_segments(self._table.segmentationNode(), self.panel.parameters.inputVolume, path, session=session)
            self.panel.say(_("Exported to {path}.").format(path=path))

    def refresh(self):
        """Show what can be done with the selected segment."""
        segmentId = self.current()
        ui = self.panel.ui
        locked = False
        if segmentId is not None:
            from PWSegmentationLib.mrml import is_locked

            locked = is_locked(self._table.segmentationNode(), segmentId)
        ui.lockSegmentButton.enabled = segmentId is not None
        ui.lockSegmentButton.checked = locked
        ui.lockSegmentButton.text = _("Locked") if locked else _("Lock")
        ui.removeSegmentButton.enabled = segmentId is not None and not locked
        ui.exportButton.enabled = bool(self.ids())
