"""Nothing heavy is loaded before it is used, and the library keeps out of Slicer's application."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "PWSegmentationLib").rglob("*.py"))


@pytest.mark.parametrize(
    "statement",
    [
        "import PWSegmentationLib",
        "from PWSegmentationLib import Session; Session()",
        "import PWSegmentationLib.pseudolabel, PWSegmentationLib.networks, PWSegmentationLib.training",
    ],
)
def test_importing_loads_neither_torch_nor_slicer(statement):
    heavy = ("torch", "monai", "slicer", "vtk", "SimpleITK")
    code = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(a.name.split(".")[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_keeps_to_its_rooms(path):
    names = imported(path)
    assert not names & {"qt", "ctk"}
    if "mrml" not in path.parts and path.name != "peers.py":
        assert not names & {"slicer", "vtk", "vtkmodules"}
    text = path.read_text(encoding="utf-8")
    assert "slicer.app" not in text
    assert "slicer.mrmlScene" not in text
