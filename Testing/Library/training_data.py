"""Tiny data sets and configs for the tests of training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from PWSegmentationLib.training.config import TrainingConfig, config_from_dict
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.writing import write_image

ROOT = Path(__file__).parents[2]
STRUCTURES = {"ball": 1, "bar": 2}


def scene(seed: int, edge: int = 24) -> tuple[np.ndarray, np.ndarray, Grid]:
    """A bright ball and a dark bar in noise, on an oblique grid of 2 mm."""
    rng = np.random.default_rng(seed)
    index = np.indices((edge,) * 3)
    labels = np.zeros((edge,) * 3, np.uint8)
    center = rng.uniform(0.3, 0.45, 3) * edge
    labels[np.linalg.norm(np.moveaxis(index, 0, -1) - center, axis=-1) < 0.2 * edge] = 1
    labels[int(0.7 * edge) : int(0.9 * edge), int(0.6 * edge) : int(0.9 * edge), 2:-2] = 2
    image = np.array([100, 300, 20])[labels] + 10 * rng.normal(size=labels.shape)
    turn, _ = np.linalg.qr(np.eye(3) + 0.1 * rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * np.sign(np.diag(turn)) * 2.0
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    return image.astype(np.int16), labels, Grid(labels.shape, affine)


def write_elsewhere(labels: np.ndarray, grid: Grid, path: Path) -> None:
    """A labelmap 5 mm beside the grid of its image."""
    affine = grid.affine.copy()
    affine[:3, 3] += 5
    write_image(labels, Grid(labels.shape, affine), path)


def write_datalist(folder: Path, training: int = 2, selection: int = 1, test: int = 1) -> Path:
    document: dict[str, Any] = {"labels": {"0": "background", "1": "ball", "2": "bar"}}
    number = 0
    for name, count in (("training", training), ("validation", selection), ("test", test)):
        document[name] = []
        for _ in range(count):
            image, labels, grid = scene(number)
            write_image(image, grid, folder / f"image{number}.nii.gz")
            write_image(labels, grid, folder / f"label{number}.nii.gz")
            document[name].append({"image": f"image{number}.nii.gz", "label": f"label{number}.nii.gz"})
            number += 1
    path = folder / "dataset.json"
    path.write_text(json.dumps(document))
    return path


def quick(data: Path, **changes: Any) -> TrainingConfig:
    """A few steps of the compact network on windows of 16³."""
    document = {"data": str(data), "supervision": "points", "window": 16, "steps": 4, "warm_up": 2, "device": "cpu"}
    return config_from_dict({**document, "select_every": 2, "save_every": 1, **changes})


def command(*arguments: object, torchrun: int = 0) -> list[str]:
    runner = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={torchrun}"] if torchrun else []
    return [sys.executable, *runner, "-m", "PWSegmentationLib.commandline", *(str(a) for a in arguments)]


def settings(**changes: object) -> list[str]:
    """``--set`` options."""
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run(*arguments: object, torchrun: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, torchrun=torchrun), capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
