"""Images in patient space: array and grid, reading, intensities, resampling."""

from PWSegmentationLib.volume.grid import RAS_TO_LPS, Grid, Region
from PWSegmentationLib.volume.intensity import normalise, robust_range
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume

__all__ = ["RAS_TO_LPS", "Grid", "Region", "Volume", "normalise", "resample", "robust_range"]
