"""From prompts and image to a prediction: view, pseudo-label, network, and back onto the volume."""

from PWSegmentationLib.prediction.prediction import Prediction

__all__ = ["Prediction"]
