"""Every structure, every way of prompting, every method: the same prompts, the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.cases import Case, CaseFiles
from PWSegmentationLib.evaluation.methods import Method
from PWSegmentationLib.evaluation.metrics import Answer, Reference, calibration, overlap
from PWSegmentationLib.evaluation.pictures import picture_name, write_picture
from PWSegmentationLib.evaluation.protocols import Protocol, SimulatedAnnotator
from PWSegmentationLib.evaluation.results import Failure, Result, Results
from PWSegmentationLib.progress import Progress
from PWSegmentationLib.prompts.prompts import SegmentPrompts

Said = Callable[[Sequence[Result], Sequence[Failure]], None]


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
            case = files.load()
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
            for method in self._methods:
                try:
                    found += self._play(case, structure, use, reference, protocol, method)
                except Exception as error:  # one method's trouble must not cost the others their results
                    found.append(Failure(case.name, structure, protocol.name, method.name, _sentence(error)))
            yield found

    def _play(
        self, case: Case, structure: str, use: str, reference: Reference, protocol: Protocol, method: Method
    ) -> list[Result]:
        """One method's answers to the first prompts and to every correction."""
        results: list[Result] = []
        for step, prompts, answer in _conversation(reference, protocol, method, self._seed):
            last = step == protocol.corrections
            if answer is None:
                # Nothing more was said: the answer before stands.
                before = results[-1]
                extent, seconds = (before.dice, before.surface_dice, before.hd95_mm), None
            else:
                found = overlap(answer, reference, surfaces=last or step == 0 or protocol.box)
                extent, seconds = (found.dice, found.surface_dice, found.hd95_mm), answer.seconds
                latest, latest_prompts = answer, prompts
            trust = calibration(latest, reference) if last else None
            names = (case.name, structure, use, protocol.name, method.name)
            results.append(Result(*names, step, *extent, seconds, reference.voxels, trust))
        if results and self._pictures is not None and method is self._methods[0]:
            name = picture_name(case.name, structure, protocol.name)
            write_picture(self._pictures / name, case.volume, reference, latest, latest_prompts)
        return results


def _conversation(
    reference: Reference, protocol: Protocol, method: Method, seed: int
) -> Iterator[tuple[int, SegmentPrompts, Answer | None]]:
    """Step, prompts and answer; no answer once the annotator has nothing to say. Empty if the method cannot answer."""
    annotator = SimulatedAnnotator(reference, protocol, seed)
    prompts: SegmentPrompts | None = annotator.start()
    answer: Answer | None = None
    for step in range(protocol.corrections + 1):
        if step > 0 and prompts is not None and answer is not None:
            prompts = annotator.correct(prompts, answer)
        if prompts is None:
            yield step, SegmentPrompts("structure"), None
            continue
        answer = method.answer(prompts, reference)
        if answer is None:
            return
        yield step, prompts, answer


def _sentence(error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There was not enough memory."
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]
