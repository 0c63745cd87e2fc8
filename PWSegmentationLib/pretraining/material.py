"""What tasks are made of: procedural scenes, and the real images that may be learnt from.

Real images are the development images' structures that are for neither tuning nor reporting: what is measured is
never learnt from. A group of tasks is a function of its number and the seed alone, so that groups can be made in any
order, in several processes, and again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from PWSegmentationLib.annotator.protocols import protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.pretraining.distortion import distorted
from PWSegmentationLib.pretraining.tasks import Task, protocol_tasks, varied_tasks
from PWSegmentationLib.procedural import scene
from PWSegmentationLib.samples.development import development_cases, split
from PWSegmentationLib.volume.volume import Volume

if TYPE_CHECKING:
    from PWSegmentationLib.prediction.promptable import PromptableModel

# The images with more structures than are measured.
LEARNT_FROM = ("chest CT", "brain MR")
# Smaller structures are not learnt from, voxels.
_LEAST_VOXELS = 30
# Share of the real structures that are distorted.
_DISTORTED = 0.85
# How the structures for tuning are prompted where a network is selected.
_SELECTION_PROTOCOLS = ("one click", "points 5+10", "points 20+20", "scribbles", "box")


@dataclass(frozen=True)
class Material:
    """How groups of tasks are made.

    Parameters
    ----------
    real_share
        Share of the groups from real images.
    structures, corrections
        Structures per group, and rounds of corrective clicks for each.
    edge
        Of the scenes, voxels.
    careful
        Share of the structures that are prompted as the benchmark's annotator does.
    model
        Whose answers the clicks correct, see `varied_tasks`.
    """

    real_share: float = 0.5
    structures: int = 4
    corrections: int = 2
    edge: int = 112
    careful: float = 0.5
    seed: int = 0
    cache: Path | None = None
    model: PromptableModel | None = None

    def group(self, number: int) -> Iterator[Task]:
        """The tasks of group ``number``."""
        rng = np.random.default_rng((self.seed, number, 5))
        real = rng.random() < self.real_share
        volume, references = self._real(rng) if real else self._scene(number)
        for name in by_size(references, self.structures, rng):
            found: tuple[Volume, Reference] | None = (volume, references[name])
            if real and rng.random() < _DISTORTED:
                found = distorted(volume, references[name], rng)
            if found is not None and found[1].voxels >= _LEAST_VOXELS:
                yield from varied_tasks(*found, rng, self.corrections, self.model, self.careful)

    def _scene(self, number: int) -> tuple[Volume, Mapping[str, Reference]]:
        return made_up(int(np.random.default_rng((self.seed, number, 6)).integers(2**31)), self.edge)

    def _real(self, rng: np.random.Generator) -> tuple[Volume, Mapping[str, Reference]]:
        return learnt_from(LEARNT_FROM[int(rng.integers(len(LEARNT_FROM)))], self.cache)


def made_up(seed: int, edge: int = 112) -> tuple[Volume, Mapping[str, Reference]]:
    """A procedural scene and its structures, but for the smallest; ``edge``: its size, voxels."""
    made = scene(seed, edge=edge)
    found = {n: Reference.of(made.labels, values, made.volume.grid) for n, values in made.structures.items()}
    return made.volume, {n: r for n, r in found.items() if r.voxels >= _LEAST_VOXELS}


@lru_cache(maxsize=2)
def learnt_from(image: str, cache: Path | None = None) -> tuple[Volume, Mapping[str, Reference]]:
    """A real image of `LEARNT_FROM`, and its structures that are for neither tuning nor reporting, by label value."""
    case = _case(image, cache)
    measured = {v for values in case.structures.values() for v in values}
    counts = np.bincount(case.labels.ravel())
    values = [v for v in range(1, len(counts)) if v not in measured and counts[v] >= _LEAST_VOXELS]
    return case.volume, {f"{v:03d}": Reference.of(case.labels, (v,), case.volume.grid) for v in values}


def tuned_on(image: str, structure: str, cache: Path | None = None) -> tuple[Volume, Reference]:
    """A real image and one of its structures for tuning."""
    case = _case(image, cache)
    return case.volume, Reference.of(case.labels, case.structures[structure], case.volume.grid)


def by_size(references: Mapping[str, Reference], count: int, rng: np.random.Generator) -> list[str]:
    """Names of ``count`` structures, or of all. Small ones are many, large ones few: each size has its turn."""
    names = sorted(references)
    if not names:
        return []
    size = np.array([references[n].voxels for n in names], dtype=float) ** (1 / 3)
    return [str(n) for n in rng.choice(names, min(count, len(names)), replace=False, p=size / size.sum())]


def selection_names() -> list[tuple[str, str, str]]:
    """``(PROTOCOL, IMAGE, STRUCTURE)`` of what a network is selected by: the structures for tuning."""
    images = [(image, structure) for image, uses in split().items() for structure in uses.get("tuning", {})]
    return [(way, *names) for names in images for way in _SELECTION_PROTOCOLS]


def selection_group(
    way: str, image: str, structure: str, model: PromptableModel | None = None, cache: Path | None = None
) -> Iterator[Task]:
    """The tasks of one of `selection_names`, prompted as in the benchmark; see `protocol_tasks`."""
    yield from protocol_tasks(*tuned_on(image, structure, cache), protocol(way), model=model)


@lru_cache(maxsize=2)
def _case(name: str, cache: Path | None) -> Case:
    return load_case(next(files for files in development_cases(cache) if files.name == name))
