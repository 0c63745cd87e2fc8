"""Nothing heavy is loaded before it is used, and the library keeps out of Slicer's application."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "PWSegmentationLib"
SOURCES = sorted(LIBRARY.rglob("*.py"))

# What each room may know of, besides the files in no room (errors, extras, files, progress). Rooms come in the order of
# the data, as in docs/architecture.md, and know only of rooms before them.
KNOWS = {
    "volume": set(),
    "prompts": {"volume"},
    "pseudolabel": {"volume"},
    "networks": set(),
    "prediction": {"volume", "prompts", "pseudolabel", "networks"},
    "segments": {"volume", "prediction"},
    "cases": {"volume"},
    "samples": {"cases"},
    "annotator": {"volume", "prompts"},
    "procedural": {"volume"},
    "training": {"volume", "prompts", "pseudolabel", "networks", "prediction", "cases", "annotator"},
    "pretraining": {
        "volume",
        "prompts",
        "pseudolabel",
        "networks",
        "prediction",
        "cases",
        "samples",
        "annotator",
        "procedural",
        "training",
    },
    "export": {"volume", "prompts", "prediction", "segments", "cases"},
    "session": {"volume", "prompts", "networks", "prediction", "segments", "training", "export"},
    "drawing": {"volume", "prompts", "segments"},
    "review": {"volume", "prompts", "prediction", "segments", "cases", "export", "drawing"},
    "mrml": {"volume", "prompts", "prediction", "segments", "export", "session", "review"},
    "app": {"volume", "prompts", "prediction", "segments", "samples", "export", "session", "review", "mrml"},
    "evaluation": {
        "volume",
        "prompts",
        "pseudolabel",
        "prediction",
        "segments",
        "cases",
        "annotator",
        "training",
        "session",
        "drawing",
        "review",
    },
    "demo": {
        "volume",
        "prompts",
        "prediction",
        "segments",
        "cases",
        "samples",
        "annotator",
        "export",
        "session",
        "drawing",
        "evaluation",
    },
}
# The command line knows of all.
KNOWS["commandline"] = set(KNOWS)


@pytest.mark.parametrize(
    "statement",
    [
        "import PWSegmentationLib",
        "from PWSegmentationLib import Session; Session()",
        "import PWSegmentationLib.pseudolabel, PWSegmentationLib.networks, PWSegmentationLib.training",
        "import PWSegmentationLib.annotator, PWSegmentationLib.cases.labels",
    ],
)
def test_importing_loads_neither_torch_nor_slicer(statement):
    heavy = ("torch", "monai", "slicer", "vtk", "SimpleITK")
    code = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def modules(path: Path) -> set[str]:
    """The modules that a file imports anywhere; ``from a import b`` may mean the module ``a.b``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and node.level == 0, f"{path} imports by a relative name"
            names.update(f"{node.module}.{a.name}" for a in node.names)
    return names


def strangers(path: Path, room: str) -> set[str]:
    """Rooms that a file of ``room`` imports and should not know of."""
    parts = (name.split(".") for name in modules(path))
    rooms = {p[1] for p in parts if p[0] == LIBRARY.name and len(p) > 1 and (LIBRARY / p[1]).is_dir()}
    return rooms - KNOWS[room] - {room}


def test_a_room_knows_of_no_more_than_it_should():
    found = {str(p.relative_to(ROOT)): strangers(p, p.parent.name) for p in SOURCES if p.parent != LIBRARY}
    assert {path: rooms for path, rooms in found.items() if rooms} == {}
    assert {p.parent.name for p in SOURCES if p.parent != LIBRARY} == set(KNOWS)


def test_rooms_know_only_of_those_before_them_in_the_order_of_the_documentation():
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, flags=re.MULTILINE)
    order = [room for row in rows for room in re.findall(r"\w+", row)]
    assert order == list(KNOWS)
    later = {room: KNOWS[room] - set(order[:place]) for place, room in enumerate(order)}
    assert {room: rooms for room, rooms in later.items() if rooms} == {}


def test_nobody_needs_the_browser_app_but_its_command():
    others = [p for p in SOURCES if p.parent.name != "app" and p != LIBRARY / "commandline" / "app.py"]
    assert [str(p) for p in others if any(m.startswith(f"{LIBRARY.name}.app") for m in modules(p))] == []


def test_an_arrow_that_points_back_is_found(tmp_path):
    for statement in (
        "from PWSegmentationLib.evaluation.metrics import dice",
        "from PWSegmentationLib import evaluation",
        "def late():\n    import PWSegmentationLib.evaluation.tables",
    ):
        (tmp_path / "wrong.py").write_text(statement)
        assert strangers(tmp_path / "wrong.py", "training") == {"evaluation"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_keeps_to_its_rooms(path):
    names = {name.split(".")[0] for name in modules(path)}
    assert not names & {"qt", "ctk"}
    if not {"mrml", "app"} & set(path.parts) and path.name != "peers.py":
        # Surfaces are VTK's, which is there wherever Slicer is.
        assert not names & ({"slicer", "vtk"} if path.name == "surfaces.py" else {"slicer", "vtk", "vtkmodules"})
    text = path.read_text(encoding="utf-8")
    assert "slicer.app" not in text
    assert "slicer.mrmlScene" not in text
