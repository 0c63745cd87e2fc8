"""The process that does the work for a `ChildEngine`: ``python -m PWSegmentationLib.session.worker``.

It has no state that could be lost but fine-tuned networks. It ends when the program that started it ends, however that
happens. Messages in: "image", "predict", "finetune", "cancel", "abandon", "forget". Out: "hello", "ready",
"unusable", "begun", "progress", "prediction", "finetuned", "refused".
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.files import in_short
from PWSegmentationLib.progress import Cancelled
from PWSegmentationLib.session.child_process import CONNECTION_VARIABLE
from PWSegmentationLib.session.engine import Options
from PWSegmentationLib.session.local import LocalEngine
from PWSegmentationLib.session.messages import Connection, Disconnected, Message
from PWSegmentationLib.session.shared_image import map_image
from PWSegmentationLib.session.transcripts import prediction_parts, report_document, request_from_parts
from PWSegmentationLib.volume.volume import Volume

# A stage at which the worker stands still for good, so that a test can kill it there: see `Worker._stand_still_at`.
PAUSE_VARIABLE = "PWSEG_ENGINE_PAUSE_AT"
_PROGRESS_EVERY_S = 0.05


class Worker:
    """Does one job after the other; a thread listens meanwhile, so that a job can be stopped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._abandoned: set[int] = set()
        self._engine = LocalEngine()
        self._models: dict[int, Any] = {}
        self._numbers = itertools.count(1)
        self._told_at = 0.0
        self._prepared = False

    def run(self, token: str) -> None:
        """Work until the other side is gone."""
        self._connection.send({"type": "hello", "pid": os.getpid(), "token": token})
        threading.Thread(target=self._listen, daemon=True).start()
        self._stand_still_at("starting")
        try:
            import torch  # noqa: F401 - so that what is missing shows now, with a sentence of its own
        except Exception as error:
            traceback.print_exc()
            self._connection.send({"type": "unusable", "text": f"PyTorch cannot be loaded ({in_short(error)})"})
            return
        self._connection.send({"type": "ready"})
        while True:
            self._do(self._inbox.get())

    def _listen(self) -> None:
        try:
            while True:
                message = self._connection.receive()
                assert message is not None
                kind, job = message.document["type"], message.document.get("job", 0)
                if kind in ("cancel", "abandon"):
                    self._cancelled.add(job)
                    if kind == "abandon":
                        self._abandoned.add(job)
                else:
                    self._inbox.put(message)
        except Disconnected:
            pass
        except BaseException:
            traceback.print_exc()
        # Whatever the main thread is at: nobody waits for it any more.
        os._exit(0)

    # ---- jobs -------------------------------------------------------------------------------------------------

    def _do(self, message: Message) -> None:
        ask = message.document
        if ask["type"] == "image":
            self._models.clear()
            self._engine = LocalEngine(ask["device"])
            self._engine.set_image(Volume.from_array(map_image(ask["memory"], message.descriptor), ask["affine"]))
            self._prepare()
            return
        if ask["type"] == "forget":
            for number in ask["models"]:
                self._models.pop(number, None)
            return
        self._connection.send({"type": "begun", "job": ask["job"]})
        try:
            if ask["type"] == "predict":
                self._predict(ask, message.body)
            else:
                self._finetune(ask, message.body)
        except Cancelled:
            self._refuse(ask, "cancelled", "")
        except InputError as error:
            self._refuse(ask, "input", str(error))
        except Disconnected:
            raise
        except Exception as error:
            traceback.print_exc()
            self._refuse(ask, "failed", f"{type(error).__name__}: {in_short(error)}")
        self._cancelled.discard(ask["job"])
        self._abandoned.discard(ask["job"])

    def _prepare(self) -> None:
        """Use the time before the first job."""
        if self._prepared or not self._inbox.empty():
            return
        self._prepared = True
        try:
            self._engine.prepare()
        except Exception:
            # The first job meets the same, and there is somebody to tell.
            traceback.print_exc()

    def _predict(self, ask: dict[str, Any], body: NDArray[np.uint8]) -> None:
        self._stand_still_at("predicting")
        found = self._engine.predict(
            request_from_parts(ask["request"], body),
            Options(**ask["options"]),
            model=self._models.get(ask["model"]),
            progress=lambda done, text: self._tell(ask["job"], done, text),
            cancel=lambda: ask["job"] in self._cancelled,
        )
        document, arrays = prediction_parts(found)
        answer = {"type": "prediction", "job": ask["job"], "prediction": document}
        if os.environ.get(PAUSE_VARIABLE) == "writing":
            self._stand_still_in(answer, arrays)
        self._connection.send(answer, arrays)

    def _finetune(self, ask: dict[str, Any], body: NDArray[np.uint8]) -> None:
        self._stand_still_at("fine-tuning")
        fitted = self._engine.finetune(
            [request_from_parts(request, body) for request in ask["requests"]],
            Options(**ask["options"]),
            ask["budget_s"],
            progress=lambda done, text: self._tell(ask["job"], done, text),
            cancel=lambda: ask["job"] in self._cancelled,
        )
        reports = {}
        for name, (model, report) in fitted.items():
            number = 0
            if model is not None:
                number = next(self._numbers)
                self._models[number] = model
            reports[name] = {"model": number, "report": report_document(report)}
        self._connection.send({"type": "finetuned", "job": ask["job"], "reports": reports})

    def _tell(self, job: int, done: float, text: str) -> None:
        if job in self._abandoned:
            # Fine-tuning would otherwise finish what it has.
            raise Cancelled
        now = time.monotonic()
        if now - self._told_at >= _PROGRESS_EVERY_S:
            self._told_at = now
            self._connection.send({"type": "progress", "job": job, "done": done, "text": text})

    def _refuse(self, ask: dict[str, Any], why: str, text: str) -> None:
        self._connection.send({"type": "refused", "job": ask["job"], "why": why, "text": text})

    # ---- for tests of sudden ends -----------------------------------------------------------------------------

    def _stand_still_at(self, stage: str) -> None:
        """Say so and do nothing any more, if the environment asks for it at this stage."""
        if os.environ.get(PAUSE_VARIABLE) == stage:
            self._connection.send({"type": "progress", "job": 0, "done": 0.0, "text": f"standing still: {stage}"})
            threading.Event().wait()

    def _stand_still_in(self, answer: dict[str, Any], arrays: list[NDArray[Any]]) -> None:
        """Send most of an answer, and nothing any more."""
        self._connection.send({"type": "progress", "job": 0, "done": 0.0, "text": "standing still: writing"})
        self._connection.send_pieces(Connection.pieces(answer, arrays)[:-1])
        threading.Event().wait()


def connect(address: str) -> tuple[Connection, str]:
    """The connection to the program that started this process, and the token to show it."""
    kind, number, *token = address.split()
    if kind == "descriptor":
        end = socket.socket(fileno=int(number))
        end.set_inheritable(False)
    else:
        end = socket.create_connection(("127.0.0.1", int(number)), timeout=10)
    return Connection(end, blocking=True), "".join(token)


def main() -> int:
    """Work for the program that started this process."""
    address = os.environ.pop(CONNECTION_VARIABLE, "")
    if not address:
        print("This is started by the program itself.", file=sys.stderr)  # noqa: T201
        return 2
    faulthandler.enable()
    # Ctrl-C in a terminal is meant for the program; it ends this process with itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection, token = connect(address)
    with suppress(Disconnected):
        Worker(connection).run(token)
    return 0


if __name__ == "__main__":
    sys.exit(main())
