"""What Slicer's build packages is what is in the folders; and the index entry is one."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.files import resource

ROOT = Path(__file__).parents[2]
PACKAGED = ("PWSegmentation", "PWSegmentationLib")
NOT_PACKAGED = ("__pycache__", "CMakeLists.txt", ".pyc")

# Of https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json
INDEX_REQUIRED = {"$schema", "category", "scm_url"}
INDEX_OPTIONAL = {
    "build_dependencies",
    "build_subdirectory",
    "dicom_support_rule",
    "enabled",
    "scm_revision",
    "scm_type",
    "tier",
}


def cmake(folder: str) -> str:
    """A folder's CMakeLists.txt without comments."""
    text = (ROOT / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.sub(r"#.*", "", text)


def listed(folder: str) -> list[str]:
    """Files in the SCRIPTS and RESOURCES lists."""
    text = cmake(folder).replace("${MODULE_NAME}", folder)
    lists = re.findall(r"set\(\w+_PYTHON_(?:SCRIPTS|RESOURCES)\s(.*?)\)", text, flags=re.DOTALL)
    assert len(lists) == 2
    return " ".join(lists).split()


def present(folder: str) -> set[str]:
    paths = (p for p in (ROOT / folder).rglob("*") if p.is_file())
    names = (p.relative_to(ROOT / folder).as_posix() for p in paths)
    return {n for n in names if not any(part in n for part in NOT_PACKAGED)}


@pytest.mark.parametrize("folder", PACKAGED)
def test_every_file_is_packaged(folder: str) -> None:
    assert sorted(present(folder) - set(listed(folder))) == [], f"add these to {folder}/CMakeLists.txt"


@pytest.mark.parametrize("folder", PACKAGED)
def test_nothing_is_packaged_that_is_not_there(folder: str) -> None:
    assert sorted(set(listed(folder)) - present(folder)) == [], f"take these out of {folder}/CMakeLists.txt"


@pytest.mark.parametrize("folder", PACKAGED)
def test_nothing_is_packaged_twice(folder: str) -> None:
    assert [name for name, count in Counter(listed(folder)).items() if count > 1] == []


def test_what_is_needed_at_run_time_is_packaged() -> None:
    found = re.search(r"set\(LIBRARY_SHARED_RESOURCES\s(.*?)\)", cmake("PWSegmentationLib"), flags=re.DOTALL)
    assert found is not None
    needed = [p for folder in ("Models", "Prompts") for p in (ROOT / "Resources" / folder).iterdir()]

    assert sorted(found[1].split()) == sorted(f"{p.parent.name}/{p.name}" for p in needed if p.suffix != ".md")
    assert all(resource(name).is_file() for name in found[1].split())


def test_every_folder_is_part_of_the_build() -> None:
    added = set(re.findall(r"add_subdirectory\((\w+)\)", cmake(".")))

    assert added >= {*PACKAGED, "Testing"}
    assert all((ROOT / folder / "CMakeLists.txt").is_file() for folder in added)


def test_the_index_entry_has_what_the_schema_wants() -> None:
    entry = json.loads((ROOT / "extension.json").read_text(encoding="utf-8"))

    assert entry.keys() >= INDEX_REQUIRED
    assert entry.keys() <= INDEX_REQUIRED | INDEX_OPTIONAL
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert 1 <= entry["tier"] <= 5


def test_index_and_build_say_the_same() -> None:
    entry = json.loads((ROOT / "extension.json").read_text(encoding="utf-8"))
    said = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"', cmake(".")))

    assert entry["scm_url"] == said["HOMEPAGE"]
    assert entry["category"] == said["CATEGORY"]
    assert entry["build_dependencies"] == said["DEPENDS"].split()


def test_the_extensions_icon_is_where_its_address_says() -> None:
    said = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"', cmake(".")))

    name = said["ICONURL"].partition("/main/")[2]
    icon = (ROOT / name).read_bytes()
    assert icon.startswith(b"\x89PNG")
    width, height = (int.from_bytes(icon[n : n + 4], "big") for n in (16, 20))
    assert width == height >= 128


def test_the_extensions_screenshots_are_where_their_addresses_say() -> None:
    said = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"', cmake(".")))

    start = said["ICONURL"].partition("Resources/")[0]
    addresses = said["SCREENSHOTURLS"].split()
    assert addresses
    assert all(a.startswith(start) for a in addresses)
    assert all((ROOT / a.removeprefix(start)).read_bytes().startswith(b"\x89PNG") for a in addresses)


def test_extras_that_are_named_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    known = set(re.findall(r"^(\w+) = \[", extras, flags=re.MULTILINE))

    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "PWSegmentationLib").rglob("*.py"))
    named = re.findall(r'not_installed\([^()]*(?:\([^()]*\)[^()]*)*, "(\w+)"', sources)
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        named += re.findall(r"pip install [\"']\.\[(\w+)\]", page.read_text(encoding="utf-8"))

    assert known >= {"app", "dicom", "review"}
    assert set(named) >= {"app", "dicom", "review"}
    assert set(named) <= known


def test_what_is_missing_can_be_installed_from_the_repository_and_from_a_clone() -> None:
    sentence = str(not_installed("Surfaces need VTK", "surfaces"))
    said = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"', cmake(".")))

    assert f'pip install "PWSegmentation[surfaces] @ git+{said["HOMEPAGE"]}"' in sentence
    assert 'pip install ".[surfaces]"' in sentence
    assert "Slicer" not in sentence
    assert 'slicer.util.pip_install("highdicom")' in str(not_installed("It needs it", "dicom", in_slicer="highdicom"))


def test_the_panel_offers_every_parameter_once() -> None:
    panel = ElementTree.parse(ROOT / "PWSegmentation" / "Resources" / "UI" / "PWSegmentation.ui")
    properties = [p for p in panel.iter("property") if p.get("name") == "SlicerParameterName"]
    source = (ROOT / "PWSegmentation" / "PWSegmentation.py").read_text(encoding="utf-8")
    parameters = re.search(r"class PWSegmentationParameterNode:(.*?)\n\n\n", source, flags=re.DOTALL)
    assert parameters is not None

    offered = [p.findtext("string") for p in properties]
    # Its own part of the panel connects it: PWSegmentationPanel/modelFile.py says why.
    offered.append("modelFile")

    assert sorted(str(o) for o in offered) == sorted(re.findall(r"^    (\w+): ", parameters[1], flags=re.MULTILINE))


def test_the_panel_has_every_widget_that_the_module_uses() -> None:
    panel = ElementTree.parse(ROOT / "PWSegmentation" / "Resources" / "UI" / "PWSegmentation.ui")
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "PWSegmentation").rglob("*.py")]

    used = {name for source in sources for name in re.findall(r"\bui\.(\w+)", source)}

    assert used <= {w.get("name") for w in panel.iter("widget")}


def test_every_scene_widget_is_told_of_the_scene() -> None:
    panel = ElementTree.parse(ROOT / "PWSegmentation" / "Resources" / "UI" / "PWSegmentation.ui")
    of_the_scene = {w.get("name") for w in panel.iter("widget") if "MRML" in str(w.get("class"))} - {"PWSegmentation"}

    told = {
        c.findtext("receiver")
        for c in panel.iter("connection")
        if c.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
    }

    assert told >= of_the_scene
    assert of_the_scene
