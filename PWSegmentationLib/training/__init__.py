"""Fitting networks to labels. Importing this package imports neither torch nor MONAI."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PWSegmentationLib.training.case_fitting import fit_case
    from PWSegmentationLib.training.case_model import CaseModel, FitReport
    from PWSegmentationLib.training.losses import LossWeights, segmentation_loss

_HOME = {
    "CaseModel": "PWSegmentationLib.training.case_model",
    "FitReport": "PWSegmentationLib.training.case_model",
    "fit_case": "PWSegmentationLib.training.case_fitting",
    "LossWeights": "PWSegmentationLib.training.losses",
    "segmentation_loss": "PWSegmentationLib.training.losses",
}

__all__ = ["CaseModel", "FitReport", "LossWeights", "fit_case", "segmentation_loss"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
