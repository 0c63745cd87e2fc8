"""The PWSegmentation module: points, a box or a scribble in, a segment with probability and uncertainty out.

Everything that is not GUI is in PWSegmentationLib, whose heavy parts are imported on use: opening the module needs
nothing that Slicer does not bring.
"""

# ruff: noqa: PT009 - Slicer's test class is unittest's.

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer import (
    vtkMRMLMarkupsCurveNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLMarkupsROINode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import PWSegmentationLib
except ModuleNotFoundError:
    # Installed, the library lies beside this file. In the repository, whose PWSegmentation folder was added as an
    # additional module path, it lies beside that folder.
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    import PWSegmentationLib


#
# PWSegmentation
#


class PWSegmentation(ScriptedLoadableModule):
    """What the module is; see ScriptedLoadableModule."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("PWSegmentation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Markups", "Segmentations"]
        self.parent.contributors = ["The PWSegmentation developers"]
        self.parent.helpText = _(
            "Place points, a box or a scribble on a structure in CT or MR and get a dense segment, its probability and "
            "its uncertainty. Nothing leaves this computer. Not a medical device. "
            'See the <a href="https://github.com/PWSegmentation/PWSegmentation">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "The method follows 'Enhancing Weakly Supervised 3D Medical Image Segmentation through Probabilistic-aware "
            "Learning' (arXiv 2403.02566)."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer a volume to try the module on in the Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="PWSegmentation",
        sampleName="PWSegmentationChest",
        thumbnailFileName=str(Path(__file__).parent / "Resources" / "Icons" / "PWSegmentation.png"),
        uris="https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
        "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
        fileNames="CT-chest.nrrd",
        checksums="SHA256:4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
        nodeNames="CTChest",
    )


#
# PWSegmentationParameterNode
#


@parameterNodeWrapper
class PWSegmentationParameterNode:
    """What the user has chosen. It is saved with the scene."""

    inputVolume: vtkMRMLScalarVolumeNode
    positivePoints: vtkMRMLMarkupsFiducialNode
    negativePoints: vtkMRMLMarkupsFiducialNode
    roi: vtkMRMLMarkupsROINode
    scribble: vtkMRMLMarkupsCurveNode
    brushRadius: Annotated[float, WithinRange(0.5, 30.0)] = 2.0
    outputSegmentation: vtkMRMLSegmentationNode
    segmentName: str = "Segment_1"
    overwriteMode: Annotated[str, Choice(["all", "visible", "none"])] = "all"
    showProbability: bool = False
    showUncertainty: bool = False


#
# PWSegmentationWidget
#


class PWSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; see ScriptedLoadableModuleWidget."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._running = False

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PWSegmentation.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = PWSegmentationLogic()
        self.logic.progressCallback = self.showProgress

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        self.ui.redoButton.connect("clicked(bool)", self.onRedoButton)
        self.initializeParameterNode()

    def cleanup(self):
        """Called when the application closes or the module is reloaded."""
        self.setParameterNode(None)
        self.removeObservers()
        if self.logic:
            self.logic.closeSessions()

    def enter(self):
        """Called each time the module is opened."""
        self.initializeParameterNode()

    def exit(self):
        """Called each time another module is opened."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self.logic.closeSessions()

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Make sure there is a parameter node, with an image in it where there is one."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            # Labelmaps and colour images are scalar volumes too, by inheritance.
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            images = [v for v in volumes if v.GetClassName() == "vtkMRMLScalarVolumeNode"]
            self._parameterNode.inputVolume = images[0] if images else None

    def setParameterNode(self, parameterNode):
        """Connect the panel to a parameter node, or to none."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateButtons)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.updateButtons)
            self.updateButtons()

    def updateButtons(self, caller=None, event=None):
        """Enable what can be done now, and say what is missing for the rest."""
        parameters = self._parameterNode
        missing = self.logic.whatIsMissing(parameters) if parameters else _("No scene is open.")
        self.ui.applyButton.enabled = not missing and not self._running
        self.ui.applyButton.toolTip = missing or _("Segment what the prompts are on.")
        volume = parameters.inputVolume if parameters else None
        self.ui.undoButton.enabled = self.logic.canUndo(volume) and not self._running
        self.ui.redoButton.enabled = self.logic.canRedo(volume) and not self._running

    def onApplyButton(self, checked=False):
        """Segment, and show how it went."""
        with slicer.util.tryWithErrorDisplay(_("The packages could not be installed.")):
            if not ensureDependencies(self.resourcePath("requirements.txt")):
                self.ui.statusLabel.text = _("Nothing was done: PyTorch and MONAI are needed.")
            elif self._parameterNode:
                self._segment()

    def _segment(self):
        with slicer.util.tryWithErrorDisplay(_("The segmentation failed."), waitCursor=True), _Busy(self):
            try:
                self.ui.statusLabel.text = self.logic.process(self._parameterNode)
            except PWSegmentationLib.InputError as error:
                self.ui.statusLabel.text = str(error)

    def onUndoButton(self, checked=False):
        self._step(self.logic.undo, _("Undone."))

    def onRedoButton(self, checked=False):
        self._step(self.logic.redo, _("Done again."))

    def showProgress(self, done, what):
        """Show how far the work is, 0 to 1, and what is being done."""
        self.ui.progressBar.value = int(100 * done)
        self.ui.statusLabel.text = what
        slicer.app.processEvents()

    def _step(self, step, message):
        with slicer.util.tryWithErrorDisplay(_("This step failed."), waitCursor=True):
            if step(self._parameterNode.inputVolume):
                self.ui.statusLabel.text = message
        self.updateButtons()


class _Busy:
    """While it lasts no second run can be started, and the progress bar shows."""

    def __init__(self, widget):
        self._widget = widget

    def __enter__(self):
        self._show(True)

    def __exit__(self, *exception):
        self._show(False)

    def _show(self, running):
        self._widget._running = running
        self._widget.ui.progressBar.value = 0
        self._widget.ui.progressBar.visible = running
        self._widget.updateButtons()


#
# PWSegmentationLogic
#


class PWSegmentationLogic(ScriptedLoadableModuleLogic):
    """Segments on the scene. The work is `PWSegmentationLib.mrml.SceneSession`'s, one for each image."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.progressCallback = None
        self._sessions = {}

    def getParameterNode(self):
        return PWSegmentationParameterNode(super().getParameterNode())

    def whatIsMissing(self, parameters):
        """What keeps Apply from working, in one sentence; empty if nothing does."""
        if not parameters.inputVolume:
            return _("Choose an image.")
        if not (parameters.positivePoints or parameters.roi or parameters.scribble):
            return _("Place a point, a box or a scribble on the structure.")
        if not parameters.segmentName.strip():
            return _("Give the segment a name.")
        return ""

    def process(self, parameters):
        """Segment what the parameter node describes; returns a sentence on the result.

        An output segmentation is made where none is chosen.
        """
        from PWSegmentationLib.mrml import PromptNodes

        missing = self.whatIsMissing(parameters)
        if missing:
            raise PWSegmentationLib.InputError(missing)
        if not parameters.outputSegmentation:
            name = _("{image} segmentation").format(image=parameters.inputVolume.GetName())
            parameters.outputSegmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        session = self.sceneSession(parameters.inputVolume, parameters.outputSegmentation)
        nodes = PromptNodes(
            parameters.segmentName.strip(),
            positive=_chosen(parameters.positivePoints),
            negative=_chosen(parameters.negativePoints),
            boxes=_chosen(parameters.roi),
            scribbles=_chosen(parameters.scribble),
            radius=parameters.brushRadius,
        )
        applied = session.apply(
            nodes,
            overwrite=parameters.overwriteMode,
            probability=parameters.showProbability,
            uncertainty=parameters.showUncertainty,
            progress=self.progressCallback,
        )
        self._showOverlay(session, nodes.segment, parameters)
        found = applied.prediction
        summary = _("{name}: {volume:.1f} ml in {seconds:.1f} s ({method}).").format(
            name=found.segment, volume=found.volume_ml, seconds=found.seconds, method=found.method
        )
        logging.info(summary)
        return f"{summary} {applied.note}".strip()

    def sceneSession(self, volumeNode, segmentationNode):
        """The session of an image; a new one if there is none or the image or segmentation is another."""
        from PWSegmentationLib.mrml import SceneSession

        session = self._sessions.get(volumeNode.GetID())
        if session and (not session.is_current or session.segmentation_node is not segmentationNode):
            session.close()
            session = None
        if session is None:
            # The user's masking settings of the Segment Editor hold here too.
            masking = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
            session = SceneSession(slicer.mrmlScene, volumeNode, segmentationNode, masking=masking)
            self._sessions[volumeNode.GetID()] = session
        return session

    def closeSessions(self):
        """Forget everything, as when the scene is closed."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def canUndo(self, volumeNode):
        session = self._sessions.get(volumeNode.GetID()) if volumeNode else None
        return bool(session) and session.can_undo

    def canRedo(self, volumeNode):
        session = self._sessions.get(volumeNode.GetID()) if volumeNode else None
        return bool(session) and session.can_redo

    def undo(self, volumeNode):
        """Take the last run on this image back; false if there is none."""
        return self.canUndo(volumeNode) and self._sessions[volumeNode.GetID()].undo()

    def redo(self, volumeNode):
        """Do the run undone last on this image again; false if there is none."""
        return self.canRedo(volumeNode) and self._sessions[volumeNode.GetID()].redo()

    def _showOverlay(self, session, segmentName, parameters):
        # One foreground layer: the uncertainty, if asked for, else the probability.
        kind = "uncertainty" if parameters.showUncertainty else "probability" if parameters.showProbability else None
        overlay = session.overlay(segmentName, kind) if kind else None
        if overlay:
            slicer.util.setSliceViewerLayers(foreground=overlay, foregroundOpacity=0.6)


def _chosen(node):
    """A list of one node, or of none."""
    return [node] if node else []


#
# Packages
#


def missingPackages():
    """Names of the packages that are still needed to segment."""
    return [name for name in ("torch", "monai", "scipy") if importlib.util.find_spec(name) is None]


def ensureDependencies(requirementsPath):
    """Install what is missing, after asking; false if the user declined.

    Called on first use, never at startup. PyTorch comes through the PyTorch extension, which picks the build for this
    computer; the rest from the requirements file.
    """
    missing = missingPackages()
    if not missing:
        return True
    explanation = _(
        "PWSegmentation needs Python packages that Slicer does not bring: {packages}.\n\n"
        "They are downloaded once (PyTorch: 0.2 to 3 GB) and installed into this Slicer. "
        "Images are not sent anywhere.\n\n"
        "Install them now?"
    ).format(packages=", ".join(missing))
    if not slicer.util.confirmOkCancelDisplay(explanation, _("Install packages")):
        return False
    if "torch" in missing:
        installTorch()
    installRequirements(requirementsPath)
    importlib.invalidate_caches()
    still = missingPackages()
    if still:
        raise RuntimeError(_("These packages could not be installed: {packages}.").format(packages=", ".join(still)))
    return True


def installTorch():
    """Install PyTorch through the PyTorch extension."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(
            _("Install the extension 'PyTorch' (Extensions Manager), restart Slicer, and try again.")
        ) from error
    # Asked already.
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=">=2.4") is None:
        raise RuntimeError(_("PyTorch could not be installed: see the module 'PyTorch Utils' for its messages."))


def installRequirements(path):
    """Install a requirements file, with Slicer's own tools where it has them (5.11 and newer)."""
    try:
        import slicer.packaging as packaging
    except ImportError:
        packaging = None
    if hasattr(packaging, "pip_ensure"):
        packaging.pip_ensure(packaging.load_requirements(path), requester="PWSegmentation")
    else:
        slicer.util.pip_install(["-r", str(path)])


#
# PWSegmentationTest
#


class PWSegmentationTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (Reload & Test, or ctest)."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for name in ("test_PanelFollowsTheScene", "test_ClickBecomesSegment"):
            self.setUp()
            getattr(self, name)()

    def test_PanelFollowsTheScene(self):
        """Apply can be pressed once there is an image and a prompt."""
        self.delayDisplay("Parameters")
        logic = PWSegmentationLogic()
        parameters = logic.getParameterNode()
        self.assertIn("image", logic.whatIsMissing(parameters))
        parameters.inputVolume = self.makePhantom()
        self.assertIn("point", logic.whatIsMissing(parameters))
        parameters.positivePoints = self.makePoint([0.0, 0.0, 0.0])
        self.assertEqual(logic.whatIsMissing(parameters), "")

    def test_ClickBecomesSegment(self):
        """A click in a ball, undo and redo."""
        if missingPackages():
            self.delayDisplay(f"Skipped, not installed: {missingPackages()}")
            return
        import numpy

        self.delayDisplay("Segment a phantom")
        logic = PWSegmentationLogic()
        parameters = logic.getParameterNode()
        parameters.inputVolume = self.makePhantom()
        parameters.positivePoints = self.makePoint([0.0, 0.0, 0.0])
        parameters.segmentName = "ball"
        parameters.showProbability = True

        logic.process(parameters)

        segmentation = parameters.outputSegmentation.GetSegmentation()
        segmentId = segmentation.GetSegmentIdBySegmentName("ball")
        volume = parameters.inputVolume
        segment = slicer.util.arrayFromSegmentBinaryLabelmap(parameters.outputSegmentation, segmentId, volume) > 0
        ball = slicer.util.arrayFromVolume(volume) > 150
        dice = 2 * numpy.sum(segment & ball) / (segment.sum() + ball.sum())
        self.assertGreater(dice, 0.8)
        self.assertIsNotNone(slicer.mrmlScene.GetFirstNodeByName("phantom ball probability"))

        self.assertTrue(logic.undo(volume))
        self.assertEqual(segmentation.GetNumberOfSegments(), 0)
        self.assertTrue(logic.redo(volume))
        self.assertEqual(segmentation.GetNumberOfSegments(), 1)
        logic.closeSessions()
        self.delayDisplay("Test passed")

    def makePhantom(self):
        """A bright ball of 20 mm radius around the origin, in noise."""
        import numpy

        k, j, i = numpy.indices((40, 50, 60)) - numpy.array([20, 25, 30]).reshape(3, 1, 1, 1)
        voxels = numpy.random.default_rng(0).normal(100, 5, i.shape)
        voxels[i**2 + j**2 + (2 * k) ** 2 <= 20**2] += 100
        node = slicer.util.addVolumeFromArray(voxels.astype("int16"), name="phantom")
        node.SetSpacing(1.0, 1.0, 2.0)
        node.SetOrigin(-30.0, -25.0, -40.0)
        return node

    def makePoint(self, position):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "inside")
        node.AddControlPointWorld(vtk.vtkVector3d(*position))
        return node
