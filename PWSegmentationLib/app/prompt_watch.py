"""Hears of what happens to prompt nodes, whoever does it: a tool, the mouse in a view, undo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from PWSegmentationLib.mrml import PromptStore
from PWSegmentationLib.mrml.nodes import Node

# What happens to prompts in quick succession is looked at once.
_SETTLING_S = 0.02


class PromptWatch:
    """Observes the prompt nodes of a store.

    ``on_touched()`` is called whenever a prompt is placed, moved or deleted, ``on_settled(segment_id)`` when the mouse
    is at rest.
    """

    def __init__(self, store: PromptStore, on_touched: Callable[[], None], on_settled: Callable[[str], None]) -> None:
        self._store = store
        self._on_touched = on_touched
        self._on_settled = on_settled
        self._observed: list[tuple[Node, int]] = []
        self._settling: asyncio.TimerHandle | None = None
        self.refresh()

    def refresh(self) -> None:
        """Hear of changes in nodes that are new, too."""
        self._observed = [(node, tag) for node, tag in self._observed if node.GetScene() is not None]
        watched = {id(node) for node, _ in self._observed}
        for node in self._store.nodes():
            if id(node) not in watched:
                events = (node.PointPositionDefinedEvent, node.PointRemovedEvent, node.PointEndInteractionEvent)
                # In 3D prompts would only hide surfaces.
                node.GetDisplayNode().SetVisibility3D(False)
                self._observed += [(node, node.AddObserver(event, self._on_event)) for event in events]

    def touch(self, segment_id: str) -> None:
        """A prompt of this segment was placed, moved or deleted."""
        self._on_touched()
        self.drop()
        self._settling = asyncio.get_running_loop().call_later(_SETTLING_S, self._on_settled, segment_id)

    def drop(self) -> None:
        """Forget what was touched."""
        if self._settling is not None:
            self._settling.cancel()

    def close(self) -> None:
        """Let go of the nodes."""
        self.drop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def _on_event(self, node: Node, _event: str) -> None:
        if node.GetScene() is not None:
            self.touch(self._store.segment_of(node))
