"""The PWSegmentation module: points, boxes and scribbles in, segments with probability and uncertainty out.

This file says what the module is and ties it to Slicer. The panel's parts are in PWSegmentationPanel, everything that
is not GUI in PWSegmentationLib, whose heavy parts are imported on use: opening the module needs nothing that Slicer
does not bring.
"""

# ruff: noqa: PT009 - Slicer's test class is unittest's.

import sys
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
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
    import PWSegmentationLib  # noqa: F401

PANEL_PACKAGE = "PWSegmentationPanel"


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
            "its uncertainty. Correct it with more prompts; Refine trains the network on the case where that helps. "
            "Nothing leaves this computer. Not a medical device. "
            'See the <a href="https://github.com/PWSegmentation/PWSegmentation/blob/main/docs/tutorial.md">tutorial</a>.'
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
    segmentation: vtkMRMLSegmentationNode
    manyLesions: bool = False
    brushRadius: Annotated[float, WithinRange(0.5, 30.0)] = 3.0
    autoSegment: bool = True
    refineSeconds: Annotated[int, WithinRange(5, 600)] = 20
    overlay: Annotated[str, Choice(["none", "probability", "uncertainty"])] = "none"
    overlayOpacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    overwriteMode: Annotated[str, Choice(["all", "visible", "none"])] = "all"
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    method: Annotated[str, Choice(["auto", "network", "image-aware", "gaussian"])] = "auto"
    modelFile: str = ""
    samples: Annotated[int, WithinRange(1, 50)] = 6
    seed: Annotated[int, WithinRange(0, 99999)] = 0


#
# PWSegmentationWidget
#


class PWSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Ties the panel to Slicer: entering and leaving the module, closing the scene."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from PWSegmentationPanel.panel import Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PWSegmentation.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PWSegmentationLogic()
        self.panel = Panel(self.ui, self.logic, self.resourcePath("requirements.txt"))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneReady)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneReady)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeAboutToBeRemoved)
        self.initializeParameterNode()
        # What the first click needs, while the user still looks for where to click.
        qt.QTimer.singleShot(0, self.logic.importSession)
        # Reloaded, the module is on the screen already.
        if self.parent.isEntered:
            self.panel.shortcuts.turnOn()

    def cleanup(self):
        """Called when the application closes or the module is reloaded."""
        self.removeObservers()
        if self.panel is not None:
            self.setParameterNode(None)
            self.panel.cleanup()
            self.logic.close()

    def onReload(self):
        """The panel's parts are loaded anew, too."""
        for name in [n for n in sys.modules if n.partition(".")[0] == PANEL_PACKAGE]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        """Called each time the module is opened."""
        self.initializeParameterNode()
        self.panel.shortcuts.turnOn()

    def exit(self):
        """Called each time another module is opened; what is computed goes on, and its result is written."""
        self.panel.shortcuts.turnOff()
        self.panel.tools.choose(None)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self.panel.closeCase()

    def onSceneReady(self, caller, event):
        # Not shown, the module leaves the scene alone until it is entered.
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node):
        """The first image is chosen, as Slicer's selector does not do it: once it is loaded, not while it is."""
        if self.parent.isEntered and node.IsA("vtkMRMLScalarVolumeNode"):
            qt.QTimer.singleShot(0, self.onImageAdded)

    def onImageAdded(self):
        if self.parent.isEntered and self._parameterNode is not None:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAboutToBeRemoved(self, caller, event, node):
        """Without its image or segmentation there is nothing to go on with."""
        case = self.panel.case
        if case is None:
            return
        if node in (case.volume_node, case.segmentation_node):
            self.panel.closeCase()
        elif case.store.is_prompt(node):
            self.panel.onPromptsTouched(case.store.segment_of(node))

    def initializeParameterNode(self):
        """Make sure there is a parameter node, with an image in it where there is one."""
        if self._parameterNode is None:
            self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            # Labelmaps and colour images are scalar volumes too, by inheritance; our overlays are no images to segment.
            images = [
                volume
                for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
                if volume.GetClassName() == "vtkMRMLScalarVolumeNode" and not self.logic.isOverlay(volume)
            ]
            self._parameterNode.inputVolume = images[0] if images else None

    def setParameterNode(self, parameterNode):
        """Connect the panel to a parameter node, or to none."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
        self.panel.setParameters(parameterNode)


#
# PWSegmentationLogic
#


class PWSegmentationLogic(ScriptedLoadableModuleLogic):
    """Holds the session on the chosen image and segmentation, and the process that computes.

    The work is `PWSegmentationLib.mrml.SceneSession`'s.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.case = None
        self._engine = None
        self._device = None
        # Whether the work is done in this process, because there cannot be another.
        self.worksHere = False

    def getParameterNode(self):
        node = super().getParameterNode()
        # Slicer 5.10 leaves observers on the node that hold its wrappers. While nobody in Python refers to the node, as
        # when the module is reloaded, they are garbage to Python; once collected, the next change would end Slicer.
        slicer.modules.PWSegmentationParameters = node
        return PWSegmentationParameterNode(node)

    def importSession(self):
        """Import what `openCase` does."""
        import PWSegmentationLib.mrml.scene_session
        import PWSegmentationLib.session.child  # noqa: F401

    def openCase(self, parameters):
        """A session on the chosen image; a segmentation is made beside it where none is chosen."""
        from PWSegmentationLib.mrml import SceneSession
        from PWSegmentationLib.session import Session

        if not parameters.segmentation:
            name = _("{image} segmentation").format(image=parameters.inputVolume.GetName())
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            node.CreateDefaultDisplayNodes()
        else:
            node = parameters.segmentation

        # The user's masking settings of the Segment Editor hold here too, which may be opened later.
        def masking():
            return slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")

        session = Session(engine=self.engine(parameters.device))
        self.case = SceneSession(slicer.mrmlScene, parameters.inputVolume, node, session, masking=masking)
        self.applyOptions(parameters)
        # Last, for who hears of it finds the case open.
        parameters.segmentation = node
        return self.case

    def isOpen(self, parameters):
        """Whether the session is the one of the chosen nodes and device."""
        return (
            self.case is not None
            and self.case.volume_node is parameters.inputVolume
            and self.case.segmentation_node is parameters.segmentation
            and self._device == parameters.device
        )

    def closeCase(self):
        """Let go of the nodes; the computing process stays for the next ones."""
        case, self.case = self.case, None
        if case is not None:
            case.close()

    def close(self):
        """End everything."""
        self.closeCase()
        self._closeEngine()

    def engine(self, device):
        """What computes: a process of its own; this one where that cannot be."""
        if self._engine is None or device != self._device:
            self._closeEngine()
            self._device = device
            self._engine = self._engineHere() if self.worksHere else self._engineInProcess()
        return self._engine

    def _engineInProcess(self):
        from PWSegmentationPanel.packages import pythonExecutable

        from PWSegmentationLib.session.child import ChildEngine

        return ChildEngine(self._device, python=[pythonExecutable()])

    def _engineHere(self):
        from PWSegmentationLib.session.local import LocalEngine

        return LocalEngine(self._device)

    def workHere(self):
        """Compute in this process from now on; prompts, segments and undo stay."""
        self._closeEngine()
        self.worksHere = True
        self._engine = self._engineHere()
        if self.case is not None:
            self.case.session.use_engine(self._engine)

    def _closeEngine(self):
        engine, self._engine = self._engine, None
        if engine is not None and not self.worksHere:
            engine.close()

    def warmUp(self):
        """Go on starting the computing process; true once it is ready."""
        return self._engine is None or self.worksHere or self._engine.warm_up()

    def engineLog(self):
        """What the computing process said last."""
        return "" if self._engine is None or self.worksHere else self._engine.log

    def applyOptions(self, parameters):
        """Let the session know the advanced settings; they hold for the next prompt."""
        if self.case is not None:
            self.case.set_options(
                method=parameters.method,
                model=parameters.modelFile,
                samples=parameters.samples,
                seed=parameters.seed,
            )

    def memoryNeed(self, volumeNode):
        """A sentence on what predicting on this image takes."""
        from PWSegmentationLib.errors import InputError
        from PWSegmentationLib.mrml import memory_need

        if volumeNode is None:
            return ""
        if self.isOverlay(volumeNode):
            return self.noImage()
        try:
            needed, free = memory_need(volumeNode)
        except InputError:
            # Still being loaded.
            return ""
        text = _("Needs about {needed:.1f} GB of memory").format(needed=needed / 1e9)
        if free is None:
            return text + "."
        text += _(", {free:.1f} GB are free.").format(free=free / 1e9)
        return (
            text if needed < free else text + " " + _("Crop the volume (Crop Volume module) or close other programs.")
        )

    def noImage(self):
        """A sentence on an overlay that was chosen as the image."""
        return _("This is a probability or uncertainty that was made here: choose the image that it is of.")

    def isOverlay(self, volumeNode):
        """Whether a volume is a probability or uncertainty that was made here."""
        from PWSegmentationLib.mrml import is_overlay

        return is_overlay(volumeNode)


#
# PWSegmentationTest
#


class PWSegmentationTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (Reload & Test, or ctest)."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_PointBecomesSegment()

    def test_PointBecomesSegment(self):
        """A point in a ball, undo and redo."""
        from PWSegmentationPanel.packages import missingPackages

        if missingPackages():
            self.delayDisplay(f"Skipped, not installed: {missingPackages()}")
            return
        import numpy

        self.delayDisplay("Segment a phantom")
        logic = PWSegmentationLogic()
        parameters = logic.getParameterNode()
        parameters.inputVolume = self.makePhantom()
        case = logic.openCase(parameters)
        segmentId = case.add_segment("ball")
        case.store.add_point(segmentId, [0.0, 0.0, 0.0])
        self.finish(case.start(segmentId))

        segmentation = parameters.segmentation.GetSegmentation()
        segment = slicer.util.arrayFromSegmentBinaryLabelmap(parameters.segmentation, segmentId, parameters.inputVolume)
        ball = slicer.util.arrayFromVolume(parameters.inputVolume) > 150
        dice = 2 * numpy.sum((segment > 0) & ball) / ((segment > 0).sum() + ball.sum())
        self.assertGreater(dice, 0.8)

        self.assertTrue(case.undo())
        self.assertEqual(case.store.items(segmentId), [])
        self.assertTrue(case.undo())
        self.assertEqual(segmentation.GetNumberOfSegments(), 0)
        self.assertTrue(case.redo())
        self.assertTrue(case.redo())
        self.assertEqual(segmentation.GetNumberOfSegments(), 1)
        logic.close()
        self.delayDisplay("Test passed")

    def finish(self, job):
        import time

        while not job.poll():
            slicer.app.processEvents()
            time.sleep(0.01)
        return job.result()

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
