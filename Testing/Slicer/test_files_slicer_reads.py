"""Files exchanged with 3D Slicer's own reading and writing code."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from PWSegmentationLib.export.writing import write_segments
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.prompts.markups import read_markups
from PWSegmentationLib.prompts.prompts import Box, Point, Scribble
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.writing import write_image

slicer = pytest.importorskip("slicer", exc_type=ImportError)
vtk = pytest.importorskip("vtk")

SHAPE = (9, 8, 7)
PLACES = ((1.0, 2.0, 3.0), (40.0, 5.0, 6.0), (30.0, 50.0, -7.0), (-10.0, 30.0, 8.0))
RAS, LPS = 0, 1


@pytest.fixture
def scene() -> Any:
    return slicer.vtkMRMLScene()


def oblique_grid(handedness: float = 1.0) -> Grid:
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, handedness]]) * (0.7, 1.25, 3.0)
    affine[:3, 3] = (-12.5, 40.0, 7.75)
    return Grid(SHAPE, affine)


def save_markups(scene: Any, node: Any, system: int, folder: Path) -> Path:
    name = "vtkMRMLMarkupsROIJsonStorageNode" if node.IsA("vtkMRMLMarkupsROINode") else "vtkMRMLMarkupsJsonStorageNode"
    storage = getattr(slicer, name)()
    scene.AddNode(storage)
    storage.SetCoordinateSystem(system)
    path = folder / f"{node.GetClassName()}.mrk.json"
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    return path


def add_node(scene: Any, name: str) -> Any:
    node = getattr(slicer, name)()
    scene.AddNode(node)
    return node


@pytest.mark.parametrize("system", [RAS, LPS])
def test_fiducials(scene: Any, system: int, tmp_path: Path) -> None:
    node = add_node(scene, "vtkMRMLMarkupsFiducialNode")
    for place in PLACES:
        node.AddControlPoint(place)
    node.UnsetNthControlPointPosition(1)
    prompts = read_markups(save_markups(scene, node, system, tmp_path))
    assert [p.position for p in prompts if isinstance(p, Point)] == [PLACES[0], *PLACES[2:]]


@pytest.mark.parametrize("system", [RAS, LPS])
def test_roi(scene: Any, system: int, tmp_path: Path) -> None:
    node = add_node(scene, "vtkMRMLMarkupsROINode")
    node.SetSize(10, 20, 30)
    matrix = vtk.vtkMatrix4x4()
    affine = np.array([[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1.0]])
    matrix.DeepCopy(affine.ravel())
    node.SetAndObserveObjectToNodeMatrix(matrix)
    (box,) = read_markups(save_markups(scene, node, system, tmp_path))
    assert isinstance(box, Box)
    assert box.center == (5, 6, 7)
    assert box.size == (10, 20, 30)
    np.testing.assert_allclose(box.axes, affine[:3, :3], atol=1e-12)
    for corner in box.corners * 0.98 + np.array(box.center) * 0.02:
        assert node.IsPointInROI(corner)


@pytest.mark.parametrize("system", [RAS, LPS])
@pytest.mark.parametrize("name", ["vtkMRMLMarkupsLineNode", "vtkMRMLMarkupsCurveNode", "vtkMRMLMarkupsClosedCurveNode"])
def test_scribbles_follow_the_curve_that_slicer_shows(scene: Any, name: str, system: int, tmp_path: Path) -> None:
    from scipy.spatial import cKDTree
    from vtk.util.numpy_support import vtk_to_numpy

    node = add_node(scene, name)
    for place in PLACES[: 2 if "Line" in name else None]:
        node.AddControlPoint(place)
    (scribble,) = read_markups(save_markups(scene, node, system, tmp_path), radius=3)
    assert isinstance(scribble, Scribble)
    ours = np.array(scribble.points)
    if "Line" in name:
        np.testing.assert_allclose(ours, PLACES[:2])
        return
    dense = np.concatenate([np.linspace(a, b, 50) for a, b in itertools.pairwise(ours)])
    shown = vtk_to_numpy(node.GetCurvePointsWorld().GetData())
    assert cKDTree(dense).query(shown)[0].max() < 0.5
    assert cKDTree(shown).query(ours)[0].max() < 2.0


def read_segmentation(scene: Any, path: Path) -> Any:
    node = add_node(scene, "vtkMRMLSegmentationNode")
    storage = add_node(scene, "vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node.GetSegmentation()


def voxels(segment: Any, grid: Grid) -> np.ndarray:
    """The segment as Slicer holds it, in an array of the grid's shape."""
    from vtk.util.numpy_support import vtk_to_numpy

    image = segment.GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_world = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    np.testing.assert_allclose(to_world, grid.affine, atol=1e-6)
    extent = image.GetExtent()
    start, shape = extent[::2], image.GetDimensions()
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape[::-1]).T
    out = np.zeros(grid.shape, bool)
    out[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] = labels == segment.GetLabelValue()
    return out


def prediction(name: str, grid: Grid, region: Region, seed: int) -> Prediction:
    mask = np.random.default_rng(seed).random(region.shape) > 0.5
    number = np.where(mask, np.float16(0.9), np.float16(0.1))
    return Prediction(name, grid, region, mask, number, number)


@pytest.mark.parametrize("handedness", [1.0, -1.0])
@pytest.mark.parametrize("overlap", [False, True])
def test_segmentation(scene: Any, overlap: bool, handedness: float, tmp_path: Path) -> None:
    grid = oblique_grid(handedness)
    second = Region((2, 2, 0), (6, 8, 7)) if overlap else Region((5, 0, 1), (9, 5, 6))
    segments = {
        "Milz (größer) a\\b": prediction("Milz (größer) a\\b", grid, Region((1, 2, 0), (5, 8, 7)), 0),
        "left kidney": prediction("left kidney", grid, second, 1),
    }
    colours = {"left kidney": (0.25, 0.5, 1.0)}
    write_segments(segments, grid, tmp_path / "out.seg.nrrd", colors=colours)
    found = read_segmentation(scene, tmp_path / "out.seg.nrrd")
    assert found.GetNumberOfLayers() == (2 if overlap else 1)
    assert [found.GetNthSegment(n).GetName() for n in range(found.GetNumberOfSegments())] == list(segments)
    assert found.GetNthSegment(1).GetColor() == pytest.approx(colours["left kidney"])
    for index, each in enumerate(segments.values()):
        np.testing.assert_array_equal(voxels(found.GetNthSegment(index), grid), each.mask)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_volume(scene: Any, ending: str, tmp_path: Path) -> None:
    from vtk.util.numpy_support import vtk_to_numpy

    grid = oblique_grid(-1.0)
    array = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    write_image(array, grid, tmp_path / f"p{ending}")
    node = add_node(scene, "vtkMRMLScalarVolumeNode")
    storage = add_node(scene, "vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / f"p{ending}"))
    assert storage.ReadData(node)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    to_ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    read = vtk_to_numpy(node.GetImageData().GetPointData().GetScalars()).reshape(SHAPE[::-1]).T
    # Slicer may flip an axis on reading; the value at a place in the patient must be the same.
    for index in np.ndindex(SHAPE):
        place = np.linalg.solve(to_ras, grid.affine @ (*index, 1))[:3]
        assert read[tuple(np.round(place).astype(int))] == array[index]


def test_status_and_terminology(scene: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    from PWSegmentationLib.export.seg_nrrd import set_statuses
    from PWSegmentationLib.export.writing import write_segmentation
    from PWSegmentationLib.segments.segmentation import Segmentation

    grid = oblique_grid()
    predictions = {"left kidney": prediction("left kidney", grid, Region((1, 2, 0), (5, 8, 7)), 0)}
    made = Segmentation.of(predictions, grid, values={"left kidney": 7})
    made = replace(made, segments=(replace(made.segments[0], status="flagged"),))
    (path,) = write_segmentation(made, tmp_path / "out.seg.nrrd")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    segment = read_segmentation(scene, path).GetNthSegment(0)
    assert logic.GetSegmentStatus(segment) == logic.Flagged
    assert "Kidney" in segment.GetTerminology() and "Left" in segment.GetTerminology()
    assert segment.GetLabelValue() == 7
    set_statuses(path, {"left kidney": "completed"})
    segment = read_segmentation(scene, path).GetNthSegment(0)
    assert logic.GetSegmentStatus(segment) == logic.Completed
    np.testing.assert_array_equal(voxels(segment, grid), made.segments[0].over(Region.whole(SHAPE)))


def test_names_keep_their_white_space(scene: Any, tmp_path: Path) -> None:
    names = ["a b", "a  b", " a b", "a b ", "a\tb", "a\nb", "a\u00a0b", "a\\nb"]
    (path,) = write_segments({}, oblique_grid(), tmp_path / "out.seg.nrrd", names=names)
    found = read_segmentation(scene, path)
    assert [found.GetNthSegment(n).GetName() for n in range(found.GetNumberOfSegments())] == names


def test_no_segments(scene: Any, tmp_path: Path) -> None:
    (path,) = write_segments({}, oblique_grid(), tmp_path / "out.seg.nrrd")
    assert read_segmentation(scene, path).GetNumberOfSegments() == 0


def test_color_table(scene: Any, tmp_path: Path) -> None:
    grid = oblique_grid()
    names = ["left kidney", "Milz (größer)", "脾"]
    colors = {"脾": (0.2, 0.4, 0.6)}
    values = {name: 5 * k for k, name in enumerate(names, start=1)}
    files = write_segments({}, grid, tmp_path / "out.nrrd", names=names, colors=colors, values=values)
    node = add_node(scene, "vtkMRMLColorTableNode")
    storage = add_node(scene, "vtkMRMLColorTableStorageNode")
    storage.SetFileName(str(files[2]))
    assert storage.ReadData(node)
    assert [node.GetColorName(value) for value in (5, 10, 15)] == names
    rgba = [0.0] * 4
    node.GetColor(15, rgba)
    assert rgba[:3] == pytest.approx(colors["脾"], abs=0.003)


def test_overlapping_segments_that_slicer_wrote(scene: Any, tmp_path: Path) -> None:
    """Slicer counts values anew on every layer; in our labelmaps and tables each segment has its own."""
    from vtk.util.numpy_support import numpy_to_vtk

    from PWSegmentationLib.export.reading import read_segmentation as read

    node, masks = add_node(scene, "vtkMRMLSegmentationNode"), {}
    for name, low, high in (("a", 0, 4), ("b", 2, 6), ("c", 5, 7)):
        masks[name] = np.zeros(SHAPE, bool)
        masks[name][low:high, low:high, low:high] = True
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(SHAPE)
        image.GetPointData().SetScalars(numpy_to_vtk(masks[name].T.ravel().astype(np.uint8), deep=True))
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.WriteData(node)
    found = read(tmp_path / "a.seg.nrrd")
    assert found.values["a"] == 1 and sorted(found.values.values()) == [1, 2, 3]
    for segment in found.segments:
        np.testing.assert_array_equal(segment.over(Region.whole(SHAPE)), masks[segment.name])
