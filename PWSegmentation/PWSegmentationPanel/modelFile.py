"""The file of the network to use.

Slicer's parameter node would connect the path widget to a `pathlib.Path`, for which no path is "."; here it is "".
"""


class ModelFile:
    """Keeps the path widget and the parameter node alike."""

    def __init__(self, panel):
        self.panel = panel
        self._widget = panel.ui.modelFileLineEdit
        self._widget.connect("currentPathChanged(QString)", self.onPathChanged)

    def onPathChanged(self, path):
        parameters = self.panel.parameters
        if parameters is not None and parameters.modelFile != path.strip():
            parameters.modelFile = path.strip()

    def refresh(self):
        """Show what the parameter node says."""
        path = self.panel.parameters.modelFile
        if self._widget.currentPath.strip() != path:
            self._widget.currentPath = path
