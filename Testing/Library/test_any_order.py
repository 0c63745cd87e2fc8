"""Whatever is asked of a session in whatever order: who follows `Prediction.changed` shows what is true."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from PWSegmentationLib import InputError, Session
from PWSegmentationLib.progress import Cancelled

SHAPE = (22, 20, 12)
AFFINE = np.array([[0.0, -1.5, 0.0, 10.0], [1.4, 0.0, 0.3, -20.0], [0.0, 0.1, 2.5, 5.0], [0.0, 0.0, 0.0, 1.0]])
NAMES = st.sampled_from(["a", "b", "c"])
VOXELS = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))


def picture() -> np.ndarray:
    image = np.random.default_rng(1).normal(20, 5, SHAPE)
    for center, size, value in (((6, 7, 5), 4, 80), ((15, 12, 6), 5, 60), ((9, 15, 8), 3, 110)):
        away = np.linalg.norm((np.moveaxis(np.indices(SHAPE), 0, -1) - center) * [1, 1, 1.7], axis=-1)
        image += value * np.clip(size - away, 0, 1)
    return image.astype(np.float32)


class Caller(RuleBasedStateMachine):
    """A front end that never looks at more than it is told has changed."""

    @initialize(overlap=st.booleans())
    def begin(self, overlap: bool) -> None:
        self.session = Session("cpu", method="image-aware", allow_overlap=overlap)
        self.session.set_image(picture(), AFFINE)
        self.shown: dict[str, np.ndarray] = {}

    def world(self, voxel: Any) -> Any:
        return tuple(float(v) for v in AFFINE[:3] @ [*voxel, 1.0])

    def attempt(self, what: Any, *arguments: Any, **options: Any) -> Any:
        before = self.session.prompts, self.session.locked
        with contextlib.suppress(InputError):
            return what(*arguments, **options)
        assert (self.session.prompts, self.session.locked) == before, "refused, and changed all the same"
        return None

    # ---- prompts ---------------------------------------------------------------------------------------------

    @rule(name=NAMES, voxel=VOXELS, positive=st.sampled_from([True, True, False]))
    def point(self, name: str, voxel: Any, positive: bool) -> None:
        self.attempt(self.session.add_point, name, self.world(voxel), positive)

    @rule(name=NAMES, voxel=VOXELS, size=st.tuples(*[st.floats(3, 30)] * 3))
    def box(self, name: str, voxel: Any, size: Any) -> None:
        self.attempt(self.session.add_box, name, self.world(voxel), size)

    @rule(name=NAMES, start=VOXELS, stop=VOXELS, positive=st.booleans())
    def scribble(self, name: str, start: Any, stop: Any, positive: bool) -> None:
        self.attempt(self.session.add_scribble, name, [self.world(start), self.world(stop)], 1.5, positive)

    @rule(name=NAMES, which=st.integers(0, 5))
    def take_prompt_back(self, name: str, which: int) -> None:
        if name in self.session.prompts and self.session.prompts[name].points:
            points = self.session.prompts[name].points
            self.attempt(self.session.remove_prompt, name, points[which % len(points)])

    @rule(name=NAMES)
    def clear(self, name: str) -> None:
        self.attempt(self.session.clear, name)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.attempt(self.session.remove_segment, name)

    @rule(name=NAMES, new=NAMES)
    def rename(self, name: str, new: str) -> None:
        self.attempt(self.session.rename_segment, name, new)

    @rule(name=NAMES, locked=st.booleans())
    def lock(self, name: str, locked: bool) -> None:
        self.attempt(self.session.lock, name, locked)

    @rule(steps=st.integers(1, 3))
    def undo(self, steps: int) -> None:
        before = self.session.prompts, self.session.locked
        done = 0
        while done < steps and self.session.undo():
            done += 1
        if steps == 2:
            for _ in range(done):
                assert self.session.redo()
            assert (self.session.prompts, self.session.locked) == before

    # ---- answers ---------------------------------------------------------------------------------------------

    @rule(name=NAMES)
    def predict(self, name: str) -> None:
        found = self.attempt(self.session.predict, name)
        if found is not None:
            self.follow(found)

    @rule(name=NAMES, alone=st.booleans(), polls=st.sampled_from([0, 1, 2, 5, 10**9]))
    def predict_in_steps(self, name: str, alone: bool, polls: int) -> None:
        job = self.attempt(self.session.start_predict, name, alone=alone)
        if job is None:
            return
        for _ in range(polls):
            if job.poll():
                break
        if polls < 10**9:
            job.cancel()
        while not job.poll():
            pass
        with contextlib.suppress(Cancelled):
            self.follow(job.result(), partly=alone)

    def follow(self, found: Any, partly: bool = False) -> None:
        """Show what has changed, and compare with all there is."""
        said = self.session.said
        for name in [n for n in self.shown if n not in said]:
            # Segments that are gone are not drawn.
            del self.shown[name]
        for name, prediction in said.items():
            whole = self.shown.setdefault(name, np.zeros(SHAPE, bool))
            if found.changed is not None:
                whole[found.changed.slices] = prediction.mask[found.changed.slices]
            assert np.array_equal(whole, prediction.mask), f"{name} changed outside what was said to have"
        if not self.session.allow_overlap and not partly:
            total = sum((m.astype(int) for m in self.shown.values()), np.zeros(SHAPE, int))
            assert total.max(initial=0) <= 1, "two segments share a voxel"
        for point in self.session.prompts[found.segment].points if found.segment in self.session.prompts else ():
            voxel = tuple(self.session.volume.grid.to_voxel(point.position))
            if found.segment not in self.session.locked:
                assert found.mask[voxel] == point.positive, (point, found.segment)

    @rule(name=NAMES, other=NAMES, voxel=VOXELS, positive=st.booleans())
    def take_one_back(self, name: str, other: str, voxel: Any, positive: bool) -> None:
        if self.attempt(self.session.predict, name) is None:
            return
        before = {n: p.mask for n, p in self.session.said.items()}
        prompts = self.session.prompts
        self.attempt(self.session.add_point, other, self.world(voxel), positive)
        if self.session.prompts == prompts:
            return
        self.attempt(self.session.predict, other)
        assert self.session.undo()
        self.session.predict(name)
        after = {n: p.mask for n, p in self.session.said.items()}
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[n], after[n]) for n in before), "undo brought another mask back"
        self.shown = after


TestAnyOrder = Caller.TestCase
TestAnyOrder.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
