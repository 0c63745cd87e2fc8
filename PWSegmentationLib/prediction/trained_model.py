"""A network trained on a data set, as a whole: weights, what its outputs mean, and how images are prepared for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.model_files import load_model
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.inference_memory import plan_inference
from PWSegmentationLib.prediction.preparation import Preparation, Prepared
from PWSegmentationLib.prediction.sliding_window import Cost, DrawnMaps, Precision, infer_maps
from PWSegmentationLib.progress import Cancel, Progress
from PWSegmentationLib.prompts.prompts import PromptSet
from PWSegmentationLib.prompts.seeds import draw
from PWSegmentationLib.volume.grid import Grid
from PWSegmentationLib.volume.masks import largest_part
from PWSegmentationLib.volume.volume import Volume


@dataclass(frozen=True, eq=False)
class VolumeSegmentation:
    """What a model says about a volume; the maps are kept at working resolution and brought back one by one."""

    structures: dict[str, int]
    prepared: Prepared
    maps: DrawnMaps
    cost: Cost

    def map(self, kind: str, structure: str) -> NDArray[np.float32]:
        """One of the `DrawnMaps`, by its name, of a structure, float32 on the image's own grid."""
        values: Tensor = getattr(self.maps, kind)[list(self.structures).index(structure)]
        return self.prepared.to_source(values.cpu().numpy())

    def labels(self, *, largest_only: bool = False) -> NDArray[Any]:
        """The labelmap on the image's own grid: where several structures have p ≥ ½, the likeliest has the voxel.

        ``largest_only`` leaves of each structure the largest part that hangs together.
        """
        best = np.full(self.prepared.canonical.source.shape, 0.5, np.float32)
        out = np.zeros(best.shape, np.uint8 if max(self.structures.values()) < 256 else np.uint16)
        for name, value in self.structures.items():
            probability = self.map("probability", name)
            # The first of two equals keeps the voxel; one half is inside, as everywhere in the library.
            here = (probability > best) | ((probability == 0.5) & (out == 0))
            out[here] = value
            np.maximum(best, probability, out=best)
        if largest_only:
            for value in self.structures.values():
                out[(out == value) & ~largest_part(out == value)] = 0
        return out


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """See the module; ``card`` is the JSON beside the weights."""

    network: ProbabilisticUNETR
    structures: dict[str, int]
    preparation: Preparation
    window: int
    promptable: bool
    card: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> TrainedModel:
        """From a folder that training wrote, or a .safetensors file with its card."""
        network, card = load_model(path, device)
        structures = card.get("structures")
        if not isinstance(structures, dict) or network.out_channels != len(structures):
            raise InputError(
                f"The card of {path} does not name the {network.out_channels} structures of the network: add "
                '"structures", as in {"liver": 1}.'
            )
        window = int(card.get("window", network.config.window))
        promptable = bool(card.get("promptable", False))
        return cls(network, structures, Preparation.from_card(card), window, promptable, card)

    def segment(
        self,
        volume: Volume,
        *,
        prompts: PromptSet | None = None,
        draws: int = 6,
        seed: int = 0,
        overlap: float = 0.5,
        precision: Precision = "auto",
        all_draws: bool = False,
        memory_limit: int | None = None,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> VolumeSegmentation:
        """Segment ``volume``; ``prompts`` are used where the model was trained with them.

        ``draws`` and the rest: `infer_maps`. ``memory_limit``, bytes: `plan_inference`.
        """
        prepared = self.preparation.prepare(volume)
        inputs = self.inputs(prepared, prompts)
        device = next(self.network.parameters()).device
        plan = plan_inference(self.network, prepared.grid.shape, self.window, draws, device, memory_limit)
        maps, cost = infer_maps(
            self.network,
            inputs,
            plan,
            draws=draws,
            seed=seed,
            overlap=overlap,
            precision=precision,
            all_draws=all_draws,
            progress=progress,
            cancel=cancel,
        )
        return VolumeSegmentation(self.structures, prepared, maps, cost)

    def inputs(self, prepared: Prepared, prompts: PromptSet | None) -> Tensor:
        """``(channels, i, j, k)`` on the CPU: the image, and the prompts drawn where the network looks at them."""
        if prompts is not None and not self.promptable:
            raise InputError('This model takes no prompts: train one with "promptable": true, or leave them out.')
        image = torch.from_numpy(np.ascontiguousarray(prepared.image))[None]
        if not self.promptable:
            return image
        return torch.cat([image, torch.from_numpy(drawn_seeds(prompts or PromptSet(), self.structures, prepared.grid))])


def drawn_seeds(prompts: PromptSet, structures: Iterable[str], grid: Grid) -> NDArray[np.float32]:
    """The prompts as a promptable network is shown them, ``(2·structures, i, j, k)``: inside and outside of each."""
    out = []
    for name in structures:
        if name not in prompts:
            out += [np.zeros(grid.shape, np.float32)] * 2
            continue
        drawn = draw(prompts[name], grid, others=[s for s in prompts if s.name != name])
        out += [drawn.positive.astype(np.float32), drawn.negative.astype(np.float32)]
    return np.stack(out)
