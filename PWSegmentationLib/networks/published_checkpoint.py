"""Weights of the paper's own code (arXiv 2403.02566, PW4MedSeg) for `ProbabilisticUNETR` with ``mean="paper"``.

That code is MONAI's UNETR of its time with another attention, so the names are MONAI's: ``vit.patch_embedding``,
``vit.blocks.N.attn.fc_mu_var``, ``encoder1`` … ``encoder4``, ``decoder5`` … ``decoder2``, ``out``; behind
``module.`` where it was trained on several GPUs. Two things are more than a change of names:

* its patch embedding is a linear layer over the flattened patch, ordered (p1, p2, p3, channel); here it is the same
  product as a strided convolution, (channel, p1, p2, p3);
* MONAI then gave every residual block a third convolution, used or not, and some releases the embedding a class
  token that a segmentation never reads. What is not used is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.networks.presets import PRESETS, UNETRConfig
from PWSegmentationLib.networks.unetr import ProbabilisticUNETR

_PREFIXES = {
    "vit.patch_embedding.": "embedding.",
    "vit.blocks.": "blocks.",
    "vit.norm.": "norm.",
    "encoder1.": "stem.",
    "encoder2.": "skips.0.",
    "encoder3.": "skips.1.",
    "encoder4.": "skips.2.",
    "decoder2.": "decoders.0.",
    "decoder3.": "decoders.1.",
    "decoder4.": "decoders.2.",
    "decoder5.": "decoders.3.",
    "out.": "out.",
}
_LINEAR_EMBEDDING = "embedding.patch_embeddings.1."
_EMBEDDING = "embedding.patch_embeddings."


def load_published(path: str | Path) -> ProbabilisticUNETR:
    """The network in a ``.pt`` file of the paper's code, its sizes read off the weights; in evaluation mode.

    Raises
    ------
    InputError
        If the file cannot be read without running code from it, or holds another network.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parser stumbles over
        raise InputError(
            f"{path} cannot be read as plain weights: give a checkpoint that was saved with torch.save and holds "
            "tensors and numbers only."
        ) from error
    state = document.get("state_dict", document) if isinstance(document, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict: give a checkpoint of the paper's code.")
    try:
        return from_published(state)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def from_published(state: Mapping[str, Tensor]) -> ProbabilisticUNETR:
    """The network with the weights of a state dict of the paper's code."""
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    config, channels = _sizes(plain)
    network = ProbabilisticUNETR(config, **channels)
    ours = network.state_dict()
    converted = _renamed(plain, config.patch)
    wrong = [n for n, v in ours.items() if n not in converted or converted[n].shape != v.shape]
    unknown = [n for n in converted if n not in ours and not _unused(n)]
    if wrong or unknown:
        raise InputError(
            f"The weights are of another architecture ('{(wrong + unknown)[0]}' does not fit): only checkpoints of "
            "the paper's UNETR with conv_block and res_block can be converted."
        )
    network.load_state_dict({name: converted[name] for name in ours})
    return network.eval()


def _sizes(state: Mapping[str, Tensor]) -> tuple[UNETRConfig, dict[str, int]]:
    """Configuration and channels, from the shapes."""
    try:
        hidden = state["vit.norm.weight"].shape[0]
        heads = hidden * 2 // state["vit.blocks.0.attn.fc_mu_var.weight"].shape[1]
        tokens = state["vit.patch_embedding.position_embeddings"].shape[1]
        stem = state["encoder1.layer.conv1.conv.weight"]
        mlp = state["vit.blocks.0.mlp.linear1.weight"].shape[0]
        outputs = state["out.conv.conv.weight"].shape[0]
    except KeyError as error:
        raise InputError(
            f"The weights are of another architecture ({error} is missing): only checkpoints of the paper's UNETR "
            "with probabilistic attention can be converted."
        ) from error
    depth = len({n.split(".")[2] for n in state if n.startswith("vit.blocks.")})
    patch = PRESETS["paper"].patch
    edge = round(tokens ** (1 / 3))
    if edge**3 != tokens:
        raise InputError(f"The weights are for a window of {tokens} tokens, which is no cube: it cannot be converted.")
    config = replace(
        PRESETS["paper"],
        window=edge * patch,
        hidden=hidden,
        heads=heads,
        mlp=mlp,
        depth=depth,
        features=stem.shape[0],
    )
    return config, {"in_channels": stem.shape[1], "out_channels": outputs}


def _renamed(state: Mapping[str, Tensor], patch: int) -> dict[str, Tensor]:
    out = {}
    for name, value in state.items():
        prefix = next((p for p in _PREFIXES if name.startswith(p)), "")
        renamed = _PREFIXES.get(prefix, prefix) + name[len(prefix) :]
        if renamed == _LINEAR_EMBEDDING + "weight":
            value = value.unflatten(1, (patch, patch, patch, -1)).movedim(-1, 1)
        out[renamed.replace(_LINEAR_EMBEDDING, _EMBEDDING)] = value.detach().clone().contiguous()
    return out


def _unused(name: str) -> bool:
    return ".conv3." in name or name.endswith("cls_token")


def card_of_published(path: str | Path) -> dict[str, Any]:
    """What a converted model's card says about where it is from."""
    return {"source": "checkpoint of PW4MedSeg (arXiv 2403.02566)", "file": Path(path).name}
