"""Reviewing: what can be told of the selected segment, and accept, fix, flag and next."""

from slicer.i18n import tr as _

STATUS_NAMES = {
    "notstarted": _("not started"),
    "inprogress": _("in progress"),
    "completed": _("completed"),
    "flagged": _("flagged"),
}


class Review:
    """Looks at the segments when it is asked to; what it says of one stands until the segment changes."""

    def __init__(self, panel):
        self.panel = panel
        self._reviews = {}
        ui = panel.ui
        ui.reviewButton.connect("clicked(bool)", self.onReviewButton)
        ui.acceptSegmentButton.connect("clicked(bool)", self.onAcceptButton)
        ui.fixSegmentButton.connect("clicked(bool)", self.onFixButton)
        ui.flagSegmentButton.connect("clicked(bool)", self.onFlagButton)
        ui.nextReviewButton.connect("clicked(bool)", self.onNextButton)
        ui.reviewCommentLineEdit.connect("editingFinished()", self.onCommentEdited)

    # ---- buttons

    def onReviewButton(self, checked=False):
        """Measure and check all segments, and tell of the selected one."""
        with self.panel.showingErrors():
            if self._look():
                found = sum(bool(review.alarms) for review in self._reviews.values())
                self.panel.say(
                    _("{found} of {count} segments should be looked at.").format(found=found, count=len(self._reviews))
                )
        self.refresh()

    def onAcceptButton(self, checked=False):
        self._say("completed")

    def onFixButton(self, checked=False):
        self._say("inprogress")

    def onFlagButton(self, checked=False):
        self._say("flagged")

    def onNextButton(self, checked=False):
        """Go to the segment that needs a person most, and to the place in it."""
        with self.panel.showingErrors():
            if self._look():
                self._goToNext()
        self.refresh()

    def onCommentEdited(self):
        segmentId, node = self._current()
        if segmentId is not None:
            from PWSegmentationLib.mrml.review import set_comment

            with self.panel.showingErrors():
                set_comment(node, segmentId, self.panel.ui.reviewCommentLineEdit.text)

    # ---- work

    def _current(self):
        """The selected segment, and the node it is in; None, None if there is none."""
        parameters = self.panel.parameters
        segmentId = self.panel.segments.current()
        if parameters is None or segmentId is None or parameters.segmentation is None:
            return None, None
        return segmentId, parameters.segmentation

    def _look(self):
        from PWSegmentationLib.mrml.review import review_segments

        parameters = self.panel.parameters
        if parameters is None or not parameters.inputVolume or not self.panel.segments.ids():
            self.panel.say(_("There is nothing to review: segment something first."))
            return False
        self._reviews = review_segments(parameters.segmentation, parameters.inputVolume, self.panel.case)
        return True

    def _say(self, status):
        """Set the status of the selected segment, and go on to the next one unless it is to be fixed."""
        from PWSegmentationLib.mrml.review import set_status

        segmentId, node = self._current()
        if segmentId is None:
            self.panel.say(_("Choose a segment in the table."))
            return
        with self.panel.showingErrors():
            set_status(node, segmentId, status)
            name = node.GetSegmentation().GetSegment(segmentId).GetName()
            self.panel.say(_("{name}: {status}.").format(name=name, status=STATUS_NAMES[status]))
            if status != "inprogress" and self._look():
                self._goToNext()
        self.panel.refresh()

    def _goToNext(self):
        from PWSegmentationLib.mrml.review import next_to_review, place_to_look_at

        segmentId = next_to_review(self._reviews, self.panel.segments.current())
        if segmentId is None:
            self.panel.say(_("All segments are completed."))
            return
        self.panel.segments.select(segmentId)
        place = place_to_look_at(self._reviews[segmentId], self.panel.parameters.inputVolume)
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
        if segmentId is None:
            ui.reviewLabel.text = ""
            ui.reviewCommentLineEdit.text = ""
            return
        from PWSegmentationLib.mrml.review import comment

        ui.reviewCommentLineEdit.text = comment(node, segmentId)
        review = self._reviews.get(segmentId)
        ui.reviewLabel.text = _("Not checked yet.") if review is None else self._describe(review)

    def _describe(self, review):
        measures = review.measures
        lines = [
            _("{status}; {volume:.2f} ml, {surface:.0f} mm², {parts} part(s), need for correction {need:.0%}").format(
                status=STATUS_NAMES[review.opinion.status],
                volume=measures.volume_ml,
                surface=measures.surface_mm2,
                parts=measures.components,
                need=review.need,
            )
        ]
        return "\n".join(lines + [("⚠ " if flag.alarm else "· ") + flag.text for flag in review.flags])
