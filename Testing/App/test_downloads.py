"""What is downloaded from the page, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.export.reading import read_segmentation
from PWSegmentationLib.prompts.json_format import read_prompts
from PWSegmentationLib.volume.reading import read_volume
from Testing.App.app_page import AppPage

AORTA, SPINE = ("Red", 0.519, 0.629), ("Red", 0.5, 0.7)


@pytest.fixture
def two_segments(chest: AppPage) -> AppPage:
    """A segment called aorta, in blue, and another one beside it."""
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    name = chest.find("segment-name").first
    name.fill("aorta")
    name.press("Enter")
    chest.find("segment-color").first.fill("#2040ff")
    chest.page.keyboard.press("a")
    chest.answered(lambda: chest.click(*SPINE))
    return chest


def voxels(path: Path) -> dict[str, np.ndarray]:
    found = read_segmentation(path)
    labels = found.flat()
    return {s.name: labels == s.value for s in found.segments}


def test_nothing_segmented_is_told_and_leaves_only_the_scene(chest):
    chest.choose_downloads("segmentation", "scene")
    assert not chest.find("export-segmentation").is_enabled()
    assert "Nothing is segmented yet" in chest.find("export-error").inner_text()
    assert "no prompts yet" in chest.find("export-note-prompts").inner_text()
    assert chest.find("export").is_enabled()
    chest.find("close-export").click()
    chest.find("export-dialog").wait_for(state="hidden")


def test_several_come_as_a_zip_and_all_say_the_same(two_segments, tmp_path):
    kinds = ("segmentation", "nifti", "nrrd", "stl", "ply", "probability", "uncertainty", "prompts")

    files = two_segments.unzipped(tmp_path, *kinds, provenance=True)

    expected = {f"Chest-CT-labelmap{e}" for e in (".nii.gz", ".nrrd", ".labels.json", ".ctbl")}
    expected |= {f"Chest-CT-surface.{name}{e}" for name in ("aorta", "Segment_1") for e in (".stl", ".ply")}
    maps = ("probability", "uncertainty")
    expected |= {f"Chest-CT-{kind}.{name}.nii.gz" for name in ("aorta", "Segment_1") for kind in maps}
    expected |= {"Chest-CT-segmentation.seg.nrrd", "Chest-CT-prompts.json"}
    assert {n for n in files if not n.endswith(".provenance.json")} == expected
    segmentation = files["Chest-CT-segmentation.seg.nrrd"]
    wanted = voxels(segmentation)
    assert all(mask.any() for mask in wanted.values())
    for ending in (".nii.gz", ".nrrd"):
        path = files[f"Chest-CT-labelmap{ending}"]
        found = voxels(path)
        assert list(found) == list(wanted)
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
        assert read_segmentation(path).segments[0].rgb == (0x20, 0x40, 0xFF)
    probability = read_volume(files["Chest-CT-probability.aorta.nii.gz"])
    assert probability.array.dtype == np.float32
    assert probability.array[wanted["aorta"]].mean() > 0.5 > probability.array[~wanted["aorta"]].mean()
    assert read_prompts(files["Chest-CT-prompts.json"]).names == ("aorta", "Segment 1")
    said = json.loads(files[f"{segmentation.name}.provenance.json"].read_text())
    assert said["methods"]["aorta"] and said["prompts"] and said["image"]["voxels sha256"]


def test_one_file_comes_as_itself_and_surfaces_and_maps_of_eight_bits_lie_where_it_says(two_segments, tmp_path):
    path = two_segments.download(tmp_path, "segmentation")

    assert path.name == "Chest-CT-segmentation.seg.nrrd"
    found = read_segmentation(path)
    assert found.names == ("aorta", "Segment 1")
    assert found.segments[0].rgb == (0x20, 0x40, 0xFF)
    files = two_segments.unzipped(tmp_path, "obj", "probability", "eight-bit")
    probability = read_volume(files["Chest-CT-probability.aorta.nii.gz"]).array
    assert probability.dtype == np.uint8
    aorta = found["aorta"]
    assert probability[aorta.region.slices][aorta.mask].mean() > 127
    corners = np.array([aorta.region.start, aorta.region.stop], float) - 0.5
    low, high = np.sort(found.grid.to_world(corners), axis=0)
    lines = files["Chest-CT-surface.aorta.obj"].read_text().splitlines()
    points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float) * (-1, -1, 1)
    assert (points >= low - 1).all() and (points <= high + 1).all()
