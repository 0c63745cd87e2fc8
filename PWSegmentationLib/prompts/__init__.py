"""What the user places, how it is stored, checked and drawn onto a grid."""

from PWSegmentationLib.prompts.checks import check_claims, check_complete, check_placement, check_prompts
from PWSegmentationLib.prompts.json_format import (
    prompts_from_dict,
    prompts_to_dict,
    read_prompts,
    write_prompts,
)
from PWSegmentationLib.prompts.prompts import Box, Point, Prompt, PromptSet, Scribble, SegmentPrompts, Strokes
from PWSegmentationLib.prompts.seeds import Seeds, draw

__all__ = [
    "Box",
    "Point",
    "Prompt",
    "PromptSet",
    "Scribble",
    "Seeds",
    "SegmentPrompts",
    "Strokes",
    "check_claims",
    "check_complete",
    "check_placement",
    "check_prompts",
    "draw",
    "prompts_from_dict",
    "prompts_to_dict",
    "read_prompts",
    "write_prompts",
]
