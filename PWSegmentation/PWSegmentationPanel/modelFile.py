"""The file of the network to use.

Slicer's parameter node would connect the path widget to a `pathlib.Path`, for which no path is "."; here it is "".
"""


class ModelFile:
    """Keeps the path widget and the parameter node alike."""

    def __init__(self, panel):
        self.panel = panel
        self._widget = panel.ui.modelFileLineEdit
        self._widget.connect("currentPathChanged(QString)", self.onPathChanged)
        # The widget tells of no path that it does not accept: of an empty one only that it is not valid. (With name
        # filters it would accept, and tell of, no other files.)
        self._widget.connect("validInputChanged(bool)", self.onPathChanged)

    def onPathChanged(self, _said):
        parameters, path = self.panel.parameters, self._widget.currentPath.strip()
        if parameters is not None and parameters.modelFile != path:
            parameters.modelFile = path

    def refresh(self):
        """Show what the parameter node says."""
        path = self.panel.parameters.modelFile
        if self._widget.currentPath.strip() != path:
            self._widget.currentPath = path
