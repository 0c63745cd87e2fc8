"""Writing a prediction changes that segment, there, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import SegmentWriter, export_scene, segment_mask, volume_from_node, write_prediction
from PWSegmentationLib.mrml.labelmaps import oriented_image
from PWSegmentationLib.mrml.nodes import array_to_matrix
from PWSegmentationLib.mrml.segment_history import Left
from PWSegmentationLib.mrml.segments import UNDO_STEPS
from PWSegmentationLib.volume.grid import Grid, Region
from Testing.Slicer.conftest import (
    OBLIQUE,
    SHAPE,
    box_mask,
    bundled_and_loaded,
    new_scene,
    predicted,
    region,
    rotation,
    save_node,
    saved_and_loaded,
)
from Testing.timing import allowed, set_tests_aside

GRID = Grid(SHAPE, OBLIQUE)

LIVER = box_mask((1, 1, 1), (7, 7, 7))
TUMOUR = box_mask((4, 4, 4), (10, 9, 8))
KIDNEY = box_mask((6, 0, 0), (9, 6, 6))


@pytest.fixture(params=["whole", "in parts"])
def sized(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As small segments are written, in one go, and as large ones."""
    if request.param == "in parts":
        for room in ("segments", "segment_history"):
            monkeypatch.setattr(f"PWSegmentationLib.mrml.{room}.PART_VOXELS", 250)


def ids(segmentation: Any) -> tuple[str, ...]:
    return tuple(segmentation.GetSegmentation().GetSegmentIDs())


# ---- one segment -----------------------------------------------------------------------------------------------


def test_a_segment_is_exactly_the_prediction(writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]) -> None:
    written = writer.write(predicted("liver", LIVER, GRID))

    assert np.array_equal(mask_of(written), LIVER)


def test_slicer_shows_the_segment_where_the_image_shows_the_organ(
    segmentation: Any, writer: SegmentWriter, oblique_ct: Any, put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    written = writer.write(predicted("dot", box_mask((3, 5, 7), (4, 6, 8)), GRID))

    assert np.allclose(segmentation.GetSegmentCenterRAS(written), (OBLIQUE @ [3, 5, 7, 1])[:3])


@pytest.mark.usefixtures("sized")
def test_only_the_changed_region_is_written(writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]) -> None:
    written = writer.write(predicted("liver", LIVER, GRID))
    changed = region((5, 0, 0), (9, 12, 10))

    writer.write(predicted("liver", TUMOUR, GRID, changed=changed), written)

    expected = LIVER.copy()
    expected[changed.slices] = TUMOUR[changed.slices]
    assert np.array_equal(mask_of(written), expected)


def test_nothing_is_written_where_nothing_changed(writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]) -> None:
    written = writer.write(predicted("liver", LIVER, GRID))

    writer.write(predicted("liver", TUMOUR, GRID, changed=None), written)

    assert np.array_equal(mask_of(written), LIVER)


def test_beyond_what_was_looked_at_the_segment_is_absent(
    writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    written = writer.write(predicted("liver", LIVER, GRID))
    looked_at = region((0, 0, 0), (4, 12, 10))

    writer.write(predicted("liver", LIVER, GRID, where=looked_at, changed=Region.whole(SHAPE)), written)

    assert np.array_equal(mask_of(written), LIVER & box_mask(looked_at.start, looked_at.stop))


def test_edits_by_hand_survive_where_the_prediction_did_not_change(
    writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    first = predicted("liver", LIVER, GRID)
    written = writer.write(first)
    by_hand = LIVER & ~box_mask((1, 1, 1), (3, 3, 3)) | box_mask((9, 9, 8), (11, 11, 9))
    writer.write(predicted("liver", by_hand, GRID), written, region=Region.whole(SHAPE))

    grown = LIVER | box_mask((7, 1, 1), (9, 3, 3))
    writer.write(predicted("liver", grown, GRID), written, region=Region.whole(SHAPE), since=first)

    assert np.array_equal(mask_of(written), by_hand | (grown & ~LIVER))


def test_an_empty_prediction_makes_an_empty_segment(
    segmentation: Any, writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    written = writer.write(predicted("liver", np.zeros(SHAPE, bool), GRID))

    assert ids(segmentation) == (written,)
    assert not mask_of(written).any()


def test_a_prediction_of_another_image_is_refused(writer: SegmentWriter) -> None:
    with pytest.raises(InputError, match="not of the image 'CT'"):
        writer.write(predicted("liver", LIVER, Grid(SHAPE, np.eye(4))))


# ---- name, colour, terminology ---------------------------------------------------------------------------------


def test_a_new_segment_says_what_it_is(segmentation: Any, writer: SegmentWriter) -> None:
    segment = segmentation.GetSegmentation().GetSegment(writer.write(predicted("Left kidney", LIVER, GRID)))

    assert segment.GetName() == "Left kidney"
    assert "SCT^64033007^Kidney~SCT^7771000^Left" in segment.GetTerminology()
    assert np.allclose(segment.GetColor(), np.array([185, 102, 83]) / 255)


def test_an_unknown_name_is_tissue_in_a_colour_of_its_own(segmentation: Any, writer: SegmentWriter) -> None:
    made = [writer.write(predicted(name, LIVER, GRID)) for name in ("Thing A", "Thing B")]

    segments = [segmentation.GetSegmentation().GetSegment(i) for i in made]
    assert all("SCT^85756007^Tissue~SCT^85756007^Tissue" in s.GetTerminology() for s in segments)
    assert segments[0].GetColor() != segments[1].GetColor()


def test_both_kidneys_can_be_told_apart(segmentation: Any, writer: SegmentWriter) -> None:
    made = [writer.write(predicted(name, LIVER, GRID)) for name in ("left kidney", "right kidney")]

    first, second = (segmentation.GetSegmentation().GetSegment(i).GetColor() for i in made)
    assert first != second


def test_what_the_user_chose_for_a_segment_stays(segmentation: Any, writer: SegmentWriter) -> None:
    made = writer.write(predicted("liver", LIVER, GRID))
    segment = segmentation.GetSegmentation().GetSegment(made)
    segment.SetName("Leber")
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetTerminology("mine")

    writer.write(predicted("liver", TUMOUR, GRID), made, region=Region.whole(SHAPE))

    assert (segment.GetName(), segment.GetColor(), segment.GetTerminology()) == ("Leber", (0.1, 0.2, 0.3), "mine")


def test_colour_and_terminology_can_be_given(segmentation: Any, writer: SegmentWriter) -> None:
    made = writer.write(predicted("liver", LIVER, GRID), color=(1.0, 0.5, 0.0), terminology="mine")

    segment = segmentation.GetSegmentation().GetSegment(made)
    assert (segment.GetColor(), segment.GetTerminology()) == ((1.0, 0.5, 0.0), "mine")


# ---- neighbours ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize("shared", [True, False], ids=["on one layer", "on layers of their own"])
@pytest.mark.parametrize("mode", ["all", "visible", "none"])
def test_neighbours_lose_what_the_overwrite_mode_says_and_no_more(
    segmentation: Any,
    writer: SegmentWriter,
    paint: Callable[..., str],
    mask_of: Callable[[str], np.ndarray],
    mode: Any,
    shared: bool,
) -> None:
    kidney = KIDNEY & ~LIVER if shared else KIDNEY
    liver_id, kidney_id = paint("liver", LIVER), paint("kidney", kidney)
    segmentation.GetDisplayNode().SetSegmentVisibility(kidney_id, False)

    tumour_id = writer.write(predicted("tumour", TUMOUR, GRID), overwrite=mode)

    assert np.array_equal(mask_of(tumour_id), TUMOUR)
    assert np.array_equal(mask_of(liver_id), LIVER if mode == "none" else LIVER & ~TUMOUR)
    assert np.array_equal(mask_of(kidney_id), kidney & ~TUMOUR if mode == "all" else kidney)


def test_an_unknown_overwrite_mode_is_refused(writer: SegmentWriter) -> None:
    with pytest.raises(InputError, match="all, visible, none"):
        writer.write(predicted("liver", LIVER, GRID), overwrite="some")  # type: ignore[arg-type]


masks = st.builds(
    lambda seed, fill: np.random.default_rng(seed).random(SHAPE) < fill,
    st.integers(0, 10**6),
    st.floats(0.05, 0.6),
)
regions = st.tuples(*[st.tuples(st.integers(0, n - 1), st.integers(1, n)) for n in SHAPE]).map(
    lambda pairs: region([min(a, b) for a, b in pairs], [max(a + 1, b) for a, b in pairs])
)


@pytest.mark.usefixtures("sized")
@given(
    old=masks,
    neighbours=st.lists(masks, min_size=1, max_size=3),
    new=masks,
    where=regions,
    mode=st.sampled_from(("all", "visible", "none")),
    hidden=st.sets(st.integers(0, 2)),
    locked=st.sets(st.integers(0, 2)),
    apart=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_voxel_of_every_segment_is_as_promised(
    add_volume: Callable[..., Any],
    scene: Any,
    old: np.ndarray,
    neighbours: list[np.ndarray],
    new: np.ndarray,
    where: Region,
    mode: Any,
    hidden: set[int],
    locked: set[int],
    apart: bool,
) -> None:
    if apart:
        # Segments that share no voxel share a labelmap, which the logic treats in other ways.
        neighbours = [m & ~np.any([old, *neighbours[:k]], axis=0) for k, m in enumerate(neighbours)]
    volume = add_volume()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    writer = SegmentWriter(scene, node, volume)
    target = writer.write(predicted("target", old, GRID), overwrite="none")
    others = [writer.write(predicted(f"n{k}", m, GRID), overwrite="none") for k, m in enumerate(neighbours)]
    for index, other in enumerate(others):
        node.GetDisplayNode().SetSegmentVisibility(other, index not in hidden)

    writer.write(
        predicted("target", new, GRID),
        target,
        region=where,
        overwrite=mode,
        locked=[o for k, o in enumerate(others) if k in locked],
    )

    added = np.zeros(SHAPE, bool)
    added[where.slices] = new[where.slices]
    loses = [mode == "all" or (mode == "visible" and k not in hidden) for k in range(len(others))]
    held = np.zeros(SHAPE, bool)
    for k, mask in enumerate(neighbours):
        if loses[k] and k in locked:
            held |= mask
    expected = old.copy()
    expected[where.slices] &= new[where.slices]
    expected |= added & ~held
    assert np.array_equal(segment_mask(node, target, volume), expected)
    for k, (other, mask) in enumerate(zip(others, neighbours, strict=True)):
        kept = mask if not loses[k] or k in locked else mask & ~(added & ~held)
        assert np.array_equal(segment_mask(node, other, volume), kept)
    if writer.has_changed:
        assert writer.undo()
    assert np.array_equal(segment_mask(node, target, volume), old)
    for other, mask in zip(others, neighbours, strict=True):
        assert np.array_equal(segment_mask(node, other, volume), mask)
    writer.close()


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize("mode", ["all", "visible", "none"])
def test_a_completed_segment_is_never_cut(
    segmentation: Any, writer: SegmentWriter, paint: Callable[..., str], mask_of: Callable[[str], np.ndarray], mode: Any
) -> None:
    liver_id = paint("liver", LIVER)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segmentation.GetSegmentation().GetSegment(liver_id), logic.Completed)

    tumour_id = writer.write(predicted("tumour", TUMOUR, GRID), overwrite=mode)

    assert np.array_equal(mask_of(liver_id), LIVER)
    assert np.array_equal(mask_of(tumour_id), TUMOUR if mode == "none" else TUMOUR & ~LIVER)


def test_a_locked_segment_cannot_be_written(
    writer: SegmentWriter, paint: Callable[..., str], mask_of: Callable[[str], np.ndarray]
) -> None:
    liver_id = paint("liver", LIVER)

    with pytest.raises(InputError, match="'liver' is locked"):
        writer.write(predicted("liver", TUMOUR, GRID), region=Region.whole(SHAPE), locked=[liver_id])

    assert np.array_equal(mask_of(liver_id), LIVER)


def test_the_segment_editors_masking_is_honoured(
    scene: Any, segmentation: Any, oblique_ct: Any, paint: Callable[..., str], mask_of: Callable[[str], np.ndarray]
) -> None:
    liver_id = paint("liver", LIVER)
    masking = scene.AddNode(slicer.vtkMRMLSegmentEditorNode())
    masking.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedInsideSingleSegment)
    masking.SetMaskSegmentID(liver_id)
    masking.SetSourceVolumeIntensityMask(True)
    masking.SetSourceVolumeIntensityMaskRange(0, 700)
    writer = SegmentWriter(scene, segmentation, oblique_ct, masking=masking)

    tumour_id = writer.write(predicted("tumour", TUMOUR, GRID), overwrite="none")

    allowed = LIVER & (volume_from_node(oblique_ct).array <= 700)
    assert np.array_equal(mask_of(tumour_id), TUMOUR & allowed)
    assert (TUMOUR & allowed).any()


# ---- undo ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sized")
def test_undo_and_redo_give_every_voxel_back(
    segmentation: Any, writer: SegmentWriter, paint: Callable[..., str], mask_of: Callable[[str], np.ndarray]
) -> None:
    liver_id, kidney_id = paint("liver", LIVER), paint("kidney", KIDNEY)

    tumour_id = writer.write(predicted("tumour", TUMOUR, GRID))
    cut = {i: mask_of(i) for i in (liver_id, kidney_id, tumour_id)}

    assert writer.undo()
    assert ids(segmentation) == (liver_id, kidney_id)
    assert np.array_equal(mask_of(liver_id), LIVER)
    assert np.array_equal(mask_of(kidney_id), KIDNEY)
    assert writer.redo()
    assert all(np.array_equal(mask_of(i), mask) for i, mask in cut.items())
    assert not writer.redo()


def test_many_steps_can_be_taken_back(writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]) -> None:
    stages = [box_mask((0, 0, 0), (n + 2, 8, 8)) for n in range(UNDO_STEPS)]
    written = writer.write(predicted("liver", stages[0], GRID), undo_step=False)
    for stage in stages[1:]:
        writer.write(predicted("liver", stage, GRID), written, region=Region.whole(SHAPE))

    for later, earlier in pairwise(reversed(stages)):
        assert np.array_equal(mask_of(written), later)
        assert writer.undo()
        assert np.array_equal(mask_of(written), earlier)


def test_the_scene_is_left_without_helper_nodes(scene: Any, segmentation: Any, oblique_ct: Any) -> None:
    write_prediction(predicted("liver", LIVER, GRID), segmentation, oblique_ct, scene=scene)

    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentEditorNode") == 0


# ---- geometry --------------------------------------------------------------------------------------------------


def test_a_new_segmentation_stands_beside_its_volume(
    scene: Any, segmentation: Any, oblique_ct: Any, put_under: Callable[[Any, np.ndarray], Any]
) -> None:
    move = rotation(x=30, y=15)
    move[:3, 3] = (9, 9, 9)
    transform = put_under(oblique_ct, move)
    writer = SegmentWriter(scene, segmentation, oblique_ct)

    written = writer.write(predicted("dot", box_mask((3, 5, 7), (4, 6, 8)), volume_from_node(oblique_ct).grid))

    assert segmentation.GetTransformNodeID() == transform.GetID()
    assert not writer.resamples
    assert np.allclose(segmentation.GetSegmentCenterRAS(written), (move @ OBLIQUE @ [3, 5, 7, 1])[:3])


def test_a_segmentation_under_another_transform_is_written_where_it_is_seen(
    scene: Any,
    segmentation: Any,
    oblique_ct: Any,
    put_under: Callable[[Any, np.ndarray], Any],
    mask_of: Callable[[str], np.ndarray],
) -> None:
    move, other = rotation(x=30, y=15), rotation(z=-70)
    other[:3, 3] = (50, -20, 10)
    put_under(oblique_ct, move)
    put_under(segmentation, other)
    writer = SegmentWriter(scene, segmentation, oblique_ct)

    dot = box_mask((3, 5, 7), (4, 6, 8))
    written = writer.write(predicted("dot", dot, volume_from_node(oblique_ct).grid))

    assert not writer.resamples
    assert np.array_equal(mask_of(written), dot)
    assert np.allclose(segmentation.GetSegmentCenterRAS(written), (move @ OBLIQUE @ [3, 5, 7, 1])[:3])


def test_the_segmentation_may_cover_less_than_the_volume(
    scene: Any, segmentation: Any, oblique_ct: Any, add_volume: Callable[..., Any], mask_of: Any
) -> None:
    corner = OBLIQUE.copy()
    corner[:3, 3] = (OBLIQUE @ [3, 2, 1, 1])[:3]
    cropped = add_volume(np.zeros((5, 5, 5), np.int16), affine=corner, name="cropped")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(cropped)
    writer = SegmentWriter(scene, segmentation, oblique_ct)

    written = writer.write(predicted("tumour", TUMOUR, GRID))

    assert not writer.resamples
    assert np.array_equal(mask_of(written), TUMOUR)


def test_a_segmentation_of_another_geometry_gets_the_shape_resampled(
    scene: Any, segmentation: Any, oblique_ct: Any, add_volume: Callable[..., Any]
) -> None:
    finer = GRID.resampled([0.35, 0.45, 0.5])
    fine = add_volume(np.zeros(finer.shape, np.int16), affine=finer.affine, name="fine")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(fine)
    writer = SegmentWriter(scene, segmentation, oblique_ct)

    written = writer.write(predicted("liver", LIVER, GRID))

    assert writer.resamples
    seen = segment_mask(segmentation, written, fine)
    volume_mm3 = seen.sum() * finer.voxel_volume
    assert volume_mm3 == pytest.approx(LIVER.sum() * GRID.voxel_volume, rel=0.03)
    assert np.array_equal(segment_mask(segmentation, written, oblique_ct), LIVER)


@pytest.fixture(params=["coarser", "finer", "turned"])
def other_voxels(request: pytest.FixtureRequest, segmentation: Any, add_volume: Callable[..., Any]) -> Any:
    """A volume whose voxels the segmentation has, which are not the image's."""
    grid = GRID.resampled([1.2, 1.5, 3.4] if request.param == "coarser" else [0.35, 0.45, 0.5])
    affine = rotation(z=20) @ grid.affine if request.param == "turned" else grid.affine
    other = add_volume(np.zeros(grid.shape, np.int16), affine=affine, name=request.param)
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(other)
    return other


def test_writing_a_part_of_an_answer_again_changes_nothing_on_other_voxels(
    scene: Any, segmentation: Any, oblique_ct: Any, other_voxels: Any
) -> None:
    writer = SegmentWriter(scene, segmentation, oblique_ct)
    answer = predicted("liver", box_mask((1, 1, 1), (12, 11, 9)), GRID)
    written = writer.write(answer)
    before = segment_mask(segmentation, written, other_voxels)

    writer.write(answer, written, region=region((4, 3, 3), (8, 8, 6)))
    writer.write(answer, written, region=region((4, 3, 3), (8, 8, 6)), since=answer)

    assert writer.resamples and before.any()
    assert np.array_equal(segment_mask(segmentation, written, other_voxels), before)


@pytest.mark.usefixtures("sized")
def test_an_answer_that_grows_voxel_by_voxel_arrives_on_other_voxels(
    scene: Any, segmentation: Any, oblique_ct: Any, other_voxels: Any
) -> None:
    writer = SegmentWriter(scene, segmentation, oblique_ct)
    written = writer.write(predicted("liver", box_mask((1, 1, 1), (4, 11, 9)), GRID))

    for end in range(5, 13):
        answer = predicted("liver", box_mask((1, 1, 1), (end, 11, 9)), GRID)
        writer.write(answer, written, region=region((end - 1, 0, 0), (end, 12, 10)))

    at_once = writer.write(predicted("at once", box_mask((1, 1, 1), (12, 11, 9)), GRID), overwrite="none")
    whole, grown = (segment_mask(segmentation, i, other_voxels) for i in (at_once, written))
    assert whole.any()
    assert np.count_nonzero(grown ^ whole) < 0.02 * whole.sum()


def test_a_segmentation_under_a_non_linear_transform_is_refused(
    scene: Any, segmentation: Any, oblique_ct: Any, bend: Callable[[Any], Any]
) -> None:
    bend(segmentation)

    with pytest.raises(InputError, match="'Segmentation' is under the non-linear transform"):
        SegmentWriter(scene, segmentation, oblique_ct)


def test_a_segmentation_of_surfaces_is_refused(scene: Any, oblique_ct: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "RT structures")
    node.GetSegmentation().SetSourceRepresentationName(
        slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    )
    node.GetSegmentation().AddEmptySegment("a", "a")

    with pytest.raises(InputError, match="'RT structures' is not made of voxels"):
        SegmentWriter(scene, node, oblique_ct)


@pytest.mark.usefixtures("sized")
def test_surfaces_follow_the_voxels(segmentation: Any, writer: SegmentWriter) -> None:
    written = writer.write(predicted("liver", LIVER, GRID))
    segmentation.CreateClosedSurfaceRepresentation()

    writer.write(predicted("liver", TUMOUR, GRID), written, region=Region.whole(SHAPE))

    surface = segmentation.GetClosedSurfaceInternalRepresentation(written)
    expected = (OBLIQUE @ [6.5, 6.0, 5.5, 1])[:3]
    assert np.allclose(surface.GetCenter(), expected, atol=1.0)


@pytest.mark.usefixtures("sized")
@pytest.mark.parametrize("neighbour", [KIDNEY, ~LIVER], ids=["overlapping", "in the same labelmap"])
def test_views_and_surfaces_hear_of_all_segments_that_changed(
    scene: Any,
    segmentation: Any,
    oblique_ct: Any,
    writer: SegmentWriter,
    mask_of: Callable[[str], np.ndarray],
    neighbour: np.ndarray,
) -> None:
    liver = writer.write(predicted("liver", LIVER, GRID), overwrite="none")
    other = writer.write(predicted("neighbour", neighbour, GRID), overwrite="none")
    segmentation.CreateClosedSurfaceRepresentation()
    heard: list[str] = []
    event = slicer.vtkSegmentation.SourceRepresentationModified
    segmentation.GetSegmentation().AddObserver(event, lambda *_: heard.append(event))

    def check() -> None:
        assert heard
        heard.clear()
        for segment_id in (liver, other):
            anew = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
            made = write_prediction(predicted("anew", mask_of(segment_id), GRID), anew, oblique_ct, scene=scene)
            anew.CreateClosedSurfaceRepresentation()
            shown, expected = (
                n.GetClosedSurfaceInternalRepresentation(i) for n, i in ((segmentation, segment_id), (anew, made))
            )
            assert shown.GetNumberOfPoints() == expected.GetNumberOfPoints() > 0
            assert np.allclose(shown.GetBounds(), expected.GetBounds(), atol=0.05)

    writer.write(predicted("liver", TUMOUR, GRID), liver, region=Region.whole(SHAPE))
    check()
    assert writer.undo()
    check()
    assert writer.redo()
    check()


@pytest.mark.usefixtures("sized")
def test_a_segment_that_loses_all_is_empty_in_all_views(
    segmentation: Any, writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    kidney = writer.write(predicted("kidney", KIDNEY, GRID))
    segmentation.CreateClosedSurfaceRepresentation()

    writer.write(predicted("liver", box_mask((0, 0, 0), SHAPE), GRID))

    assert not mask_of(kidney).any()
    assert segmentation.GetClosedSurfaceInternalRepresentation(kidney).GetNumberOfPoints() == 0
    assert writer.undo()
    assert np.array_equal(mask_of(kidney), KIDNEY)
    assert segmentation.GetClosedSurfaceInternalRepresentation(kidney).GetNumberOfPoints() > 0


@pytest.mark.usefixtures("sized")
def test_slicers_own_tools_go_on_from_what_was_written(
    segmentation: Any, writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    liver = writer.write(predicted("liver", LIVER, GRID))
    writer.write(predicted("liver", LIVER & TUMOUR, GRID), liver, region=Region.whole(SHAPE))

    labelmap = segmentation.GetBinaryLabelmapInternalRepresentation(liver)
    # No larger than the segment, as Slicer keeps it: its statistics and its files go by that.
    assert labelmap.GetExtent() == (4, 6, 4, 6, 4, 6)
    painted = slicer.vtkOrientedImageData()
    segmentation.GetBinaryLabelmapRepresentation(liver, painted)
    assert painted.GetScalarRange()[1] > 0
    writer.write(predicted("liver", LIVER | TUMOUR, GRID), liver, region=Region.whole(SHAPE))
    assert labelmap.GetExtent() == (1, 9, 1, 8, 1, 7)
    assert np.array_equal(mask_of(liver), LIVER | TUMOUR)


@pytest.mark.usefixtures("sized")
def test_what_was_copied_from_a_segment_stays_as_it_was(
    scene: Any, segmentation: Any, oblique_ct: Any, writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    liver = writer.add("liver")
    given = oriented_image(LIVER, Region.whole(SHAPE), OBLIQUE)
    assert slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(given, segmentation, liver)
    # What Slicer's own Undo goes back to.
    states = slicer.vtkSegmentationHistory()
    states.SetSegmentation(segmentation.GetSegmentation())
    assert states.SaveState()
    clone, other = (scene.AddNewNodeByClass("vtkMRMLSegmentationNode") for _ in range(2))
    clone.Copy(segmentation)
    other.GetSegmentation().CopySegmentFromSegmentation(segmentation.GetSegmentation(), liver)

    writer.write(predicted("liver", TUMOUR, GRID), liver, region=Region.whole(SHAPE))

    assert np.array_equal(mask_of(liver), TUMOUR)
    assert given.GetScalarRange() == (0, 1) and given.GetScalarComponentAsDouble(1, 1, 1, 0) == 1
    assert np.array_equal(segment_mask(clone, liver, oblique_ct), LIVER)
    assert np.array_equal(segment_mask(other, liver, oblique_ct), LIVER)
    assert states.RestorePreviousState() and np.array_equal(mask_of(liver), LIVER)


@pytest.mark.stopwatch
def test_an_organ_of_two_litres_is_written_and_taken_back_in_short_turns(
    scene: Any, segmentation: Any, add_volume: Callable[..., Any]
) -> None:
    shape, radius = (320, 320, 300), 120
    i, j, k = np.ogrid[tuple(slice(0, n) for n in shape)]
    ball = (i - 160) ** 2 + (j - 160) ** 2 + (k - 150) ** 2 < radius**2
    volume = add_volume(np.zeros(shape, np.uint8), np.diag([-0.7, -0.7, 1.0, 1.0]))
    writer = SegmentWriter(scene, segmentation, volume)
    grid = volume_from_node(volume).grid
    liver = writer.add("liver")
    writer.write(predicted("stomach", box_mask((30, 30, 30), (160, 160, 150), shape), grid))

    def worst(steps: Iterator[Any]) -> float:
        found = 0.0
        while (took := seconds(steps)) is not None:
            found = max(found, took)
        return found

    set_tests_aside()
    # What blocks, blocks every time; a machine that stood still for a moment does not.
    for _ in range(2):
        writing = worst(writer.writing(predicted("liver", ball, grid), liver, region=Region.whole(shape)))
        assert np.array_equal(segment_mask(segmentation, liver, volume), ball)
        back = worst(writer.stepping(writer.history.step, Left()))
        assert not segment_mask(segmentation, liver, volume).any()
        most = allowed(0.1)
        if writing < most and back < most:
            return
    pytest.fail(f"steps took {writing:.3f} and {back:.3f} s, allowed here are {most:.3f}")


def seconds(steps: Iterator[Any]) -> float | None:
    """What the next step takes; None where there is none."""
    began = time.thread_time()
    done = next(steps, steps) is steps
    return None if done else time.thread_time() - began


# ---- files -----------------------------------------------------------------------------------------------------


@given(parts=st.lists(masks, min_size=1, max_size=4), angles=st.tuples(*[st.floats(-180, 180)] * 3))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_segments_survive_a_file_voxel_for_voxel(
    tmp_path: Path, parts: list[np.ndarray], angles: tuple[float, float, float]
) -> None:
    affine = rotation(*angles) @ OBLIQUE
    scene = new_scene()
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*SHAPE)
    image.AllocateScalars(3, 1)
    volume.SetAndObserveImageData(image)
    volume.SetIJKToRASMatrix(array_to_matrix(affine))
    grid = volume_from_node(volume).grid
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    writer = SegmentWriter(scene, node, volume)
    for index, mask in enumerate(parts):
        writer.write(predicted(f"part {index}", mask, grid), overwrite="none")
    path = tmp_path / "all.seg.nrrd"
    save_node(node, path)

    loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    loaded.AddDefaultStorageNode()
    loaded.GetStorageNode().SetFileName(str(path))
    assert loaded.GetStorageNode().ReadData(loaded)

    found = loaded.GetSegmentation()
    assert found.GetNumberOfSegments() == len(parts)
    for index, mask in enumerate(parts):
        segment_id = found.GetSegmentIdBySegmentName(f"part {index}")
        assert np.array_equal(segment_mask(loaded, segment_id, volume), mask)


@pytest.mark.parametrize("save_and_load", [saved_and_loaded, bundled_and_loaded])
@pytest.mark.parametrize("handed", ["right", "left"])
def test_the_scene_file_brings_segments_back_to_be_continued(
    scene: Any, segmentation: Any, add_volume: Callable[..., Any], tmp_path: Path, handed: str, save_and_load: Any
) -> None:
    grid = GRID if handed == "left" else Grid(SHAPE, OBLIQUE * [1, 1, -1, 1])
    writer = SegmentWriter(scene, segmentation, add_volume(affine=grid.affine, name="MR"))
    writer.write(predicted("liver", LIVER, grid))
    writer.write(predicted("tumour", TUMOUR, grid))

    loaded = save_and_load(scene, tmp_path)

    volume, node = loaded.GetFirstNodeByName("MR"), loaded.GetFirstNodeByName("Segmentation")
    again = SegmentWriter(loaded, node, volume)
    liver, tumour = again.segment_id("liver"), again.segment_id("tumour")
    assert liver is not None
    assert tumour is not None
    # Slicer turns left-handed images round when it reads them, so that voxels are counted from the other end.
    turn = (slice(None), slice(None), slice(None, None, -1 if handed == "left" else 1))
    assert np.array_equal(segment_mask(node, liver, volume), (LIVER & ~TUMOUR)[turn])
    assert np.array_equal(segment_mask(node, tumour, volume), TUMOUR[turn])
    assert "SCT^10200004^Liver" in node.GetSegmentation().GetSegment(liver).GetTerminology()
    assert not again.resamples
    whole = predicted("liver", LIVER[turn], volume_from_node(volume).grid, changed=Region.whole(SHAPE))
    assert again.write(whole) == liver
    assert np.array_equal(segment_mask(node, liver, volume), LIVER[turn])


def test_a_step_that_changes_nothing_is_no_step_to_undo(
    writer: SegmentWriter, mask_of: Callable[[str], np.ndarray]
) -> None:
    written = writer.write(predicted("liver", LIVER, GRID))
    writer.write(predicted("liver", TUMOUR, GRID), written, region=Region.whole(SHAPE))
    writer.write(predicted("liver", TUMOUR, GRID, changed=None), written)

    assert writer.undo()
    assert np.array_equal(mask_of(written), LIVER)


def test_segmentations_of_any_names_get_a_file_each(scene: Any, oblique_ct: Any, tmp_path: Path) -> None:
    # As Slicer numbers copies, and users name things.
    for name in ("a", "a", "a 2"):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.SetName(name)
        write_prediction(predicted("liver", LIVER, GRID), node, oblique_ct, scene=scene)

    written = export_scene(scene, tmp_path)

    assert len({files[0] for files in written.values()}) == 3
    assert len(list(tmp_path.glob("*.seg.nrrd"))) == 3
