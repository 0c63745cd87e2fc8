"""What a run says: a bar with the time left, a line of JSON per step, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from PWSegmentationLib.files import replacing


class TrainingLog:
    """Writes ``log.jsonl`` and ``tensorboard/`` in the run's folder; a context manager.

    Parameters
    ----------
    steps, done
        Of the whole run, and before this part of it. Lines of steps that are done again replace the old ones.
    quiet
        No bar.
    writes
        Whether this process is the one that writes the files.
    """

    def __init__(self, folder: Path, steps: int, done: int, *, quiet: bool, writes: bool) -> None:
        self.folder, self.steps, self.done = folder, steps, done
        self.quiet, self.writes = quiet, writes
        self.file: Any = None
        self.board: Any = None

    def __enter__(self) -> TrainingLog:
        # disable=None is tqdm's "unless a terminal".
        hidden = True if self.quiet or not self.writes else None
        self.bar = tqdm(total=self.steps, initial=self.done, unit="step", disable=hidden)
        if not self.writes:
            return self
        path = self.folder / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if _step_of(line) <= self.done]
        # Replaced whole: a full disk, or a kill, must not cost the lines of all steps before.
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.file = path.open("a", encoding="utf-8", buffering=1)
        self.board = _tensorboard(self.folder / "tensorboard", self.done)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.file is not None:
            self.file.close()
        if self.board is not None:
            self.board.close()

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """After a step."""
        self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self.bar.update()
        self._write(step, {"loss": loss, "learning_rate": learning_rate})

    def selection(self, step: int, dice: float) -> None:
        """After a look at the selection set."""
        if not self.bar.disable:
            self.bar.write(f"step {step}: selection Dice {dice:.3f}")
        self._write(step, {"selection_dice": dice})

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self.file is None:
            return
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        # Half a line, from a process that was killed while it wrote.
        return float("inf")


def _tensorboard(folder: Path, done: int) -> Any:
    """A writer, or None where the extra ``train`` is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=done + 1)
