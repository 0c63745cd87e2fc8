"""Heavy packages for work of the front end's own process: imported while the front end goes on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from importlib import import_module

# So long a step lets the import go on. Slicer runs other threads only while its own waits within Python.
_STEP_S = 0.01
# How long it may keep Python from the front end, which asks for it again after every call of Qt's.
_SWITCH_S = 0.0005


def importing(*modules: str) -> Iterator[None]:
    """Import ``modules``, a moment in every step; what fails, fails again where they are used."""
    missing = [name for name in modules if name not in sys.modules]
    if not missing:
        return

    def work() -> None:
        for name in missing:
            import_module(name)

    thread = threading.Thread(target=work, name="importing", daemon=True)
    # Not in the turn in which a button was pressed: that has enough to do.
    yield
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(_STEP_S)
            yield
    finally:
        sys.setswitchinterval(usual)
