"""The exceptions that are meant for the person in front of the screen."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the problem and says what to do; front ends show it as it is.
    """


class EngineLost(InputError):  # noqa: N818 - the name says what happened
    """The process that does the work has ended on its own: a crash, a kill, or no memory left.

    Prompts and segments are where they were, and the next job starts a new process.
    """


class EngineUnavailable(InputError):  # noqa: N818 - the name says what happened
    """No process that does the work can be started on this computer: do the work in another place."""
