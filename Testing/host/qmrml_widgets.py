"""Slicer's MRML widgets that the module uses, as small Qt widgets on the real scene.

Each class names the header of https://github.com/Slicer/Slicer that declares what is here; nothing else is offered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import slicer
import vtk
from PySide6.QtCore import Property, Qt, Signal
from PySide6.QtGui import QColor, QPixmap, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QHBoxLayout, QHeaderView, QTableView, QVBoxLayout, QWidget

ID_ROLE = Qt.ItemDataRole.UserRole + 1


class qMRMLWidget(QWidget):  # noqa: N801 - Slicer's name
    """Libs/MRML/Widgets/qMRMLWidget.h."""

    mrmlSceneChanged = Signal(object)  # noqa: N815
    SIGNALS: ClassVar = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}
    SLOTS: ClassVar = {"setMRMLScene(vtkMRMLScene*)": "setMRMLScene"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observed: list[tuple[Any, int]] = []
        # As CTK's event translators do when the widget goes.
        observed = self._observed
        self.destroyed.connect(lambda *_: _forget(observed))

    def _observe(self, watched: Any, event: Any, function: Callable[[], None]) -> None:
        self._observed.append((watched, watched.AddObserver(event, lambda *_: function())))

    def mrmlScene(self) -> Any:  # noqa: N802 - Slicer's name
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:  # noqa: N802 - Slicer's name
        if scene is not self._scene:
            self._scene = scene
            self._scene_changed()
            self.mrmlSceneChanged.emit(scene)

    def _scene_changed(self) -> None:
        pass


def _forget(observed: list[tuple[Any, int]]) -> None:
    while observed:
        watched, tag = observed.pop()
        watched.RemoveObserver(tag)


class qMRMLNodeComboBox(qMRMLWidget):  # noqa: N801 - Slicer's name
    """Libs/MRML/Widgets/qMRMLNodeComboBox.h."""

    currentNodeChanged = Signal(object)  # noqa: N815
    currentNodeIs = Signal(bool)  # noqa: N815
    currentNodeIDChanged = Signal(str)  # noqa: N815
    SIGNALS: ClassVar = {
        **qMRMLWidget.SIGNALS,
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "currentNodeIs",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
    }
    SLOTS: ClassVar = {**qMRMLWidget.SLOTS, "setCurrentNode(vtkMRMLNode*)": "setCurrentNode"}
    _CREATE = "\0create"

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QComboBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._options: dict[str, Any] = {
            "nodeTypes": [],
            "showChildNodeTypes": True,
            "showHidden": False,
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
            "baseName": "",
            "noneDisplay": "None",
        }
        self._current: Any = None
        self._shown: list[Any] = []
        self._leaving: Any = None
        self._box.activated.connect(self._chosen)

    def _option(self, name: str) -> Any:
        return self._options[name]

    def _set_option(self, name: str, value: Any) -> None:
        self._options[name] = list(value) if isinstance(value, list | tuple) else value
        self._fill()

    def _scene_changed(self) -> None:
        scene = self._scene
        _forget(self._observed)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndBatchProcessEvent):
            self._observe(scene, event, self._fill)
        self._observed.append((scene, scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._leave, -10.0)))
        self._fill()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _leave(self, scene: Any, event: str, node: Any) -> None:
        """qMRMLSceneModel.cxx: the item goes while its node is still there, after others have heard of it."""
        self._leaving = node
        self._fill()
        self._leaving = None

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes())]
        return [n for n in nodes if self._offers(n) and n is not self._leaving]

    def _offers(self, node: Any) -> bool:
        types = self._options["nodeTypes"]
        fits = any(node.IsA(t) if self._options["showChildNodeTypes"] else node.GetClassName() == t for t in types)
        return fits and (self._options["showHidden"] or not node.GetHideFromEditors())

    def _fill(self) -> None:
        nodes = self._nodes()
        self._box.clear()
        if self._options["noneEnabled"] or not nodes:
            self._box.addItem(self._options["noneDisplay"], None)
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        if self._options["addEnabled"]:
            for kind in self._options["nodeTypes"]:
                self._box.addItem(f"Create new {self._options['baseName'] or kind}", self._CREATE + kind)
        self.setCurrentNode(self._next(nodes))
        self._shown = nodes

    def _next(self, nodes: list[Any]) -> Any:
        """Which node is chosen when these are there."""
        if self._current in nodes:
            return self._current
        if self._current in self._shown:
            # Qt goes to the item before the one that goes; from the first one to none.
            row = self._shown.index(self._current)
            return next((n for n in reversed(self._shown[:row]) if n in nodes), None)
        # Qt chooses the first item that comes into an empty list. Where there are items for actions the list is never
        # empty: the first node that comes is not chosen.
        actions = any(self._options[f"{what}Enabled"] for what in ("add", "remove", "rename"))
        return nodes[0] if nodes and not self._options["noneEnabled"] and not actions else None

    def _chosen(self, index: int) -> None:
        data = self._box.itemData(index)
        if isinstance(data, str) and data.startswith(self._CREATE):
            kind = data[len(self._CREATE) :]
            self.setCurrentNode(self._scene.AddNewNodeByClass(kind, self._options["baseName"]))
        else:
            self.setCurrentNode(self._scene.GetNodeByID(data) if data else None)

    def currentNode(self) -> Any:  # noqa: N802 - Slicer's name
        return self._current

    def nodeCount(self) -> int:  # noqa: N802 - Slicer's name
        return len(self._nodes())

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802 - Slicer's name
        node = node if node is not None and self._offers(node) else None
        if node is not None and self._box.findData(node.GetID()) < 0:
            self._current = node
            self._fill()
        self._box.setCurrentIndex(self._box.findData(node.GetID()) if node is not None else self._box.findData(None))
        if node is not self._current or getattr(self, "_said", None) is not node:
            self._current = self._said = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIs.emit(node is not None)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    nodeTypes = Property("QStringList", lambda s: s._option("nodeTypes"), lambda s, v: s._set_option("nodeTypes", v))  # noqa: N815
    showChildNodeTypes = Property(  # noqa: N815
        bool, lambda s: s._option("showChildNodeTypes"), lambda s, v: s._set_option("showChildNodeTypes", v)
    )
    noneEnabled = Property(bool, lambda s: s._option("noneEnabled"), lambda s, v: s._set_option("noneEnabled", v))  # noqa: N815
    noneDisplay = Property(str, lambda s: s._option("noneDisplay"), lambda s, v: s._set_option("noneDisplay", v))  # noqa: N815
    addEnabled = Property(bool, lambda s: s._option("addEnabled"), lambda s, v: s._set_option("addEnabled", v))  # noqa: N815
    removeEnabled = Property(bool, lambda s: s._option("removeEnabled"), lambda s, v: s._set_option("removeEnabled", v))  # noqa: N815
    renameEnabled = Property(bool, lambda s: s._option("renameEnabled"), lambda s, v: s._set_option("renameEnabled", v))  # noqa: N815
    baseName = Property(str, lambda s: s._option("baseName"), lambda s, v: s._set_option("baseName", v))  # noqa: N815
    currentNodeID = Property(  # noqa: N815
        str,
        lambda s: s._current.GetID() if s._current is not None else "",
        lambda s, v: s.setCurrentNode(s._scene.GetNodeByID(v)),
    )


class qMRMLSegmentsTableView(qMRMLWidget):  # noqa: N801 - Slicer's name
    """Modules/Loadable/Segmentations/Widgets/qMRMLSegmentsTableView.h: visibility, colour, name, status by click."""

    selectionChanged = Signal(object, object)  # noqa: N815
    segmentAboutToBeModified = Signal(str)  # noqa: N815
    SIGNALS: ClassVar = {
        **qMRMLWidget.SIGNALS,
        "selectionChanged(QItemSelection,QItemSelection)": "selectionChanged",
        "segmentAboutToBeModified(QString)": "segmentAboutToBeModified",
    }
    SLOTS: ClassVar = {**qMRMLWidget.SLOTS, "setSegmentationNode(vtkMRMLNode*)": "setSegmentationNode"}
    VISIBILITY, COLOR, OPACITY, NAME, STATUS = range(5)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._table = QTableView(self)
        self._model = QStandardItemModel(0, 5, self)
        self._model.setHorizontalHeaderLabels(["●", "Color", "Opacity", "Name", "Status"])
        self._table.setModel(self._model)
        self._table.verticalHeader().hide()
        self._table.verticalHeader().setDefaultSectionSize(22)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self._table.horizontalHeader().setMinimumSectionSize(20)
        self._table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self._table.horizontalHeader().setSectionResizeMode(self.NAME, QHeaderView.ResizeMode.Stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._node: Any = None
        self._filling = False
        self._model.itemChanged.connect(self._edited)
        self._table.clicked.connect(self._clicked)
        self._table.selectionModel().selectionChanged.connect(self._selection_changed)

    # ---- segmentation node

    def segmentationNode(self) -> Any:  # noqa: N802 - Slicer's name
        return self._node

    def setSegmentationNode(self, node: Any) -> None:  # noqa: N802 - Slicer's name
        _forget(self._observed)
        self._node = node
        # A reset: what is selected stays so where an ID is the same, and nothing is said of rows that go.
        selected, self._filling = self.selectedSegmentIDs(), True
        self._model.setRowCount(0)
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified):
                self._observe(segmentation, event, self._fill)
            for event in (vtk.vtkCommand.ModifiedEvent, node.DisplayModifiedEvent):
                self._observe(node, event, self._fill)
        self._fill()
        self._select([i for i in selected if self.rowForSegmentID(i) >= 0])

    def _fill(self) -> None:
        ids = list(self._node.GetSegmentation().GetSegmentIDs()) if self._node is not None else []
        # With rows that are removed goes what was selected in them, and Qt tells of it.
        for row in reversed(range(self._model.rowCount())):
            if self.segmentIDForRow(row) not in ids:
                self._model.removeRow(row)
        selected = self.selectedSegmentIDs()
        self._filling = True
        self._model.setRowCount(len(ids))
        for row, segment_id in enumerate(ids):
            self._fill_row(row, segment_id)
        self._filling = False
        self._select(selected)

    def _fill_row(self, row: int, segment_id: str) -> None:
        segment = self._node.GetSegmentation().GetSegment(segment_id)
        display = self._node.GetDisplayNode()
        status = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment)
        texts = {
            self.VISIBILITY: "●" if display is None or display.GetSegmentVisibility(segment_id) else "○",
            self.COLOR: "",
            self.OPACITY: f"{display.GetSegmentOpacity3D(segment_id):.1f}" if display is not None else "1.0",
            self.NAME: segment.GetName(),
            self.STATUS: slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatusAsHumanReadableString(status),
        }
        for column, text in texts.items():
            item = self._model.item(row, column) or QStandardItem()
            if self._model.item(row, column) is None:
                self._model.setItem(row, column, item)
            item.setText(text)
            item.setEditable(column == self.NAME)
        swatch = QPixmap(14, 14)
        swatch.fill(QColor.fromRgbF(*segment.GetColor()))
        self._model.item(row, self.COLOR).setData(swatch, Qt.ItemDataRole.DecorationRole)
        self._model.item(row, self.NAME).setData(segment_id, ID_ROLE)

    # ---- what the user does

    def _edited(self, item: QStandardItem) -> None:
        if not self._filling and item.column() == self.NAME:
            segment_id = item.data(ID_ROLE)
            self.segmentAboutToBeModified.emit(segment_id)
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def _clicked(self, index: Any) -> None:
        segment_id = self.segmentIDForRow(index.row())
        if index.column() == self.VISIBILITY:
            display = self._node.GetDisplayNode()
            display.SetSegmentVisibility(segment_id, not display.GetSegmentVisibility(segment_id))
        elif index.column() == self.STATUS:
            logic = slicer.vtkSlicerSegmentationsModuleLogic
            segment = self._node.GetSegmentation().GetSegment(segment_id)
            logic.SetSegmentStatus(segment, (logic.GetSegmentStatus(segment) + 1) % logic.LastStatus)

    def _selection_changed(self, selected: Any, deselected: Any) -> None:
        if not self._filling:
            self.selectionChanged.emit(selected, deselected)

    # ---- selection

    def segmentIDForRow(self, row: int) -> str:  # noqa: N802 - Slicer's name
        item = self._model.item(row, self.NAME)
        return item.data(ID_ROLE) if item is not None else ""

    def rowForSegmentID(self, segment_id: str) -> int:  # noqa: N802 - Slicer's name
        rows = range(self._model.rowCount())
        return next((r for r in rows if self.segmentIDForRow(r) == segment_id), -1)

    def selectedSegmentIDs(self) -> list[str]:  # noqa: N802 - Slicer's name
        return [self.segmentIDForRow(i.row()) for i in self._table.selectionModel().selectedRows(self.NAME)]

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:  # noqa: N802 - Slicer's name
        self._select(list(ids))

    def _select(self, ids: list[str]) -> None:
        if ids == self.selectedSegmentIDs():
            return
        self._table.clearSelection()
        for segment_id in ids:
            row = self.rowForSegmentID(segment_id)
            if row >= 0:
                self._table.selectRow(row)

    def clearSelection(self) -> None:  # noqa: N802 - Slicer's name
        self._table.clearSelection()

    def tableWidget(self) -> QTableView:  # noqa: N802 - Slicer's name
        return self._table

    def _column(self, column: int) -> bool:
        return not self._table.isColumnHidden(column)

    def _show_column(self, column: int, visible: bool) -> None:
        self._table.setColumnHidden(column, not visible)

    segmentCount = Property(int, lambda s: s._model.rowCount())  # noqa: N815
    selectionMode = Property(  # noqa: N815
        int,
        lambda s: s._table.selectionMode().value,
        lambda s, v: s._table.setSelectionMode(QAbstractItemView.SelectionMode(v)),
    )
    headerVisible = Property(  # noqa: N815
        bool, lambda s: s._table.horizontalHeader().isVisible(), lambda s, v: s._table.horizontalHeader().setVisible(v)
    )
    visibilityColumnVisible = Property(  # noqa: N815
        bool, lambda s: s._column(s.VISIBILITY), lambda s, v: s._show_column(s.VISIBILITY, v)
    )
    colorColumnVisible = Property(bool, lambda s: s._column(s.COLOR), lambda s, v: s._show_column(s.COLOR, v))  # noqa: N815
    opacityColumnVisible = Property(bool, lambda s: s._column(s.OPACITY), lambda s, v: s._show_column(s.OPACITY, v))  # noqa: N815
    statusColumnVisible = Property(bool, lambda s: s._column(s.STATUS), lambda s, v: s._show_column(s.STATUS, v))  # noqa: N815


CLASSES: tuple[type[QWidget], ...] = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSegmentsTableView)
