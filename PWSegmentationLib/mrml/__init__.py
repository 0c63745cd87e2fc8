"""3D Slicer's scene: nodes become volumes and prompts, predictions become segments and overlays.

Works inside Slicer and on slicer-core alone. Scene and nodes are passed in; nothing here touches the application, its
scene or Qt. All of it must be called on the thread that owns the scene.
"""

from __future__ import annotations

from PWSegmentationLib.mrml.export import export_scene, export_segments, segmentation_from_node
from PWSegmentationLib.mrml.locks import is_locked, set_locked
from PWSegmentationLib.mrml.markups import box_from_node, is_drawn, points_from_node, scribble_from_node
from PWSegmentationLib.mrml.nodes import prepare_scene
from PWSegmentationLib.mrml.overlays import clear_overlay, is_overlay, write_overlay
from PWSegmentationLib.mrml.prompt_nodes import PromptNodes, prompt_set, segment_prompts
from PWSegmentationLib.mrml.prompt_store import PromptItem, PromptStore
from PWSegmentationLib.mrml.scene_questions import Applied, Refined
from PWSegmentationLib.mrml.scene_session import SceneSession
from PWSegmentationLib.mrml.segments import SegmentWriter, segment_mask, write_prediction
from PWSegmentationLib.mrml.strokes import STROKE_TAG, strokes_from_labelmap_node, strokes_from_segmentation
from PWSegmentationLib.mrml.volumes import add_volume, memory_need, volume_from_node
from PWSegmentationLib.segments.terminology import terminology_entry

__all__ = [
    "STROKE_TAG",
    "Applied",
    "PromptItem",
    "PromptNodes",
    "PromptStore",
    "Refined",
    "SceneSession",
    "SegmentWriter",
    "add_volume",
    "box_from_node",
    "clear_overlay",
    "export_scene",
    "export_segments",
    "is_drawn",
    "is_locked",
    "is_overlay",
    "memory_need",
    "points_from_node",
    "prepare_scene",
    "prompt_set",
    "scribble_from_node",
    "segment_mask",
    "segment_prompts",
    "segmentation_from_node",
    "set_locked",
    "strokes_from_labelmap_node",
    "strokes_from_segmentation",
    "terminology_entry",
    "volume_from_node",
    "write_overlay",
    "write_prediction",
]
