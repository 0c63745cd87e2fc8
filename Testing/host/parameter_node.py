"""``slicer.parameterNodeWrapper``, as much of it as the module uses: typed properties on a parameter node.

Source: https://github.com/Slicer/Slicer, Base/Python/slicer/parameterNodeWrapper (wrapper.py, guiConnectors.py,
serializers.py, validators.py). As there, values are kept as text and node references of the MRML node, a value outside
its annotation raises ValueError, and a widget takes part if its dynamic property SlicerParameterName names a member.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import vtk


@dataclass(frozen=True)
class WithinRange:
    """validators.py: the value must lie between both, ends included."""

    minimum: float
    maximum: float

    def check(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not between {self.minimum} and {self.maximum}")


@dataclass(frozen=True)
class Choice:
    """validators.py: the value must be one of these."""

    choices: Sequence[Any]

    def check(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {list(self.choices)}")


class _Member:
    """One typed value of a parameter node."""

    def __init__(self, name: str, kind: Any, default: Any) -> None:
        self.name, self.annotations = name, typing.get_args(kind)[1:] if hasattr(kind, "__metadata__") else ()
        self.type = typing.get_args(kind)[0] if hasattr(kind, "__metadata__") else kind
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.default = default if default is not None or self.is_node else self.type()

    def read(self, node: Any) -> Any:
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            if value is not None and not isinstance(value, self.type):
                raise TypeError(f"{self.name} must be a {self.type.__name__}, not {type(value).__name__}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if not isinstance(value, self.type) and not (self.type is float and isinstance(value, int)):
            raise TypeError(f"{self.name} must be {self.type.__name__}, not {value!r}")
        for annotation in self.annotations:
            annotation.check(value)
        node.SetParameter(self.name, str(value))

    def is_in(self, node: Any) -> bool:
        return self.is_node or node.HasParameter(self.name)


# Widget class → how it is read, written and heard: guiConnectors.py.
_CONNECTORS: dict[str, tuple[str, str]] = {
    "QCheckBox": ("checked", "toggled(bool)"),
    "QPushButton": ("checked", "toggled(bool)"),
    "QSpinBox": ("value", "valueChanged(int)"),
    "QSlider": ("value", "valueChanged(int)"),
    "QDoubleSpinBox": ("value", "valueChanged(double)"),
    "ctkSliderWidget": ("value", "valueChanged(double)"),
    "QLineEdit": ("text", "textChanged(QString)"),
}


class _Connector:
    """One widget that shows one member, and changes it."""

    def __init__(self, widget: Any, member: _Member) -> None:
        self.widget, self.member, self._kind = widget, member, widget.className()
        if self._kind == "QComboBox":
            self._choices = next(a.choices for a in member.annotations if isinstance(a, Choice))
            widget.clear()
            for choice in self._choices:
                widget.addItem(str(choice))
        elif self._kind == "qMRMLNodeComboBox":
            widget.nodeTypes = [member.type.__name__]
        elif self._kind not in _CONNECTORS:
            raise RuntimeError(f"Unable to create GUI connector from '{member.type}' to widget type '{self._kind}'")
        for limits in (a for a in member.annotations if isinstance(a, WithinRange)):
            widget.minimum, widget.maximum = member.type(limits.minimum), member.type(limits.maximum)

    def read(self) -> Any:
        if self._kind == "QComboBox":
            return self._choices[self.widget.currentIndex]
        if self._kind == "qMRMLNodeComboBox":
            return self.widget.currentNode()
        return self.member.type(getattr(self.widget, _CONNECTORS[self._kind][0]))

    def write(self, value: Any) -> None:
        if self._kind == "QComboBox":
            self.widget.currentIndex = list(self._choices).index(value)
        elif self._kind == "qMRMLNodeComboBox":
            self.widget.setCurrentNode(value)
        else:
            setattr(self.widget, _CONNECTORS[self._kind][0], value)

    def _signal(self) -> str:
        others = {"QComboBox": "currentIndexChanged(int)", "qMRMLNodeComboBox": "currentNodeChanged(vtkMRMLNode*)"}
        return others.get(self._kind) or _CONNECTORS[self._kind][1]

    def connect(self, function: Callable[[], None]) -> None:
        self._function = function
        self.widget.connect(self._signal(), function)

    def disconnect(self) -> None:
        self.widget.disconnect(self._signal(), self._function)


def parameterNodeWrapper(kind: type) -> type:  # noqa: N802 - Slicer's name
    """Class decorator: the annotated members become properties kept in a parameter node."""
    hints = typing.get_type_hints(kind, include_extras=True)
    members = {name: _Member(name, hint, getattr(kind, name, None)) for name, hint in hints.items()}
    for member in members.values():
        setattr(kind, member.name, _property(member))
    for name, value in vars(_Wrapper).items():
        if not name.startswith("__") or name == "__init__":
            setattr(kind, name, value)
    kind.allParameters = members  # type: ignore[attr-defined]
    return kind


def _property(member: _Member) -> property:
    return property(lambda s: member.read(s.parameterNode), lambda s, v: member.write(s.parameterNode, v))


class _Wrapper:
    """The methods of every wrapper."""

    allParameters: dict[str, _Member]  # noqa: N815 - Slicer's name

    def __init__(self, parameterNode: Any) -> None:  # noqa: N803 - Slicer's name
        self.parameterNode = parameterNode
        self._guis: dict[int, list[_Connector]] = {}
        self._updating = False
        for member in self.allParameters.values():
            if not member.is_in(parameterNode):
                member.write(parameterNode, member.default)

    def connectGui(self, gui: Any) -> int:  # noqa: N802 - Slicer's name
        named = {w.property("SlicerParameterName"): w for w in vars(gui).values()}
        connectors = [_Connector(w, self.allParameters[name]) for name, w in named.items() if name]
        for connector in connectors:
            connector.write(connector.member.read(self.parameterNode))
            connector.connect(self._taker(connector))
        tag = len(self._guis)
        self._guis[tag] = connectors
        # Never removed in Slicer 5.10.
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        return tag

    def disconnectGui(self, tag: int) -> None:  # noqa: N802 - Slicer's name
        for connector in self._guis.pop(tag):
            connector.disconnect()

    def _taker(self, connector: _Connector) -> Callable[[], None]:
        def take() -> None:
            if not self._updating:
                connector.member.write(self.parameterNode, connector.read())

        return take

    def _show(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in self._guis.values():
                for connector in connectors:
                    connector.write(connector.member.read(self.parameterNode))
        finally:
            self._updating = False

    def StartModify(self) -> int:  # noqa: N802 - VTK's name
        return int(self.parameterNode.StartModify())

    def EndModify(self, before: int) -> int:  # noqa: N802 - VTK's name
        return int(self.parameterNode.EndModify(before))

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:  # noqa: N802 - VTK's name
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:  # noqa: N802 - VTK's name
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:  # noqa: N802 - VTK's name
        self.parameterNode.Modified()
