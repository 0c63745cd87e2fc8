"""Where torch computes."""

from __future__ import annotations

from PWSegmentationLib.errors import InputError


def choose_device(wanted: str = "auto") -> str:
    """The torch device to use: ``wanted``, or with "auto" a GPU when there is one, else the CPU.

    Raises
    ------
    InputError
        If the device is unknown or not there.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        # Some devices ("meta") take numbers and never give them back.
        torch.ones(1, device=device).item()
    except Exception as error:
        raise InputError(f"The device '{wanted}' cannot be used here: try 'auto' or 'cpu'.") from error
    return str(device)
