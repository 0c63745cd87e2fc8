"""``pwseg``: arguments in, an exit code out.

Nothing heavy is imported before a subcommand runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from PWSegmentationLib import __version__
from PWSegmentationLib.commandline import (
    app,
    benchmark,
    convert,
    demo,
    evaluate,
    experiment,
    export,
    flags,
    info,
    predict,
    pretrain,
    review,
    segment,
    train,
)
from PWSegmentationLib.commandline.stopping import Stopping
from PWSegmentationLib.errors import InputError

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_SUBCOMMANDS = (
    segment,
    app,
    review,
    export,
    info,
    train,
    evaluate,
    predict,
    convert,
    demo,
    benchmark,
    flags,
    experiment,
    pretrain,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``pwseg`` with ``argv`` (by default the process's own) and return its exit code."""
    with Stopping() as stopping:
        try:
            code = _run(argv)
        except KeyboardInterrupt:
            # Training takes signals itself while it runs.
            code = INTERRUPTED
        except BaseException:
            if not stopping.code:
                raise
        # Whatever became of the interruption on its way here.
        code = stopping.code or code
    return _say("stopped.", code) if code > BAD_INPUT else code


def _run(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
    except InputError as error:
        return _say(str(error), BAD_INPUT)
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough.
        sys.stdout = None  # type: ignore[assignment]
    except OSError as error:
        return _say(_in_one_line(error), FAILED)
    except MemoryError:
        return _say("There is not enough memory for this image: crop or resample it first.", FAILED)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pwseg",
        description="Dense segments, with probability and uncertainty, from a few points, boxes and scribbles.",
        epilog="Exit codes: 0 done, 2 the input cannot be used (one sentence says why), 130 stopped with Ctrl-C, "
        "143 asked to end, 1 anything else. Output files are replaced whole or not at all.",
    )
    parser.add_argument("--version", action="version", version=f"pwseg {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for subcommand in _SUBCOMMANDS:
        subcommand.add_to(subparsers)
    return parser


def _say(sentence: str, code: int) -> int:
    print(f"pwseg: {sentence}", file=sys.stderr)
    return code


def _in_one_line(error: OSError) -> str:
    what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    return f"A file could not be read or written ({what})."
