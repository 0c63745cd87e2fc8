"""What only some tasks need is not installed with the rest: the sentence that says how to get it."""

from __future__ import annotations

from PWSegmentationLib.errors import InputError

REPOSITORY = "https://github.com/PWSegmentation/PWSegmentation"


def no_highdicom() -> InputError:
    """What to do without highdicom, for DICOM segmentations."""
    return not_installed("DICOM segmentations need highdicom", "dicom", in_slicer="highdicom>=0.27")


def not_installed(what: str, extra: str, *, in_slicer: str = "") -> InputError:
    """An error that says what is missing, and the command that installs it.

    Parameters
    ----------
    what
        The beginning of the sentence, as "Surfaces need VTK".
    extra
        Of pyproject.toml, which has the package.
    in_slicer
        What to install in Slicer, whose own Python has no repository to install from; "" where Slicer has it.
    """
    ways = [f'pip install "PWSegmentation[{extra}] @ git+{REPOSITORY}"', f'from a clone, pip install ".[{extra}]"']
    if in_slicer:
        # Slicer 5.10 has loaded an earlier pydicom, which goes on until it is restarted.
        ways.append(f'in Slicer\'s Python console, slicer.util.pip_install("{in_slicer}"), then restart Slicer')
    return InputError(f"{what}: {'; '.join(ways)}.")
