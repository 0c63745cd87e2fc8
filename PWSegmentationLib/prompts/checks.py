"""Prompts that cannot be meant: one sentence each, before anything is computed."""

from __future__ import annotations

import numpy as np

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.prompts.lines import touches
from PWSegmentationLib.prompts.prompts import Box, Point, PromptSet, Scribble, SegmentPrompts, Strokes
from PWSegmentationLib.volume.grid import Grid


def check_prompts(prompts: PromptSet, grid: Grid, *, may_overlap: bool = False) -> None:
    """Raise `InputError` for the first prompt that cannot be meant on a volume sampled on ``grid``.

    Looked for: an empty set, prompts outside the volume, duplicates, and prompts that contradict each other
    (see `check_placement`); and, unless segments ``may_overlap``, a voxel clicked as part of two segments.
    """
    if len(prompts) == 0 or all(len(s) == 0 for s in prompts):
        raise InputError("There are no prompts: place a point, a box or a scribble on the structure first.")
    for segment in prompts:
        check_complete(segment)
        check_placement(segment, grid)
    if not may_overlap:
        check_claims(prompts, grid)


def check_complete(segment: SegmentPrompts) -> None:
    """Raise `InputError` unless the prompts say where ``segment`` is."""
    if len(segment) == 0:
        raise InputError(f"Segment '{segment.name}' has no prompts: place a point, a box or a scribble, or remove it.")
    if not segment.has_positive:
        raise InputError(f"Segment '{segment.name}' has only negative prompts: also mark where it is.")


def check_placement(segment: SegmentPrompts, grid: Grid) -> None:
    """Raise `InputError` for prompts outside the volume, placed twice, or contradicting each other."""
    for prompt in segment:
        _check_inside(prompt, segment.name, grid)
    _check_duplicates(segment)
    _check_contradictions(segment, grid)


def can_be_meant(segment: SegmentPrompts, grid: Grid) -> bool:
    """Whether `check_placement` finds nothing."""
    try:
        check_placement(segment, grid)
    except InputError:
        return False
    return True


def _check_inside(prompt: object, name: str, grid: Grid) -> None:
    if isinstance(prompt, Point) and not grid.contains(prompt.position):
        raise InputError(
            f"A point of '{name}' at {_place(prompt.position)} lies outside the volume: remove it or click inside."
        )
    if isinstance(prompt, Scribble) and not touches(prompt, grid):
        raise InputError(f"A scribble of '{name}' at {_place(prompt.points[0])} lies wholly outside the volume.")
    if isinstance(prompt, Strokes) and not grid.contains(prompt.grid.to_world(np.argwhere(prompt.labels))).any():
        raise InputError(f"The strokes of '{name}' lie wholly outside the volume: were they painted on another image?")
    if isinstance(prompt, Box) and not _overlaps(prompt, grid):
        raise InputError(f"A box of '{name}' around {_place(prompt.center)} lies outside the volume.")


def _overlaps(box: Box, grid: Grid) -> bool:
    """Whether the box and the volume have a place in common, however they are turned against each other."""
    index = grid.to_index(box.corners)
    if (index.max(axis=0) <= -0.5).any() or (index.min(axis=0) >= np.array(grid.shape) - 0.5).any():
        return False
    if grid.contains(box.center):
        return True
    from scipy.optimize import linprog

    # A place in voxels that is inside all faces of the volume (its bounds) and all of the box.
    turned = box.axes.T @ grid.affine[:3, :3]
    here = box.axes.T @ (grid.affine[:3, 3] - box.center)
    half = 0.5 * np.array(box.size)
    faces, limits = np.concatenate([turned, -turned]), np.concatenate([half - here, half + here])
    bounds = [(-0.5, n - 0.5) for n in grid.shape]
    return bool(linprog(np.zeros(3), A_ub=faces, b_ub=limits, bounds=bounds).status == 0)


def _check_duplicates(segment: SegmentPrompts) -> None:
    # To a thousandth of a millimetre: a click placed twice, not two clicks close together.
    seen: set[tuple[object, ...]] = set()
    for point in segment.points:
        key = (*(round(v, 3) for v in point.position), point.positive)
        if key in seen:
            raise InputError(
                f"Segment '{segment.name}' has the same point twice at {_place(point.position)}: remove one."
            )
        seen.add(key)
    for kind, prompts in (("box", segment.boxes), ("scribble", segment.scribbles)):
        for index, prompt in enumerate(prompts):
            if prompt in prompts[:index]:  # type: ignore[operator]
                raise InputError(f"Segment '{segment.name}' has the same {kind} twice: remove one.")


def _check_contradictions(segment: SegmentPrompts, grid: Grid) -> None:
    positive = {_voxel(p, grid): p for p in segment.points if p.positive}
    for point in segment.points:
        if not point.positive and _voxel(point, grid) in positive:
            raise InputError(
                f"Segment '{segment.name}' has a positive and a negative point in the same voxel at "
                f"{_place(point.position)}: remove one of them."
            )
    # Clicks are checked to half a voxel: a click on the face of a box is in the box.
    slack = 0.5 * max(grid.spacing)
    for point in segment.points:
        if point.positive and segment.boxes and not any(b.contains(point.position, slack) for b in segment.boxes):
            raise InputError(
                f"Segment '{segment.name}' has a positive point at {_place(point.position)} outside its box: "
                "enlarge the box or remove the point."
            )


def check_claims(prompts: PromptSet, grid: Grid) -> None:
    """Raise `InputError` if two segments claim the same voxel with a positive point."""
    claimed: dict[tuple[int, ...], str] = {}
    for segment in prompts:
        for point in segment.points:
            owner = claimed.setdefault(_voxel(point, grid), segment.name) if point.positive else segment.name
            if owner != segment.name:
                raise InputError(
                    f"The point at {_place(point.position)} is positive for both '{owner}' and '{segment.name}', "
                    "which may not overlap: remove one of them."
                )


def _voxel(point: Point, grid: Grid) -> tuple[int, ...]:
    return tuple(int(v) for v in grid.to_voxel(point.position))


def _place(position: tuple[float, float, float]) -> str:
    r, a, s = position
    return f"R {r:.1f}, A {a:.1f}, S {s:.1f} mm"
