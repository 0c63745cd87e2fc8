"""Heavy packages for work of the front end's own process: imported while the front end goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module

# So long a step lets the import go on. Slicer runs other threads only while its own waits within Python.
_STEP_S = 0.01


def importing(*modules: str) -> Iterator[None]:
    """Import ``modules``, a moment in every step; what fails, fails again where they are used."""

    def work() -> None:
        for name in modules:
            import_module(name)

    thread = threading.Thread(target=work, name="importing", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_STEP_S)
        yield
