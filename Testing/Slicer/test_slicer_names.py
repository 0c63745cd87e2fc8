"""Everything of Slicer, CTK and MRML that the module uses is in `slicer_names.csv`, with the file that declares it.

The table was checked against the sources of Slicer 5.10 (5.12 for `slicer.packaging`), CTK and the PyTorch extension; a
name that is new to the module fails here until somebody has looked it up there.
"""

from __future__ import annotations

import ast
import csv
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "PWSegmentation"
PANEL = MODULE / "Resources" / "UI" / "PWSegmentation.ui"

# Of Python, its standard library and NumPy; and of Qt and VTK, whose documentation has them.
PYTHON = {
    "CalledProcessError",
    "DEVNULL",
    "PIPE",
    "PackageNotFoundError",
    "Popen",
    "SIGKILL",
    "TemporaryDirectory",
    "TemporaryFile",
    "append",
    "assertEqual",
    "assertGreater",
    "assertTrue",
    "astype",
    "contextmanager",
    "decode",
    "default_rng",
    "dist",
    "executable",
    "find_spec",
    "format",
    "get",
    "index",
    "indices",
    "info",
    "invalidate_caches",
    "items",
    "join",
    "keys",
    "kill",
    "killpg",
    "metadata",
    "modules",
    "normal",
    "parent",
    "parents",
    "partition",
    "path",
    "pid",
    "platform",
    "poll",
    "random",
    "read",
    "reshape",
    "resolve",
    "returncode",
    "seek",
    "shape",
    "sleep",
    "splitlines",
    "start",
    "stderr",
    "strftime",
    "strip",
    "sum",
    "suppress",
    "values",
    "which",
    "write",
    "write_text",
}
QT_AND_VTK = {
    "QAbstractItemView",
    "QFileDialog",
    "QHeaderView",
    "QKeySequence",
    "QShortcut",
    "QTableWidgetItem",
    "QTimer",
    "NoEditTriggers",
    "AcceptSave",
    "SelectRows",
    "Stretch",
    "addWidget",
    "appendPlainText",
    "checked",
    "click",
    "connect",
    "currentRow",
    "deleteLater",
    "disconnect",
    "enabled",
    "exec_",
    "hasFocus",
    "horizontalHeader",
    "layout",
    "plainText",
    "selectedFiles",
    "setAcceptMode",
    "setColumnCount",
    "setDefaultSuffix",
    "setEditTriggers",
    "setEnabled",
    "setHorizontalHeaderLabels",
    "setInterval",
    "setItem",
    "setMaximumBlockCount",
    "setMinimumHeight",
    "setParent",
    "setRowCount",
    "setSectionResizeMode",
    "setSelectionBehavior",
    "setSingleShot",
    "singleShot",
    "setStyleSheet",
    "stop",
    "text",
    "toolTip",
    "value",
    "verticalHeader",
    "visible",
    "AddObserver",
    "GetAltKey",
    "GetClassName",
    "GetCommand",
    "GetControlKey",
    "GetEventPosition",
    "GetShiftKey",
    "IsA",
    "ModifiedEvent",
    "RemoveObserver",
    "SetAbortFlag",
    "VTK_OBJECT",
    "calldata_type",
    "vtkCommand",
}
# Names of the slicer package itself: what hangs from them is in the table.
PACKAGE = {"app", "util", "mrmlScene", "packaging", "i18n", "parameterNodeWrapper", "vtkMRMLSliceNode"}


def trees() -> list[ast.Module]:
    return [ast.parse(p.read_text(encoding="utf-8")) for p in sorted(MODULE.rglob("*.py"))]


def table() -> list[dict[str, str]]:
    with (Path(__file__).parent / "slicer_names.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def defined(nodes: Any) -> set[str]:
    """Names that code defines: functions, classes, fields and attributes that are set."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Assign):
            found.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return found


def of_the_library() -> set[str]:
    sources = (ROOT / "PWSegmentationLib").rglob("*.py")
    return defined(n for p in sources for n in ast.walk(ast.parse(p.read_text(encoding="utf-8"))))


def test_every_name_of_slicer_in_the_code_is_in_the_table() -> None:
    nodes = [n for tree in trees() for n in ast.walk(tree)]
    used = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    own = defined(nodes) | of_the_library() | {w.get("name") for w in ElementTree.parse(PANEL).iter("widget")}

    known = {row["name"].partition("(")[0] for row in table()}

    assert sorted(used - own - PYTHON - QT_AND_VTK - PACKAGE - known) == []


def test_every_name_imported_from_slicer_is_in_the_table() -> None:
    known = {row["name"] for row in table()}
    imports = [n for tree in trees() for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names = {a.name for n in imports if str(n.module).startswith("slicer.") for a in n.names}

    assert names - known == set()


def test_every_widget_property_and_connection_of_the_ui_file_is_in_the_table() -> None:
    panel = ElementTree.parse(PANEL)
    foreign = [w for w in panel.iter("widget") if str(w.get("class")).startswith(("q", "ctk"))]
    used = {w.get("class") for w in foreign}
    of_qt = {"text", "toolTip", "enabled"}
    used |= {p.get("name") for w in foreign for p in w.findall("property") if p.get("stdset") != "0"} - of_qt
    used |= {c.findtext(end) for c in panel.iter("connection") for end in ("signal", "slot")}

    assert used - {row["name"] for row in table()} == set()


def test_signals_of_slicers_widgets_are_in_the_table() -> None:
    calls = [n for tree in trees() for n in ast.walk(tree) if isinstance(n, ast.Call)]
    connected = {
        n.args[0].value  # type: ignore[attr-defined]
        for n in calls
        if isinstance(n.func, ast.Attribute) and n.func.attr == "connect"
    }
    of_qt = {
        "clicked(bool)",
        "editingFinished()",
        "timeout()",
        "activated()",
        "filterSelected(QString)",
        "cellDoubleClicked(int,int)",
    }

    assert connected - of_qt <= {row["name"] for row in table()}


def test_every_row_names_its_source() -> None:
    rows = table()

    assert len(rows) == len({(r["name"], r["of"]) for r in rows})
    assert all(r["repository"] in ("Slicer", "CTK", "PyTorch") and r["file"].endswith((".h", ".py")) for r in rows)
