"""The log: what was done, with the time, in the panel and in the application's log."""

import logging
import time

MAXIMUM_LINES = 500


class LogPane:
    """Writes lines into the panel's text field and into Slicer's log."""

    def __init__(self, ui):
        self._text = ui.logText
        self._text.setMaximumBlockCount(MAXIMUM_LINES)

    def write(self, line):
        """Add one line, or several."""
        logging.info("PWSegmentation: %s", line)
        self._text.appendPlainText(f"{time.strftime('%H:%M:%S')}  {line}")
