"""Segmentations as files, through one writer for every front end, and back."""
