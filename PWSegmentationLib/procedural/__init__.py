"""Labelled volumes made up at random: what a network learns "the object pointed at" from, whatever the anatomy."""

from PWSegmentationLib.procedural.scene import Scene, scene

__all__ = ["Scene", "scene"]
