"""Reviewing: what can be told of the selected segment, and accept, fix, flag and next."""

import qt
from slicer.i18n import tr as _

STATUS_NAMES = {
    "notstarted": _("not started"),
    "inprogress": _("in progress"),
    "completed": _("completed"),
    "flagged": _("flagged"),
}


# Often enough to look fluent, seldom enough to leave the application its time.
INTERVAL_MS = 20


class Review:
    """Looks at the segments when it is asked to; what it says of one stands until the segment changes."""

    def __init__(self, panel):
        self.panel = panel
        self._review = None
        self._job = None
        self._onLooked = None
        # The versions whose differences the views show.
        self._shown = None
        # The segment, and its node, that the comment field is about.
        self._commented = None, None
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self.onTimer)
        ui = panel.ui
        ui.reviewButton.connect("clicked(bool)", self.onReviewButton)
        ui.acceptSegmentButton.connect("clicked(bool)", self.onAcceptButton)
        ui.fixSegmentButton.connect("clicked(bool)", self.onFixButton)
        ui.flagSegmentButton.connect("clicked(bool)", self.onFlagButton)
        ui.nextReviewButton.connect("clicked(bool)", self.onNextButton)
        ui.showChangesButton.connect("clicked(bool)", self.onShowChangesButton)
        ui.reviewCommentLineEdit.connect("editingFinished()", self.onCommentEdited)

    # ---- buttons

    def onReviewButton(self, checked=False):
        """Measure and check all segments, and tell of the selected one."""
        self._look(self._sayHowMany)

    def onAcceptButton(self, checked=False):
        self._say("completed")

    def onFixButton(self, checked=False):
        self._say("inprogress")

    def onFlagButton(self, checked=False):
        self._say("flagged")

    def onNextButton(self, checked=False):
        """Go to the segment that needs a person most, and to the place in it."""
        self._goOn()

    def onShowChangesButton(self, checked=False):
        self.refresh()

    def onCommentEdited(self):
        segmentId, node = self._commented
        if segmentId is not None:
            from PWSegmentationLib.mrml.review import set_comment

            with self.panel.showingErrors():
                set_comment(node, segmentId, self.panel.ui.reviewCommentLineEdit.text)

    # ---- work

    @property
    def isRunning(self):
        """Whether segments are being looked at."""
        return self._job is not None

    def _current(self):
        """The selected segment, and the node it is in; None, None if there is none."""
        parameters = self.panel.parameters
        segmentId = self.panel.segments.current()
        if parameters is None or segmentId is None:
            return None, None
        # While another segmentation is being chosen, the table shows it before the parameters say so.
        if parameters.segmentation is not self.panel.segments.node():
            return None, None
        return segmentId, parameters.segmentation

    def _known(self):
        """What is known of the segments of the chosen nodes; None if there are none."""
        parameters = self.panel.parameters
        if parameters is None or not parameters.inputVolume or not self.panel.segments.ids():
            return None
        of = (parameters.segmentation, parameters.inputVolume, self.panel.case)
        if self._review is None or not self._review.is_of(*of):
            from PWSegmentationLib.mrml.review import SceneReview

            self.close()
            self._review = SceneReview(*of)
        return self._review

    def _look(self, onLooked):
        """Look at all segments that have changed, one part in each turn of the timer; then ``onLooked(reviews)``."""
        review = self._known()
        if review is None:
            self.panel.say(_("There is nothing to review: segment something first."))
            return
        self._job, self._onLooked = review.start(), onLooked
        self._timer.start()
        # Ends at once where all is known.
        self.onTimer()

    def onTimer(self):
        """Go on with looking at the segments."""
        job = self._job
        if job is None:
            self._timer.stop()
            return
        if not job.poll():
            self._showProgress()
            return
        onLooked = self._onLooked
        self.stop()
        with self.panel.showingErrors():
            onLooked(job.result())
        self.refresh()

    def stop(self):
        """Stop looking at segments."""
        self._timer.stop()
        self._job = self._onLooked = None

    def close(self):
        """Let go of the nodes."""
        self.stop()
        self._hideChanges()
        self._review = None

    def _sayHowMany(self, reviews):
        found = sum(bool(review.alarms) for review in reviews.values())
        self.panel.say(_("{found} of {count} segments should be looked at.").format(found=found, count=len(reviews)))

    def _say(self, status):
        """Set the status of the selected segment, and go on to the next one unless it is to be fixed."""
        from PWSegmentationLib.mrml.review import set_status

        segmentId, node = self._current()
        if segmentId is None:
            self.panel.say(_("Choose a segment in the table."))
            return
        with self.panel.showingErrors():
            if self.panel.case is not None:
                self.panel.case.finish_writing()
            set_status(node, segmentId, status)
            name = node.GetSegmentation().GetSegment(segmentId).GetName()
            self.panel.say(_("{name}: {status}.").format(name=name, status=STATUS_NAMES[status]))
            if status != "inprogress":
                self._goOn()
        self.panel.refresh()

    def _goOn(self):
        """Go to the next segment once all are looked at, unless somebody has begun something else meanwhile."""
        before = self._occupation()

        def onLooked(reviews):
            if self._occupation() == before:
                self._goToNext(reviews)

        self._look(onLooked)

    def _occupation(self):
        """What somebody is at; another one whenever a segment is chosen, prompted or judged."""
        from PWSegmentationLib.mrml.export import segment_status

        segmentId, node = self._current()
        status = None if segmentId is None else segment_status(node.GetSegmentation().GetSegment(segmentId))
        return self.panel.promptChanges, segmentId, status

    def _goToNext(self, reviews):
        from PWSegmentationLib.mrml.review import next_to_review, place_to_look_at

        segmentId = next_to_review(reviews, self.panel.segments.current())
        if segmentId is None:
            empty = [review.segment.name for review in reviews.values() if not review.segment.voxels]
            warning = " " + _("Empty: {names}.").format(names=", ".join(empty)) if empty else ""
            self.panel.say(_("All segments are completed.") + warning)
            return
        self.panel.segments.select(segmentId)
        place = place_to_look_at(reviews[segmentId], self.panel.parameters.inputVolume)
        if place is not None:
            self.panel.jumpTo(place)

    # ---- showing

    def refresh(self):
        """Show what is known of the selected segment."""
        ui = self.panel.ui
        segmentId, node = self._current()
        for button in (ui.reviewButton, ui.nextReviewButton):
            button.enabled = bool(self.panel.segments.ids())
        for widget in (ui.acceptSegmentButton, ui.fixSegmentButton, ui.flagSegmentButton, ui.reviewCommentLineEdit):
            widget.enabled = segmentId is not None
        self._showComment(segmentId, node)
        review = None if segmentId is None or self._known() is None else self._review.of(segmentId)
        self._refreshChanges(segmentId, review)
        if segmentId is None:
            ui.reviewLabel.text = ""
        elif self.isRunning:
            self._showProgress()
        else:
            ui.reviewLabel.text = _("Not checked as it is now.") if review is None else self._describe(review)

    def _showComment(self, segmentId, node):
        """Show what was said of the segment; what is being typed stays, and goes to the segment it was begun for."""
        line = self.panel.ui.reviewCommentLineEdit
        if line.hasFocus():
            if self._commented == (segmentId, node):
                return
            self.onCommentEdited()
        self._commented = segmentId, node
        if segmentId is None:
            line.text = ""
            return
        from PWSegmentationLib.mrml.review import comment

        line.text = comment(node, segmentId)

    def _showProgress(self):
        job = self._job
        self.panel.ui.reviewLabel.text = _("Checking {name}… {part:.0%}").format(name=job.text, part=job.progress)

    def _describe(self, review):
        measures = review.measures
        lines = [
            _("{status}; {volume:.2f} ml, {surface:.0f} mm², {parts} part(s), need for correction {need:.0%}").format(
                status=STATUS_NAMES[review.verdict.status],
                volume=measures.volume_ml,
                surface=measures.surface_mm2,
                parts=measures.components,
                need=review.need,
            )
        ]
        return "\n".join([*lines, *self._describeChanges(review), *self._describeFlags(review)])

    def _describeFlags(self, review):
        return [("⚠ " if flag.alarm else "· ") + flag.text for flag in review.flags]

    def _describeChanges(self, review):
        since = review.changes
        if since is None or since.is_none:
            return []
        text = _("since it was reviewed: {added:.2f} ml added, {removed:.2f} ml removed, Dice {dice:.3f}").format(
            added=since.added_ml, removed=since.removed_ml, dice=since.dice
        )
        return ["± " + text]

    def _refreshChanges(self, segmentId, review):
        """Show in the views what has changed in the selected segment, if that is wanted and there is any."""
        button = self.panel.ui.showChangesButton
        changed = review is not None and review.changes is not None and not review.changes.is_none
        button.enabled = changed or button.checked
        if not changed or not button.checked:
            self._hideChanges()
            return
        from PWSegmentationLib.mrml.reviewed import show_changes

        versions = self._review.versions(segmentId)
        if versions is not None and self._shown != (review.segment, review.changes):
            self._hideChanges()
            show_changes(self._review.segmentation_node, self._review.volume_node, *versions)
            self._shown = (review.segment, review.changes)

    def _hideChanges(self):
        if self._shown is not None:
            from PWSegmentationLib.mrml.reviewed import hide_changes

            self._shown = None
            hide_changes(self._review.segmentation_node)
