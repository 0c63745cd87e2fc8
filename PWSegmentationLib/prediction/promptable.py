"""The network that ships with the program: it refines the label of whatever a user points at.

The file is looked for once, on first use. Where it is missing or not what its card says, the label answers alone, and
the answer says why.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import shipped_weights
from PWSegmentationLib.networks.model_files import load_model
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.network_inputs import CHANNELS, network_inputs, refined
from PWSegmentationLib.prediction.sharpening import sharpened, sharpness
from PWSegmentationLib.prediction.view import View
from PWSegmentationLib.prediction.voxel_sharpness import VoxelSharpness
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.pseudolabel import PseudoLabel
from PWSegmentationLib.volume.canonical import Canonical

# The label's largest share of the answer, and how many clicks would make it the whole answer.
_LABEL_SHARE, _MANY = 0.6, 40

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PromptableModel:
    """A promptable network in evaluation mode, and what it is called in reports.

    ``bias`` is added to the log-odds and ``temperature`` divides them, so that a probability is about the share of such
    voxels that are inside, and one half is where the border is best drawn (`pretraining.shipping.calibrated`).
    ``sharpness`` says how sure the program's answer may be of each voxel; without it, as sure as `answer` is.
    """

    network: ProbabilisticUNETR
    name: str = "network"
    temperature: float = 1.0
    bias: float = 0.0
    sharpness: VoxelSharpness | None = None

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu") -> PromptableModel:
        """From a .safetensors file with its card. Raises `InputError` if it is no promptable model."""
        network, card = load_model(path, device)
        if card.get("channels") != list(CHANNELS):
            raise InputError(f"{path} is no promptable model of this version: use one that `pwseg pretrain` made.")
        temperature, bias = float(card.get("temperature", 1.0)), float(card.get("bias", 0.0))
        return cls(network, _name(card), temperature, bias, _sharpness(card, Path(path)))

    def answer(self, view: View, segment: SegmentPrompts, label: PseudoLabel) -> NDArray[np.float32]:
        """Probability ``(i, j, k)`` on the view's working grid, the label's and the network's weighed.

        The network sees right, anterior and superior in the same order, however the scanner wrote the voxels.
        """
        turn = Canonical.of(view.grid)
        inputs = np.moveaxis(turn.forth(np.moveaxis(network_inputs(view, label), 0, -1)), -1, 0)
        says = turn.back(self.probability(np.ascontiguousarray(inputs)))
        return sharpened(says + label_share(segment) * (label.probability - says), sharpness(segment))

    def probability(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability ``(i, j, k)`` of a whole view, by the attention's mean.

        ``inputs`` ``(channels, i, j, k)`` as `network_inputs` gives.
        """
        device = next(self.network.parameters()).device
        shape = inputs.shape[1:]
        padding = [p for n in reversed(shape) for p in (0, -n % self.network.config.patch)]
        values = functional.pad(torch.from_numpy(inputs)[None].to(device), padding)
        with torch.inference_mode():
            logits = refined(self.network(values, sample=False).logits.float(), values)
            found = torch.sigmoid((logits + self.bias) / self.temperature)
        return np.asarray(found[0, 0, : shape[0], : shape[1], : shape[2]].cpu().numpy())


def label_share(segment: SegmentPrompts) -> float:
    """The label's weight beside the network's, 0 to `_LABEL_SHARE`.

    After one click the network knows better how far an object may reach; with many prompts the label follows them more
    closely. Chosen on the structures for tuning.
    """
    if segment.scribbles or segment.strokes:
        return _LABEL_SHARE
    return min(_LABEL_SHARE, len(segment.points) / _MANY)


def promptable_model(device: str = "cpu", file: str = "") -> tuple[PromptableModel | None, str]:
    """The model that ships, read and checked once; or None, and in one sentence why the label answers alone.

    Whoever asks for another ``file`` gets that one, or an `InputError`.
    """
    if file:
        return _loaded(Path(file), _written(Path(file)), device), ""
    try:
        return _loaded(shipped_weights(), _written(shipped_weights()), device), ""
    except InputError as error:
        _log.warning("The label answers without the network: %s", error)
        return None, f"Answered without the network. {error}"


@lru_cache(maxsize=4)
def _loaded(path: Path, _written: float, device: str) -> PromptableModel:
    return PromptableModel.load(path, device)


def _written(path: Path) -> float:
    """When the file was last written; what was read before then does not count."""
    return path.stat().st_mtime if path.is_file() else 0.0


def _sharpness(card: dict[str, Any], path: Path) -> VoxelSharpness | None:
    """From the file that the card of the model ``path`` names; None if it names none."""
    named = card.get("sharpness")
    return None if named is None else VoxelSharpness.load(path.with_name(named["file"]), named["sha256"])


def _name(card: dict[str, Any]) -> str:
    return f"network {str(card.get('sha256', ''))[:8]}".strip()
