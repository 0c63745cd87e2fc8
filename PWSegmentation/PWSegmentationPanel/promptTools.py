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
        self.mouse = SliceMouse()
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
        # The views' mouse mode that the tool needs, who tells of others, and what places next without the tool.
        self._mode = None
        self._watched = []
        self._persistenceBefore = 0
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
            self._place(case.store.point_list(segmentId, name == "inside"))
        elif name == "box":
            self._place(case.store.make(segmentId, "box"))
        else:
            self.mouse.turnOn(_Eraser(self.panel) if name == "delete" else _Pen(self.panel, name == "scribble inside"))
        self._takeViews(persistent=name != "box")
        return True

    def _place(self, node):
        self.panel.watchPrompts()
        self._placing = node
        selection = slicer.app.applicationLogic().GetSelectionNode()
        selection.SetReferenceActivePlaceNodeClassName(node.GetClassName())
        selection.SetActivePlaceNodeID(node.GetID())

    def _takeViews(self, persistent):
        """Set the mouse mode of the views, and hear when somebody else does."""
        logic = slicer.app.applicationLogic()
        selection, interaction = logic.GetSelectionNode(), logic.GetInteractionNode()
        self._persistenceBefore = interaction.GetPlaceModePersistence()
        self._mode = interaction.ViewTransform
        if self._placing is not None:
            self._mode = interaction.Place
            interaction.SetPlaceModePersistence(1 if persistent else 0)
        interaction.SetCurrentInteractionMode(self._mode)
        self._watched = [
            (interaction, interaction.InteractionModeChangedEvent, self.onInteractionModeChanged),
            (selection, selection.ActivePlaceNodeIDChangedEvent, self.onActivePlaceNodeChanged),
        ]
        for watched in self._watched:
            self.panel.addObserver(*watched)

    def _stop(self, leavePlaceMode=True):
        self.mouse.turnOff()
        self.current = None
        watched, self._watched = self._watched, []
        for each in watched:
            self.panel.removeObserver(*each)
        if watched:
            interaction = watched[0][0]
            # What is placed next, with another tool, goes on or ends as it did before.
            interaction.SetPlaceModePersistence(self._persistenceBefore)
            if leavePlaceMode and interaction.GetCurrentInteractionMode() == interaction.Place:
                interaction.SwitchToViewTransformMode()
        node, self._placing = self._placing, None
        if node is not None and node.GetScene() and node.IsA("vtkMRMLMarkupsROINode"):
            from PWSegmentationLib.mrml import is_drawn

            if not is_drawn(node):
                slicer.mrmlScene.RemoveNode(node)

    def onInteractionModeChanged(self, caller, event):
        """The user has left the place mode (Escape, right click) or taken a tool of Slicer's; or placing has ended."""
        if caller.GetCurrentInteractionMode() != self._mode:
            self._stop(leavePlaceMode=False)
            self._showButtons()

    def onActivePlaceNodeChanged(self, caller, event):
        """Something else is placed now, from Slicer's toolbar or another module: that goes on."""
        if self._placing is not None and caller.GetActivePlaceNodeID() != self._placing.GetID():
            self._stop(leavePlaceMode=False)
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
        panel = self._panel
        if panel.case is not None and not panel.case.is_current:
            # The image has become another one, and the same tool is a new pen.
            if panel.startAnew() and panel.tools.current is not None:
                panel.tools.mouse.receiver.onPress(position, pixelSize)
            return
        case = panel.openCase()
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
