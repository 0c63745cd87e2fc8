"""``qt.QUiLoader``: Qt's own loader of ``.ui`` files, told of the widgets of CTK and Slicer.

Qt Designer's connections are made here, by signature, because Qt for Python cannot name types such as vtkMRMLScene.
A signal or slot that the class does not declare is an error.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QObject
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QWidget

from Testing.host import ctk_widgets, qmrml_widgets

CUSTOM: dict[str, type[QWidget]] = {c.__name__: c for c in (*ctk_widgets.CLASSES, *qmrml_widgets.CLASSES)}


class SlicerUiLoader(QUiLoader):
    """Slicer's loader finds CTK's and Slicer's widgets through Qt Designer plugins; this one knows them."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        for kind in CUSTOM.values():
            self.registerCustomWidget(kind)

    def load(self, file: QIODevice, parent: QWidget | None = None) -> QWidget:  # type: ignore[override]
        document = ElementTree.fromstring(bytes(file.readAll().data()))
        _check_classes(document)
        connections = document.find("connections")
        wanted = list(connections) if connections is not None else []
        if connections is not None:
            document.remove(connections)
        buffer = QBuffer(self)
        buffer.setData(QByteArray(ElementTree.tostring(document)))
        buffer.open(QIODevice.OpenModeFlag.ReadOnly)
        made = super().load(buffer, parent)
        for connection in wanted:
            _connect(made, *(connection.findtext(k) or "" for k in ("sender", "signal", "receiver", "slot")))
        return made


def _check_classes(document: ElementTree.Element) -> None:
    custom = {e.text for e in document.iterfind("customwidgets/customwidget/class")}
    unknown = custom - set(CUSTOM)
    if unknown:
        raise RuntimeError(f"This .ui file uses widgets that the host does not have: {sorted(unknown)}")


def _connect(made: QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
    source, target = (_child(made, name) for name in (sender, receiver))
    try:
        emits: Any = getattr(source, source.SIGNALS[signal])  # type: ignore[attr-defined]
        accepts: Any = getattr(target, target.SLOTS[slot])  # type: ignore[attr-defined]
    except (AttributeError, KeyError) as error:
        raise RuntimeError(f"{sender}.{signal} → {receiver}.{slot}: no such signal or slot") from error
    emits.connect(accepts)


def _child(made: QWidget, name: str) -> QObject:
    found = made if made.objectName() == name else made.findChild(QObject, name)
    if found is None:
        raise RuntimeError(f"The .ui file connects a widget '{name}' that it does not have")
    return found
