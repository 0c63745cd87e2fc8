"""Stage of the scene: a changed mask into Slicer's segmentation node."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.volume.grid import Grid, Region
from Testing.Benchmarks.measuring import Comparison, Missing


def write(quick: bool, device: str) -> Comparison:
    """What a click changes of one segment among three, there and back again."""
    try:
        import slicer
        import vtk
    except ImportError as error:
        raise Missing("slicer-core is not installed") from error
    from PWSegmentationLib.mrml import SegmentWriter, prepare_scene, segment_mask
    from Testing.Benchmarks.reference_forms import imported

    shape, edge = ((96, 96, 64), 24) if quick else ((512, 512, 400), 100)

    def organ_among_others() -> tuple[Any, SegmentWriter, str]:
        scene = slicer.vtkMRMLScene()
        prepare_scene(scene)
        image = vtk.vtkImageData()
        image.SetDimensions(*shape)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        volume.SetAndObserveImageData(image)
        writer = SegmentWriter(scene, scene.AddNewNodeByClass("vtkMRMLSegmentationNode"), volume)
        for name, along in (("left", -edge - 2), ("right", edge + 2)):
            writer.write(_cube(name, shape, edge, along), undo_step=False)
        return scene, writer, writer.write(_cube("organ", shape, edge), undo_step=False)

    scene, writer, written = organ_among_others()
    other_scene, other_writer, other_written = organ_among_others()
    labelmap = other_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    states = [_cube("organ", shape, edge, dented=dented) for dented in (True, False)]
    turns, other_turns = cycle(states), cycle(states)

    def ours() -> Prediction:
        prediction = next(turns)
        writer.write(prediction, written)
        return prediction

    def theirs() -> Prediction:
        prediction = next(other_turns)
        imported(prediction.mask, labelmap, other_writer.segmentation_node, other_written)
        return prediction

    def difference(a: Prediction, b: Prediction) -> float:
        stored = segment_mask(writer.segmentation_node, written, writer.volume_node)
        other_stored = segment_mask(other_writer.segmentation_node, other_written, other_writer.volume_node)
        # The nodes do not keep their scenes alive; this does.
        assert scene is not other_scene
        return float((stored ^ a.mask).any() or (other_stored ^ b.mask).any())

    return Comparison(
        "Scene write",
        f"what a click changed ({edge // 5}×{edge // 2}×{edge // 2} voxels), with undo, one of three segments of "
        f"{edge}³ in {'×'.join(map(str, shape))}; difference: 0 if both nodes hold their masks voxel for voxel",
        "the whole mask through a labelmap node (ImportLabelmapToSegmentationNode), without undo",
        ours,
        theirs,
        difference,
    )


def _cube(name: str, shape: tuple[int, int, int], edge: int, along: int = 0, dented: bool = False) -> Prediction:
    """A cube ``along`` from the middle of the volume. What a click changes is its dent, which may be there or not."""
    corner = [n // 2 - edge // 2 + shift for n, shift in zip(shape, (along, 0, 0), strict=True)]
    dent = [(edge // 4, edge // 4 + n) for n in (edge // 5, edge // 2, edge // 2)]
    mask = np.ones((edge,) * 3, bool)
    mask[tuple(slice(*ends) for ends in dent)] = not dented
    starts, stops = zip(*dent, strict=True)
    whole = Region(tuple(corner), tuple(c + edge for c in corner))  # type: ignore[arg-type]
    changed = Region(starts, stops).shifted(corner)
    half = mask.astype(np.float16)
    return Prediction(name, Grid(shape, np.eye(4)), whole, mask, half, 1 - half, changed)
