"""The Slicer module's file: it loads without PyTorch, finds the library, and its Logic does the job on a real scene.

Slicer's scripted-module base classes, translation and parameter node wrapper are not in slicer-core. Here, and only
here, plain stand-ins take their place: enough to load the file, not to say anything about the panel.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", exc_type=ImportError)

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "PWSegmentation" / "PWSegmentation.py"

STAND_INS = """
import importlib.util, sys, types
import slicer, slicer.util

def stand_in(name, **members):
    made = types.ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made

class Base:
    def __init__(self, parent=None):
        self.parent = parent

stand_in("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
stand_in(
    "slicer.parameterNodeWrapper",
    parameterNodeWrapper=lambda cls: cls,
    Choice=lambda choices: None,
    WithinRange=lambda low, high: None,
)
stand_in(
    "slicer.ScriptedLoadableModule",
    **{f"ScriptedLoadableModule{kind}": type(kind, (Base,), {}) for kind in ("", "Logic", "Test", "Widget")},
)

def load(path):
    spec = importlib.util.spec_from_file_location("PWSegmentation", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["PWSegmentation"] = module
    spec.loader.exec_module(module)
    return module

"""


def run(code: str, folder: Path) -> str:
    """What the code prints in a fresh Python, with the stand-ins."""
    script = f"{STAND_INS}\nmodule = load({str(MODULE)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_the_module_needs_nothing_that_slicer_does_not_bring(tmp_path: Path) -> None:
    heavy = run("print([m for m in ('torch', 'monai', 'scipy', 'PIL', 'nibabel') if m in sys.modules])", tmp_path)

    assert heavy == "[]"


def test_the_library_is_found_beside_the_modules_folder(tmp_path: Path) -> None:
    found = run("print(module.PWSegmentationLib.__file__)", tmp_path)

    assert Path(found) == ROOT / "PWSegmentationLib" / "__init__.py"


def test_the_logic_segments_undoes_and_does_again(tmp_path: Path) -> None:
    said = run(
        """
import numpy as np
from types import SimpleNamespace
sys.path.insert(0, {root!r})
import vtk
from vtk.util.numpy_support import numpy_to_vtk
from PWSegmentationLib.mrml import prepare_scene, segment_mask

slicer.mrmlScene = scene = slicer.vtkMRMLScene()
prepare_scene(scene)
k, j, i = np.indices((24, 30, 36)) - np.array([12, 15, 18]).reshape(3, 1, 1, 1)
ball = i**2 + j**2 + (2 * k) ** 2 <= 12**2
voxels = np.random.default_rng(0).normal(100, 5, ball.shape) + 100 * ball
volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "phantom")
image = vtk.vtkImageData()
image.SetDimensions(36, 30, 24)
image.GetPointData().SetScalars(numpy_to_vtk(voxels.astype(np.int16).ravel(), deep=True))
volume.SetAndObserveImageData(image)
volume.SetSpacing(1, 1, 2)
volume.SetOrigin(-18, -15, -24)
points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
points.AddControlPointWorld(vtk.vtkVector3d(0, 0, 0))
shown = []
slicer.util.setSliceViewerLayers = lambda **layers: shown.append(layers["foreground"].GetName())

logic = module.PWSegmentationLogic()
parameters = SimpleNamespace(
    inputVolume=volume, positivePoints=points, negativePoints=None, roi=None, scribble=None, brushRadius=2.0,
    outputSegmentation=None, segmentName="liver", overwriteMode="all", showProbability=True, showUncertainty=False,
)
print(logic.process(parameters))
node = parameters.outputSegmentation
name = node.GetSegmentation().GetSegmentIdBySegmentName("liver")
found = segment_mask(node, name, volume)
truth = ball.T
print(node.GetName(), shown, round(2 * (found & truth).sum() / (found.sum() + truth.sum()), 2) > 0.7)
print(logic.undo(volume), node.GetSegmentation().GetNumberOfSegments(), logic.canUndo(volume))
print(logic.redo(volume), node.GetSegmentation().GetNumberOfSegments(), logic.canRedo(volume))
logic.closeSessions()
print(scene.GetNumberOfNodesByClass("vtkMRMLSegmentEditorNode"))
""".replace("{root!r}", repr(str(ROOT))),
        tmp_path,
    ).splitlines()

    assert said[0].startswith("liver: ")
    assert " ml in " in said[0]
    assert said[1:] == [
        "phantom segmentation ['phantom liver probability'] True",
        "True 0 False",
        "True 1 False",
        "0",
    ]


def test_the_logic_says_what_is_missing(tmp_path: Path) -> None:
    said = run(
        """
from types import SimpleNamespace
logic = module.PWSegmentationLogic()
given = dict(inputVolume=None, positivePoints=None, roi=None, scribble=None, segmentName=" ")
print(logic.whatIsMissing(SimpleNamespace(**given)))
print(logic.whatIsMissing(SimpleNamespace(**{**given, "inputVolume": 1})))
print(logic.whatIsMissing(SimpleNamespace(**{**given, "inputVolume": 1, "roi": 1})))
print(repr(logic.whatIsMissing(SimpleNamespace(**{**given, "inputVolume": 1, "roi": 1, "segmentName": "liver"}))))
""",
        tmp_path,
    ).splitlines()

    assert [s.split()[0] for s in said] == ["Choose", "Place", "Give", "''"]


def test_packages_are_installed_on_use_after_asking(tmp_path: Path) -> None:
    said = run(
        """
asked, done = [], []
installed = set()
module.importlib.util.find_spec = lambda name: name in installed or None
slicer.util.confirmOkCancelDisplay = lambda text, title: asked.append(text) or len(asked) > 1
class PyTorchUtilsLogic:
    def installTorch(self, askConfirmation, torchVersionRequirement):
        installed.add("torch")
        return "torch"
stand_in("PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic)
slicer.util.pip_install = lambda arguments: (done.append(arguments), installed.update(("monai", "scipy")))
print(module.ensureDependencies("requirements.txt"), sorted(installed))
print(module.ensureDependencies("requirements.txt"), sorted(installed), done)
print(module.ensureDependencies("requirements.txt"), len(asked))
print("torch, monai, scipy" in asked[0])
""",
        tmp_path,
    ).splitlines()

    assert said == [
        "False []",
        "True ['monai', 'scipy', 'torch'] [['-r', 'requirements.txt']]",
        "True 2",
        "True",
    ]


def test_qt_is_used_as_pythonqt_wants_it() -> None:
    tree = ast.parse(MODULE.read_text(encoding="utf-8"))
    connections = [
        node.args[0].value  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "connect"
    ]

    # Full signatures: without them PythonQt prints a warning and connects nothing.
    assert len(connections) >= 4
    assert all(c.endswith(")") for c in connections)
