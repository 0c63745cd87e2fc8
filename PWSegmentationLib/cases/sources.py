"""What a user names as data, whatever it is, as a set of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.datalist import read_datalist
from PWSegmentationLib.cases.folders import read_folder
from PWSegmentationLib.cases.layouts import btcv, chaos, mscmrseg
from PWSegmentationLib.errors import InputError

Layout = Literal["auto", "btcv", "chaos", "mscmrseg"]


def read_cases(data: str | Path, layout: Layout = "auto") -> CaseSet:
    """The cases in ``data``: a datalist or a folder of cases (``"auto"``), or the root of a known data set.

    Where no selection set is named, a fifth of the training patients is kept for it.

    Raises
    ------
    InputError
        If a file is missing, a case cannot be used, a patient is in two sets, or nothing is named.
    """
    path = Path(data)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    if layout == "auto":
        return read_folder(path) if path.is_dir() else read_datalist(path)
    if not path.is_dir():
        raise InputError(f'{path} is no folder: with layout "{layout}" give the data set\'s root.')
    return {"btcv": btcv, "chaos": chaos, "mscmrseg": mscmrseg}[layout](path)
