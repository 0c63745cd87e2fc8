"""A network fitted to one case, and its prediction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor

from PWSegmentationLib.networks.unetr import ProbabilisticUNETR
from PWSegmentationLib.prediction.sliding_window import entropy, evaluating
from PWSegmentationLib.training.case_data import LABEL_CHANNEL, CaseData

# Logit of a label shown with full confidence: a probability of 0.98, which the network can still overrule.
_LABEL_LOGIT = 4.0
# Edge of the windows that a network is fitted and asked in, voxels, and by which share they overlap when it is asked.
WINDOW, _OVERLAP = 48, 0.25


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
        Whether label and network together did better than the pseudo-label on what was withheld. If not, use the label.
    share
        Weight of the network beside the label in the prediction, (0, 1].
    """

    network: ProbabilisticUNETR
    data: CaseData
    accepted: bool
    share: float
    report: FitReport

    def predict(self, samples: int = 6, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The network's mean probability over ``samples`` seeded draws, and its entropy in bits: 0 sure, 1 a coin toss.

        Both ``[i, j, k]`` float32 in [0, 1]. 0 samples: one deterministic pass.
        """
        mean = infer(self.network, self.data, samples=samples, seed=seed)
        return self.data.cropped(mean), self.data.cropped(entropy(mean))


def corrected(logits: Tensor, inputs: Tensor) -> Tensor:
    """Logits of the prediction: the label as far as it was shown, and what the network adds to it."""
    return logits + _LABEL_LOGIT * inputs[:, LABEL_CHANNEL : LABEL_CHANNEL + 1]


def infer(network: ProbabilisticUNETR, data: CaseData, *, samples: int, seed: int) -> Tensor:
    """The network's mean probability, ``(i, j, k)`` with padding; 0 ``samples``: one deterministic pass.

    Windows are blended with Gaussian weights; probabilities are averaged, over draws and windows, and never logits.
    Within a window all draws share what does not depend on the noise.
    """
    everywhere = (slice(None),) * 3
    inputs = data.inputs(data.confidence, data.image, everywhere)[None]
    generator = torch.Generator(device=inputs.device).manual_seed(seed)

    def predict_window(x: Tensor) -> Tensor:
        if samples == 0:
            return torch.sigmoid(corrected(network(x, sample=False).logits, x))
        total = torch.zeros((x.shape[0], 1, *x.shape[2:]), device=x.device)
        for logits in network.draws(x, samples, generator):
            total += torch.sigmoid(corrected(logits, x))
        return total / samples

    roi = tuple(min(WINDOW, n) for n in data.extent)
    with torch.no_grad(), evaluating(network):
        out = sliding_window_inference(inputs, roi, 1, predict_window, overlap=_OVERLAP, mode="gaussian")
    return torch.as_tensor(out)[0, 0].clamp(0.0, 1.0)
