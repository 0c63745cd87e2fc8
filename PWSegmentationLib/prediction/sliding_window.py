"""A trained network over a volume of any size: windows, stochastic passes, and what they agree on.

Probabilities are averaged, over draws and over overlapping windows, and never logits: the mean of logits is not the
logit of the mean, and is sure where the draws merely disagree strongly. Of the draws three things are kept per voxel
and structure (a yes or no each): the entropy of the mean probability (all the uncertainty there is, bits), the
variance of the probability, and the mutual information of draw and outcome, which is the entropy of the mean less the
mean of the entropies: the part of the uncertainty that the network's own noise explains.

Draws are for what is in doubt. A window in which the first two draws agree that every voxel is inside or outside, to
`SURE`, gets no more of them; in a scan, that is where the structures are not. Elsewhere nothing changes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.inference_memory import InferencePlan
from PWSegmentationLib.progress import Cancel, Progress, stop_if

Precision = Literal["auto", "off", "bf16", "fp16"]

# A probability this near to 0 or 1 is in no doubt, and how many draws must say so before there are no more.
SURE = 0.1
_LEAST_DRAWS = 2


class DrawnMaps(NamedTuple):
    """Per structure and voxel, ``(structures, i, j, k)``: see the module."""

    probability: Tensor
    entropy: Tensor
    variance: Tensor
    mutual_information: Tensor


@dataclass(frozen=True)
class Cost:
    """What an inference took; ``draws`` 0 is one deterministic pass, ``passes`` are those of all windows."""

    windows: int
    window: tuple[int, int, int]
    draws: int
    passes: int
    seconds: float
    estimated_bytes: int

    def __str__(self) -> str:
        edges = " × ".join(map(str, self.window))
        draws = f"up to {self.draws} draws each, {self.passes} passes" if self.draws else "one deterministic pass each"
        return f"{self.windows} windows of {edges}, {draws}, {self.seconds:.1f} s"


def infer_maps(
    network: ProbabilisticUNETR,
    inputs: Tensor,
    plan: InferencePlan,
    *,
    draws: int = 6,
    seed: int = 0,
    overlap: float = 0.5,
    precision: Precision = "auto",
    all_draws: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> tuple[DrawnMaps, Cost]:
    """The network over ``inputs`` ``(channels, i, j, k)``; 0 ``draws``: one deterministic pass.

    Windows are computed where the network is and blended where ``inputs`` are, with Gaussian weights. ``all_draws``
    also where the first ones leave no doubt.
    """
    started = time.perf_counter()
    device = next(network.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    count = passes = 0

    def predict_windows(x: Tensor) -> Tensor:
        nonlocal count, passes
        stop_if(cancel)
        count += x.shape[0]
        if progress is not None:
            progress(min(1.0, count / max(1, _window_count(inputs.shape[1:], plan.window, overlap))), "segmenting")
        with half_precision(device, precision):
            found, used = _statistics(network, x, draws, generator, plan.draws_together, all_draws)
        passes += used * x.shape[0]
        return found

    with torch.inference_mode(), evaluating(network):
        out = sliding_window_inference(
            inputs[None],
            plan.window,
            plan.windows_together,
            predict_windows,
            overlap=overlap,
            mode="gaussian",
            sw_device=device,
            device=inputs.device,
        )
    mean, expected, variance = torch.as_tensor(out)[0].chunk(3)
    mean = mean.clamp(0.0, 1.0)
    whole = entropy(mean)
    maps = DrawnMaps(mean, whole, variance.clamp_min(0.0), (whole - expected).clamp(0.0, 1.0))
    return maps, Cost(count, plan.window, draws, passes, time.perf_counter() - started, plan.bytes)


def entropy(probability: Tensor) -> Tensor:
    """Binary entropy in bits, [0, 1]."""
    return (torch.special.entr(probability) + torch.special.entr(1.0 - probability)) / math.log(2.0)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode for a while."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def half_precision(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Autocast as asked for; ``"auto"`` is bf16 on a GPU that has it, fp16 on another, and nothing on a CPU."""
    if precision == "auto":
        precision = "off" if device.type != "cuda" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if precision == "off":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def _statistics(
    network: ProbabilisticUNETR, x: Tensor, draws: int, generator: torch.Generator, together: int, all_draws: bool
) -> tuple[Tensor, int]:
    """Mean probability, mean entropy and variance over the draws, and how many there were.

    ``(n, 3·structures, ...)``, single precision.
    """
    if draws == 0:
        p = torch.sigmoid(network(x, sample=False).logits.float())
        return torch.cat([p, entropy(p), torch.zeros_like(p)], dim=1), 1
    total = entropies = squares = torch.zeros((), device=x.device)
    doubt = all_draws
    count = 0
    for logits in network.draws(x, draws, generator, together=together):
        p = torch.sigmoid(logits.float())
        total, entropies, squares = total + p, entropies + entropy(p), squares + p.square()
        count += 1
        doubt = doubt or bool((torch.minimum(p, 1 - p) > SURE).any())
        if count >= _LEAST_DRAWS and not doubt:
            break
    mean = total / count
    return torch.cat([mean, entropies / count, squares / count - mean.square()], dim=1), count


def _window_count(shape: torch.Size, window: tuple[int, int, int], overlap: float) -> int:
    from monai.data.utils import dense_patch_slices

    interval = tuple(w if w >= n else max(1, int(w * (1 - overlap))) for n, w in zip(shape, window, strict=True))
    return len(dense_patch_slices([max(n, w) for n, w in zip(shape, window, strict=True)], window, interval))
