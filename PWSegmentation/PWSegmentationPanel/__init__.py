"""The parts of the PWSegmentation module's panel, one subject a file. They hold no algorithm: see PWSegmentationLib."""
