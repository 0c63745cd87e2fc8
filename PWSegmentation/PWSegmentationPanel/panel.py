"""The panel as a whole: what the parts share, and what happens when a prompt, a button or the scene changes."""

import contextlib

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from PWSegmentationLib.errors import EngineLost, EngineUnavailable, InputError
from PWSegmentationLib.progress import Cancelled
from PWSegmentationPanel import packages
from PWSegmentationPanel.jobRunner import JobRunner
from PWSegmentationPanel.logPane import LogPane
from PWSegmentationPanel.modelFile import ModelFile
from PWSegmentationPanel.overlayControls import OverlayControls
from PWSegmentationPanel.promptList import PromptList
from PWSegmentationPanel.promptTools import PromptTools
from PWSegmentationPanel.review import Review
from PWSegmentationPanel.segmentList import SegmentList
from PWSegmentationPanel.shortcuts import Shortcuts

# What happens to prompts in quick succession is looked at once.
SETTLING_MS = 20
WARMING_MS = 30

STOPPED_REFINING = _("Refining was stopped: start it again.")


class Panel(VTKObservationMixin):
    """Connects the widgets in ``ui`` to the logic; the parameter node comes and goes with the scene.

    ``isShown()`` says whether the module is the one on the screen.
    """

    def __init__(self, ui, logic, requirementsPath):
        VTKObservationMixin.__init__(self)
        self.ui, self.logic, self._requirementsPath = ui, logic, requirementsPath
        self.parameters = None
        self._volume = None
        self._touched = None
        self.promptChanges = 0
        self._pending = None
        self._retried = False
        self._packagesReady = False
        self.log = LogPane(ui)
        self.jobs = JobRunner(ui, self.refresh)
        self.segments = SegmentList(self)
        self.prompts = PromptList(self)
        self.tools = PromptTools(self)
        self.overlays = OverlayControls(self)
        self.modelFile = ModelFile(self)
        self.review = Review(self)
        self.shortcuts = Shortcuts(self)
        self._settling = qt.QTimer()
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLING_MS)
        self._settling.connect("timeout()", self.onPromptsSettled)
        self._warming = qt.QTimer()
        self._warming.setInterval(WARMING_MS)
        self._warming.connect("timeout()", self.onWarming)
        ui.segmentButton.connect("clicked(bool)", self.onSegmentButton)
        ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        ui.redoButton.connect("clicked(bool)", self.onRedoButton)
        ui.refineButton.connect("clicked(bool)", self.onRefineButton)
        ui.uncertainSpotButton.connect("clicked(bool)", self.onUncertainSpotButton)

    # ---- the case --------------------------------------------------------------------------------------------

    @property
    def case(self):
        """The library's session on the chosen nodes; None as long as none is open."""
        return self.logic.case

    def setParameters(self, parameters):
        """Work on another parameter node, or on none: jobs are stopped, tools put away."""
        self.stopJob()
        self.tools.choose(None)
        if self.parameters is not None:
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
        self.parameters = parameters
        if parameters is None:
            self._watchVolume(None)
        else:
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.onParametersChanged)
            self.onParametersChanged()

    def onParametersChanged(self, caller=None, event=None):
        """The user has chosen something else, or the scene has."""
        parameters = self.parameters
        if self.case is not None and not self.logic.isOpen(parameters):
            self.closeCase()
        self._watchVolume(parameters.inputVolume)
        if self.case is None and parameters.segmentation and self._hasImage():
            # Prompts that came with the scene are listed at once.
            with self.showingErrors():
                self._open()
        self.logic.applyOptions(parameters)
        self.modelFile.refresh()
        self.ui.memoryLabel.text = self.logic.memoryNeed(parameters.inputVolume)
        self.overlays.refresh()
        self.refresh()

    def _watchVolume(self, volume):
        """Hear of an image that is loaded into a node that was chosen before."""
        if volume is self._volume:
            return
        if self._volume is not None:
            self.removeObserver(self._volume, self._volume.ImageDataModifiedEvent, self.onImageChanged)
        self._volume = volume
        if volume is not None:
            self.addObserver(volume, volume.ImageDataModifiedEvent, self.onImageChanged)

    def onImageChanged(self, caller, event):
        if self.parameters is not None:
            self.ui.memoryLabel.text = self.logic.memoryNeed(self.parameters.inputVolume)

    def openCase(self):
        """The session of the chosen nodes, opened if it is not; None, and a sentence, if there is no image."""
        if not self._hasImage():
            chosen = self.parameters is not None and self.parameters.inputVolume
            self.say(self.logic.noImage() if chosen else _("Choose an image first."))
            return None
        if self.case is not None and not self.case.is_current:
            self.say(_("The image has changed: its segments are kept, and new prompts are about the image as it is."))
            self.closeCase()
        if self.case is None:
            self._open()
        return self.case

    def _hasImage(self):
        """Whether an image is chosen; our overlays are volumes, too, but none to segment."""
        volume = None if self.parameters is None else self.parameters.inputVolume
        return volume is not None and not self.logic.isOverlay(volume)

    def _open(self):
        self.logic.openCase(self.parameters)
        self.watchPrompts()
        if not packages.missingPackages():
            self._warming.start()

    def onWarming(self):
        """Have the computing process ready before the first prompt is placed."""
        if self.jobs.isRunning or self.logic.warmUp():
            self._warming.stop()

    def closeCase(self):
        """Let go of the nodes; their prompts and segments stay in the scene."""
        self.stopJob()
        self._warming.stop()
        self.tools.choose(None)
        self.overlays.hide()
        self.review.close()
        self.removeObservers(self.onPromptEvent)
        self.logic.closeCase()

    def cleanup(self):
        """Before the panel goes."""
        self.setParameters(None)
        self.shortcuts.turnOff()
        self.closeCase()
        self.removeObservers()

    # ---- prompts ---------------------------------------------------------------------------------------------

    def _promptEvents(self):
        nodes = self.case.store.nodes() if self.case is not None else []
        for node in nodes:
            events = [node.PointPositionDefinedEvent, node.PointRemovedEvent, node.PointEndInteractionEvent]
            yield from ((node, event) for event in events)

    def watchPrompts(self):
        """Hear of changes in all prompt nodes, new ones too."""
        for node, event in self._promptEvents():
            if not self.hasObserver(node, event, self.onPromptEvent):
                self.addObserver(node, event, self.onPromptEvent)

    def onPromptEvent(self, caller, event):
        if self.case is not None and caller.GetScene() is not None:
            self.onPromptsTouched(self.case.store.segment_of(caller))

    def onPromptsTouched(self, segmentId):
        """A prompt of this segment was placed, moved or deleted; it is looked at when the mouse is at rest."""
        self._touched = segmentId
        self.promptChanges += 1
        self._settling.start()

    def onPromptsSettled(self):
        """Take the changed prompts in, and segment them if that is wanted."""
        case, segmentId = self.case, self._touched
        if case is None or segmentId is None or self.parameters is None:
            return
        with self.showingErrors():
            self._takeAwaySlips(segmentId)
            if self.parameters.manyLesions:
                segmentId = self._splitLesion(segmentId)
            if not case.note_prompts():
                return
            self.refresh()
            if self.parameters.autoSegment:
                self.startSegmenting(segmentId)
            else:
                self.say(_("Press Segment when all prompts are placed."))

    def _takeAwaySlips(self, segmentId):
        """Points outside the image, or of a double click, are slips of the hand: nothing could be done with them."""
        from PWSegmentationLib.mrml.volumes import image_grid

        grid, store = image_grid(self.parameters.inputVolume), self.case.store
        items, twice = store.items(segmentId), store.repeated_points(segmentId)
        new = [i for i in items if i.role in ("inside", "outside") and i not in self.prompts.items]
        strays = [i for i in new if not grid.contains(i.position)]
        # The last ones first, so that the numbers of the others stay right.
        for item in reversed([i for i in items if i in strays or i in twice]):
            store.delete(item)
        if strays:
            self.say(_("Outside the image: ignored."))
        elif twice:
            self.say(_("There is a point already: ignored."))

    def _splitLesion(self, segmentId):
        """In many-lesion mode every + point but the first starts a segment; the segment that the last one is in."""
        case = self.case
        points = [i for i in case.store.items(segmentId) if i.role == "inside"]
        known = case.prompts_seen(segmentId)
        if len(points) < 2 or len(points) <= known:
            return segmentId
        # Several, where clicks were waiting while the application was busy.
        more = points[max(1, known) :]
        for item in reversed(more):
            case.store.delete(item)
        for item in more:
            segmentId = self.segments.add(forPrompt=True)
            case.store.add_point(segmentId, item.position)
        self.watchPrompts()
        self.tools.followSegment()
        return segmentId

    def deletePrompts(self, items):
        """Delete prompts of the selected segment; one undo brings them back."""
        case, segmentId = self.case, self.segments.current()
        if case is None or not items:
            return
        for item in items:
            case.store.delete(item)
        self.onPromptsTouched(segmentId)

    def jumpTo(self, position):
        """Show a position, mm RAS, in all slice views."""
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *position, slicer.vtkMRMLSliceNode.CenteredJumpSlice)

    # ---- work ------------------------------------------------------------------------------------------------

    def onSegmentButton(self, checked=False):
        segmentId = self.segments.current()
        if segmentId is None:
            self.say(_("Choose a segment in the table, or place a prompt for a new one."))
            return
        with self.showingErrors():
            if self.openCase() is not None:
                self.startSegmenting(segmentId)

    def startSegmenting(self, segmentId):
        """Begin to segment; what was computed before, for fewer prompts, is stopped."""
        if self.jobs.kind == "refine":
            # It goes on; the prompt is answered, with what was learnt, when it has ended.
            self._pending = segmentId
            self.say(_("The prompt is answered when refining has ended."))
            return
        if not self._ensurePackages(lambda: self.startSegmenting(segmentId)):
            return
        if not self.case.is_current and not self.startAnew():
            return
        parameters = self.parameters
        job = self.case.start(segmentId, overwrite=parameters.overwriteMode)
        self.say(_("Segmenting…"))
        self.jobs.start("segment", job, lambda ended: self._onSegmented(ended, segmentId))

    def startAnew(self):
        """Go on with the image as it is now, with the same tool; false if there is none any more."""
        tool = self.tools.current
        if self.openCase() is None:
            return False
        self.tools.choose(tool)
        return True

    def _onSegmented(self, job, segmentId):
        with self.showingErrors(lost=lambda: self.startSegmenting(segmentId)):
            applied = job.result()
            self._retried = False
            self.say(self._describe(applied))
            if applied.prediction is not None:
                # Which network it was.
                self.log.write(applied.prediction.method)
        self.overlays.refresh()
        self.refresh()

    def _describe(self, applied):
        found = applied.prediction
        if found is None:
            return applied.note
        summary = _("{name}: {volume} in {seconds:.1f} s ({method}).").format(
            name=found.segment, volume=applied.volume_text, seconds=found.seconds, method=found.method.partition(" ")[0]
        )
        notes = [found.note, applied.note, self._whereItIsDone()]
        return " ".join([summary, *(note for note in notes if note)])

    def _whereItIsDone(self):
        if not self.logic.worksHere:
            return ""
        return _("Computed in Slicer itself, which stands still meanwhile: see the log.")

    def onRefineButton(self, checked=False):
        with self.showingErrors():
            if self.openCase() is not None and self._ensurePackages(self.onRefineButton):
                parameters = self.parameters
                job = self.case.start_finetune(parameters.refineSeconds, overwrite=parameters.overwriteMode)
                self.say(_("Refining: prompts can be placed meanwhile; Cancel stops early."))
                self.jobs.start("refine", job, self._onRefined)

    def _onRefined(self, job):
        with self.showingErrors(unavailable=self.onRefineButton):
            reports, written = job.result().reports, job.result().written
            for name, report in reports.items():
                self.log.write(f"{name}: {report.reason} ({report.steps} steps, {report.seconds:.0f} s)")
            used = [name for name, report in reports.items() if report.accepted]
            if used:
                self.say(_("Refined: {names}.").format(names=", ".join(used)))
            elif written:
                self.say(_("Answered, but not refined: {names}.").format(names=", ".join(written)))
            else:
                self.say(_("Nothing was changed: the network was not better than what the prompts say by themselves."))
        pending, self._pending = self._pending, None
        if pending is not None and self.case is not None:
            with self.showingErrors():
                self.startSegmenting(pending)
        self.overlays.refresh()
        self.refresh()

    def _ensurePackages(self, goOn):
        """Whether the packages are there; installed after asking, checked, and then ``goOn`` is called."""
        if self._packagesReady or not packages.missingPackages():
            self._packagesReady = True
            return True
        self.say(_("Installing packages…"))
        if not packages.ensurePackages(self._requirementsPath):
            self.say(
                _("Nothing was done: it needs the packages {packages}.").format(
                    packages=", ".join(packages.missingPackages())
                )
            )
            return False

        def onChecked(job):
            with self.showingErrors():
                job.result()
                self._packagesReady = True
                self.log.write(_("The packages are installed."))
                goOn()

        self.jobs.start("check", packages.ImportCheck(), onChecked)
        return False

    def stopJob(self):
        """Stop what is computed: nothing in the scene changes any more."""
        self._pending = None
        self._settling.stop()
        if self.jobs.kind == "refine":
            self.say(STOPPED_REFINING)
        self.jobs.drop()

    def onUndoButton(self, checked=False):
        self._step(lambda case: case.start_undo(), _("Undone."))

    def onRedoButton(self, checked=False):
        self._step(lambda case: case.start_redo(), _("Done again."))

    def _step(self, start, message):
        case = self.case
        if case is None:
            return
        stopped = STOPPED_REFINING if self.jobs.kind == "refine" else ""
        self.stopJob()
        with self.showingErrors():
            job = start(case)
            if job is None:
                self.refresh()
                return
            self.jobs.start("step", job, lambda ended: self._onStepped(ended, message, stopped))
            # Mostly that is all.
            self.jobs.poll()

    def _onStepped(self, job, message, stopped):
        case = self.case
        with self.showingErrors():
            job.result()
            self.say(" ".join(text for text in (message, case.note, stopped) if text))
            self.watchPrompts()
            segmentId = self.segments.current()
            # Prompts that were placed so quickly that their mask was never shown.
            if self.parameters.autoSegment and segmentId is not None and not case.is_answered(segmentId):
                self.startSegmenting(segmentId)
            self.overlays.refresh()
        self.refresh()

    def onUncertainSpotButton(self, checked=False):
        case, segmentId = self.case, self.segments.current()
        if case is None or segmentId is None:
            return
        spot = case.next_uncertain_spot(segmentId)
        if spot is None:
            self.say(_("Nothing in this segment is in doubt."))
            return
        self.jumpTo(spot.position)
        self.say(_("The segment is in doubt here ({part:.0%} sure): place a + or − point.").format(part=spot.certainty))

    def onEscape(self):
        """Put the tool away, else stop what is computed."""
        if self.tools.current is not None:
            self.tools.choose(None)
        else:
            self.jobs.onCancelButton()

    def _workHere(self, error):
        self.log.write(str(error))
        self.log.write(self.logic.engineLog())
        self.logic.workHere()
        self.say(_("No computing process can be started: Slicer itself computes, and stands still meanwhile."))

    # ---- showing ---------------------------------------------------------------------------------------------

    def onSegmentSelected(self):
        self.tools.followSegment()
        self.overlays.refresh()
        self.refresh()

    def refresh(self):
        """Show what is in the scene, and enable what can be done now."""
        if self.parameters is None:
            return
        case = self.case
        self.segments.refresh()
        self.prompts.refresh()
        self.review.refresh()
        segmentId = self.segments.current()
        hasPrompts = case is not None and segmentId is not None and bool(case.store.nodes(segmentId))
        self.ui.segmentButton.enabled = hasPrompts
        self.ui.refineButton.enabled = case is not None and bool(case.store.prompted()) and self.jobs.kind != "refine"
        self.ui.undoButton.enabled = case is not None and case.can_undo
        self.ui.redoButton.enabled = case is not None and case.can_redo
        self.ui.uncertainSpotButton.enabled = (
            case is not None and segmentId is not None and case.prediction(segmentId) is not None
        )

    def say(self, text):
        """One sentence for the user, under the buttons and in the log."""
        self.ui.statusLabel.text = text
        self.log.write(text)

    @contextlib.contextmanager
    def showingErrors(self, lost=None, unavailable=None):
        """What the user got wrong is said in the panel; other errors are shown by Slicer.

        ``lost`` is called, once, when the computing process was lost; ``unavailable``, by default the same, when none
        can be started and the work is to be done in this process.
        """
        try:
            yield
        except Cancelled:
            self.say(_("Stopped. All prompts and segments are as they were."))
        except EngineUnavailable as error:
            self._workHere(error)
            again = unavailable or lost
            if again is not None:
                with self.showingErrors():
                    again()
        except EngineLost as error:
            self.say(str(error))
            self.log.write(self.logic.engineLog())
            if lost is not None and not self._retried:
                self._retried = True
                self.log.write(_("Starting again."))
                with self.showingErrors():
                    lost()
        except InputError as error:
            self.say(str(error))
        except Exception as error:
            self.say(_("This did not work: {error}").format(error=error))
            with slicer.util.tryWithErrorDisplay(_("This did not work.")):
                raise
