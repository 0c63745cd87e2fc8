"""Reading a medical reality bundle (.mrb), which needs what Slicer's application sets up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer


def read_bundle(scene: Any, file: Path) -> None:
    """File / Open of a bundle, which is unpacked beside it."""
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(file.with_name("cache")))
    unpacking = slicer.vtkDataIOManager()
    unpacking.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(unpacking)
    assert scene.ReadFromMRB(str(file))
