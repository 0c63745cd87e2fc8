"""Cases: images and what is known about them, on disk; which there are, and which set each is in."""

from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.case_set import CaseSet
from PWSegmentationLib.cases.folders import find_cases
from PWSegmentationLib.cases.sources import read_cases

__all__ = ["CaseFiles", "CaseSet", "find_cases", "read_cases"]
