"""The Slicer module's file and its own test, in the host; and what it asks before it installs anything."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", exc_type=ImportError)

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "PWSegmentation"

START = """
import sys
from types import ModuleType
from Testing.host import start
host = start()
host.open()
import slicer
from PWSegmentationPanel import packages

def offer(name, **members):
    made = ModuleType(name)
    vars(made).update(members)
    sys.modules[name] = made
"""


def run(code: str, folder: Path = ROOT) -> list[str]:
    """The lines that the code prints in a fresh Python, with the module open in the host."""
    script = f"{START}\n{code}\nhost.close()"
    # Slicer warns of an observer that is not there, or is there twice.
    command = [sys.executable, "-W", "error::UserWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_the_modules_own_test_passes() -> None:
    said = run("sys.modules['PWSegmentation'].PWSegmentationTest().runTest(); print('passed')")

    assert said[-1] == "passed"


def test_reloading_leaves_nothing_to_garbage_collection_that_is_still_called() -> None:
    said = run("""
import gc
gc.set_threshold(1, 1, 1)
host.reload()
host.scene.GetSingletonNode("PWSegmentation", "vtkMRMLScriptedModuleNode").Modified()
print("lives")
""")

    assert said[-1] == "lives"


def test_packages_are_installed_on_use_after_asking() -> None:
    # Another Python's packages cannot be taken away here: what is installed is told by a list instead, and so are the
    # user's answers. What is asked for, in which order, and from whom, is what is tested.
    said = run("""
asked, done, installed = [], [], set()
packages.importlib.util.find_spec = lambda name: name in installed or None
slicer.util.confirmOkCancelDisplay = lambda text, title: asked.append(text) or len(asked) > 1
class PyTorchUtilsLogic:
    def installTorch(self, askConfirmation, torchVersionRequirement):
        installed.add("torch")
        return "torch"
offer("PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic)
slicer.util.pip_install = lambda arguments: (done.append(arguments[:3]), installed.update(packages.NEEDED))
print(packages.ensurePackages("requirements.txt"), sorted(installed))
print(packages.ensurePackages("requirements.txt"), sorted(installed), done)
print(packages.ensurePackages("requirements.txt"), len(asked))
print("torch, monai, nibabel, safetensors, scipy" in asked[0], "not sent anywhere" in asked[0])
""")

    assert said[-4:] == [
        "False []",
        "True ['monai', 'nibabel', 'safetensors', 'scipy', 'torch'] [['-r', 'requirements.txt', '-c']]",
        "True 2",
        "True True",
    ]


@pytest.mark.parametrize("has_packaging", [False, True], ids=["Slicer 5.10", "Slicer 5.12"])
def test_what_was_there_before_is_kept(has_packaging: bool) -> None:
    said = run(f"""
installed = {{"torch": "2.7.1+cu118", "numpy": "2.0.2"}}
class Missing(packages.importlib.metadata.PackageNotFoundError):
    pass
def version(name):
    if name not in installed:
        raise Missing(name)
    return installed[name]
packages.importlib.metadata.version = version
def pip_install(arguments):
    print(*arguments[:3], *open(arguments[3]).read().split())
def pip_ensure(requirements, constraints, prompt_install, requester):
    print(requirements, prompt_install, *open(constraints).read().split())
slicer.util.pip_install = pip_install
if {has_packaging}:
    offer("slicer.packaging", pip_ensure=pip_ensure, load_requirements=lambda path: path)
    slicer.packaging = sys.modules["slicer.packaging"]
packages.installRequirements("requirements.txt")
""")

    asked = "requirements.txt False" if has_packaging else "-r requirements.txt -c"
    assert said[-1] == f"{asked} numpy==2.0.2 torch==2.7.1+cu118"


def test_what_is_installed_is_what_the_work_needs() -> None:
    rooms = ("mrml", "networks", "prediction", "prompts", "pseudolabel", "segments", "session", "volume")
    sources = [p for room in rooms for p in (ROOT / "PWSegmentationLib" / room).glob("*.py")]
    nodes = [n for p in sources for n in ast.walk(ast.parse(p.read_text(encoding="utf-8")))]
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    names += [str(n.module) for n in nodes if isinstance(n, ast.ImportFrom) and n.level == 0]
    of_slicer = {"numpy", "pydicom", "SimpleITK", "slicer", "vtk", "PWSegmentationLib"}
    needed = {n.partition(".")[0] for n in names} - set(sys.stdlib_module_names) - of_slicer

    lines = (MODULE / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    said = run("print(*(f'{name}>={oldest}' for name, oldest in packages.NEEDED.items()))")[-1].split()

    assert {line.partition(">=")[0] for line in said} == needed
    assert listed == {line for line in said if not line.startswith("torch>=")}
    bounds = re.findall(r'"([a-z]+>=[0-9.]+)', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(said) <= set(bounds), "the same as of the library"


def test_packages_that_are_too_old_are_not_taken_for_there() -> None:
    said = run("""
installed = {"torch": "2.7.1+cu118", "monai": "1.3.2", "nibabel": "5.3", "safetensors": "0.10.0", "scipy": "1.11.0"}
packages.importlib.util.find_spec = lambda name: True
packages.importlib.metadata.version = lambda name: installed.get(name, "1.0")
asked = []
slicer.util.confirmOkCancelDisplay = lambda text, title: asked.append(text) or True
slicer.util.pip_install = lambda arguments: installed.update(monai="1.5")
print(packages.missingPackages(), packages.ensurePackages("requirements.txt"), len(asked))
# PyTorch is others', too: it is not replaced, and nothing is asked.
installed["torch"] = "2.2.0"
try:
    packages.ensurePackages("requirements.txt")
except RuntimeError as error:
    print(len(asked), error)
""")

    assert said[-2] == "['monai'] True 1"
    assert said[-1].startswith("1 PyTorch 2.2.0 is installed, and PWSegmentation needs 2.4 or newer: uninstall it")


def test_a_failed_installation_says_what_to_do_and_can_be_tried_again() -> None:
    said = run("""
import subprocess
installed = {"torch"}
packages.importlib.util.find_spec = lambda name: name in installed or None
slicer.util.confirmOkCancelDisplay = lambda text, title: True
def offline(arguments):
    raise subprocess.CalledProcessError(1, "pip")
slicer.util.pip_install = offline
try:
    packages.ensurePackages("requirements.txt")
except RuntimeError as error:
    print(error)
slicer.util.pip_install = lambda arguments: installed.update(packages.NEEDED)
installed.clear()
class PyTorchUtilsLogic:
    def installTorch(self, askConfirmation, torchVersionRequirement):
        offline(None)
offer("PyTorchUtils", PyTorchUtilsLogic=PyTorchUtilsLogic)
try:
    packages.ensurePackages("requirements.txt")
except RuntimeError as error:
    print(error)
PyTorchUtilsLogic.installTorch = lambda self, askConfirmation, torchVersionRequirement: installed.add("torch")
print(packages.ensurePackages("requirements.txt"))
""")

    assert "check the internet connection" in said[-3]
    assert "check the internet connection" in said[-2]
    assert said[-1] == "True"


def test_new_packages_are_imported_in_a_process_of_their_own() -> None:
    said = run("""
import time
def outcome(names):
    packages.NEEDED = names
    check = packages.ImportCheck()
    while not check.poll():
        time.sleep(0.01)
    try:
        return check.result()
    except RuntimeError as error:
        return error
print(outcome(("json", "zlib")))
print(outcome(("json", "no_such_package")))
""")

    assert said[-2] == "None"
    assert "do not start" in said[-1] and "no_such_package" in said[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="the launcher is a script of the shell")
def test_checking_new_packages_can_be_stopped(tmp_path: Path) -> None:
    # As Slicer's: a launcher starts Python and waits for it.
    launcher = tmp_path / "PythonSlicer"
    launcher.write_text('#!/bin/sh\nsleep 30 &\necho $! > "$0.pid"\nwait\n')
    launcher.chmod(0o755)
    said = run(f"""
import os, time
from pathlib import Path
from PWSegmentationLib.progress import Cancelled
packages.pythonExecutable = lambda: {str(launcher)!r}
check = packages.ImportCheck()
started = Path({str(launcher)!r} + ".pid")
while not (started.exists() and started.read_text()):
    time.sleep(0.01)
began = time.monotonic()
check.cancel()
while not check.poll():
    time.sleep(0.01)
try:
    check.result()
except Cancelled:
    print("cancelled", time.monotonic() - began < 10)
state = Path("/proc") / started.read_text().strip() / "stat"
def isGone():
    return not state.exists() or state.read_text().split()[2] == "Z"
while not isGone() and time.monotonic() - began < 20:
    time.sleep(0.01)
print("gone", isGone())
""")

    assert said[-2:] == ["cancelled True", "gone True"]


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=lambda p: p.name)
def test_signals_are_connected_by_their_full_signature(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    connections = [n.args[0].value for n in calls if n.func.attr == "connect"]  # type: ignore[attr-defined]

    # Without it PythonQt prints a warning and connects nothing.
    assert all(isinstance(c, str) and c.endswith(")") for c in connections)
