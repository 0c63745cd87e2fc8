"""Predictions made into segments: who has which voxel, what changed, and files."""
