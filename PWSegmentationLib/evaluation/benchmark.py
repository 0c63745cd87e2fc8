"""Every structure, every way of prompting, every method: the same prompts, the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from PWSegmentationLib.annotator.protocols import Protocol, SimulatedAnnotator
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.cases.case_files import CaseFiles
from PWSegmentationLib.cases.labels import Case, load_case
from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.methods import Method
from PWSegmentationLib.evaluation.metrics import Answer, calibration, overlap
from PWSegmentationLib.evaluation.pictures import picture_name, write_picture
from PWSegmentationLib.evaluation.results import Failure, Result, Results
from PWSegmentationLib.evaluation.spots import choose_spot
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts

Said: TypeAlias = Callable[[Sequence[Result], Sequence[Failure]], None]
"""Called with what was found for a structure."""

Step: TypeAlias = tuple[int, SegmentPrompts, Answer | None]
"""Corrections so far, the prompts, and the answer; none once the annotator has nothing more to say."""


class Benchmark:
    """A run over cases.

    Parameters
    ----------
    protocols, methods
        What is asked, and who answers. Pictures are made of the first method's answers.
    results
        What is known; structures that are finished there are left out.
    path
        Where ``results`` are written after every structure.
    pictures
        Folder for a picture of every last answer; None for none.
    seed
        Of the annotator.
    """

    def __init__(
        self,
        protocols: Sequence[Protocol],
        methods: Sequence[Method],
        results: Results,
        path: Path,
        *,
        pictures: Path | None = None,
        seed: int = 0,
    ) -> None:
        self._protocols = protocols
        self._methods = methods
        self._results = results
        self._path = path
        self._pictures = pictures
        self._seed = seed

    def run(
        self,
        cases: Sequence[CaseFiles],
        *,
        only: Sequence[str] = (),
        progress: Progress | None = None,
        said: Said | None = None,
    ) -> Results:
        """Measure. ``only`` these structures; ``said`` is called after each of them.

        A case or a method that fails is recorded, and the rest goes on.
        """
        total = sum(max(1, len(c.structures)) for c in cases)
        before = 0
        for files in cases:
            share = max(1, len(files.structures))
            for done in self._case(files, only, said):
                if progress is not None:
                    progress((before + done * share) / total, files.name)
            before += share
        self._results.write(self._path)
        return self._results

    def _case(self, files: CaseFiles, only: Sequence[str], said: Said | None) -> Iterator[float]:
        """Measure the structures of a case; yields the fraction done."""
        yield 0.0
        try:
            fingerprint = files.fingerprint()
            if files.structures and not self._due(files.name, files.structures, only, fingerprint):
                return
            case = load_case(files)
        except (InputError, OSError, MemoryError) as error:
            self._add(files.name, "", "", [], [Failure(files.name, "", "", "", _sentence(error))], said)
            return
        due = self._due(case.name, case.structures, only, fingerprint)
        for method in self._methods if due else ():
            method.open(case.volume)
        for index, structure in enumerate(due):
            results: list[Result] = []
            failures: list[Failure] = []
            for part, found in enumerate(self._structure(case, structure, files.uses.get(structure, ""))):
                results += [r for r in found if isinstance(r, Result)]
                failures += [f for f in found if isinstance(f, Failure)]
                yield (index + (part + 1) / len(self._protocols)) / len(due)
            self._add(case.name, structure, fingerprint, results, failures, said)

    def _due(self, case: str, structures: object, only: Sequence[str], fingerprint: str) -> list[str]:
        names: list[str] = list(structures)  # type: ignore[call-overload]
        wanted = [s for s in names if not only or s in only]
        return [s for s in wanted if not self._results.is_finished(case, s, fingerprint)]

    def _add(
        self,
        case: str,
        structure: str,
        fingerprint: str,
        results: Sequence[Result],
        failures: Sequence[Failure],
        said: Said | None,
    ) -> None:
        self._results.add(case, structure, fingerprint, results, failures)
        self._results.write(self._path)
        if said is not None:
            said(results, failures)

    def _structure(self, case: Case, structure: str, use: str) -> Iterator[list[Result | Failure]]:
        """What is found with one protocol after the other."""
        try:
            reference = Reference.of(case.labels, case.structures[structure], case.volume.grid)
        except InputError as error:
            yield [Failure(case.name, structure, "", "", _sentence(error))]
            return
        for protocol in self._protocols:
            found: list[Result | Failure] = []
            annotator = SimulatedAnnotator(reference, protocol, self._seed)
            first = annotator.start()
            for method in self._methods:
                try:
                    steps = conversation(annotator, first, protocol, reference, method, self._seed)
                    names = (case.name, structure, use, protocol.name, method.name)
                    results, answer, prompts = _measured(names, steps, protocol, reference)
                    found += results
                    if answer is not None and self._pictures is not None and method is self._methods[0]:
                        path = self._pictures / picture_name(case.name, structure, protocol.name)
                        write_picture(path, case.volume, reference, answer, prompts)
                except Exception as error:  # one method's trouble must not cost the others their results
                    found.append(Failure(case.name, structure, protocol.name, method.name, _sentence(error)))
            yield found


def _measured(
    names: tuple[str, str, str, str, str], steps: Iterator[Step], protocol: Protocol, reference: Reference
) -> tuple[list[Result], Answer | None, SegmentPrompts]:
    """Results of all steps, and the last answer with its prompts; ``names`` are a result's first five fields."""
    results: list[Result] = []
    latest: Answer | None = None
    latest_prompts = SegmentPrompts("structure")
    for step, prompts, answer in steps:
        if answer is not None:
            latest, latest_prompts = answer, prompts
        assert latest is not None, "a conversation starts with an answer"
        last = step == protocol.corrections
        found = overlap(latest, reference, surfaces=last or step == 0 or protocol.box)
        seconds = None if answer is None else answer.seconds
        trust = calibration(latest, reference) if last else None
        extent = (found.dice, found.surface_dice, found.hd95_mm)
        results.append(Result(*names, step, *extent, seconds, reference.voxels, trust))
    return results, latest, latest_prompts


def conversation(
    annotator: SimulatedAnnotator,
    first: SegmentPrompts,
    protocol: Protocol,
    reference: Reference,
    method: Method,
    seed: int,
) -> Iterator[Step]:
    """What is said, and answered: the ``first`` prompts, then every correction.

    Empty if the method cannot answer the first prompts.
    """
    prompts: SegmentPrompts | None = first
    method.begin()
    latest = method.answer(first, reference)
    if latest is None:
        return
    yield 0, first, latest
    rng = np.random.default_rng(seed)
    for step in range(1, protocol.corrections + 1):
        if prompts is not None and protocol.spots:
            spot = choose_spot(protocol.spots, latest, reference.grid, prompts, rng)
            # A voxel that was asked about before: the answer stands, and the next spot is another.
            prompts = None if spot is None else annotator.answer_at(prompts, spot) or prompts
        elif prompts is not None:
            prompts = annotator.correct(prompts, latest.region, latest.mask)
        answer = method.answer(prompts, reference) if prompts is not None else None
        latest = answer or latest
        yield step, prompts or first, answer


def _sentence(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There was not enough memory."
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
