"""The overlays of a scene session: one volume node for each segment and kind, brought up to date in small steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PWSegmentationLib.mrml.nodes import Node, Scene
from PWSegmentationLib.mrml.overlays import OverlayKind, overlay_node, writing_overlay
from PWSegmentationLib.mrml.subject_hierarchy import place_in_folder
from PWSegmentationLib.prediction.prediction import Prediction


@dataclass(eq=False)
class _Overlay:
    """An overlay's node, and the prediction that it shows: None while it is zero."""

    node_id: str
    shows: Prediction | None = None


class SceneOverlays:
    """Overlays of segments, by their IDs, on one volume node."""

    def __init__(self, scene: Scene, volume_node: Node) -> None:
        self._scene, self._volume_node = scene, volume_node
        # By node ID, so that nodes the user deleted are noticed.
        self._overlays: dict[tuple[str, OverlayKind], _Overlay] = {}

    def node(self, segment_id: str, kind: OverlayKind) -> Node | None:
        """The volume node; None if there is none (any more)."""
        overlay = self._overlays.get((segment_id, kind))
        return None if overlay is None else self._scene.GetNodeByID(overlay.node_id)

    def want(self, segment_id: str, kind: OverlayKind, prediction: Prediction | None) -> None:
        """Make the node, if there is none and something to show."""
        if self.node(segment_id, kind) is None and prediction is not None:
            node = overlay_node(self._scene, self._volume_node, prediction, kind)
            self._overlays[segment_id, kind] = _Overlay(node.GetID())
            place_in_folder(self._scene, node, self._volume_node)

    def updating(self, shown: Mapping[str, Prediction]) -> Iterator[None]:
        """Let all overlays show what is ``shown`` of their segments now."""
        for (segment_id, kind), overlay in list(self._overlays.items()):
            node, prediction = self._scene.GetNodeByID(overlay.node_id), shown.get(segment_id)
            if node is None:
                del self._overlays[segment_id, kind]
            elif overlay.shows is not prediction:
                yield from writing_overlay(node, prediction, kind)
                overlay.shows = prediction
