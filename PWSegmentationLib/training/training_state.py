"""The state of a run between two steps, on disk: tensors in safetensors, the rest in a JSON card that points to them.

The card is replaced last and names a file of tensors of its own, so that whatever interrupts the writing leaves the
previous state whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import read_json, sha256, write_json
from PWSegmentationLib.networks.model_files import load_tensors, save_tensors

_CARD = "state.json"
FORMAT = "pwseg-training-state"


@dataclass
class RunState:
    """What a run remembers beside tensors: steps done, looks at the selection set, and the best of them."""

    step: int = 0
    best_score: float = -1.0
    best_step: int = 0
    looks_without_gain: int = 0
    losses: list[float] = field(default_factory=list)
    selections: list[dict[str, Any]] = field(default_factory=list)
    scaler: dict[str, Any] = field(default_factory=dict)
    finished: bool = False


def save_state(
    folder: Path,
    tensors: Mapping[str, Tensor],
    progress: RunState,
    config: Mapping[str, Any],
    data: Mapping[str, Sequence[str]],
) -> None:
    """Write a state and remove the one before."""
    path = folder / f"state-{progress.step:07d}.safetensors"
    save_tensors(tensors, path)
    files = {"tensors": path.name, "sha256": sha256(path)}
    card = {"format": FORMAT, **files, "config": config, "data": data, **vars(progress)}
    write_json(card, folder / _CARD)
    for old in folder.glob("state-*.safetensors"):
        if old != path:
            old.unlink()


def load_state(
    folder: Path, config: Mapping[str, Any], data: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Tensor], RunState] | None:
    """The state in ``folder``; None where there is none.

    Raises
    ------
    InputError
        If the state is damaged, or of a run with another config or other data.
    """
    if not (folder / _CARD).is_file():
        return None
    card = read_json(folder / _CARD, "training state")
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise InputError(f"{folder / _CARD} is no training state: choose another output folder.")
    different = [k for k, v in config.items() if card["config"].get(k) != _plain(v)]
    if different:
        raise InputError(
            f'{folder} holds a run with another "{different[0]}" ({card["config"].get(different[0])!r}): go on with '
            "that config, or choose another output folder."
        )
    # A state of an earlier version does not tell what it learnt from.
    for what, was in card.get("data", {}).items():
        if was != list(data.get(what, ())):
            raise InputError(
                f"{folder} holds a run with other {what} ({_change(was, data.get(what, ()))}): make the data what they "
                "were, or choose another output folder."
            )
    tensors = load_tensors(folder / card["tensors"], card["sha256"])
    return tensors, RunState(**{k: card[k] for k in vars(RunState())})


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter number and name; the learning rate is a function of the step."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(v) for i, entry in state.items() for name, v in entry.items()}


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _change(was: Sequence[str], now: Sequence[str]) -> str:
    """The first name that came or went, in words."""
    came, gone = [n for n in now if n not in was], [n for n in was if n not in now]
    if came:
        return f"'{came[0]}' is new"
    return f"'{gone[0]}' is gone" if gone else "their order is another"


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
