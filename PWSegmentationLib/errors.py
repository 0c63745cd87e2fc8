"""The one exception that is meant for the person in front of the screen."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence that names the problem and says what to do; front ends show it as it is.
    """
