"""The host has PythonQt's manners, and nothing for show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def qt(host: Any) -> Any:
    import qt

    return qt


def test_properties_are_attributes_and_unknown_names_are_errors(qt: Any) -> None:
    button = qt.QPushButton("text")
    button.text = "other"
    assert (button.text, button.enabled, button.isEnabled()) == ("other", True, True)
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    with pytest.raises(AttributeError, match="QPushButton has no attribute named 'nosuch'"):
        button.nosuch  # noqa: B018
    with pytest.raises(AttributeError):
        button.nosuch = 1
    with pytest.raises(ValueError, match="keyword"):
        qt.QPushButton(text="x")
    with pytest.raises(AttributeError):
        qt.QNoSuchWidget  # noqa: B018


def test_signals_connect_by_signature_and_must_exist(qt: Any) -> None:
    box, heard = qt.QCheckBox("x"), []
    box.connect("toggled(bool)", heard.append)
    box.checked = True
    box.disconnect("toggled(bool)", heard.append)
    box.checked = False
    assert heard == [True]
    with pytest.raises(AttributeError, match="no signal"):
        box.connect("nosuch()", print)


def test_enumerations_are_ints_and_classes_do_not_follow_qts(qt: Any) -> None:
    assert (qt.Qt.LeftButton, qt.QMessageBox.Yes, qt.Qt.Key_P) == (1, 16384, 80)
    assert not isinstance(qt.QPushButton("x"), qt.QAbstractButton)


def test_one_wrapper_per_object_and_children_are_a_tuple(qt: Any) -> None:
    parent, button = qt.QWidget(), qt.QPushButton("x")
    layout = qt.QVBoxLayout(parent)
    layout.addWidget(button)
    assert parent.findChildren("QPushButton") == (button,)
    assert parent.children()[1] is button


def test_an_object_without_a_parent_goes_with_the_last_who_refers_to_it(qt: Any) -> None:
    gone = []
    timer, window = qt.QTimer(), qt.QWidget()
    button = qt.QPushButton("x", window)
    for made in (timer, button):
        made._cpp.destroyed.connect(lambda: gone.append(1))
    del made

    del timer, button

    assert gone == [1]
    assert window.children()[0].text == "x"


def test_the_main_window_is_that_of_the_host_that_runs() -> None:
    code = """
from Testing.host import start
import slicer.util
for _ in range(3):
    host = start()
    host.open()
    print(slicer.util.mainWindow()._cpp is host.app.window)
    host.close()
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)

    assert done.stdout.split() == ["True"] * 3


def test_unknown_names_of_the_application_are_errors(host: Any) -> None:
    import slicer

    for owner in (slicer.app, slicer.modules, slicer.app.layoutManager()):
        with pytest.raises(AttributeError):
            owner.nosuch  # noqa: B018
