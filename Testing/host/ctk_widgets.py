"""CTK's widgets that the module uses, as small Qt widgets with the same properties, signals and slots.

Each class names the header of https://github.com/commontk/CTK that declares what is here; nothing else is offered.
"""

from __future__ import annotations

from typing import ClassVar

from PySide6.QtCore import Property, QEvent, QObject, Qt, Signal
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)


class ctkCollapsibleButton(QWidget):  # noqa: N801 - CTK's name
    """Libs/Widgets/ctkCollapsibleButton.h."""

    contentsCollapsed = Signal(bool)  # noqa: N815
    SIGNALS: ClassVar = {"contentsCollapsed(bool)": "contentsCollapsed"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._header = QToolButton(self)
        self._header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setAutoRaise(True)
        self._header.clicked.connect(lambda: self._collapse(not self._collapsed))
        self._collapsed = False
        self._show()

    def _text(self) -> str:
        return self._header.text()

    def _set_text(self, text: str) -> None:
        self._header.setText(text)
        self._header.adjustSize()

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def _collapse(self, collapsed: bool) -> None:
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self._show()
            self.contentsCollapsed.emit(collapsed)

    def _show(self) -> None:
        self._header.setArrowType(Qt.ArrowType.RightArrow if self._collapsed else Qt.ArrowType.DownArrow)
        for child in self.children():
            if isinstance(child, QWidget) and child is not self._header:
                child.setVisible(not self._collapsed)
        self.setMaximumHeight(24 if self._collapsed else 16777215)
        self.updateGeometry()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest and self.layout() is not None:
            self.layout().setContentsMargins(9, 28, 9, 6)
        return super().event(event)

    def childEvent(self, event: QEvent) -> None:  # noqa: N802 - Qt's name
        super().childEvent(event)
        child: QObject = event.child()  # type: ignore[attr-defined]
        if event.type() == QEvent.Type.ChildAdded and isinstance(child, QWidget) and self.__dict__.get("_collapsed"):
            child.setVisible(False)

    text = Property(str, _text, _set_text)
    collapsed = Property(bool, _is_collapsed, _collapse)


class ctkSliderWidget(QWidget):  # noqa: N801 - CTK's name
    """Libs/Widgets/ctkSliderWidget.h."""

    valueChanged = Signal(float)  # noqa: N815
    SIGNALS: ClassVar = {"valueChanged(double)": "valueChanged"}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._box = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.setKeyboardTracking(False)
        self._box.valueChanged.connect(self._of_box)
        self._slider.sliderMoved.connect(lambda n: self._box.setValue(self._box.minimum() + n * self._step()))

    def _step(self) -> float:
        return self._box.singleStep() or 1.0

    def _of_box(self, value: float) -> None:
        self._slider.setValue(round((value - self._box.minimum()) / self._step()))
        self.valueChanged.emit(value)

    def _set(self, name: str, value: object) -> None:
        getattr(self._box, f"set{name}")(value)
        self._slider.setRange(0, round((self._box.maximum() - self._box.minimum()) / self._step()))
        self._slider.setValue(round((self._box.value() - self._box.minimum()) / self._step()))

    value = Property(float, lambda s: s._box.value(), lambda s, v: s._box.setValue(v))
    minimum = Property(float, lambda s: s._box.minimum(), lambda s, v: s._set("Minimum", v))
    maximum = Property(float, lambda s: s._box.maximum(), lambda s, v: s._set("Maximum", v))
    singleStep = Property(float, lambda s: s._box.singleStep(), lambda s, v: s._set("SingleStep", v))  # noqa: N815
    decimals = Property(int, lambda s: s._box.decimals(), lambda s, v: s._set("Decimals", v))
    suffix = Property(str, lambda s: s._box.suffix(), lambda s, v: s._set("Suffix", v))


class ctkPathLineEdit(QWidget):  # noqa: N801 - CTK's name
    """Libs/Widgets/ctkPathLineEdit.h; as in its .cpp, nothing is said of a path that is not accepted, but once that."""

    currentPathChanged = Signal(str)  # noqa: N815
    validInputChanged = Signal(bool)  # noqa: N815
    SIGNALS: ClassVar = {
        "currentPathChanged(QString)": "currentPathChanged",
        "validInputChanged(bool)": "validInputChanged",
    }

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit, self._browse, self._valid = QLineEdit(self), QToolButton(self), False
        self._browse.setText("…")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._edit, 1)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self._changed)
        self._browse.clicked.connect(lambda: self._edit.setText(QFileDialog.getOpenFileName(self)[0]))

    def _changed(self, path: str) -> None:
        # Without name filters (and here are none) its validator accepts all but an empty path.
        was, self._valid = self._valid, bool(path)
        if self._valid:
            self.currentPathChanged.emit(path)
        if self._valid != was:
            self.validInputChanged.emit(self._valid)

    currentPath = Property(str, lambda s: s._edit.text(), lambda s, v: s._edit.setText(v))  # noqa: N815


CLASSES: tuple[type[QWidget], ...] = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit)
__all__ = ["CLASSES", "QVBoxLayout"]
