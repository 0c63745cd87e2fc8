"""The engine in a child process: the same answers, nothing lost when the child dies, and nobody ever waits."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from PWSegmentationLib import Cancelled, EngineLost, EngineUnavailable, InputError, Session
from PWSegmentationLib.session.child import ChildEngine, ChildModel
from PWSegmentationLib.session.child_process import ChildProcess
from PWSegmentationLib.session.engine import Options, Request
from PWSegmentationLib.session.jobs import BackgroundEngine, Job, Pace
from PWSegmentationLib.session.local import LocalEngine
from PWSegmentationLib.session.messages import Connection, Disconnected, Message
from PWSegmentationLib.session.transcripts import request_parts
from PWSegmentationLib.session.worker import PAUSE_VARIABLE, Worker
from Testing.timing import PATIENCE_S, allowed, wait_until

AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])
LEFT, RIGHT, BETWEEN = (27.0, 30.0, 30.0), (63.0, 30.0, 30.0), (45.0, 30.0, 30.0)
# The longest that a front end may be kept, s.
BLINK = 0.05


def lesions(dtype: Any = np.float32, order: Any = "C") -> np.ndarray:
    """Two bright lesions, 35 mm apart."""
    image = np.random.default_rng(0).normal(20, 4, (60, 40, 30))
    for center in ((18, 20, 15), (42, 20, 15)):
        away = np.linalg.norm((np.moveaxis(np.indices(image.shape), 0, -1) - center) * [1.5, 1.5, 2.0], axis=-1)
        image += 80 * np.clip(9 - away, 0, 1)
    return np.asarray(image, dtype, order=order)


def prompted(engine: Any = None, image: np.ndarray | None = None, **options: Any) -> Session:
    session = Session("cpu", engine=engine, **options)
    session.set_image(lesions() if image is None else image, AFFINE)
    session.add_point("left", LEFT)
    session.add_point("left", BETWEEN, positive=False)
    return session


def drive(job: Job[Any], *, to_text: str = "", to_begin: bool = False) -> Any:
    """Poll as a timer would: to the end, for the result, or until the job has begun, or is at ``to_text``."""
    begun = time.monotonic()
    while not job.poll():
        if (to_text and to_text in job.text) or (to_begin and job.progress > 0):
            return None
        assert time.monotonic() - begun < PATIENCE_S, job.text
        time.sleep(0.01)
    assert not to_text and not to_begin, "it ended before"
    return job.result()


def is_gone(pid: int) -> bool:
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_S:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def assert_same(a: Any, b: Any) -> None:
    assert (a.segment, a.region, a.method, a.changed) == (b.segment, b.region, b.method, b.changed)
    for name in ("region_mask", "region_probability", "region_uncertainty"):
        here, there = getattr(a, name), getattr(b, name)
        assert here.dtype == there.dtype
        np.testing.assert_array_equal(here, there)


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[ChildEngine]:
    """A child for the tests that leave it alive."""
    engine = ChildEngine("cpu")
    yield engine
    engine.close()


@pytest.fixture
def engine() -> Iterator[ChildEngine]:
    """A child of the test's own."""
    engine = ChildEngine("cpu", patience_s=0.5)
    yield engine
    engine.close()


# ---- the same answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "order"), [(np.float32, "C"), (np.int16, "F")])
def test_answers_are_those_of_the_local_engine_to_the_last_voxel(shared_engine, dtype, order):
    here, there = prompted(image=lesions(dtype, order)), prompted(shared_engine, lesions(dtype, order))
    strokes = np.zeros((60, 40, 30), np.uint8)
    strokes[16:21, 20, 15], strokes[30, 10:30, 15] = 1, 2
    for session in (here, there):
        session.add_strokes("left", strokes)
        session.add_box("right", RIGHT, (24, 24, 20), np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0])
        session.add_scribble("right", [(60, 28, 30), (66, 33, 30)], 2.0)
    for name in ("left", "right", "left"):
        assert_same(drive(there.start_predict(name)), here.predict(name))
    # A correction goes by what was said before it.
    for session in (here, there):
        session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    assert_same(drive(there.start_predict("left")), here.predict("left"))
    np.testing.assert_array_equal(there.labelmap(), here.labelmap())


def test_a_view_of_another_array_is_an_image_too(shared_engine):
    image = lesions()
    doubled = np.repeat(image, 2, axis=1)
    view = doubled[:, ::2]
    assert_same(drive(prompted(shared_engine, view).start_predict()), prompted(image=view).predict())


def test_the_blocking_calls_work_too(shared_engine):
    session = prompted(shared_engine)
    seen: list[float] = []
    assert session.predict(progress=lambda done, what: seen.append(done)).mask[18, 20, 15]
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1.0)
    session.add_point("left", RIGHT, positive=False)
    with pytest.raises(Cancelled):
        session.predict(cancel=lambda: True)
    assert session.predict().mask[18, 20, 15]


def test_segments_that_compete_share_the_voxels_out(shared_engine):
    session = Session(engine=shared_engine)
    session.set_image(lesions(), AFFINE)
    session.add_box("a", (33, 30, 30), (30, 30, 30))
    session.add_box("b", (24, 30, 30), (30, 30, 30))
    b = drive(session.start_predict("b"))
    both = session.said
    assert not (both["a"].mask & both["b"].mask).any()
    assert both["a"].mask.any() and both["b"].mask.any()
    np.testing.assert_array_equal(b.mask, both["b"].mask)


def test_undo_and_redo_with_jobs(shared_engine):
    session = prompted(shared_engine)
    first = drive(session.start_predict()).mask
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    second = drive(session.start_predict()).mask
    assert (first != second).any()
    session.undo()
    np.testing.assert_array_equal(drive(session.start_predict("left")).mask, first)
    session.redo()
    back = drive(session.start_predict("left"))
    np.testing.assert_array_equal(back.mask, second)
    changed = np.argwhere(first != second)
    assert back.changed is not None
    assert back.changed.start == tuple(changed.min(axis=0)) and back.changed.stop == tuple(changed.max(axis=0) + 1)


@pytest.mark.parametrize("in_a_child", [True, False])
def test_what_cannot_be_answered_is_refused_at_once(shared_engine, in_a_child):
    session = Session("cpu", engine=shared_engine if in_a_child else None)
    with pytest.raises(InputError, match="no image yet"):
        session.start_predict()
    session.set_image(lesions(), AFFINE)
    with pytest.raises(InputError, match="no prompts"):
        session.start_predict()
    with pytest.raises(InputError, match="nothing to fine-tune"):
        session.start_finetune(3)


def test_with_an_engine_of_this_process_the_first_poll_does_it_all():
    session = prompted()
    job = session.start_predict()
    assert job.poll()
    assert job.progress == 1.0 and job.remaining_s == 0.0
    assert_same(job.result(), prompted().predict())
    assert not isinstance(session._engine, BackgroundEngine)


def test_warmed_up_the_first_job_finds_everything_ready(engine):
    assert engine.warm_up(), "nothing can be done without an image"
    session = prompted(engine)
    wait_until(engine.warm_up, "the engine to be ready", every_s=0.01)
    assert engine.pid is not None
    job, texts = session.start_predict(), set()
    while not job.poll():
        texts.add(job.text)
        time.sleep(0.002)
    assert_same(job.result(), prompted().predict())
    assert not texts & {"starting the engine", "passing the image on"}
    os.kill(engine.pid, signal.SIGKILL)
    assert is_gone(engine.pid)
    while not engine.warm_up():
        time.sleep(0.01)


@pytest.mark.stopwatch
def test_the_first_prompt_takes_no_longer_than_the_next(engine):
    session = prompted(engine)
    while not engine.warm_up():
        time.sleep(0.01)
    # As long as it takes to find the place to click at.
    time.sleep(8)
    seconds = []
    for x in (33.0, 35.0, 37.0):
        session.add_point("left", (x, 30.0, 30.0), positive=False)
        begun = time.monotonic()
        drive(session.start_predict("left"))
        seconds.append(time.monotonic() - begun)
    assert seconds[0] < 2 * min(seconds) + 0.2, seconds


def test_warming_up_leaves_what_goes_wrong_to_the_first_job(tmp_path):
    engine = ChildEngine("cpu", python=[str(tmp_path / "no-python")])
    session = prompted(engine)
    while not engine.warm_up():
        pass
    with pytest.raises(InputError, match="cannot be started"):
        drive(session.start_predict())


# ---- what happens meanwhile -------------------------------------------------------------------------------------


def test_an_answer_out_of_date_is_told_but_not_kept(shared_engine):
    session = prompted(shared_engine)
    expected = prompted().predict()
    job = session.start_predict()
    job.poll()
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    assert_same(drive(job), expected_without_change(expected))
    assert session.said == {}
    now = drive(session.start_predict())
    assert not now.mask[22, 20, 15] and now.changed is not None


def expected_without_change(prediction: Any) -> Any:
    return replace(prediction, changed=None)


def test_an_answer_is_kept_when_something_elsewhere_was_prompted_meanwhile(shared_engine):
    session = prompted(shared_engine)
    job = session.start_predict()
    job.poll()
    session.add_point("far", (85.0, 55.0, 55.0))
    left = drive(job)
    assert left.changed is not None
    assert list(session.said) == ["left"]
    far = drive(session.start_predict("far"))
    assert far.mask.any()
    assert session.predict("left").region_mask is left.region_mask, "it was not computed again"


def test_undone_while_it_runs(shared_engine):
    session = prompted(shared_engine)
    first = drive(session.start_predict())
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    job = session.start_predict()
    job.poll()
    session.undo()
    drive(job)
    np.testing.assert_array_equal(drive(session.start_predict("left")).mask, first.mask)
    assert session.redo()


def test_removed_and_locked_while_it_runs(shared_engine):
    session = prompted(shared_engine)
    session.add_point("right", RIGHT)
    job = session.start_predict("left")
    job.poll()
    session.remove_segment("left")
    assert drive(job).segment == "left"
    assert set(session.said) <= {"right"}
    assert drive(session.start_predict("right")).mask.any()


def test_another_job_takes_the_place_of_the_first(shared_engine):
    session = prompted(shared_engine)
    first = session.start_predict()
    first.poll()
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    second = session.start_predict()
    assert first.poll()
    with pytest.raises(Cancelled):
        first.result()
    assert not drive(second).mask[22, 20, 15]


def test_the_image_is_switched_while_a_job_runs(shared_engine):
    session = prompted(shared_engine)
    drive(session.start_predict())
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    job = session.start_predict()
    job.poll()
    session.set_image(lesions()[::-1].copy(), AFFINE)
    assert job.poll()
    with pytest.raises(Cancelled):
        job.result()
    session.add_point("other", (88.5 - LEFT[0], *LEFT[1:]))
    found = drive(session.start_predict())
    assert found.segment == "other" and found.mask[59 - 18, 20, 15]


def test_fine_tuning_tells_how_far_it_is_and_one_undo_takes_it_back(shared_engine):
    session = prompted(shared_engine)
    job = session.start_finetune(4.0)
    seen, remaining = [], []
    while not job.poll():
        seen.append(job.progress)
        remaining.append(job.remaining_s)
        time.sleep(0.01)
    report = job.result()["left"]
    assert report.reason
    assert seen == sorted(seen) and len(set(seen)) > 3
    assert any(r is not None and 0 <= r < 60 for r in remaining)
    prompts = session.prompts
    session.undo()
    assert session.prompts == prompts
    session.undo()
    assert session.prompts != prompts


def test_a_network_is_kept_only_where_its_prompts_are_still_there(shared_engine):
    session = prompted(shared_engine)
    job = session.start_finetune(2.0)
    drive(job, to_begin=True)
    session.undo()
    drive(job)
    assert session.can_redo, "nothing was done, so nothing was taken from what can be done again"
    session.redo()
    job = session.start_finetune(2.0)
    drive(job, to_begin=True)
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    added = session.prompts
    drive(job)
    session.undo()
    assert session.prompts == added, "the network came last"


# ---- cancel -----------------------------------------------------------------------------------------------------


def test_cancelling_a_fine_tune_in_the_middle_ends_it_soon(shared_engine):
    session = prompted(shared_engine)
    job = session.start_finetune(120.0)
    drive(job, to_begin=True)
    pid = shared_engine.pid
    begun = time.monotonic()
    job.cancel()
    reports = drive(job)
    assert time.monotonic() - begun < 30
    assert "left" in reports
    assert drive(session.start_predict()).mask.any()
    assert shared_engine.pid == pid, "it stopped by itself"


def test_a_click_during_a_fine_tune_does_not_wait_for_it(shared_engine):
    session = prompted(shared_engine)
    fine_tune = session.start_finetune(120.0)
    drive(fine_tune, to_begin=True)
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    begun = time.monotonic()
    assert drive(session.start_predict()).mask.any()
    assert time.monotonic() - begun < 30
    assert fine_tune.poll()


def test_a_child_that_does_not_stop_is_replaced(engine, monkeypatch):
    session = prompted(engine)
    monkeypatch.setenv(PAUSE_VARIABLE, "predicting")
    job = session.start_predict()
    drive(job, to_text="standing still")
    pid = engine.pid
    assert pid is not None
    job.cancel()
    with pytest.raises(Cancelled):
        drive(job)
    assert is_gone(pid)
    monkeypatch.delenv(PAUSE_VARIABLE)
    assert_same(drive(session.start_predict()), prompted().predict())


# ---- sudden ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["predicting", "writing"])
def test_the_child_is_killed(engine, monkeypatch, stage):
    session = prompted(engine)
    monkeypatch.setenv(PAUSE_VARIABLE, stage)
    prompts = session.prompts
    job = session.start_predict()
    drive(job, to_text=f"standing still: {stage}")
    for _ in range(20):
        # So that half of an answer has arrived.
        assert not job.poll()
        time.sleep(0.01)
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineLost, match="nothing was lost") as lost:
        drive(job)
    assert "killed" in str(lost.value) and str(lost.value).count(". ") == 0
    assert session.prompts == prompts and session.said == {}
    monkeypatch.delenv(PAUSE_VARIABLE)
    assert_same(drive(session.start_predict()), prompted().predict())


def test_a_child_that_is_killed_while_it_starts_is_started_once_more(engine, monkeypatch):
    session = prompted(engine)
    monkeypatch.setenv(PAUSE_VARIABLE, "starting")
    job = session.start_predict()
    killed = set()
    while not job.poll():
        if engine.pid is not None and engine.pid not in killed:
            killed.add(engine.pid)
            os.kill(engine.pid, signal.SIGKILL)
        time.sleep(0.01)
    assert len(killed) == 2
    with pytest.raises(EngineUnavailable, match=r"cannot do the work \(it was killed"):
        job.result()
    monkeypatch.delenv(PAUSE_VARIABLE)
    assert_same(drive(session.start_predict()), prompted().predict())


def test_the_work_goes_on_in_another_engine_with_all_there_was(engine):
    session = prompted(engine)
    first = drive(session.start_predict())
    session.add_point("left", RIGHT)
    drive(session.start_predict())
    drive(session.start_finetune(3))
    drive(session.start_predict())
    session.use_engine(LocalEngine("cpu"))
    assert "fine-tuned" not in session.predict("left").method
    assert session.undo() and session.undo()
    assert session.predict("left").volume_ml == first.volume_ml


def test_a_child_killed_while_idle_is_replaced_unnoticed(engine):
    session = prompted(engine)
    first = drive(session.start_predict())
    pid = engine.pid
    os.kill(pid, signal.SIGKILL)
    assert is_gone(pid)
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    assert not drive(session.start_predict()).mask[22, 20, 15]
    assert engine.pid != pid
    assert "killed" in engine.log
    session.undo()
    np.testing.assert_array_equal(drive(session.start_predict("left")).mask, first.mask)


def test_fine_tuning_is_killed_and_the_segment_stays(engine):
    session = prompted(engine)
    before = drive(session.start_predict())
    job = session.start_finetune(120.0)
    drive(job, to_begin=True)
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(EngineLost, match="try again"):
        drive(job)
    assert session.said["left"].region_mask is before.region_mask
    session.add_point("left", (33.0, 30.0, 30.0), positive=False)
    assert drive(session.start_predict()).mask.any()


def test_out_of_memory_in_the_child_loses_nothing(engine):
    session = prompted(engine)
    drive(session.start_predict())
    # What it holds now, and nothing more: as on a full machine.
    size = psutil.Process(engine.pid).memory_info().vms
    resource.prlimit(engine.pid, resource.RLIMIT_AS, (size, size))
    session.add_box("large", (45, 30, 30), (80, 50, 50))
    with pytest.raises(InputError, match="nothing was lost"):
        drive(session.start_predict())
    os.kill(engine.pid, signal.SIGKILL)
    assert drive(session.start_predict("large")).mask.shape == (60, 40, 30)


def test_an_error_without_a_word_does_not_end_the_child(monkeypatch):
    program, end = socket.socketpair()
    worker = Worker(Connection(end, blocking=True))

    def predict(*_args: Any, **_options: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(worker._engine, "predict", predict)
    document, _ = request_parts(Request(prompted().prompts["left"]))
    ask = {"type": "predict", "job": 1, "request": document, "options": asdict(Options()), "model": 0}
    worker._do(Message(ask, np.empty(0, np.uint8)))
    heard = Connection(program, blocking=True)
    assert heard.receive().document["type"] == "begun"
    assert "MemoryError" in heard.receive().document["text"]
    program.close()
    end.close()


@pytest.mark.parametrize("name", ["request_parts", "prediction_from_parts"])
def test_a_job_that_fails_here_keeps_no_other_waiting(shared_engine, monkeypatch, name):
    def fails(*_args: Any) -> None:
        raise MemoryError

    session = prompted(shared_engine)
    with monkeypatch.context() as broken:
        broken.setattr(f"PWSegmentationLib.session.child.{name}", fails)
        with pytest.raises(InputError, match=r"MemoryError.*nothing was lost"):
            drive(session.start_predict())
    assert drive(session.start_predict()).mask.any()


def test_without_the_network_that_was_lost_the_label_answers_and_says_so(engine):
    session = prompted(engine)
    lost = ChildModel(1, life=0)
    request = Request(session.prompts["left"])
    found = drive(engine.start_predict(request, Options(), model=lost))
    assert "lost" in found.note
    np.testing.assert_array_equal(found.region_mask, prompted().predict().region_mask)


PARENT = """
import sys, time
import numpy as np
from PWSegmentationLib import Session
from PWSegmentationLib.session.child import ChildEngine
session = Session(engine=ChildEngine("cpu"))
session.set_image(np.random.default_rng(0).normal(size=(60, 60, 60)), np.eye(4))
session.add_point("a", (30, 30, 30))
job = session.start_predict()
while "standing still" not in job.text:
    job.poll()
    time.sleep(0.01)
print(session._engine.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("stage", ["predicting", "writing"])
def test_when_the_program_is_killed_nothing_of_it_stays(stage):
    def left_behind() -> set[Path]:
        return {p for folder in ("/dev/shm", tempfile.gettempdir()) for p in Path(folder).glob("*pwsegmentation*")}

    before = left_behind()
    environment = {**os.environ, PAUSE_VARIABLE: stage}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(child)
    assert left_behind() == before


def test_when_the_program_ends_the_child_ends():
    script = PARENT.replace("time.sleep(600)", "")
    environment = {**os.environ, PAUSE_VARIABLE: "predicting"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=PATIENCE_S
    )
    assert done.returncode == 0 and done.stderr == ""
    assert is_gone(int(done.stdout))


@pytest.mark.stopwatch
def test_closing_while_a_job_runs(engine, monkeypatch):
    session = prompted(engine)
    monkeypatch.setenv(PAUSE_VARIABLE, "predicting")
    job = session.start_predict()
    drive(job, to_text="standing still")
    pid = engine.pid
    begun = time.monotonic()
    session.close()
    assert time.monotonic() - begun < allowed(1.0)
    assert is_gone(pid) and engine.pid is None
    assert job.poll()
    with pytest.raises(Cancelled):
        job.result()
    monkeypatch.delenv(PAUSE_VARIABLE)
    assert drive(session.start_predict()).mask.any(), "it can be used again"


# ---- a child that cannot work -----------------------------------------------------------------------------------


def test_a_python_that_is_not_there(tmp_path):
    engine = ChildEngine("cpu", python=[str(tmp_path / "no-python")])
    session = prompted(engine)
    job = session.start_predict()
    with pytest.raises(EngineUnavailable, match=r"^The Python '.*no-python' cannot be started .*: choose another"):
        drive(job)
    assert "left" in session.prompts


def test_a_python_that_lacks_the_program_s_packages(tmp_path):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" -S "$@"\n')
    script.chmod(0o755)
    session = prompted(ChildEngine("cpu", python=[str(script)]))
    with pytest.raises(EngineUnavailable, match=r"cannot do the work .*No module named 'numpy'.*install"):
        drive(session.start_predict())
    assert "numpy" in session._engine.log  # type: ignore[attr-defined]
    session.close()


def test_a_python_that_is_held_back(tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nsleep 1000\n")
    script.chmod(0o755)
    engine = ChildEngine("cpu", python=[str(script)], start_patience_s=0.2)
    session = prompted(engine)
    while not engine.warm_up():
        time.sleep(0.01)
    with pytest.raises(EngineUnavailable, match="it has said nothing"):
        drive(session.start_predict())
    session.close()


def test_behind_a_launcher_such_as_slicer_s(tmp_path, monkeypatch):
    launcher = tmp_path / "python-launcher"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    # What Slicer sets for its own Python must not reach another.
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    session = prompted(ChildEngine("cpu", python=[str(launcher)]))
    engine = session._engine
    monkeypatch.setenv(PAUSE_VARIABLE, "predicting")
    job = session.start_predict()
    drive(job, to_text="standing still")
    worker = psutil.Process(engine.pid)  # type: ignore[attr-defined]
    assert str(launcher) in worker.parent().cmdline()
    worker.kill()
    with pytest.raises(EngineLost):
        drive(job)
    job = session.start_predict()
    drive(job, to_text="standing still")
    pid = engine.pid  # type: ignore[attr-defined]
    started = psutil.Process(pid).parent().pid
    session.close()
    assert is_gone(pid) and is_gone(started)


def test_a_child_that_cannot_load_torch(engine, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch is broken')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    session = prompted(engine)
    with pytest.raises(InputError, match=r"PyTorch cannot be loaded \(libtorch is broken\): install it"):
        drive(session.start_predict())
    monkeypatch.undo()
    assert drive(session.start_predict()).mask.any(), "once it is repaired, it works"


def test_an_unknown_device_is_refused_with_a_sentence():
    session = prompted(ChildEngine("cuda:99"))
    with pytest.raises(InputError, match="cuda:99"):
        drive(session.start_predict())
    session.close()


def test_the_log_can_be_shown(engine):
    assert engine.log == "" and engine.pid is None
    session = prompted(engine)
    drive(session.start_predict())
    os.kill(engine.pid, signal.SIGABRT)
    session.add_point("left", RIGHT, positive=False)
    drive(session.start_predict())
    assert "Fatal Python error: Aborted" in engine.log


def test_the_engine_is_started_by_the_first_job_and_torch_stays_there():
    script = """
import sys
from PWSegmentationLib import ChildEngine, Session
import numpy as np
engine = ChildEngine("cpu")
session = Session(engine=engine)
session.set_image(np.random.default_rng(0).normal(size=(40, 40, 40)), np.eye(4))
session.add_point("a", (20, 20, 20))
assert engine.pid is None
session.predict()
assert engine.pid is not None
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stdout.strip() == "False"


# ---- Windows' way to connect ------------------------------------------------------------------------------------


def test_through_a_port_only_the_child_is_let_in():
    child = ChildProcess([sys.executable], through_port=True)
    try:
        assert child._listener is not None
        stranger = Connection(socket.create_connection(child._listener.getsockname()), blocking=True)
        stranger.send({"type": "hello", "pid": 1, "token": "guessed"})
        silent = socket.create_connection(child._listener.getsockname())
        message = wait_until(lambda: child.receive(0.0), "the child's first message", every_s=0.01)
        assert message.document["type"] == "ready"
        assert child.pid == child._process.pid
        with pytest.raises(Disconnected):
            stranger.receive()
        silent.close()
    finally:
        child.close()
    assert is_gone(child._process.pid)


def test_messages_arrive_whole_however_they_are_cut(tmp_path):
    a, b = socket.socketpair()
    one, other = Connection(a, blocking=False), Connection(b, blocking=False)
    arrays = [np.arange(3_000_000, dtype=np.float32), np.ones(5, bool), np.zeros(0, np.uint8)]
    file = (tmp_path / "file").open("w+b")
    file.write(b"hello")
    file.flush()
    one.send({"number": 1})
    one.send({"number": 2}, arrays)
    one.send({"number": 3}, descriptor=file.fileno())
    got: list[Message] = []
    while len(got) < 3:
        one.flush()
        message = other.receive(time.monotonic() + 0.001)
        if message is not None:
            got.append(message)
    assert [m.document["number"] for m in got] == [1, 2, 3]
    np.testing.assert_array_equal(got[1].body[:12_000_000].view(np.float32), arrays[0])
    assert got[1].body[12_000_000:].tolist() == [1] * 5
    assert got[2].descriptor is not None
    assert os.pread(got[2].descriptor, 5, 0) == b"hello"
    os.close(got[2].descriptor)
    file.close()
    one.close()
    with pytest.raises(Disconnected):
        other.receive()
    other.close()


def test_remaining_time_follows_the_pace():
    pace = Pace()
    assert pace.remaining_s is None
    pace.saw(0.1)
    assert pace.remaining_s is None
    time.sleep(0.1)
    pace.saw(0.2)
    assert pace.remaining_s == pytest.approx(0.8, rel=0.3)


# ---- nobody waits -----------------------------------------------------------------------------------------------


class Stopwatch:
    """How long calls keep the thread that makes them."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.longest_undisturbed = 0.0
        self.calls = 0

    def __call__(self, call: Any, *args: Any) -> Any:
        switched = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        wall, cpu = time.perf_counter(), time.thread_time()
        result = call(*args)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        self.calls += 1
        self.longest = max(self.longest, cpu)
        if resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw == switched:
            # Another process did not take the processor away meanwhile.
            self.longest_undisturbed = max(self.longest_undisturbed, wall)
        return result


def whole_body() -> np.ndarray:
    """512x512x400 with two organs beside each other, as Slicer holds it: `k` slowest."""
    image = np.zeros((400, 512, 512), np.int16)
    rng = np.random.default_rng(0)
    for center in ((200, 250, 200), (200, 250, 330)):
        where = tuple(slice(c - 80, c + 80) for c in center)
        away = np.linalg.norm(np.moveaxis(np.indices((160, 160, 160)), 0, -1) - 80, axis=-1)
        image[where] = np.where(away < 60, 180, 60) + rng.normal(0, 15, away.shape)
    return image.T


@pytest.mark.stopwatch
def test_no_poll_keeps_the_front_end_while_a_large_volume_is_segmented(shared_engine):
    session = Session(engine=shared_engine)
    watch = Stopwatch()
    watch(session.set_image, whole_body(), np.diag([0.8, 0.8, 1.0, 1.0]))
    scale = np.array([0.8, 0.8, 1.0])
    jobs = []
    for name, center in (("one", (200, 250, 200)), ("two", (330, 250, 200))):
        center = np.array(center)
        watch(session.add_point, name, center * scale)
        watch(session.add_box, name, center * scale, np.array([170, 150, 160]) * scale)
        jobs.append(name)
        job = watch(session.start_predict, name)
        while not watch(job.poll):
            time.sleep(0.01)
        found = job.result()
        assert 700_000 < np.count_nonzero(found.region_mask) < 1_100_000
    job = watch(session.start_finetune, 2.0)
    while not watch(job.poll):
        time.sleep(0.01)
    assert watch.calls > 20
    assert watch.longest < allowed(BLINK)
    assert watch.longest_undisturbed < allowed(BLINK)
