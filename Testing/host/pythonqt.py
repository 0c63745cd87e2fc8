"""Qt for Python (PySide6) with PythonQt's manners, as Slicer's ``qt`` module has them.

Qt properties are attributes, signals connect by signature, enumerations are ints, lists come back as tuples, there are
no keyword arguments, and an unknown name raises AttributeError. Stricter than PythonQt in one point: connecting to a
signal that does not exist raises instead of printing a warning.

Source of the manners: https://github.com/MeVisLab/pythonqt, src/PythonQtClassWrapper.cpp and
src/PythonQtInstanceWrapper.cpp.
"""

from __future__ import annotations

import enum
import inspect
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

_LIBRARIES = (QtCore, QtGui, QtWidgets, QtUiTools)


class EnumInt(int):
    """A Qt enumeration's value: an int, as in PythonQt, that still knows what PySide6 wants to be given."""

    cpp: Any

    def __new__(cls, member: enum.Enum) -> EnumInt:
        made = super().__new__(cls, member.value)
        made.cpp = member
        return made

    def __or__(self, other: Any) -> Any:
        return EnumInt(self.cpp | other.cpp) if isinstance(other, EnumInt) else int(self) | other


def wrap(value: Any) -> Any:
    """What PySide6 gave, as PythonQt would give it."""
    if isinstance(value, enum.Enum):
        return EnumInt(value)
    if isinstance(value, list | tuple):
        return tuple(wrap(v) for v in value)
    if isinstance(value, shiboken6.Object):
        return _wrapper_of(value)
    return value


def unwrap(value: Any) -> Any:
    """What the module gave, as PySide6 wants it."""
    if isinstance(value, EnumInt):
        return value.cpp
    if isinstance(value, Wrapper):
        return value._cpp
    if isinstance(value, list | tuple):
        return [unwrap(v) for v in value]
    if callable(value) and not isinstance(value, type):
        return _receiver(value)
    return value


def _receiver(function: Callable[..., Any]) -> Callable[..., Any]:
    """Passes the arguments of a signal on, wrapped; fewer where the function takes fewer, as PythonQt does."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        parameters = []  # type: ignore[assignment]
    variable = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    limit = None if variable else sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)

    def call(*arguments: Any) -> Any:
        return unwrap(function(*(wrap(a) for a in arguments[:limit])))

    return call


def _wrapper_of(cpp: Any) -> Any:
    if isinstance(cpp, QtCore.QObject):
        # Not kept by what it stands for: an object without a parent goes with the last who refers to it.
        kept = getattr(cpp, "_pythonqt_wrapper", None)
        found = None if kept is None else kept()
        if found is None:
            found = object.__new__(class_of(type(cpp)))
            object.__setattr__(found, "_cpp", cpp)
            cpp._pythonqt_wrapper = weakref.ref(found)
        return found
    found = object.__new__(class_of(type(cpp)))
    object.__setattr__(found, "_cpp", cpp)
    return found


_classes: dict[type, Any] = {}


def class_of(cpp_class: type) -> Any:
    """The PythonQt class that stands for a PySide6 class."""
    if cpp_class not in _classes:
        _classes[cpp_class] = PythonQtClass(cpp_class.__name__, (Wrapper,), {"_cpp_class": cpp_class})
    return _classes[cpp_class]


class PythonQtClass(type):
    """``qt.QPushButton`` and the like: enumerations and static methods are its attributes, a call makes an object."""

    _cpp_class: Any

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if keywords:
            raise ValueError(f"{cls.__name__}: keyword arguments are not supported")
        return wrap(cls._cpp_class(*(unwrap(a) for a in arguments)))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            value = getattr(cls._cpp_class, name)
        except AttributeError:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'") from None
        return _called(value) if callable(value) and not isinstance(value, type) else wrap(value)


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return wrap(function(*(unwrap(a) for a in arguments)))

    return call


class Wrapper(metaclass=PythonQtClass):
    """An object of Qt."""

    _cpp: Any

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and self._cpp == other._cpp

    def __hash__(self) -> int:
        return hash(self._cpp)

    def __dir__(self) -> list[str]:
        return dir(self._cpp)

    def __getattr__(self, name: str) -> Any:
        cpp = self._cpp
        if not shiboken6.isValid(cpp):
            raise ValueError(f"Trying to read attribute {name} of a deleted {type(self).__name__} C++ object")
        if isinstance(cpp, QtCore.QObject):
            name = "objectName" if name == "name" else name
            if cpp.metaObject().indexOfProperty(name) >= 0:
                return wrap(cpp.property(name))
            if _signatures(cpp, name):
                return SignalMember(cpp, name)
        if not name.startswith("_") and hasattr(cpp, name):
            value = getattr(cpp, name)
            return _called(value) if callable(value) else wrap(value)
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        cpp = self._cpp
        name = "objectName" if name == "name" else name
        if not isinstance(cpp, QtCore.QObject) or cpp.metaObject().indexOfProperty(name) < 0:
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        if value is None:
            # PythonQt makes the word "None", or False, of it, which nobody means.
            raise ValueError(f"Property {name} of {type(self).__name__} cannot be set to None")
        if not cpp.setProperty(name, unwrap(value)):
            raise ValueError(f"Property {name} of {type(self).__name__} cannot be set to {value!r}")

    def className(self) -> str:  # noqa: N802 - PythonQt's name
        return str(self._cpp.metaObject().className())

    def isWidgetType(self) -> bool:  # noqa: N802 - Qt's name
        return isinstance(self._cpp, QtWidgets.QWidget)

    def findChild(self, kind: Any, name: str = "") -> Any:  # noqa: N802 - Qt's name
        return next(iter(self.findChildren(kind, name)), None)

    def findChildren(self, kind: Any, name: str = "") -> tuple[Any, ...]:  # noqa: N802 - Qt's name
        wanted = kind if isinstance(kind, str) else kind._cpp_class
        return tuple(
            wrap(c)
            for c in self._cpp.findChildren(QtCore.QObject)
            if (c.inherits(wanted) if isinstance(wanted, str) else isinstance(c, wanted))
            and (not name or c.objectName() == name)
        )

    def connect(self, signature: str, function: Callable[..., Any]) -> bool:
        """``button.connect("clicked(bool)", f)``."""
        SignalMember(self._cpp, signature.partition("(")[0], signature).connect(function)
        return True

    def disconnect(self, signature: str, function: Callable[..., Any] | None = None) -> bool:
        SignalMember(self._cpp, signature.partition("(")[0], signature).disconnect(function)
        return True


def _signatures(cpp: Any, name: str) -> dict[str, Any]:
    """The signals called ``name``: C++ signature → PySide6's signal."""
    declared = getattr(type(cpp), "SIGNALS", {})
    found = {s: getattr(cpp, member) for s, member in declared.items() if s.partition("(")[0] == name}
    if found:
        return found
    meta = cpp.metaObject()
    methods = (meta.method(n) for n in range(meta.methodCount()))
    for method in methods:
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and bytes(method.name().data()).decode() == name:
            signature = bytes(method.methodSignature().data()).decode()
            signal = getattr(cpp, name, None)
            if signal is not None:
                found[signature] = _overload(signal, signature)
    return found


def _overload(signal: Any, signature: str) -> Any:
    kinds = signature.partition("(")[2].removesuffix(")")
    if not kinds:
        return signal
    try:
        return signal[kinds]
    except (IndexError, KeyError, TypeError):
        return signal


class SignalMember:
    """A signal of one object: connected by name or by signature, emitted by calling it."""

    def __init__(self, cpp: Any, name: str, signature: str | None = None) -> None:
        known = _signatures(cpp, name)
        if signature is not None:
            plain = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
            by_plain = {bytes(QtCore.QMetaObject.normalizedSignature(s).data()).decode(): m for s, m in known.items()}
            if plain not in by_plain:
                raise AttributeError(f"{type(cpp).__name__} has no signal {signature}; it has {sorted(known)}")
            self._signal = by_plain[plain]
        else:
            plain, self._signal = next(iter(known.items()))
        count = 0 if plain.endswith("()") else plain.count(",") + 1
        self._count = count
        self._receivers: dict[Any, Any] = cpp.__dict__.setdefault("_pythonqt_receivers", {})
        self._key = signature or name

    def connect(self, function: Callable[..., Any]) -> bool:
        receiver = _receiver(function)
        # PySide6 looks at how many arguments a receiver takes, and hands on no more.
        exact = (lambda: receiver(), lambda a: receiver(a), lambda a, b: receiver(a, b))[self._count]
        self._receivers[self._key, function] = exact
        self._signal.connect(exact)
        return True

    def disconnect(self, function: Callable[..., Any] | None = None) -> bool:
        keys = [k for k in self._receivers if k[0] == self._key and function in (None, k[1])]
        for key in keys:
            self._signal.disconnect(self._receivers.pop(key))
        return bool(keys)

    def __call__(self, *arguments: Any) -> None:
        self._signal.emit(*(unwrap(a) for a in arguments))


def qt_name(name: str) -> Any:
    """What ``qt.<name>`` is."""
    for library in _LIBRARIES:
        if hasattr(library, name) and not name.startswith("_"):
            value = getattr(library, name)
            return class_of(value) if isinstance(value, type) else value
    raise AttributeError(f"module 'qt' has no attribute '{name}'")
