"""Slice views without a screen: real slice nodes and logics, a real VTK interactor, and a hand that clicks.

Sources in https://github.com/Slicer/Slicer: Libs/MRML/Widgets/qMRMLLayoutManager.h, qMRMLSliceWidget.h,
qMRMLSliceView.h, ctkVTKAbstractView.h (CTK); placing follows
Modules/Loadable/Markups/MRMLDM/vtkMRMLMarkupsDisplayableManager.cxx and VTKWidgets/vtkSlicerMarkupsWidget.cxx.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtCore import QObject, Signal

from Testing.host.pythonqt import wrap

ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
SIZE = 256


class SliceView:
    """qMRMLSliceView: what is drawn in, and what gets the mouse."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._interactor = vtk.vtkGenericRenderWindowInteractor()

    def mrmlSliceNode(self) -> Any:  # noqa: N802 - Slicer's name
        return self._node

    def interactor(self) -> Any:
        return self._interactor

    def convertDeviceToXYZ(self, xy: Sequence[int]) -> tuple[float, float, float]:  # noqa: N802 - Slicer's name
        return (float(xy[0]), float(xy[1]), 0.0)

    def convertXYZToRAS(self, xyz: Sequence[float]) -> tuple[float, ...]:  # noqa: N802 - Slicer's name
        return tuple(self._node.GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])


class SliceWidget:
    """qMRMLSliceWidget."""

    def __init__(self, logic: Any) -> None:
        self._logic, self._view = logic, SliceView(logic.GetSliceNode())

    def sliceView(self) -> SliceView:  # noqa: N802 - Slicer's name
        return self._view

    def sliceLogic(self) -> Any:  # noqa: N802 - Slicer's name
        return self._logic

    def mrmlSliceNode(self) -> Any:  # noqa: N802 - Slicer's name
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:  # noqa: N802 - Slicer's name
        return self._logic.GetSliceCompositeNode()


class LayoutSignals(QObject):
    """The signals of the layout manager that scripted modules connect to."""

    layoutChanged = Signal(int)  # noqa: N815 - Slicer's name


class LayoutManager:
    """qMRMLLayoutManager with the three slice views of the conventional layout, and one more where views compare."""

    def __init__(self, application_logic: Any) -> None:
        self._logic = application_logic
        self._signals = LayoutSignals()
        self._widgets: dict[str, SliceWidget] = {}
        self.rebuild()

    def rebuild(self) -> None:
        """Make the views' nodes, as after the scene was closed."""
        self._slices = vtk.vtkCollection()
        self._widgets = {}
        for name, orientation in ORIENTATIONS.items():
            self._add(name, orientation)
        self._logic.SetSliceLogics(self._slices)

    def _add(self, name: str, orientation: str) -> None:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self._logic)
        logic.SetMRMLScene(self._logic.GetMRMLScene())
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetDimensions(SIZE, SIZE, 1)
        node.SetFieldOfView(SIZE, SIZE, 1.0)
        self._slices.AddItem(logic)
        self._widgets[name] = SliceWidget(logic)

    def setLayout(self, layout: int) -> None:  # noqa: N802 - Slicer's name
        """Views that a layout needs are made when it is first shown, and stay."""
        if layout == slicer.vtkMRMLLayoutNode.SlicerLayoutCompareView and "Compare1" not in self._widgets:
            self._add("Compare1", "Axial")
        self._signals.layoutChanged.emit(layout)

    def connect(self, signature: str, function: Any) -> bool:
        return bool(wrap(self._signals).connect(signature, function))

    def disconnect(self, signature: str, function: Any) -> bool:
        return bool(wrap(self._signals).disconnect(signature, function))

    def sliceViewNames(self) -> tuple[str, ...]:  # noqa: N802 - Slicer's name
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:  # noqa: N802 - Slicer's name
        return self._widgets.get(name)

    @property
    def threeDViewCount(self) -> int:  # noqa: N802 - Slicer's name
        return 0


class Hand:
    """The user's hand on the views."""

    def __init__(self, layout: LayoutManager, application_logic: Any) -> None:
        self._layout, self._logic = layout, application_logic
        # What the mouse is placing into, and the interaction node that says when that is over.
        self._placing: Any = None
        self._interaction: Any = None

    def point_at(self, view: str, position: Sequence[float]) -> None:
        """Scroll a view to a world position, as a user does before clicking there."""
        self._layout.sliceWidget(view).mrmlSliceNode().JumpSliceByCentering(*position)  # type: ignore[union-attr]

    def click(self, position: Sequence[float]) -> bool:
        """A click in place mode; false if the views are not in place mode, and nothing happens.

        The mouse comes there before, and is never quite at rest after.
        """
        if not self.hover(position):
            return False
        node, interaction = self._placing, self._logic.GetInteractionNode()
        self._point(node, position, node.PositionDefined)
        # Placing ends when the node has what it needs and placing is not persistent.
        required = node.GetRequiredNumberOfControlPoints()
        reached = node.GetNumberOfControlPoints() >= required and not node.GetNumberOfUndefinedControlPoints()
        if reached and not interaction.GetPlaceModePersistence():
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)
        self.hover([v + 0.6 for v in position])
        return True

    def hover(self, position: Sequence[float]) -> bool:
        """Move the mouse: in place mode the next point is there already, as a preview; false if not in place mode."""
        interaction, selection = self._logic.GetInteractionNode(), self._logic.GetSelectionNode()
        if interaction is not self._interaction:
            self._interaction = interaction
            interaction.AddObserver(interaction.InteractionModeChangedEvent, lambda *_: self._leave())
        is_placing = interaction.GetCurrentInteractionMode() == interaction.Place
        node = self._logic.GetMRMLScene().GetNodeByID(selection.GetActivePlaceNodeID() or "") if is_placing else None
        if is_placing and node is None:
            node = self._logic.GetMRMLScene().AddNewNodeByClass(selection.GetActivePlaceNodeClassName())
            selection.SetActivePlaceNodeID(node.GetID())
        if node is not self._placing:
            self._leave()
        self._placing = node
        if node is not None:
            self._point(node, position, node.PositionPreview)
        return is_placing

    def _point(self, node: Any, position: Sequence[float], status: int) -> None:
        numbers = range(node.GetNumberOfControlPoints())
        preview = (n for n in numbers if node.GetNthControlPointPositionStatus(n) == node.PositionPreview)
        index = next(preview, node.GetControlPointPlacementStartIndex())
        event = slicer.vtkMRMLInteractionEventData()
        event.SetWorldPosition(list(position))
        turned = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        node.GetDisplayNode().UpdateActiveControlPointWorld(index, event, turned, None, None, status)

    def _leave(self) -> None:
        """The mouse leaves what it was placing into, and takes the preview with it."""
        node, self._placing = self._placing, None
        for number in reversed(range(node.GetNumberOfControlPoints() if node is not None else 0)):
            if node.GetNthControlPointPositionStatus(number) == node.PositionPreview:
                node.RemoveNthControlPoint(number)

    def drag(
        self, view: str, positions: Iterable[Sequence[float]], *, shift: bool = False, double: bool = False
    ) -> bool:
        """Press the left button, move through world positions, release; true if somebody took the mouse.

        ``double``: it is the second of two quick clicks, for which Qt and VTK send a double click and no press.
        """
        press = "LeftButtonDoubleClickEvent" if double else "LeftButtonPressEvent"
        slice_view = self._layout.sliceWidget(view).sliceView()  # type: ignore[union-attr]
        to_view = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(slice_view.mrmlSliceNode().GetXYToRAS(), to_view)
        interactor = slice_view.interactor()
        pixels = [np.rint(to_view.MultiplyPoint((*p, 1.0))[:2]).astype(int) for p in positions]
        reached: list[str] = []
        # What looks at the mouse after those who may have taken it, as the view's own interactor style does.
        watch = interactor.AddObserver(press, lambda *_: reached.append("view"), -1.0)
        for number, (x, y) in enumerate(pixels):
            interactor.SetEventInformation(int(x), int(y), 0, int(shift), chr(0), int(double), None)
            interactor.InvokeEvent(press if number == 0 else "MouseMoveEvent")
        interactor.InvokeEvent("LeftButtonReleaseEvent")
        interactor.RemoveObserver(watch)
        return not reached
