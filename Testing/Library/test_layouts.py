"""BTCV, CHAOS and MSCMRSEG as their makers lay them out, with nothing of the geometry lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from PWSegmentationLib import InputError
from PWSegmentationLib.cases.labels import read_labels
from PWSegmentationLib.cases.layouts import CHAOS
from PWSegmentationLib.cases.sources import read_cases
from PWSegmentationLib.prediction.preparation import Preparation
from PWSegmentationLib.training.windows import PrepareCase
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.reading import read_volume
from PWSegmentationLib.volume.writing import write_image

from .conftest import random_affine
from .training_data import quick, scene

SHAPE = (10, 8, 5)


def test_btcv(tmp_path: Path) -> None:
    for n in range(1, 6):
        image, labels, grid = scene(n)
        write_image(image, grid, tmp_path / "Training" / "img" / f"img{n:04d}.nii.gz")
        write_image(labels * 6, grid, tmp_path / "Training" / "label" / f"label{n:04d}.nii.gz")
    cases = read_cases(tmp_path, "btcv")
    assert (len(cases.training), len(cases.selection), len(cases.test)) == (3, 1, 1)
    assert cases.modality == "CT" and cases.structures["liver"] == 6 and len(cases.structures) == 13
    (case,) = cases.test
    volume = read_volume(case.image)
    # 12 is the right adrenal gland: a value with a name.
    assert set(np.unique(read_labels(case, volume.grid, named=cases.named))) == {0, 6, 12}
    done = PrepareCase(cases, quick(tmp_path, supervision="dense"), Preparation())(case)
    assert done["probability"].shape == (13, *volume.grid.shape)


def write_slices(folder: Path, array: np.ndarray, affine: np.ndarray, names: list[str]) -> None:
    """An MR series whose file names run against the slices' positions, as some of CHAOS do."""
    folder.mkdir(parents=True)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    axes, series, study = lps[:3, :3] / spacing, generate_uid(), generate_uid()
    for k, name in enumerate(reversed(names)):
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = MRImageStorage
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
        item.SeriesInstanceUID, item.StudyInstanceUID, item.FrameOfReferenceUID = series, study, study
        item.Modality, item.SeriesNumber, item.InstanceNumber = "MR", 1, len(names) - k
        item.Rows, item.Columns = array.shape[1], array.shape[0]
        item.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        item.SliceThickness = float(spacing[2])
        item.ImageOrientationPatient = [float(v) for v in (*axes[:, 0], *axes[:, 1])]
        item.ImagePositionPatient = [float(v) for v in (lps @ [0, 0, k, 1])[:3]]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 0
        item.PixelData = np.ascontiguousarray(array[:, :, k].T).astype(np.uint16).tobytes()
        item.save_as(folder / f"{name}.dcm", enforce_file_format=True)


def write_pictures(folder: Path, greys: np.ndarray, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for k, name in enumerate(reversed(names)):
        picture = SimpleITK.GetImageFromArray(np.ascontiguousarray(greys[:, :, k].T).astype(np.uint8))
        SimpleITK.WriteImage(picture, str(folder / f"{name}.png"))


def right_handed(seed: int) -> np.ndarray:
    affine = random_affine(seed)
    if np.linalg.det((np.diag([-1.0, -1, 1, 1]) @ affine)[:3, :3]) < 0:
        affine[:3, 2] *= -1
    return affine


def write_chaos(root: Path, patient: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(patient)
    image = rng.integers(0, 1500, SHAPE)
    greys = rng.choice([0, 63, 126, 189, 252], SHAPE)
    affine = right_handed(patient)
    names = [f"IMG-0004-{n:05d}" for n in range(1, SHAPE[2] + 1)]
    sequence = root / "Train_Sets" / "MR" / str(patient) / "T2SPIR"
    write_slices(sequence / "DICOM_anon", image, affine, names)
    write_pictures(sequence / "Ground", greys, names)
    dual = sequence.parent / "T1DUAL"
    odd = [f"IMG-0004-{n:05d}" for n in range(1, 2 * SHAPE[2], 2)]
    even = [f"IMG-0004-{n:05d}" for n in range(2, 2 * SHAPE[2] + 1, 2)]
    write_slices(dual / "DICOM_anon" / "OutPhase", image, affine, odd)
    write_slices(dual / "DICOM_anon" / "InPhase", image, affine, even)
    return image, greys, affine


def test_chaos(tmp_path: Path) -> None:
    written = {}
    for patient in (1, 2, 3):
        written[patient] = write_chaos(tmp_path, patient)
        even = [f"IMG-0004-{n:05d}" for n in range(2, 2 * SHAPE[2] + 1, 2)]
        dual = tmp_path / "Train_Sets" / "MR" / str(patient) / "T1DUAL"
        write_pictures(dual / "Ground", written[patient][1], even)
    cases = read_cases(tmp_path, "chaos")
    sets = (cases.training, cases.selection, cases.test)
    # Three images of each of three patients, and no patient in two sets.
    assert [len(s) for s in sets] == [3, 3, 3] and all(len({c.patient for c in s}) == 1 for s in sets)
    assert cases.modality == "MR"
    for case in (c for s in sets for c in s):
        image, greys, affine = written[int(case.patient.split()[1])]
        volume = read_volume(case.image)
        labels = read_labels(case, volume.grid, named=cases.named)
        expected = np.select([greys == g for g in (63, 126, 189, 252)], list(CHAOS.values()))
        index = np.argwhere(np.ones(SHAPE, bool))
        here = volume.grid.to_voxel(index @ affine[:3, :3].T + affine[:3, 3])
        # Image and label of the same place belong together, whatever order the files are in.
        assert np.array_equal(volume.array[tuple(here.T)], image[tuple(index.T)])
        assert np.array_equal(labels[tuple(here.T)], expected[tuple(index.T)])
        assert np.allclose(sorted(volume.grid.spacing), sorted(np.linalg.norm(affine[:3, :3], axis=0)), rtol=1e-3)


def test_mr_is_not_clipped_to_a_ct_window(tmp_path: Path) -> None:
    image, labels, grid = scene(1)
    for n in (1, 2, 3):
        write_image((image * 10).astype(np.int16), grid, tmp_path / "LGE" / f"patient{n}_LGE.nii.gz")
        values = np.array([0, 200, 500], np.int16)[labels]
        write_image(values, grid, tmp_path / "manual" / f"patient{n}_LGE_manual.nii.gz")
    cases = read_cases(tmp_path, "mscmrseg")
    assert cases.structures == {"left ventricle": 200, "myocardium": 500, "right ventricle": 600}
    from PWSegmentationLib.training.dataset_training import _preparation

    preparation = _preparation(quick(tmp_path, layout="mscmrseg"), cases)
    assert preparation.intensity == "robust"
    (case,) = cases.test
    done = PrepareCase(cases, quick(tmp_path, supervision="dense"), preparation)(case)
    # Everything but the bar lies above 255: clipped there, ball and background would be one.
    assert done["image"][0][labels == 1].mean() > done["image"][0][labels == 0].mean() + 1
    volume = read_volume(case.image)
    assert volume.grid.same_as(grid)
    assert done["probability"][1].sum() == (labels == 2).sum()
    assert _preparation(quick(tmp_path), cases_of_ct(cases)).intensity == "ct"


def cases_of_ct(cases):
    from dataclasses import replace

    return replace(cases, modality="CT")


def test_layouts_that_are_not_there(tmp_path: Path) -> None:
    for layout in ("btcv", "chaos", "mscmrseg"):
        with pytest.raises(InputError, match="is not laid out as expected"):
            read_cases(tmp_path, layout)
    write_image(np.zeros((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4)), tmp_path / "img" / "img0001.nii.gz")
    with pytest.raises(InputError, match=r"img0001.nii.gz has no label .*label0001"):
        read_cases(tmp_path, "btcv")


def test_pictures_that_do_not_belong_to_the_image(tmp_path: Path) -> None:
    write_chaos(tmp_path, 1)
    case = next(c for c in read_cases(tmp_path, "chaos").training if "T2SPIR" in c.name)
    grid = read_volume(case.image).grid
    picture = sorted(case.labels.glob("*.png"))[0]
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.full((8, 10), 99, np.uint8)), str(picture))
    with pytest.raises(InputError, match="grey value 99, which is no organ"):
        read_labels(case, grid)
    picture.unlink()
    sorted(case.labels.glob("*.png"))[0].unlink()
    with pytest.raises(InputError, match="have 3 slices and its image has 5"):
        read_labels(case, grid)
