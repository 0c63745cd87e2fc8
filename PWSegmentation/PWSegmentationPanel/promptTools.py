"""The tools that place prompts: points and boxes in Slicer's place mode, scribbles drawn in slice views, delete."""

import math

import slicer

from PWSegmentationPanel.sliceMouse import SliceMouse

# How near a click of the delete tool must be, in pixels of the view.
PICKING_PIXELS = 10
# Points of a stroke are at least this share of the brush radius apart.
STROKE_STEP = 0.5


class PromptTools:
    """One tool at a time is on; a tool works on the selected segment, which is made if there is none."""

    def __init__(self, panel):
        self.panel = panel
        ui = panel.ui
        self._mouse = SliceMouse()
        self._buttons = {
            "inside": ui.positivePointButton,
            "outside": ui.negativePointButton,
            "box": ui.boxButton,
            "scribble inside": ui.positiveScribbleButton,
            "scribble outside": ui.negativeScribbleButton,
            "delete": ui.deletePromptButton,
        }
        self.current = None
        self._placing = None
        self._watchedNode = None
        for name, button in self._buttons.items():
            button.connect("clicked(bool)", self._chooser(name))

    def _chooser(self, name):
        return lambda checked=False: self.choose(name if checked else None)

    def toggle(self, name):
        """Turn a tool on, or off if it is on."""
        self.choose(None if self.current == name else name)

    def choose(self, name):
        """Turn a tool on, or all off with None."""
        self._stop()
        with self.panel.showingErrors():
            if name is not None and self._start(name):
                self.current = name
        self._showButtons()

    def followSegment(self):
        """Go on with the same tool on the segment that is selected now."""
        # While another one is being selected, none is for a moment.
        if self.current is not None and self.panel.segments.current() is not None:
            self.choose(self.current)

    def cleanup(self):
        """Give mouse and views back."""
        self.choose(None)

    def _start(self, name):
        case = self.panel.openCase()
        if case is None:
            return False
        segmentId = self.panel.segments.currentOrNew()
        if name in ("inside", "outside"):
            self._place(case.store.point_list(segmentId, name == "inside"), persistent=True)
        elif name == "box":
            self._place(case.store.make(segmentId, "box"), persistent=False)
        else:
            self._mouse.turnOn(_Eraser(self.panel) if name == "delete" else _Pen(self.panel, name == "scribble inside"))
        return True

    def _place(self, node, persistent):
        self.panel.watchPrompts()
        self._placing = node
        logic = slicer.app.applicationLogic()
        selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())
        interaction.SetPlaceModePersistence(1 if persistent else 0)
        interaction.SetCurrentInteractionMode(interaction.Place)
        self._watchedNode = interaction
        self.panel.addObserver(interaction, interaction.InteractionModeChangedEvent, self.onInteractionModeChanged)

    def _stop(self):
        self._mouse.turnOff()
        self.current = None
        if self._watchedNode is not None:
            interaction, self._watchedNode = self._watchedNode, None
            self.panel.removeObserver(
                interaction, interaction.InteractionModeChangedEvent, self.onInteractionModeChanged
            )
            if interaction.GetCurrentInteractionMode() == interaction.Place:
                interaction.SwitchToViewTransformMode()
        node, self._placing = self._placing, None
        if node is not None and node.GetScene() and node.IsA("vtkMRMLMarkupsROINode"):
            from PWSegmentationLib.mrml import is_drawn

            if not is_drawn(node):
                slicer.mrmlScene.RemoveNode(node)

    def onInteractionModeChanged(self, caller, event):
        """The user has left the place mode (Escape, right click), or placing has ended by itself."""
        if self._placing is not None and caller.GetCurrentInteractionMode() != caller.Place:
            self._stop()
            self._showButtons()

    def _showButtons(self):
        for name, button in self._buttons.items():
            button.checked = name == self.current


class _Pen:
    """Draws a scribble."""

    def __init__(self, panel, positive):
        self._panel, self._positive = panel, positive
        self._node = None

    def onPress(self, position, pixelSize):
        case = self._panel.openCase()
        if case is None:
            return
        self._segmentId = self._panel.segments.currentOrNew()
        self._radius = self._panel.parameters.brushRadius
        self._path = [position]
        self._node = case.store.add_scribble(self._segmentId, self._path, self._radius, self._positive)

    def onMove(self, position):
        if self._node is None or math.dist(position, self._path[-1]) < STROKE_STEP * self._radius:
            return
        self._path.append(position)
        self._node.AddControlPointWorld(*position)

    def onRelease(self):
        node, self._node = self._node, None
        if node is not None:
            self._panel.watchPrompts()
            self._panel.onPromptsTouched(self._segmentId)


class _Eraser:
    """Deletes the prompt that is clicked on."""

    def __init__(self, panel):
        self._panel = panel

    def onPress(self, position, pixelSize):
        case, segmentId = self._panel.case, self._panel.segments.current()
        if case is None or segmentId is None:
            return
        item = case.store.nearest(position, PICKING_PIXELS * pixelSize, segmentId)
        if item is not None:
            self._panel.deletePrompts([item])

    def onMove(self, position):
        pass

    def onRelease(self):
        pass
