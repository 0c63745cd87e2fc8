"""The data sets of the paper as their makers lay them out, read without the losses of the published code.

BTCV (CT, abdomen): ``img/img0001.nii.gz`` and ``label/label0001.nii.gz``, below the root or its ``Training`` folder.
CHAOS (MR, abdomen): ``…/MR/<patient>/T1DUAL/DICOM_anon/{InPhase,OutPhase}/*.dcm``, ``T2SPIR/DICOM_anon/*.dcm`` and
``Ground/*.png``; CT folders (``CT/<patient>/DICOM_anon``) are not read.
MSCMRSEG (MR, heart): ``patient1_LGE.nii.gz`` (or ``_C0``, ``_T2``) and ``patient1_LGE_manual.nii.gz``, in one folder
or several.

What the published preprocessing did and this does not:

* it wrote every image with spacing 1 and without its direction; here an image keeps its grid, oblique or not, and
  a label has to lie on it;
* it clipped all images to 0–255, a window of CT, also the MR; here CT gets a CT window and MR its own percentiles;
* it took slices of CHAOS in the order of their file names; here each PNG is put where the DICOM slice of its name
  says it is, and only in the order of names where names do not match;
* it trained one binary model per organ; here all organs are learnt together;
* its training, selection and test images were whatever a hand-written list said, the selection set serving as the
  test; here patients are divided by a hash of their name, 3 : 1 : 1, and all images of a patient go together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.training.datalist import CaseSet, TrainingCase, read_cases
from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid

Layout = Literal["auto", "btcv", "chaos", "mscmrseg"]

BTCV = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "portal and splenic veins": 10,
    "pancreas": 11,
    "right adrenal gland": 12,
    "left adrenal gland": 13,
}
MSCMRSEG = {"left ventricle": 200, "myocardium": 500, "right ventricle": 600}
# Structure to label value, and the grey values that CHAOS's own evaluation counts as it.
CHAOS = {"liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4}
_CHAOS_GREYS = {1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}


def cases_of(data: str | Path, layout: Layout = "auto") -> CaseSet:
    """The cases in ``data``: a datalist or a folder of cases (``"auto"``), or the root of a known data set."""
    path = Path(data)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if layout == "auto":
        return read_cases(path)
    if not path.is_dir():
        raise InputError(f'{path} is no folder: with layout "{layout}" give the data set\'s root.')
    read = {"btcv": btcv, "chaos": chaos, "mscmrseg": mscmrseg}[layout]
    return read(path)


def btcv(root: Path) -> CaseSet:
    """BTCV, see the module."""
    cases = []
    for image in sorted(root.rglob("img/img*.nii.gz")):
        label = image.parents[1] / "label" / image.name.replace("img", "label")
        if not label.is_file():
            raise InputError(f"{image} has no label {label}: download the labels, or remove the image.")
        cases.append(TrainingCase(image.name.removesuffix(".nii.gz"), image, label))
    return _divided(cases, BTCV, "CT", root, "img/img0001.nii.gz and label/label0001.nii.gz")


def chaos(root: Path) -> CaseSet:
    """CHAOS, its MR part, see the module."""
    cases = []
    for ground in sorted(p for p in root.rglob("Ground") if p.is_dir() and "CT" not in p.parts):
        sequence = ground.parent
        patient = f"patient {sequence.parent.name}"
        anonymous = sequence / "DICOM_anon"
        phases = [p for p in (anonymous / "InPhase", anonymous / "OutPhase") if p.is_dir()]
        for folder in phases or [anonymous]:
            if not folder.is_dir():
                raise InputError(f"{ground} has no images beside it: {folder} is missing.")
            name = " ".join([patient, sequence.name, *([folder.name] if phases else [])])
            cases.append(TrainingCase(name, folder, ground, group=patient))
    return _divided(cases, CHAOS, "MR", root, "MR/1/T2SPIR/DICOM_anon and MR/1/T2SPIR/Ground")


def mscmrseg(root: Path) -> CaseSet:
    """MSCMRSEG, see the module."""
    cases = []
    for label in sorted(root.rglob("patient*_manual.nii.gz")):
        name = label.name.removesuffix("_manual.nii.gz")
        image = next((p for p in sorted(root.rglob(f"{name}.nii.gz"))), None)
        if image is None:
            raise InputError(f"{label} has no image {name}.nii.gz below {root}: add it, or remove the label.")
        cases.append(TrainingCase(name, image, label, group=name.split("_")[0]))
    return _divided(cases, MSCMRSEG, "MR", root, "patient1_LGE.nii.gz and patient1_LGE_manual.nii.gz")


def read_png_labels(case: TrainingCase, grid: Grid) -> NDArray[np.int32]:
    """The labelmap ``[i, j, k]`` on ``grid``, from a folder of PNG slices beside a folder of DICOM slices."""
    assert case.label is not None
    pictures = sorted(case.label.glob("*.png"), key=_natural)
    out = np.zeros(grid.shape, np.int32)
    positions = _slice_positions(case.image, grid)
    places = [positions.get(p.stem) for p in pictures]
    if len(pictures) != len(positions):
        raise InputError(
            f"The labels of '{case.name}' have {len(pictures)} slices and its image has {len(positions)}: complete "
            "the download."
        )
    if None in places or len(set(places)) != len(places):
        # The two phases of T1DUAL share one set of pictures, named after one of them.
        places = [positions[name] for name in sorted(positions, key=_natural)]
    for picture, place in zip(pictures, places, strict=True):
        assert place is not None
        out[:, :, place] = _picture_labels(picture, case, grid)
    return out


def _picture_labels(picture: Path, case: TrainingCase, grid: Grid) -> NDArray[np.int32]:
    """One slice ``[i, j]``."""
    import SimpleITK

    grey = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(picture)))
    grey = grey[..., 0] if grey.ndim == 3 else grey
    if grey.T.shape != grid.shape[:2]:
        raise InputError(
            f"The label {picture} of '{case.name}' is {grey.shape[1]} × {grey.shape[0]} pixels and its image "
            f"{grid.shape[0]} × {grid.shape[1]}: they do not belong together."
        )
    out = np.zeros(grey.shape, np.int32)
    for value, (low, high) in _CHAOS_GREYS.items():
        out[(grey >= low) & (grey <= high)] = value
    strange = np.unique(grey[(out == 0) & (grey != 0)])
    if strange.size:
        raise InputError(
            f"The label {picture} of '{case.name}' holds the grey value {strange[0]}, which is no organ of CHAOS: "
            "download it again."
        )
    return out.T


def _slice_positions(folder: Path, grid: Grid) -> dict[str, int]:
    """The index k of every DICOM file in ``folder``, by its name without the ending."""
    import SimpleITK

    places = {}
    for file in folder.iterdir():
        if file.suffix.lower() not in (".dcm", ".ima"):
            continue
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        position = np.array([*reader.GetOrigin()[:3], 1.0])
        places[file.stem] = int(grid.to_voxel((RAS_TO_LPS @ position)[:3])[2])
    return places


def _divided(
    cases: Iterable[TrainingCase], structures: dict[str, int], modality: str, root: Path, example: str
) -> CaseSet:
    cases = tuple(cases)
    if not cases:
        raise InputError(f"{root} is not laid out as expected: there is nothing like {example} below it.")
    patients = sorted({c.patient for c in cases}, key=lambda p: hashlib.sha256(p.encode()).hexdigest())
    part = max(1, round(len(patients) / 5)) if len(patients) >= 3 else 0
    selection, test = set(patients[:part]), set(patients[part : 2 * part])
    return CaseSet(
        structures,
        tuple(c for c in cases if c.patient not in selection | test),
        tuple(c for c in cases if c.patient in selection),
        tuple(c for c in cases if c.patient in test),
        modality,
    )


def _natural(path: Path | str) -> list[object]:
    """Sort key: numbers in names by their value, and the same whether a path or a name."""
    name = path.stem if isinstance(path, Path) else path
    return [int(w) if w.isdigit() else w for w in re.split(r"(\d+)", name)]
