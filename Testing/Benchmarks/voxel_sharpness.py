"""Fits how sure answers may be of each voxel: ``python -m Testing.Benchmarks.voxel_sharpness``.

Twenty minutes on two cores. The program answers the prompts of the benchmark and those of less careful users, with
corrections; then the perceptron of `prediction.voxel_sharpness` is fitted so that what is right is likeliest. The
structures are those to learn from, those for tuning, and procedural scenes; none is reported. The table is
cross-validated: each fourth of the structures is judged by what was fitted to the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from PWSegmentationLib.annotator.protocols import PROTOCOLS, Protocol, SimulatedAnnotator, protocol
from PWSegmentationLib.annotator.reference import Reference
from PWSegmentationLib.annotator.variety import varied_clicks
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.evaluation.metrics import CALIBRATION_MARGIN_MM, auroc, expected_calibration_error
from PWSegmentationLib.files import read_json, sha256, shipped_weights, write_json
from PWSegmentationLib.prediction.earlier_answer import EarlierAnswer
from PWSegmentationLib.prediction.predict import predict
from PWSegmentationLib.prediction.promptable import promptable_model
from PWSegmentationLib.prediction.sharpening import log_odds
from PWSegmentationLib.prediction.view import View
from PWSegmentationLib.prediction.voxel_sharpness import CERTAIN, FEATURES, LEAST, MOST, VoxelSharpness, voxel_features
from PWSegmentationLib.prompts.prompts import SegmentPrompts
from PWSegmentationLib.volume.resampling import resample
from PWSegmentationLib.volume.volume import Volume
from Testing.Benchmarks.fitting import SOURCES, WAYS, fit_arguments, in_turn, kept_or_seen

# Each source's structures count so many times: those for tuning are few.
_WEIGHTS = {"learning": 1.0, "tuning": 4.0, "procedural": 0.5}
# Voxels kept of an answer: where calibration is measured, and further away, so that nothing is doubted there either;
# the latter count so much together.
_NEAR, _FAR, _FAR_SHARE = 1500, 300, 0.1
# Corrections after which an answer is kept.
_STEPS = (0, 1, 2, 3, 4, 5, 7, 9)
# As they are kept.
_ARRAYS = ("features", "probability", "truth", "near")
# Voxels of an answer that a fit sees, units of the perceptron, weight decay, steps of L-BFGS, folds.
_SEEN, _UNITS, _DECAY, _ITERATIONS, _FOLDS = 500, 16, 1e-3, 200, 4


@dataclass(frozen=True, eq=False)
class Case:
    """Voxels of one answer: ``features`` float16 ``(FEATURES, voxel)``, ``probability``, ``truth``, and which are
    ``near`` the structure."""

    source: str
    structure: str
    way: str
    features: NDArray[np.float16]
    probability: NDArray[np.float32]
    truth: NDArray[np.bool_]
    near: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Watched(VoxelSharpness):
    """Changes nothing, and keeps what it is shown: probability, view and features."""

    shown: list[tuple[NDArray[np.float32], View, NDArray[np.float32]]] = field(default_factory=list)

    def stated(
        self,
        probability: NDArray[np.float32],
        view: View,
        segment: SegmentPrompts,
        cues: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """``probability`` itself."""
        self.shown.append((probability, view, voxel_features(probability, view, segment, cues)))
        return probability


def main() -> int:
    """See the answers, fit, and write the weights."""
    parser = fit_arguments("voxel_sharpness", __doc__)
    parser.add_argument("--ship", action="store_true", help="put the weights beside those of the network")
    wanted = parser.parse_args()
    cases = kept_or_seen(wanted.cases, wanted.jobs, answers, _read, _write)
    report: dict[str, Any] = {
        "made by": machine_and_versions(),
        "answers": {source: sum(c.source == source for c in cases) for source in SOURCES},
        "as the network says": table(cases, [c.probability for c in cases]),
        "cross-validated": table(cases, cross_validated(cases)),
    }
    write_json(report, wanted.output)
    fitted = fit(cases)
    fitted.save(wanted.output.with_suffix(".safetensors"))
    if wanted.ship:
        _ship(fitted)
    sys.stdout.write(f"{json.dumps(report, indent=1)}\n")
    return 0


def answers(source: str, name: str, volume: Volume, reference: Reference, number: int) -> Iterator[Case]:
    """The cases of a structure."""
    shipped, why_not = promptable_model()
    if shipped is None:
        raise SystemExit(why_not)
    watched = _Watched(*[np.zeros(0, np.float32)] * 4)
    model = replace(shipped, sharpness=watched)
    rng = np.random.default_rng((number, 17))
    for way, annotator, first, corrections in _ways(reference, number):
        prompts: SegmentPrompts | None = first
        earlier: EarlierAnswer | None = None
        for step in range(corrections + 1):
            assert prompts is not None
            found = predict(volume, prompts, model=model, earlier=earlier)
            shown = watched.shown.pop()
            if step in _STEPS:
                case = _kept(*shown, reference, rng)
                if case is not None:
                    yield Case(source, name, f"{way}, {step} corrections" if corrections else way, *case)
            if step == corrections:
                break
            assert found.working_grid is not None and found.working_probability is not None
            earlier = EarlierAnswer(prompts, (), found.working_grid, found.working_probability)
            prompts = annotator.correct(prompts, found.region, found.region_mask)
            if prompts is None:
                break


def _ways(reference: Reference, number: int) -> Iterator[tuple[str, SimulatedAnnotator, SegmentPrompts, int]]:
    """How a structure is prompted: name, who corrects, the first prompts, and how many corrections."""
    for each in (*PROTOCOLS, protocol("points 3+5"), protocol("points 8+4")):
        annotator = SimulatedAnnotator(reference, each)
        yield each.name, annotator, annotator.start(), each.corrections
    for inside, outside in WAYS:
        rng = np.random.default_rng((number, inside))
        annotator = SimulatedAnnotator(reference, Protocol("varied"))
        yield f"varied {inside}+{outside}", annotator, varied_clicks(reference, inside, outside, rng), 0


def _kept(
    probability: NDArray[np.float32],
    view: View,
    features: NDArray[np.float32],
    reference: Reference,
    rng: np.random.Generator,
) -> Any:
    """The last fields of a `Case`; None if the answer has not seen the structure."""
    region, near = reference.within(CALIBRATION_MARGIN_MM)
    truth, close = (
        resample(mask.astype(np.float32), view.fine, view.grid) > 0.5
        for mask in (reference.over(view.region), region.fitted(near, view.region))
    )
    chosen = []
    for there, most in ((close & view.valid, _NEAR), (~close & view.valid, _FAR)):
        voxels = np.flatnonzero(there)
        chosen.append(rng.choice(voxels, min(len(voxels), most), replace=False))
    if not len(chosen[0]):
        return None
    at = np.concatenate(chosen)
    return features[:, at].astype(np.float16), probability.ravel()[at], truth.ravel()[at], close.ravel()[at]


def _write(cases: Sequence[Case], path: Path) -> None:
    arrays = {f"{key}/{number}": getattr(case, key) for number, case in enumerate(cases) for key in _ARRAYS}
    names = [(case.source, case.structure, case.way) for case in cases]
    np.savez(path, names=np.array(json.dumps(names)), **arrays)


def _read(path: Path) -> list[Case]:
    with np.load(path, allow_pickle=False) as stored:
        names = json.loads(str(stored["names"]))
        return [Case(*n, *(stored[f"{key}/{number}"] for key in _ARRAYS)) for number, n in enumerate(names)]


def fit(cases: Sequence[Case], iterations: int = _ITERATIONS) -> VoxelSharpness:
    """What makes the truth likeliest, each answer counting as its source does."""
    rng = np.random.default_rng(0)
    parts = [_seen_of(case, rng) for case in cases]
    features, odds, truth, weight = (torch.from_numpy(np.concatenate(each)) for each in zip(*parts, strict=True))
    weight /= weight.sum()
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-3)
    features = (features - mean) / spread
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(len(FEATURES), _UNITS), torch.nn.ReLU(), torch.nn.Linear(_UNITS, 1))
    optimiser = torch.optim.LBFGS(network.parameters(), max_iter=iterations, line_search_fn="strong_wolfe")
    losses = torch.nn.functional.binary_cross_entropy_with_logits

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        factor = torch.exp(network(features)[:, 0].clamp(LEAST, MOST))
        value = (weight * losses(factor * odds, truth, reduction="none")).sum()
        value = value + _DECAY * sum((p**2).sum() for p in network.parameters())
        value.backward()
        return value

    optimiser.step(loss)
    first, last = network[0], network[2]
    assert isinstance(first, torch.nn.Linear) and isinstance(last, torch.nn.Linear)
    hidden = first.weight.detach() / spread
    found = hidden, first.bias.detach() - hidden @ mean, last.weight.detach()[0], last.bias.detach()[0]
    return VoxelSharpness(*(np.asarray(each.numpy(), np.float32) for each in found))


def _seen_of(case: Case, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    """Features ``(voxel, FEATURES)``, log-odds, truth and weight of the voxels of a case that a fit sees."""
    at = rng.choice(len(case.truth), min(len(case.truth), _SEEN), replace=False)
    near = case.near[at]
    weight = np.where(near, (1.0 - _FAR_SHARE) / max(near.sum(), 1), _FAR_SHARE / max((~near).sum(), 1))
    return (
        case.features.T[at].astype(np.float32),
        log_odds(case.probability[at], most=CERTAIN),
        case.truth[at].astype(np.float32),
        (_WEIGHTS[case.source] * weight).astype(np.float32),
    )


def cross_validated(cases: Sequence[Case]) -> list[NDArray[np.float32]]:
    """What is said of every case's voxels by what was fitted to other structures."""
    said: list[NDArray[np.float32]] = [c.probability for c in cases]
    for others, left_out in in_turn([c.structure for c in cases], _FOLDS):
        found = fit([cases[number] for number in others])
        for number in left_out:
            said[number] = judged(found, cases[number])
    return said


def judged(sharpness: VoxelSharpness, case: Case) -> NDArray[np.float32]:
    """What is said of a case's voxels."""
    return sharpness.of_voxels(case.probability, case.features.astype(np.float32))


def table(cases: Sequence[Case], said: Sequence[NDArray[np.float32]]) -> dict[str, dict[str, list[float]]]:
    """By source and way of prompting: expected calibration error, AUROC of the uncertainty, and log-loss, near the
    structures; means over answers."""
    rows: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for case, probability in zip(cases, said, strict=True):
        p, truth = probability[case.near], case.truth[case.near]
        wrong = (p >= 0.5) != truth
        right = np.where(truth, p, 1.0 - p)
        found = auroc(-np.abs(p - 0.5), wrong)
        row = expected_calibration_error(p, truth), np.nan if found is None else found, -np.log(right + 1e-4).mean()
        for way in (case.way, "all"):
            rows.setdefault(case.source, {}).setdefault(way, []).append(row)
    return {
        source: {way: [round(float(v), 3) for v in np.nanmean(values, axis=0)] for way, values in ways.items()}
        for source, ways in rows.items()
    }


def _ship(sharpness: VoxelSharpness) -> None:
    """Beside the network's weights, whose card names it."""
    path = shipped_weights().with_name("sharpness.safetensors")
    sharpness.save(path)
    card = shipped_weights().with_suffix(".json")
    write_json({**read_json(card, "model card"), "sharpness": {"file": path.name, "sha256": sha256(path)}}, card)


if __name__ == "__main__":
    raise SystemExit(main())
