"""Whatever is done in whatever order: nothing is lost that nobody meant to give up, and undo and redo are true."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from PWSegmentationLib import Session
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.mrml import SceneSession, set_locked
from PWSegmentationLib.mrml.locks import is_locked
from PWSegmentationLib.mrml.modifying import OverwriteMode
from Testing.Slicer.conftest import OBLIQUE, new_scene, save_node, volume_node
from Testing.Slicer.test_kept_work import LearningEngine, by_hand, of
from Testing.Slicer.test_scene_session import SHAPE, NeighbourlyEngine, ball, finish

VOXELS = st.tuples(*(st.integers(2, n - 3) for n in SHAPE))
WHICH = st.integers(0, 5)
TO_THE_END = 10**6


class Engine(NeighbourlyEngine, LearningEngine):
    """Neighbours matter, and a network can be fitted."""


class Reader(RuleBasedStateMachine):
    """Somebody who works with the panel, the Segment Editor, the Markups and the Data module at once."""

    @initialize()
    def open(self) -> None:
        self.scene = new_scene()
        image = np.random.default_rng(0).normal(100, 8, SHAPE).astype(np.int16)
        self.volume = volume_node(self.scene, image, OBLIQUE, "phantom")
        self.node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segmentation")
        self.case = self.new_case()
        # Where the user has been; and whether only the panel has led there, so that undo leads to nowhere else.
        self.seen = [self.state()]
        self.here_alone = True
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "segments.seg.nrrd"

    def new_case(self) -> SceneSession:
        return SceneSession(self.scene, self.volume, self.node, Session(engine=Engine()))

    def teardown(self) -> None:
        if hasattr(self, "case"):
            self.case.close()
            self.scene.Clear(True)
            self.folder.cleanup()

    # ---- looking ---------------------------------------------------------------------------------------------

    @property
    def ids(self) -> list[str]:
        return [str(i) for i in self.node.GetSegmentation().GetSegmentIDs()]

    def one(self, which: int) -> str:
        return self.ids[which % len(self.ids)]

    def masks(self) -> dict[str, np.ndarray]:
        return {i: of(self.case, i) for i in self.ids}

    def state(self) -> Any:
        placed = sorted((k.segment_id, k.role, k.points) for k in self.case.store.snapshot())
        return {i: mask.tobytes() for i, mask in self.masks().items()}, placed

    def was_here(self) -> None:
        state = self.state()
        if state not in self.seen:
            self.seen.append(state)

    def elsewhere(self) -> None:
        self.seen, self.here_alone = [self.state()], False

    def is_edited(self, segment_id: str) -> bool:
        """Whether there is work by hand in a segment, and no prompt was placed or deleted that says it shall change."""
        case = self.case
        kept = case.is_answered(segment_id) and (case.store.items(segment_id) or case.prediction(segment_id) is None)
        return bool(kept) and case._writer.history.has_other_work(segment_id)

    @contextlib.contextmanager
    def locks_hold(self) -> Iterator[None]:
        """Refusals are one sentence; locked segments stay as they are whatever happens."""
        locked = {i: mask for i, mask in self.masks().items() if is_locked(self.node, i)}
        with contextlib.suppress(InputError):
            yield
        for i, mask in locked.items():
            assert np.array_equal(of(self.case, i), mask), "a locked segment changed"

    def check_been_here(self) -> None:
        assert not self.here_alone or self.state() in self.seen, "this led to where nobody has been"

    # ---- the panel -------------------------------------------------------------------------------------------

    @rule(for_prompt=st.booleans())
    def add_segment(self, for_prompt: bool) -> None:
        if len(self.ids) < 4:
            self.case.add_segment(f"Segment {len(self.ids) + 1}", for_prompt=for_prompt)
            self.was_here()

    @precondition(lambda self: self.ids)
    @rule(which=WHICH, voxel=VOXELS, positive=st.sampled_from([True, True, False]))
    def place_point(self, which: int, voxel: Any, positive: bool) -> None:
        self.case.store.add_point(self.one(which), OBLIQUE[:3] @ [*voxel, 1.0], positive)
        self.case.note_prompts()
        self.was_here()

    @precondition(lambda self: self.ids)
    @rule(
        which=WHICH,
        overwrite=st.sampled_from(["all", "all", "visible", "none"]),
        polls=st.sampled_from([TO_THE_END, TO_THE_END, 0, 1, 2, 3]),
    )
    def segment(self, which: int, overwrite: OverwriteMode, polls: int) -> None:
        active, before = self.one(which), self.masks()
        edited = {i for i in self.ids if self.is_edited(i)}
        with self.locks_hold():
            job = self.case.start(active, overwrite=overwrite)
            for _ in range(polls):
                if job.poll():
                    break
            job.cancel()
        now = self.masks()
        assert now.keys() == before.keys()
        for i in edited - {active}:
            assert not (now[i] & ~before[i]).any(), "a neighbour that was edited by hand grew"
            taken = np.zeros(SHAPE, bool) if overwrite == "none" else now[active]
            assert not (before[i] & ~now[i] & ~taken).any(), "a neighbour lost what was edited by hand"
        self.was_here()

    @precondition(lambda self: self.ids)
    @rule()
    def refine(self) -> None:
        with self.locks_hold():
            finish(self.case.start_finetune(1.0))
        self.was_here()

    @precondition(lambda self: self.case.store.prompted())
    @rule(which=WHICH, number=WHICH)
    def delete_prompt(self, which: int, number: int) -> None:
        prompted = self.case.store.prompted()
        items = self.case.store.items(prompted[which % len(prompted)])
        if items:
            assert self.case.store.delete(items[number % len(items)])
            self.case.note_prompts()
            self.was_here()

    @precondition(lambda self: self.ids)
    @rule(which=WHICH)
    def remove_segment(self, which: int) -> None:
        with self.locks_hold():
            self.case.remove_segment(self.one(which))
        self.was_here()

    @rule(steps=st.integers(1, 4))
    def undo_and_redo(self, steps: int) -> None:
        before, done, said = self.state(), 0, ""
        with self.locks_hold():
            while done < steps and self.case.undo():
                self.check_been_here()
                done, said = done + 1, said + self.case.note
            for _ in range(done):
                assert self.case.redo()
                done, said = done - 1, said + self.case.note
        if done:
            # Refused half-way, because of a lock.
            self.elsewhere()
        elif not said:
            assert self.state() == before, "redo is not what undo took back"

    @rule()
    def undo(self) -> None:
        with self.locks_hold():
            self.case.undo()
            self.check_been_here()

    @rule()
    def redo(self) -> None:
        with self.locks_hold():
            self.case.redo()
            self.check_been_here()

    # ---- elsewhere -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.ids)
    @rule(which=WHICH, voxel=VOXELS, erase=st.booleans())
    def edit_by_hand(self, which: int, voxel: Any, erase: bool) -> None:
        by_hand(self.case, self.one(which), ball(np.array(voxel, float), 4.0), erase=erase)
        self.elsewhere()

    @precondition(lambda self: self.ids)
    @rule(which=WHICH, locked=st.booleans())
    def lock(self, which: int, locked: bool) -> None:
        set_locked(self.node, self.one(which), locked)
        self.here_alone = False

    @precondition(lambda self: self.ids)
    @rule(which=WHICH, name=st.sampled_from(["liver", "spleen", "Segment 1", ""]))
    def rename(self, which: int, name: str) -> None:
        self.node.GetSegmentation().GetSegment(self.one(which)).SetName(name)

    @precondition(lambda self: self.ids)
    @rule(which=WHICH)
    def remove_segment_elsewhere(self, which: int) -> None:
        self.node.GetSegmentation().RemoveSegment(self.one(which))
        self.elsewhere()

    @precondition(lambda self: self.case.store.nodes())
    @rule(which=WHICH)
    def tidy_markups_away(self, which: int) -> None:
        nodes = self.case.store.nodes()
        self.scene.RemoveNode(nodes[which % len(nodes)])
        self.elsewhere()

    @precondition(lambda self: self.ids)
    @rule()
    def save(self) -> None:
        """Slicer packs the labelmaps anew when it saves them: other images, other values, the same voxels."""
        before = self.state()
        save_node(self.node, self.file)
        assert self.state() == before

    @rule()
    def reopen(self) -> None:
        before = self.state()
        self.case.close()
        self.case = self.new_case()
        assert self.state() == before
        self.elsewhere()


TestAnyOrder = Reader.TestCase
TestAnyOrder.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
