"""What is written comes back voxel for voxel, whatever the grid's orientation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.export.writing import write_segments
from PWSegmentationLib.prediction.prediction import Prediction
from PWSegmentationLib.segments.colors import PALETTE, color
from PWSegmentationLib.volume.grid import Grid, Region
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.writing import write_image
from Testing.Library.grids import GRIDS, SHAPE


def prediction(name: str, grid: Grid, region: Region, seed: int = 0, full: bool = False) -> Prediction:
    mask = np.random.default_rng(seed).random(region.shape) > (-1 if full else 0.5)
    number = np.where(mask, np.float16(0.9), np.float16(0.1))
    return Prediction(name, grid, region, mask, number, number)


def two(grid: Grid) -> dict[str, Prediction]:
    return {
        "spleen": prediction("spleen", grid, Region((1, 2, 0), (5, 8, 7))),
        "left kidney": prediction("left kidney", grid, Region((5, 0, 1), (9, 5, 6)), 1),
    }


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_labelmap_round_trip(tmp_path: Path, ending: str, name: str) -> None:
    grid = GRIDS[name]
    segments = two(grid)
    written = write_segments(segments, grid, tmp_path / f"out{ending}", names=["spleen", "empty", "left kidney"])
    assert [p.name for p in written] == [f"out{ending}", "out.labels.json", "out.ctbl"]
    volume = read_volume(written[0])
    assert volume.grid.same_as(grid)
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array == 1, segments["spleen"].mask)
    np.testing.assert_array_equal(volume.array == 3, segments["left kidney"].mask)
    labels = json.loads(written[1].read_text(encoding="utf-8"))
    assert labels == {"spleen": 1, "empty": 2, "left kidney": 3}


@pytest.mark.parametrize("name", GRIDS)
def test_segmentation_is_an_image_where_the_grid_is(tmp_path: Path, name: str) -> None:
    grid = GRIDS[name]
    (path,) = write_segments(two(grid), grid, tmp_path / "out.seg.nrrd")
    volume = read_volume(path)
    assert volume.grid.same_as(grid)
    np.testing.assert_array_equal(volume.array == 2, two(grid)["left kidney"].mask)
    header = path.read_bytes().split(b"\n\n")[0].decode()
    assert "Segment1_Name:=left kidney" in header
    assert "Segment1_Extent:=5 8 0 4 1 5" in header


def test_overlap_needs_layers(tmp_path: Path) -> None:
    grid = GRIDS["oblique"]
    whole = Region.whole(SHAPE)
    segments = {
        "a": prediction("a", grid, whole, full=True),
        "b": prediction("b", grid, whole, 1),
        "c": prediction("c", grid, Region((0, 0, 0), (2, 2, 2)), full=True),
    }
    with pytest.raises(InputError, match=r"write \.seg\.nrrd"):
        write_segments(segments, grid, tmp_path / "out.nii.gz")
    assert list(tmp_path.iterdir()) == []
    (path,) = write_segments(segments, grid, tmp_path / "out.seg.nrrd")
    header = path.read_bytes().split(b"\n\n")[0].decode()
    assert "sizes: 3 9 8 7" in header or "sizes: 2 9 8 7" in header
    assert "Segment1_Layer:=1" in header


def test_more_segments_than_a_byte_counts(tmp_path: Path) -> None:
    grid = GRIDS["straight"]
    segments = {
        f"s{n}": prediction(
            f"s{n}", grid, Region((n % 9, n // 9 % 8, n // 72), (n % 9 + 1, n // 9 % 8 + 1, n // 72 + 1))
        )
        for n in range(300)
    }
    path, *_ = write_segments(segments, grid, tmp_path / "many.nii.gz")
    array = read_volume(path).array
    assert array.dtype == np.uint16
    assert all((array == n + 1).sum() == segments[f"s{n}"].mask.sum() for n in range(300))


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint8", "bool"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_images_of_numbers(tmp_path: Path, ending: str, dtype: str) -> None:
    array = np.linspace(0, 1, np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    path = tmp_path / "deep" / f"map{ending}"
    write_image(array, GRIDS["left-handed"], path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array.astype(volume.array.dtype))
    assert volume.array.dtype == {"float16": np.float32, "bool": np.uint8}.get(dtype, dtype)


def test_prediction_maps_round_trip(tmp_path: Path) -> None:
    found = two(GRIDS["oblique"])["spleen"]
    write_image(found.probability, found.grid, tmp_path / "p.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "p.nii.gz").array, found.probability)


@pytest.mark.parametrize("name", ["out.dcm", "out", "out.nii.zip", ".nii.gz", ".seg.nrrd"])
def test_endings_that_are_not_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="ending"):
        write_segments(two(GRIDS["straight"]), GRIDS["straight"], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_old_files_stay_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nibabel

    def full_disk(image: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "out.nii.gz"
    path.write_bytes(b"old")
    monkeypatch.setattr(nibabel, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_segments(two(GRIDS["straight"]), GRIDS["straight"], path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.nii.gz"]


def test_colours_differ() -> None:
    colours = [color(n) for n in range(3 * len(PALETTE))]
    assert len(set(colours)) == len(colours)
    assert all(0 <= v <= 1 for c in colours for v in c)
