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

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet, fifths
from PWSegmentationLib.errors import InputError

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
# As `png_slices` reads the grey values of its labels.
CHAOS = {"liver": 1, "right kidney": 2, "left kidney": 3, "spleen": 4}


def btcv(root: Path) -> CaseSet:
    """BTCV, see the module."""
    cases = []
    for image in sorted(root.rglob("img/img*.nii.gz")):
        label = image.parents[1] / "label" / image.name.replace("img", "label")
        if not label.is_file():
            raise InputError(f"{image} has no label {label}: download the labels, or remove the image.")
        cases.append(CaseFiles(image.name.removesuffix(".nii.gz"), image, label))
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
            cases.append(CaseFiles(name, folder, ground, group=patient))
    return _divided(cases, CHAOS, "MR", root, "MR/1/T2SPIR/DICOM_anon and MR/1/T2SPIR/Ground")


def mscmrseg(root: Path) -> CaseSet:
    """MSCMRSEG, see the module."""
    cases = []
    for label in sorted(root.rglob("patient*_manual.nii.gz")):
        name = label.name.removesuffix("_manual.nii.gz")
        image = next((p for p in sorted(root.rglob(f"{name}.nii.gz"))), None)
        if image is None:
            raise InputError(f"{label} has no image {name}.nii.gz below {root}: add it, or remove the label.")
        cases.append(CaseFiles(name, image, label, group=name.split("_")[0]))
    return _divided(cases, MSCMRSEG, "MR", root, "patient1_LGE.nii.gz and patient1_LGE_manual.nii.gz")


def _divided(
    cases: Iterable[CaseFiles], structures: Mapping[str, int], modality: str, root: Path, example: str
) -> CaseSet:
    """A fifth of the patients each to select by and to test with, the rest to learn from."""
    named = {name: (value,) for name, value in structures.items()}
    found = [replace(case, structures=named) for case in cases]
    if not found:
        raise InputError(f"{root} is not laid out as expected: there is nothing like {example} below it.")
    selection, test, training = fifths(found, 2)
    return CaseSet.of(named, training, selection, test, modality=modality)
