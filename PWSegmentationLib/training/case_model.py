"""A network fitted to one case, and its prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.training.case_data import LABEL_CHANNEL, CaseData

# Logit of a label shown with full confidence: a probability of 0.98, which the network can still overrule.
_LABEL_LOGIT = 4.0


class CasePrediction(NamedTuple):
    """Per voxel, ``[i, j, k]`` float32 in [0, 1].

    ``uncertainty`` is the entropy of the mean probability in bits: 0 sure, 1 a coin toss.
    ``disagreement`` is the part of it that the draws disagree about, their mutual information with the outcome.
    """

    probability: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    disagreement: NDArray[np.float32]


@dataclass(frozen=True)
class FitReport:
    """What fitting did.

    Attributes
    ----------
    steps, seconds
        Training steps, and wall-clock time of all of it.
    losses
        Of every step.
    label_score, network_score
        On what was withheld (higher is better, 1 is perfect); NaN where it could not be scored.
    reason
        One sentence: why the network is used, or not.
    """

    steps: int
    seconds: float
    losses: tuple[float, ...] = field(repr=False)
    label_score: float
    network_score: float
    reason: str


@dataclass(frozen=True, eq=False)
class CaseModel:
    """See `fit_case`.

    Attributes
    ----------
    accepted
        Whether the prediction did better than the pseudo-label on what was withheld. If not, use the label.
    share
        Weight of the network beside the label in the prediction, (0, 1].
    window
        Edge of the windows it was trained on and predicts in, voxels.
    """

    network: ProbabilisticUNETR
    data: CaseData
    accepted: bool
    share: float
    window: int
    report: FitReport

    def predict(self, samples: int = 6, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean probability and uncertainty over ``samples`` seeded draws, both ``[i, j, k]``; see `details`."""
        full = self.details(samples, seed)
        return full.probability, full.uncertainty

    def details(self, samples: int = 6, seed: int = 0) -> CasePrediction:
        """As `predict`, with the disagreement of the draws. 0 samples: one deterministic pass."""
        mean, expected_entropy = infer(self.network, self.data, self.window, samples=samples, seed=seed)
        pooled = pool(self.data.probability, mean, self.share)
        disagreement = (entropy(mean) - expected_entropy).clamp(0.0, 1.0)
        return CasePrediction(*(self.data.cropped(t) for t in (pooled, entropy(pooled), disagreement)))


def pool(label: Tensor, network: Tensor, share: float) -> Tensor:
    """Probabilities of label and network, averaged."""
    return (1.0 - share) * label + share * network


def entropy(probability: Tensor) -> Tensor:
    """Binary entropy in bits, [0, 1]."""
    return (torch.special.entr(probability) + torch.special.entr(1.0 - probability)) / math.log(2.0)


def corrected(logits: Tensor, inputs: Tensor) -> Tensor:
    """Logits of the prediction: the label as far as it was shown, and what the network adds to it."""
    return logits + _LABEL_LOGIT * inputs[:, LABEL_CHANNEL : LABEL_CHANNEL + 1]


def infer(
    network: ProbabilisticUNETR, data: CaseData, window: int, *, samples: int, seed: int, overlap: float = 0.25
) -> tuple[Tensor, Tensor]:
    """The network's mean probability and the mean of the draws' entropies, ``(i, j, k)`` with padding.

    Windows are blended with Gaussian weights; probabilities are averaged, over draws and windows, and never logits.
    Within a window all draws share what does not depend on the noise.
    """
    everywhere = (slice(None),) * 3
    inputs = data.inputs(data.confidence, data.image, everywhere)[None]
    generator = torch.Generator(device=inputs.device).manual_seed(seed)

    def predict_window(x: Tensor) -> Tensor:
        if samples == 0:
            p = torch.sigmoid(corrected(network(x, sample=False).logits, x))
            return torch.cat([p, entropy(p)], dim=1)
        total = torch.zeros((x.shape[0], 2, *x.shape[2:]), device=x.device)
        for logits in network.draws(x, samples, generator):
            p = torch.sigmoid(corrected(logits, x))
            total += torch.cat([p, entropy(p)], dim=1)
        return total / samples

    roi = tuple(min(window, n) for n in data.extent)
    with torch.no_grad(), evaluating(network):
        out = sliding_window_inference(inputs, roi, 1, predict_window, overlap=overlap, mode="gaussian")
    mean, expected_entropy = torch.as_tensor(out)[0]
    return mean.clamp(0.0, 1.0), expected_entropy


class evaluating:  # noqa: N801 - a context manager, named as contextlib's are
    """The network in evaluation mode for a while."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __enter__(self) -> None:
        self.was_training = self.network.training
        self.network.eval()

    def __exit__(self, *_: object) -> None:
        self.network.train(self.was_training)
