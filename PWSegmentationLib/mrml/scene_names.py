"""What a session calls the segments of a scene, which may get other names there at any time, even the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from PWSegmentationLib.mrml.nodes import Node


class SceneNames:
    """The session's names of the segments of ``segmentation_node``, by ID: those of the scene, made different."""

    def __init__(self, segmentation_node: Node) -> None:
        self._node = segmentation_node
        self._names: dict[str, str] = {}

    def of(self, segment_id: str) -> str:
        """The session's name of a segment."""
        if segment_id not in self._names:
            self._names[segment_id] = _free(self._in_scene(segment_id), self._names.values())
        return self._names[segment_id]

    def give(self, segment_id: str, name: str) -> None:
        """Call a segment so."""
        self._names[segment_id] = name

    def forget(self, segment_id: str) -> None:
        """The session knows a segment no more."""
        self._names.pop(segment_id, None)

    def id_of(self, name: str) -> str | None:
        """The ID of the segment that the session calls so."""
        return next((i for i, known in self._names.items() if known == name), None)

    def known(self) -> list[str]:
        """IDs of all segments that the session has a name for."""
        return list(self._names)

    def follow(self) -> dict[str, str]:
        """Take over the names that the scene has now; the new ones by the old ones."""
        there = [i for i in self._segmentation.GetSegmentIDs() if i in self._names]
        now: dict[str, str] = {}
        for segment_id in there:
            now[segment_id] = _free(self._in_scene(segment_id), now.values())
        for segment_id in self._names:
            if segment_id not in now:
                # Removed; undo may bring it back. Its name is free for others.
                now[segment_id] = _free(self._names[segment_id], now.values())
        changed = {old: now[i] for i, old in self._names.items() if now[i] != old}
        self._names = {i: now[i] for i in self._names}
        return changed

    def shared(self, segment_id: str) -> bool:
        """Whether another segment of the scene is called the same."""
        names = Counter(self._in_scene(i) for i in self._segmentation.GetSegmentIDs())
        return names[self._in_scene(segment_id)] > 1

    @property
    def _segmentation(self) -> Any:
        return self._node.GetSegmentation()

    def _in_scene(self, segment_id: str) -> str:
        segment = self._segmentation.GetSegment(segment_id)
        name = "" if segment is None else str(segment.GetName() or "")
        return name if name.strip() else segment_id


def _free(name: str, taken: Iterable[str]) -> str:
    taken = set(taken)
    number, wanted = 2, name
    while wanted in taken:
        wanted, number = f"{name} ({number})", number + 1
    return wanted
