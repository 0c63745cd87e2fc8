"""Keys that work while the module is shown."""

import qt
import slicer
from slicer.i18n import tr as _


class Shortcuts:
    """Makes the shortcuts when the module is entered, and takes them away when it is left."""

    def __init__(self, panel):
        self.panel = panel
        self._made = []
        # PythonQt deletes what nobody refers to.
        self._cells = []
        tools, ui = panel.tools, panel.ui
        # Key, what it does, the button whose tool tip names it, what is called. Fields that are typed into keep letters
        # for themselves, but not Return: it would be taken from every field of the application.
        self.keys = [
            ("P", _("Point +"), ui.positivePointButton, lambda: tools.toggle("inside")),
            ("N", _("Point −"), ui.negativePointButton, lambda: tools.toggle("outside")),
            ("B", _("Box"), ui.boxButton, lambda: tools.toggle("box")),
            ("S", _("Scribble +"), ui.positiveScribbleButton, lambda: tools.toggle("scribble inside")),
            ("D", _("Scribble −"), ui.negativeScribbleButton, lambda: tools.toggle("scribble outside")),
            ("X", _("Delete a prompt"), ui.deletePromptButton, lambda: tools.toggle("delete")),
            ("A", _("New segment"), ui.addSegmentButton, panel.segments.onAddButton),
            ("E", _("Next segment"), None, panel.segments.selectNext),
            ("L", _("Lock or unlock the segment"), ui.lockSegmentButton, lambda: ui.lockSegmentButton.click()),
            ("C", _("Segment"), ui.segmentButton, panel.onSegmentButton),
            ("R", _("Refine"), ui.refineButton, panel.onRefineButton),
            ("U", _("Next uncertain spot"), ui.uncertainSpotButton, panel.onUncertainSpotButton),
            ("Shift+A", _("Review: accept the segment"), ui.acceptSegmentButton, panel.review.onAcceptButton),
            ("Shift+X", _("Review: the segment is to be fixed"), ui.fixSegmentButton, panel.review.onFixButton),
            ("Shift+F", _("Review: flag the segment"), ui.flagSegmentButton, panel.review.onFlagButton),
            ("Shift+N", _("Review: next segment"), ui.nextReviewButton, panel.review.onNextButton),
            ("Ctrl+Z", _("Undo"), ui.undoButton, panel.onUndoButton),
            ("Ctrl+Y", _("Redo"), ui.redoButton, panel.onRedoButton),
            ("Escape", _("Put the tool away, or stop what is computed"), ui.cancelButton, panel.onEscape),
        ]
        self._fillTable()
        for key, _name, button, _call in self.keys:
            if button is not None:
                button.toolTip = f"{button.toolTip} [{key}]"

    def _fillTable(self):
        table = self.panel.ui.shortcutsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Key"), _("What it does")])
        table.verticalHeader().hide()
        table.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
        table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        table.setRowCount(len(self.keys))
        table.setMinimumHeight(200)
        for row, (key, name, _button, _call) in enumerate(self.keys):
            for column, text in enumerate((key, name)):
                self._cells.append(qt.QTableWidgetItem(text))
                table.setItem(row, column, self._cells[-1])

    def turnOn(self):
        self.turnOff()
        for key, _name, _button, call in self.keys:
            shortcut = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow())
            shortcut.connect("activated()", call)
            self._made.append(shortcut)

    def turnOff(self):
        for shortcut in self._made:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._made = []
