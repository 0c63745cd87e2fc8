"""A simulated annotator: the prompts somebody would place for a known structure, for training and evaluation."""

from PWSegmentationLib.annotator.protocols import PROTOCOLS, Noise, Protocol, SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference

__all__ = ["PROTOCOLS", "Noise", "Protocol", "Reference", "SimulatedAnnotator", "protocol"]
