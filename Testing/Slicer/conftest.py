"""Real MRML scenes, on slicer-core, without the application."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", exc_type=ImportError)
vtk = pytest.importorskip("vtk")

from vtk.util.numpy_support import numpy_to_vtk  # noqa: E402

from PWSegmentationLib.mrml import SegmentWriter, prepare_scene, segment_mask, volume_from_node  # noqa: E402
from PWSegmentationLib.mrml.nodes import array_to_matrix  # noqa: E402
from PWSegmentationLib.prediction.prediction import Prediction  # noqa: E402
from PWSegmentationLib.volume.grid import Grid, Region  # noqa: E402
from Testing.Slicer.bundles import read_bundle  # noqa: E402

SHAPE = (14, 12, 10)


def rotation(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """``(4, 4)``, rotation by degrees about the world axes."""
    out = np.eye(4)
    for axis, degrees in enumerate((x, y, z)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(4)
        a, b = [k for k in range(3) if k != axis]
        turn[a, a] = turn[b, b] = c
        turn[a, b], turn[b, a] = -s, s
        out = turn @ out
    return out


# As scanners make them: anisotropic, oblique, left-handed.
OBLIQUE = rotation(x=20, y=-35, z=50) @ np.diag([-0.7, 0.9, 2.5, 1.0])
OBLIQUE[:3, 3] = (30.0, -12.0, 55.0)


def new_scene() -> Any:
    """A scene that can read and write what the tests put into it, as Slicer's own can."""
    made = slicer.vtkMRMLScene()
    prepare_scene(made)
    for storage in (slicer.vtkMRMLMarkupsJsonStorageNode, slicer.vtkMRMLMarkupsROIJsonStorageNode):
        made.RegisterNodeClass(storage())
    return made


def save_node(node: Any, file: Path) -> None:
    """What File / Save does with a node."""
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(file))
    assert node.GetStorageNode().WriteData(node), node.GetName()


def saved_and_loaded(scene: Any, folder: Path) -> Any:
    """The scene after File / Save as a scene file with its data beside it, and loading that."""
    endings = {"vtkMRMLSegmentationNode": ".seg.nrrd", "vtkMRMLScalarVolumeNode": ".nrrd"}
    nodes = scene.GetNodesByClass("vtkMRMLStorableNode")
    for node in (nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems())):
        ending = next((e for c, e in endings.items() if node.IsA(c)), ".mrk.json")
        if node.IsA("vtkMRMLTransformNode") or node.IsA("vtkMRMLColorNode"):
            ending = ".h5" if node.IsA("vtkMRMLTransformNode") else ".ctbl"
        save_node(node, folder / f"{node.GetID()}{ending}")
    scene.SetURL(str(folder / "scene.mrml"))
    assert scene.Commit()
    loaded = new_scene()
    loaded.SetURL(str(folder / "scene.mrml"))
    assert loaded.Connect()
    return loaded


def bundled_and_loaded(scene: Any, folder: Path) -> Any:
    """The scene after File / Save as a medical reality bundle (.mrb), and loading that."""
    assert scene.WriteToMRB(str(folder / "case.mrb"))
    loaded = new_scene()
    read_bundle(loaded, folder / "case.mrb")
    return loaded


@pytest.fixture
def scene() -> Any:
    made = new_scene()
    yield made
    made.Clear(True)


def volume_node(
    scene: Any,
    array: np.ndarray,
    affine: np.ndarray = OBLIQUE,
    name: str = "CT",
    kind: str = "vtkMRMLScalarVolumeNode",
) -> Any:
    """An array ``[i, j, k]`` as a volume node of the scene."""
    node = scene.AddNewNodeByClass(kind, name)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[:3])
    components = 1 if array.ndim == 3 else array.shape[3]
    flat = np.ascontiguousarray(np.moveaxis(array, (0, 1, 2), (2, 1, 0))).reshape(-1, components)
    image.GetPointData().SetScalars(numpy_to_vtk(flat.squeeze(), deep=True))
    node.SetIJKToRASMatrix(array_to_matrix(affine))
    node.SetAndObserveImageData(image)
    return node


@pytest.fixture
def add_volume(scene: Any) -> Callable[..., Any]:
    """Put an array ``[i, j, k]`` into the scene as a volume node."""

    def add(array: np.ndarray | None = None, *more: Any, **options: Any) -> Any:
        if array is None:
            array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
        return volume_node(scene, array, *more, **options)

    return add


@pytest.fixture
def oblique_ct(add_volume: Callable[..., Any]) -> Any:
    """A volume node with an oblique, left-handed, anisotropic grid."""
    return add_volume()


@pytest.fixture
def put_under(scene: Any) -> Callable[[Any, np.ndarray], Any]:
    """Put a node under a new linear transform ``(4, 4)``."""

    def put(node: Any, matrix: np.ndarray) -> Any:
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "registration")
        transform.SetMatrixTransformToParent(array_to_matrix(matrix))
        node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    return put


@pytest.fixture
def bend(scene: Any) -> Callable[[Any], Any]:
    """Put a node under a new non-linear transform."""

    def put(node: Any) -> Any:
        spline = vtk.vtkThinPlateSplineTransform()
        here, there = vtk.vtkPoints(), vtk.vtkPoints()
        for at in np.array(np.meshgrid((-60, 60), (-60, 60), (-60, 60))).reshape(3, -1).T:
            here.InsertNextPoint(*at)
            there.InsertNextPoint(*(at * 1.2 if at[0] > 0 else at))
        spline.SetSourceLandmarks(here)
        spline.SetTargetLandmarks(there)
        spline.SetBasisToR()
        transform = scene.AddNewNodeByClass("vtkMRMLTransformNode", "deformation")
        transform.SetAndObserveTransformToParent(spline)
        node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    return put


@pytest.fixture
def segmentation(scene: Any) -> Any:
    """A segmentation node with nothing in it."""
    return scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")


@pytest.fixture
def writer(scene: Any, segmentation: Any, oblique_ct: Any) -> SegmentWriter:
    """Writes into the empty segmentation of the oblique volume."""
    return SegmentWriter(scene, segmentation, oblique_ct)


def region(start: Sequence[int], stop: Sequence[int]) -> Region:
    return Region(tuple(start), tuple(stop))  # type: ignore[arg-type]


def predicted(
    name: str, mask: np.ndarray, grid: Grid, where: Region | None = None, changed: Region | None = None
) -> Prediction:
    """A prediction whose mask within ``where`` (by default all of the volume) is that of ``mask``."""
    where = Region.whole(grid.shape) if where is None else where
    part = mask[where.slices]
    return Prediction(
        name,
        grid,
        where,
        part.copy(),
        np.where(part, 0.9, 0.2).astype(np.float16),
        np.where(part, 0.3, 0.6).astype(np.float16),
        changed=changed,
    )


def box_mask(start: Sequence[int], stop: Sequence[int], shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A box of true voxels."""
    mask = np.zeros(shape, bool)
    mask[region(start, stop).slices] = True
    return mask


@pytest.fixture
def paint(segmentation: Any, oblique_ct: Any, writer: SegmentWriter) -> Callable[..., str]:
    """Make a segment of exactly these voxels, whatever else is there; returns its ID."""

    def add(name: str, mask: np.ndarray) -> str:
        grid = volume_from_node(oblique_ct).grid
        return writer.write(predicted(name, mask, grid), overwrite="none", undo_step=False)

    return add


@pytest.fixture
def mask_of(segmentation: Any, oblique_ct: Any) -> Callable[[str], np.ndarray]:
    """The voxels of the segment with this ID."""
    return lambda segment_id: segment_mask(segmentation, segment_id, oblique_ct)


@pytest.fixture(scope="module")
def host() -> Iterator[Any]:
    """The module, open in the host, with its computing process; one for all tests of a file."""
    from Testing.host import start

    started = start()
    started.open()
    yield started
    started.close()


@pytest.fixture
def panel(host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The hand of a user who has just closed the scene."""
    from Testing.Slicer.panel_driver import Driver

    errors: list[str] = []
    # What nobody catches Slicer shows in red, and goes on: here it fails.
    monkeypatch.setattr(sys, "excepthook", lambda *error: errors.append("".join(traceback.format_exception(*error))))
    yield Driver(host)
    host.scene.Clear(False)
    assert not errors, errors[0]
