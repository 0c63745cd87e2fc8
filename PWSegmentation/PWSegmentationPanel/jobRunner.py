"""Runs one job of the library at a time: polled from a timer, shown in the progress bar, cancelled by a button."""

import qt
from slicer.i18n import tr as _

# Often enough to look fluent, seldom enough to leave the application its time.
INTERVAL_MS = 30


class JobRunner:
    """Polls the running job and tells who started it when it has ended.

    ``onChanged()`` is called when a job starts or ends.
    """

    def __init__(self, ui, onChanged):
        self.ui = ui
        self._onChanged = onChanged
        self._job = None
        self._onEnded = None
        self.kind = ""
        self._timer = qt.QTimer()
        self._timer.setInterval(INTERVAL_MS)
        self._timer.connect("timeout()", self.poll)
        ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self._show()

    @property
    def isRunning(self):
        return self._job is not None

    def start(self, kind, job, onEnded):
        """Run ``job`` instead of the one that runs; ``onEnded(job)`` is called once, unless it is dropped."""
        self.drop()
        self.kind, self._job, self._onEnded = kind, job, onEnded
        self._timer.start()
        self._show()
        self._onChanged()

    def poll(self):
        """Let the job go on; called by the timer."""
        job = self._job
        if job is None:
            self._timer.stop()
            return
        ended = job.poll()
        # Whoever is called while polling may have dropped it.
        if job is not self._job:
            return
        if not ended:
            self._show()
            return
        onEnded = self._onEnded
        self._forget()
        onEnded(job)

    def drop(self):
        """Stop the job and forget it: it changes nothing any more."""
        job = self._job
        if job is not None:
            self._forget()
            job.cancel()

    def onCancelButton(self, checked=False):
        if self._job is not None:
            self._job.cancel()
            self.ui.remainingLabel.text = _("stopping…")

    def _forget(self):
        self._job = self._onEnded = None
        self.kind = ""
        self._timer.stop()
        self._show()
        self._onChanged()

    def _show(self):
        running = self._job is not None
        self.ui.cancelButton.enabled = running
        self.ui.progressBar.value = int(100 * self._job.progress) if running else 0
        self.ui.progressBar.enabled = running
        if not running:
            self.ui.remainingLabel.text = ""
            return
        remaining = self._job.remaining_s
        self.ui.remainingLabel.text = "" if remaining is None else _("{seconds:.0f} s left").format(seconds=remaining)
        self.ui.remainingLabel.toolTip = self._job.text
