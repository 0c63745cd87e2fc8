"""A small host for the Slicer module: ``qt``, ``ctk`` and the application's part of ``slicer``, on real Qt and MRML.

Slicer's libraries below the GUI are real (slicer-core), and so is Qt (PySide6, off-screen). What lies between them is
here: the smallest faithful equivalent of each piece the module uses, its source named, and nothing for show: a name
that is not here raises AttributeError, and a signal that does not exist cannot be connected to.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

MODULE_FILE = Path(__file__).parents[2] / "PWSegmentation" / "PWSegmentation.py"


def install() -> None:
    """Put the modules that Slicer offers into ``sys.modules``; once in a process."""
    if "qt" in sys.modules:
        return
    import slicer
    import slicer.util

    from Testing.host import parameter_node, scripted_module
    from Testing.host.pythonqt import class_of, qt_name
    from Testing.host.qmrml_widgets import CLASSES as QMRML
    from Testing.host.ui_files import CUSTOM, SlicerUiLoader

    qt, ctk = ModuleType("qt"), ModuleType("ctk")
    qt.__getattr__ = lambda name: class_of(SlicerUiLoader) if name == "QUiLoader" else qt_name(name)  # type: ignore[method-assign]
    for name, kind in CUSTOM.items():
        if kind in QMRML:
            setattr(slicer, name, class_of(kind))
        else:
            setattr(ctk, name, class_of(kind))
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    _module(
        "slicer.parameterNodeWrapper",
        **{n: getattr(parameter_node, n) for n in ("parameterNodeWrapper", "Choice", "WithinRange")},
    )
    kinds = ("", "Widget", "Logic", "Test")
    names = [f"ScriptedLoadableModule{kind}" for kind in kinds]
    _module("slicer.ScriptedLoadableModule", **{n: getattr(scripted_module, n) for n in names})
    sys.modules["qt"], sys.modules["ctk"] = qt, ctk


def _module(name: str, **members: Any) -> None:
    made = ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
    setattr(sys.modules["slicer"], name.partition(".")[2], made)


def start() -> Any:
    """A running application with an empty scene."""
    install()
    from Testing.host.application import Host

    return Host(MODULE_FILE)
