"""The list of the selected segment's prompts: look at one, jump to it, delete it."""

import qt
from slicer.i18n import tr as _

NAMES = {
    "inside": _("point +"),
    "outside": _("point −"),
    "box": _("box"),
    "scribble inside": _("scribble +"),
    "scribble outside": _("scribble −"),
}


class PromptList:
    """A table with one row a prompt."""

    def __init__(self, panel):
        self.panel = panel
        self.items = []
        # PythonQt deletes what nobody refers to.
        self._cells = []
        self._table = panel.ui.promptsTable
        self._table.setColumnCount(4)
        self._table.setHorizontalHeaderLabels([_("Prompt"), "R", "A", "S"])
        self._table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self._table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self._table.verticalHeader().hide()
        self._table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        self._table.setMinimumHeight(110)
        self._table.connect("cellDoubleClicked(int,int)", self.onDoubleClicked)
        panel.ui.jumpToPromptButton.connect("clicked(bool)", self.onJumpButton)
        panel.ui.removePromptButton.connect("clicked(bool)", self.onRemoveButton)
        panel.ui.clearPromptsButton.connect("clicked(bool)", self.onClearButton)

    def refresh(self):
        """Show the prompts as they are in the scene."""
        case, segmentId = self.panel.case, self.panel.segments.current()
        items = case.store.items(segmentId) if case is not None and segmentId is not None else []
        for button in (self.panel.ui.jumpToPromptButton, self.panel.ui.removePromptButton):
            button.enabled = bool(items)
        self.panel.ui.clearPromptsButton.enabled = bool(items)
        if items == self.items:
            return
        self.items = items
        self._table.setRowCount(len(items))
        self._cells = []
        for row, item in enumerate(items):
            for column, text in enumerate([NAMES[item.role], *(f"{v:.1f}" for v in item.position)]):
                self._cells.append(qt.QTableWidgetItem(text))
                self._table.setItem(row, column, self._cells[-1])

    def current(self):
        """The selected prompt, else the last one; None if there are none."""
        row = self._table.currentRow()
        if 0 <= row < len(self.items):
            return self.items[row]
        return self.items[-1] if self.items else None

    def onDoubleClicked(self, row, column):
        self.panel.jumpTo(self.items[row].position)

    def onJumpButton(self, checked=False):
        item = self.current()
        if item is not None:
            self.panel.jumpTo(item.position)

    def onRemoveButton(self, checked=False):
        item = self.current()
        if item is not None:
            self.panel.deletePrompts([item])

    def onClearButton(self, checked=False):
        # The last ones first, so that the numbers of the others stay right.
        self.panel.deletePrompts(list(reversed(self.items)))
