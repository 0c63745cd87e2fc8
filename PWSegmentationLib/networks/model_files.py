"""Networks as files: weights in safetensors, and beside them a card in JSON that says what they are.

``NAME.safetensors`` holds tensors and nothing that could run; ``NAME.json`` holds the architecture, the file's
SHA-256 and whatever the maker adds (structures, preprocessing, data, metrics). The card is written last: a card that
is there describes a complete file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import in_short, read_json, replacing, sha256, write_json
from PWSegmentationLib.networks.presets import UNETRConfig
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR

FORMAT = "pwseg-model"
VERSION = 1


def save_model(network: ProbabilisticUNETR, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
    """Write ``path`` (.safetensors) and its card; returns the card's path."""
    path = _weights_path(path)
    save_tensors(network.state_dict(), path)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "architecture": {
            "name": "ProbabilisticUNETR",
            "config": asdict(network.config),
            "in_channels": network.in_channels,
            "out_channels": network.out_channels,
        },
        "sha256": sha256(path),
        **(card or {}),
    }
    return write_json(document, path.with_suffix(".json"))


def load_model(path: str | Path, device: str | torch.device = "cpu") -> tuple[ProbabilisticUNETR, dict[str, Any]]:
    """The network in evaluation mode, and its card; ``path`` is either file, or a folder with ``model.safetensors``.

    Raises
    ------
    InputError
        If a file is missing, damaged, not the one its card describes, or of another architecture.
    """
    path = _weights_path(path)
    if not path.is_file():
        raise InputError(f"There is no model file {path}: choose another one.")
    card = read_json(path.with_suffix(".json"), "model card")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f'{path.with_suffix(".json")} is no model card: "format" must be "{FORMAT}".')
    if card.get("version") != VERSION:
        raise InputError(f"Models of version {card.get('version')!r} are not known here: update PWSegmentation.")
    network = _build(card.get("architecture"), path)
    load_into(network, load_tensors(path, card.get("sha256")), path)
    return network.to(device).eval(), card


def load_into(network: torch.nn.Module, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Load weights, all of them or an `InputError` that names the first that does not fit."""
    ours = network.state_dict()
    wrong = [n for n, v in ours.items() if n not in tensors or tensors[n].shape != v.shape]
    wrong += [n for n in tensors if n not in ours]
    if wrong:
        raise InputError(
            f"{path} holds the weights of another architecture ('{wrong[0]}' does not fit): use it with the "
            "configuration it was trained with."
        )
    network.load_state_dict(dict(tensors))


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a .safetensors file, whole or not at all; an `InputError` where there is no room for it."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        with replacing(path) as temporary:
            save_file(plain, temporary)
            # The writer makes it readable for its owner alone.
            temporary.chmod(0o644)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} could not be written ({in_short(error)}): free some space, or choose another output folder, and "
            "run the same command again; what was saved before is kept."
        ) from error


def load_tensors(path: Path, expected: str | None) -> dict[str, Tensor]:
    """Read a .safetensors file whose SHA-256 must be ``expected``."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if expected != sha256(path):
        raise InputError(
            f"{path} is not the file its card describes (its SHA-256 differs): it was damaged or changed; get it again."
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is no readable safetensors file: get it again.") from error


def _build(architecture: Any, path: Path) -> ProbabilisticUNETR:
    try:
        known = {f.name for f in fields(UNETRConfig)}
        config: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in architecture["config"].items()}
        if architecture["name"] != "ProbabilisticUNETR" or set(config) - known:
            raise ValueError
        return ProbabilisticUNETR(
            UNETRConfig(**config),
            in_channels=int(architecture["in_channels"]),
            out_channels=int(architecture["out_channels"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"The card of {path} describes an architecture that is not known here: update PWSegmentation, or convert "
            "the model with `pwseg convert`."
        ) from error


def _weights_path(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    if path.suffix not in (".safetensors", ".json"):
        raise InputError(f"{path} is no model: give a .safetensors file or the folder that training wrote.")
    return path.with_suffix(".safetensors")
