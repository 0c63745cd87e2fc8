"""Small images to upload."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import SimpleITK

SHAPE = (48, 40, 30)


def ball() -> SimpleITK.Image:
    """A bright ball in noise."""
    index = np.indices(SHAPE[::-1]) - 0.5 * np.array(SHAPE[::-1]).reshape(3, 1, 1, 1)
    values = np.random.default_rng(0).normal(100, 5, SHAPE[::-1])
    values[(index**2).sum(axis=0) < 10**2] += 100
    image = SimpleITK.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing((1.0, 1.0, 1.5))
    return image


def write_ball(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(ball(), str(path))
    return path


def dicom_zip(path: Path, uid: str = "1.2.3") -> Path:
    """A DICOM series in a folder of a zip, with a text beside it."""
    image = ball()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("study/README.txt", "not an image")
        for k in range(image.GetDepth()):
            piece = image[:, :, k]
            tags = {
                "0008|0060": "CT",
                "0020|000e": uid,
                "0020|000d": uid,
                "0020|0011": "1",
                "0020|0013": str(k),
                "0020|0032": f"0\\0\\{1.5 * k}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
                "0020|0052": uid,
                "0010|0010": "Somebody",
            }
            for tag, value in tags.items():
                piece.SetMetaData(tag, value)
            one = path.with_name("slice.dcm")
            writer = SimpleITK.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(one))
            writer.Execute(piece)
            archive.writestr(f"study/series/{k}.dcm", one.read_bytes())
    return path
