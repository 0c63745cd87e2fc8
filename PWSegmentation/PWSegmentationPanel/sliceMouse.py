"""Drawing and picking with the mouse in slice views, in world coordinates: any orientation, oblique too."""

import slicer

# The second of two quick clicks comes as a double click instead of a press.
PRESSES = ("LeftButtonPressEvent", "LeftButtonDoubleClickEvent")
EVENTS = (*PRESSES, "MouseMoveEvent", "LeftButtonReleaseEvent")
# Before the views' own reaction to the mouse (window and level, ...).
PRIORITY = 10.0


class SliceMouse:
    """Takes the left button of all slice views while it is on.

    The receiver has ``onPress(position, pixelSize)``, ``onMove(position)`` and ``onRelease()``; positions are mm, RAS.
    """

    def __init__(self):
        self.receiver = None
        self._observed = []
        self._pressed = None
        self._layoutManager = None
        # One object, for a connection is found again by what was connected.
        self._onLayoutChanged = self.onLayoutChanged

    def turnOn(self, receiver):
        """Give the mouse to ``receiver``."""
        self.turnOff()
        self.receiver = receiver
        self._layoutManager = slicer.app.layoutManager()
        self._layoutManager.connect("layoutChanged(int)", self._onLayoutChanged)
        self._observeViews()

    def onLayoutChanged(self, layout):
        """Take the mouse of views that are new in the layout, too."""
        self._observeViews()

    def _observeViews(self):
        for name in self._layoutManager.sliceViewNames():
            view = self._layoutManager.sliceWidget(name).sliceView()
            interactor = view.interactor()
            if any(interactor is observed for observed, _tag in self._observed):
                continue
            for event in EVENTS:
                tags = []
                tag = interactor.AddObserver(event, self._handler(view, event, tags), PRIORITY)
                tags.append(tag)
                self._observed.append((interactor, tag))

    def turnOff(self):
        """Give the mouse back to the views."""
        for interactor, tag in self._observed:
            interactor.RemoveObserver(tag)
        self._observed = []
        if self._layoutManager is not None:
            self._layoutManager.disconnect("layoutChanged(int)", self._onLayoutChanged)
        self._layoutManager = self.receiver = self._pressed = None

    def _handler(self, view, event, tags):
        def handle(interactor, name):
            # The tool may be put away by it, and the observer with it.
            command = interactor.GetCommand(tags[0])
            if self._react(view, event):
                command.SetAbortFlag(1)

        return handle

    def _react(self, view, event):
        """Pass the event on; false if it is not ours."""
        if self.receiver is None or (self._pressed is not view and event not in PRESSES):
            return False
        interactor = view.interactor()
        # With a key held down the button moves the image, or blends it: that stays the view's.
        if event in PRESSES and (interactor.GetShiftKey() or interactor.GetControlKey() or interactor.GetAltKey()):
            return False
        if event == "LeftButtonReleaseEvent":
            self._pressed = None
            self.receiver.onRelease()
            return True
        xyz = view.convertDeviceToXYZ(interactor.GetEventPosition())
        position = view.convertXYZToRAS(xyz)
        if event in PRESSES:
            node = view.mrmlSliceNode()
            self.receiver.onPress(position, node.GetFieldOfView()[0] / max(1, node.GetDimensions()[0]))
            self._pressed = view if self.receiver is not None else None
        else:
            self.receiver.onMove(position)
        return True
