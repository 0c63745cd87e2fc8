"""Nothing heavy is loaded before it is used, and the library keeps out of Slicer's application."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "PWSegmentationLib"
SOURCES = sorted(LIBRARY.rglob("*.py"))

# What a room may know of, as docs/architecture.md says, besides the files in no room (errors, extras, files, progress).
KNOWS = {
    "volume": set(),
    "prompts": {"volume"},
    "pseudolabel": set(),
    "networks": set(),
    "cases": {"volume"},
    "annotator": {"volume", "prompts"},
    "procedural": {"volume"},
    "training": {"volume", "prompts", "pseudolabel", "networks", "annotator", "cases", "prediction", "session"},
    "prediction": {"volume", "prompts", "pseudolabel", "networks", "training"},
    "samples": {"cases"},
    "pretraining": {
        "volume",
        "annotator",
        "cases",
        "networks",
        "prediction",
        "procedural",
        "prompts",
        "pseudolabel",
        "samples",
        "session",
        "training",
    },
    "segments": {"volume", "prediction"},
    "export": {"volume", "prompts", "cases", "prediction", "segments"},
    "session": {"volume", "prompts", "prediction", "segments", "export"},
    "mrml": {"volume", "prompts", "prediction", "segments", "export", "review", "session"},
    "review": {"volume", "prompts", "cases", "prediction", "segments", "export", "drawing"},
    "drawing": {"volume", "prompts", "segments"},
}


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
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.update(f"{node.module}.{a.name}" for a in node.names)
    return names


def strangers(path: Path, room: str) -> set[str]:
    """Rooms that a file of ``room`` imports and should not know of."""
    parts = (name.split(".") for name in modules(path))
    rooms = {p[1] for p in parts if p[0] == LIBRARY.name and len(p) > 1 and (LIBRARY / p[1]).is_dir()}
    return rooms - KNOWS[room] - {room}


def test_a_room_knows_of_no_more_than_it_should():
    found = {str(p.relative_to(ROOT)): strangers(p, p.parent.name) for p in SOURCES if p.parent.name in KNOWS}
    assert {path: rooms for path, rooms in found.items() if rooms} == {}
    assert {p.parent.name for p in SOURCES if p.parent != LIBRARY} - set(KNOWS) == {
        "app",
        "commandline",
        "demo",
        "evaluation",
    }


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
