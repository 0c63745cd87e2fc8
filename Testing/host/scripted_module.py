"""``slicer.ScriptedLoadableModule``: the base classes of a scripted module.

Source: https://github.com/Slicer/Slicer, Base/Python/slicer/ScriptedLoadableModule.py, without the developer section.
"""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any

import slicer


class ScriptedLoadableModule:
    """What the module is; the widget factory reads it from ``parent``."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        parent.helpText = parent.acknowledgementText = ""

    def resourcePath(self, filename: str) -> str:  # noqa: N802 - Slicer's name
        return str(Path(self.parent.path).parent / "Resources" / filename)


class ScriptedLoadableModuleWidget:
    """The panel: ``parent`` is the widget that the application shows, ``layout`` its layout."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        self.layout = parent.layout()

    def resourcePath(self, filename: str) -> str:  # noqa: N802 - Slicer's name
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """To be extended."""

    def cleanup(self) -> None:
        """To be overridden."""

    def onReload(self) -> None:  # noqa: N802 - Slicer's name
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """The logic, with one parameter node in the scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:  # noqa: N802 - Slicer's name
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if found is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetModuleName(self.moduleName)
            found = slicer.mrmlScene.AddNode(node)
        if found.GetAttribute("ModuleName") != self.moduleName:
            found.SetAttribute("ModuleName", self.moduleName)
        return found


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The module's own test, which runs inside Slicer, and here too."""

    messageDelay = 0  # noqa: N815 - Slicer's name

    def runTest(self) -> None:  # noqa: N802 - unittest's name
        """To be overridden."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:  # noqa: N802, N803
        """Slicer shows the message for a moment."""
