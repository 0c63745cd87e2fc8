"""``slicer.app``, ``slicer.mrmlScene`` and ``slicer.modules``: the application around the real scene.

Sources in https://github.com/Slicer/Slicer: Base/QTCore/qSlicerCoreApplication.h, Base/QTGUI/qSlicerApplication.h,
Base/QTCore/qSlicerModuleManager.h, Base/QTGUI/qSlicerAbstractModuleWidget.h,
Base/QTGUI/qSlicerScriptedLoadableModuleWidget.h.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import shiboken6
import slicer
import vtk
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtWidgets import QApplication, QMainWindow, QScrollArea, QVBoxLayout

from PWSegmentationLib.mrml import prepare_scene
from Testing.host.pythonqt import wrap
from Testing.host.qmrml_widgets import qMRMLWidget
from Testing.host.views import Hand, LayoutManager

# Node classes that Slicer's modules register and that a scene file may hold.
_STORAGE = ("vtkMRMLMarkupsJsonStorageNode", "vtkMRMLMarkupsROIJsonStorageNode")


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):  # noqa: N801 - Slicer's name
    """The widget that holds a scripted module's panel."""

    def __init__(self, make: Callable[[], None]) -> None:
        super().__init__()
        self._entered = False
        self._make = make

    def reload(self) -> None:
        """Make the module's widget object anew, as slicer.util.reloadScriptedModule asks."""
        self._make()

    isEntered = Property(bool, lambda s: s._entered)  # noqa: N815 - Slicer's name


class ApplicationSignals(QObject):
    """The signals of the application that scripted modules connect to."""

    startupCompleted = Signal()  # noqa: N815 - Slicer's name


class qSlicerApplication:  # noqa: N801 - Slicer's name
    """``slicer.app``."""

    def __init__(self) -> None:
        self._qt = QApplication.instance() or QApplication(["Slicer", "-platform", "offscreen"])
        self._signals = ApplicationSignals()
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._layout: LayoutManager | None = None
        self._cursors = 0
        self.window = QMainWindow()
        self.window.setObjectName("qSlicerMainWindow")

    def topLevelWidgets(self) -> Any:  # noqa: N802 - Qt's name
        return wrap(QApplication.topLevelWidgets())

    def connect(self, signature: str, function: Any) -> bool:
        return bool(wrap(self._signals).connect(signature, function))

    def start(self, scene: Any) -> None:
        """Show a new scene."""
        self._logic.SetMRMLScene(scene)
        self._layout = LayoutManager(self._logic)

    def applicationLogic(self) -> Any:  # noqa: N802 - Slicer's name
        return self._logic

    def layoutManager(self) -> LayoutManager | None:  # noqa: N802 - Slicer's name
        return self._layout

    def processEvents(self) -> None:  # noqa: N802 - Slicer's name
        QApplication.processEvents()

    def testingEnabled(self) -> bool:  # noqa: N802 - Slicer's name
        return True

    def setOverrideCursor(self, cursor: Any) -> None:  # noqa: N802 - Slicer's name
        self._cursors += 1

    def restoreOverrideCursor(self) -> None:  # noqa: N802 - Slicer's name
        self._cursors -= 1


class Modules(SimpleNamespace):
    """``slicer.modules``: an unknown module raises AttributeError."""


class Segmentations:
    """``slicer.modules.segmentations``, with its real logic."""

    def __init__(self, scene: Any) -> None:
        self._logic = slicer.vtkSlicerSegmentationsModuleLogic()
        self._logic.SetMRMLScene(scene)

    def logic(self) -> Any:
        return self._logic


class Host:
    """Starts the application, opens the module, lets the user's hand work."""

    MODULE: ClassVar = "PWSegmentation"

    def __init__(self, module_file: Path) -> None:
        self._file = module_file
        self.app = slicer.app = qSlicerApplication()
        slicer.modules = Modules()
        self.widget: Any = None
        self.new_scene()

    def new_scene(self) -> Any:
        """Start with an empty scene, as after starting Slicer."""
        self.scene = slicer.mrmlScene = new_scene()
        self.app.start(self.scene)
        slicer.modules.segmentations = Segmentations(self.scene)
        self.hand = Hand(self.app.layoutManager(), self.app.applicationLogic())  # type: ignore[arg-type]
        return self.scene

    # ---- the module

    def open(self) -> Any:
        """Open the module for the first time; returns its widget object."""
        module = self._load()
        self._panel = qSlicerScriptedLoadableModuleWidget(self._make)
        information = SimpleNamespace(path=str(self._file), widgetRepresentation=lambda: wrap(self._panel))
        setattr(slicer.modules, self.MODULE.lower(), information)
        module.PWSegmentation(information)
        QVBoxLayout(self._panel)
        self._panel.setMRMLScene(self.scene)
        self._make()
        # Slicer's module panel scrolls.
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(self._panel)
        self.app.window.setCentralWidget(area)
        self.app.window.resize(480, 1250)
        self.app.window.show()
        self.enter()
        return self.widget

    def _load(self) -> Any:
        spec = importlib.util.spec_from_file_location(self.MODULE, self._file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.MODULE] = module
        # Slicer's module factory puts the module's folder on the path.
        if str(self._file.parent) not in sys.path:
            sys.path.insert(0, str(self._file.parent))
        spec.loader.exec_module(module)
        return module

    def _make(self) -> None:
        self.widget = sys.modules[self.MODULE].PWSegmentationWidget(wrap(self._panel))
        slicer.modules.PWSegmentationWidget = self.widget
        self.widget.setup()

    def enter(self) -> None:
        """Switch to the module."""
        self._panel._entered = True
        self.widget.enter()
        self._panel.show()

    def leave(self) -> None:
        """Switch to another module."""
        self._panel._entered = False
        self._panel.hide()
        self.widget.exit()

    def reload(self) -> Any:
        """What the Reload button of the developer mode does."""
        self.widget.onReload()
        return self.widget

    def close(self) -> None:
        """Quit."""
        if self.widget is not None:
            self.widget.cleanup()
            self.app.window.hide()
            self.app.window.takeCentralWidget().deleteLater()
            self.widget = None
        QApplication.processEvents()
        # At once, not when Python gets round to it: the next host's `slicer.util.mainWindow()` would find this one's.
        if shiboken6.isValid(self.app.window):
            shiboken6.delete(self.app.window)

    @property
    def panel(self) -> qSlicerScriptedLoadableModuleWidget:
        """The Qt widget that holds the panel, to grab or to send events to."""
        return self._panel


def new_scene() -> Any:
    """A scene that can read and write what the module puts into it, as Slicer's own can."""
    scene = slicer.vtkMRMLScene()
    prepare_scene(scene)
    for name in _STORAGE:
        scene.RegisterNodeClass(getattr(slicer, name)())
    scene.AddObserver(scene.NodeAddedEvent, _give_item)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _take_item)
    return scene


@vtk.calldata_type(vtk.VTK_OBJECT)
def _give_item(scene: Any, event: str, node: Any) -> None:
    """Modules/Loadable/SubjectHierarchy/Widgets/qSlicerSubjectHierarchyPluginLogic.cxx, onNodeAdded."""
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    kinds = ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode", "vtkMRMLTransformNode")
    if not scene.IsImporting() and any(node.IsA(k) for k in kinds) and not tree.GetItemByDataNode(node):
        tree.CreateItem(tree.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _take_item(scene: Any, event: str, node: Any) -> None:
    """The same file, onNodeAboutToBeRemoved."""
    if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = tree.GetItemByDataNode(node)
    if item:
        tree.RemoveItem(item, False, False)
