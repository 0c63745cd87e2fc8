"""Where things lie in the subject hierarchy: results beside their image, prompts and overlays in a folder there."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from PWSegmentationLib.mrml.nodes import Node, Scene, name_of

_FOLDER_OF = "PWSegmentation.FolderOf"


def place_beside(scene: Scene, node: Node, volume_node: Node) -> None:
    """Put ``node`` where the image is: into the same study or folder."""
    tree = _tree(scene)
    item = tree.GetItemByDataNode(node)
    # In Slicer every data node has an item; in a scene without its plugins there is nothing to place.
    if item:
        tree.SetItemParent(item, _parent(tree, volume_node))


def place_in_folder(scene: Scene, node: Node, volume_node: Node) -> None:
    """Put ``node`` into the folder of working material beside the image, made on first use."""
    tree = _tree(scene)
    item = tree.GetItemByDataNode(node)
    if item:
        tree.SetItemParent(item, _folder(tree, volume_node))


def _tree(scene: Scene) -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _parent(tree: Any, volume_node: Node) -> int:
    item = tree.GetItemByDataNode(volume_node)
    return int((tree.GetItemParent(item) if item else 0) or tree.GetSceneItemID())


def _folder(tree: Any, volume_node: Node) -> int:
    parent, wanted = _parent(tree, volume_node), volume_node.GetID()
    children = vtk.vtkIdList()
    tree.GetItemChildren(parent, children)
    for child in (children.GetId(n) for n in range(children.GetNumberOfIds())):
        if tree.GetItemAttribute(child, _FOLDER_OF) == wanted:
            return int(child)
    made = int(tree.CreateFolderItem(parent, f"{name_of(volume_node)} prompts"))
    tree.SetItemAttribute(made, _FOLDER_OF, wanted)
    tree.SetItemExpanded(made, False)
    return made
