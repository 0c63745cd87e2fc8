"""Segments as surfaces: triangles in mm, LPS, as Slicer and most other programs expect them of a file.

The libraries are VTK's, which Slicer brings along: the surface runs between voxels, is smoothed without shrinking
(windowed sinc), and its triangles face outwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.extras import not_installed
from PWSegmentationLib.segments.segmentation import Segment
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid

# Slicer reads the first item; units have no field in these formats.
_COMMENT = "SPACE=LPS;UNITS=mm"
_SMOOTHINGS, _PASS_BAND = 15, 0.1


def write_surface(segment: Segment, grid: Grid, path: Path, ending: str) -> None:
    """Write the surface of a segment as ``.stl`` (binary), ``.obj`` or ``.ply``; ``path`` is made or overwritten.

    Raises
    ------
    InputError
        If VTK is not installed.
    """
    surface = surface_of(segment, grid)
    try:
        writer = _writer(ending)
    except ImportError as error:
        raise not_installed("Surfaces need VTK", "surfaces") from error
    writer.SetFileName(str(path))
    writer.SetInputData(surface)
    if ending == ".ply":
        writer.AddComment(_COMMENT)
        rgb = segment.rgb
        writer.SetColorModeToUniformCellColor()
        writer.SetColor(*rgb)
    elif ending == ".stl":
        writer.SetHeader(_COMMENT)
    done = writer.Write()
    # On a full disk VTK's writers say nothing, or in a log alone.
    if not done or writer.GetErrorCode() or not _is_whole(path, ending, surface):
        raise OSError("the surface could not be written: is the disk full?")
    if ending == ".obj":
        text = path.read_bytes()
        path.write_bytes(f"# {_COMMENT}\n".encode() + text)


def surface_of(segment: Segment, grid: Grid) -> Any:
    """The surface as vtkPolyData, mm LPS. Raises `InputError` if VTK is not installed or the segment is empty."""
    try:
        from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
        from vtkmodules.vtkCommonDataModel import vtkImageData
        from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkReverseSense, vtkWindowedSincPolyDataFilter
    except ImportError as error:
        raise not_installed("Surfaces need VTK", "surfaces") from error
    if not segment.voxels:
        raise InputError(f"Segment '{segment.name}' is empty: it has no surface.")
    # A voxel of air around, so that the surface is closed where the segment ends with the image.
    padded = np.pad(segment.mask, 1)
    image = vtkImageData()
    image.SetDimensions(padded.shape)
    flat = np.ascontiguousarray(padded.T, np.uint8).reshape(-1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    surface = edges.GetOutput()
    index = vtk_to_numpy(surface.GetPoints().GetData()).astype(float) + np.array(segment.region.start) - 1
    world = grid.to_world(index) @ RAS_TO_LPS[:3, :3]
    surface.GetPoints().SetData(numpy_to_vtk(world.astype(np.float32), deep=True))
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputData(surface)
    smooth.SetNumberOfIterations(_SMOOTHINGS)
    smooth.SetPassBand(_PASS_BAND)
    smooth.NonManifoldSmoothingOn()
    smooth.NormalizeCoordinatesOn()
    smooth.BoundarySmoothingOff()
    smooth.FeatureEdgeSmoothingOff()
    smooth.Update()
    if np.linalg.det(grid.affine[:3, :3]) < 0:
        turned = vtkReverseSense()
        turned.SetInputData(smooth.GetOutput())
        turned.Update()
        return turned.GetOutput()
    return smooth.GetOutput()


def _writer(ending: str) -> Any:
    if ending == ".stl":
        from vtkmodules.vtkIOGeometry import vtkSTLWriter

        stl = vtkSTLWriter()
        stl.SetFileTypeToBinary()
        return stl
    if ending == ".ply":
        from vtkmodules.vtkIOPLY import vtkPLYWriter

        ply = vtkPLYWriter()
        ply.SetFileTypeToBinary()
        return ply
    from vtkmodules.vtkIOGeometry import vtkOBJWriter

    return vtkOBJWriter()


def _is_whole(path: Path, ending: str, surface: Any) -> bool:
    """Whether a file is as large as its triangles are; VTK's own readers crash on some that are not."""
    points, triangles = surface.GetNumberOfPoints(), surface.GetNumberOfCells()
    if ending == ".obj":
        text = path.read_bytes()
        return text.endswith(b"\n") and text.count(b"\nf ") == triangles
    # STL: 50 bytes a triangle. PLY: three floats a point; a count, three integers and a colour a triangle.
    return path.stat().st_size >= (50 * triangles if ending == ".stl" else 12 * points + 16 * triangles)
