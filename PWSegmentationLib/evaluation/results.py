"""What a benchmark found, in one JSON file that grows structure by structure and survives an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PWSegmentationLib.errors import InputError
from PWSegmentationLib.evaluation.machine_and_versions import machine_and_versions
from PWSegmentationLib.evaluation.metrics import Calibration
from PWSegmentationLib.files import read_json, replacing

_FORMAT = "PWSegmentation benchmark 1"


@dataclass(frozen=True)
class Result:
    """One answer.

    Parameters
    ----------
    case, structure
        What was segmented.
    use
        "tuning" or "reported" for the development cases, else "".
    prompts, method
        Names of the protocol and of the method.
    step
        Corrective clicks so far; 0 for the first prompts.
    dice, surface_dice, hd95_mm
        See `metrics.Overlap`.
    seconds
        To the answer; None where the annotator had nothing more to say and the answer before stands.
    voxels
        Of the structure.
    calibration
        Of the last step's probability.
    """

    case: str
    structure: str
    use: str
    prompts: str
    method: str
    step: int
    dice: float
    surface_dice: float | None
    hd95_mm: float | None
    seconds: float | None
    voxels: int
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Failure:
    """Something that could not be measured, and one sentence why; names are "" where all are meant."""

    case: str
    structure: str
    prompts: str
    method: str
    sentence: str


@dataclass
class Results:
    """Everything found so far.

    Parameters
    ----------
    made_by
        See `machine_and_versions`.
    settings
        What was asked for; JSON values.
    fingerprints
        Of the finished structures' cases, by "case/structure".
    """

    settings: Mapping[str, Any]
    made_by: Mapping[str, Any] = field(default_factory=machine_and_versions)
    fingerprints: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def is_finished(self, case: str, structure: str, fingerprint: str) -> bool:
        """Whether the structure was measured to the end, on these very files."""
        return self.fingerprints.get(_key(case, structure)) == fingerprint

    def add(
        self, case: str, structure: str, fingerprint: str, results: Sequence[Result], failures: Sequence[Failure]
    ) -> None:
        """Put in what was found for a structure; what was known of it before goes."""
        mine = (case, structure)
        self.results = [r for r in self.results if (r.case, r.structure) != mine] + list(results)
        self.failures = [f for f in self.failures if (f.case, f.structure) not in (mine, (case, ""))] + list(failures)
        if results and not failures:
            self.fingerprints[_key(case, structure)] = fingerprint

    def write(self, path: Path) -> None:
        """Replace ``path``, with the summary for whoever reads no more than that."""
        from PWSegmentationLib.evaluation.summary import summary

        document = {
            "format": _FORMAT,
            "made by": self.made_by,
            "settings": self.settings,
            "summary": summary(self.results),
            "failures": [asdict(f) for f in self.failures],
            "fingerprints": self.fingerprints,
            "results": [asdict(r) for r in self.results],
        }
        with replacing(path) as temporary:
            # One result a line: short enough to look through, and for a version control's differences.
            text = json.dumps(document, default=str)
            temporary.write_text(text.replace('{"case"', '\n{"case"') + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what `write` wrote. Raises `InputError` if ``path`` holds something else."""
        document = read_json(path, "results")
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise InputError(f"{path} was not written by this version of pwseg benchmark: name another file.")
        return cls(
            settings=document["settings"],
            made_by=document["made by"],
            fingerprints=document["fingerprints"],
            results=[_result(r) for r in document["results"]],
            failures=[Failure(**f) for f in document["failures"]],
        )

    @classmethod
    def resume(cls, path: Path, settings: Mapping[str, Any], *, mixed: bool = False) -> Results:
        """What ``path`` holds already, or nothing.

        Raises `InputError` if it was made with other settings or by another version: figures are not mixed. With
        ``mixed``, those of several versions are, and `made_by` names them all.
        """
        if not path.exists():
            return cls(settings)
        old, now = cls.read(path), machine_and_versions()
        for was, asked, may_differ in ((old.settings, settings, False), (old.made_by, now, mixed)):
            for key in {**was, **asked}:
                if was.get(key) != asked.get(key) and not may_differ:
                    raise InputError(
                        f"{path} was made with another {key} ({was.get(key)}; now {asked.get(key)}): name another file "
                        "with -o, start it anew with --restart, or, if it is a version, mix them with --mixed."
                    )
        old.made_by = {
            key: now.get(key) if key not in old.made_by else _and(old.made_by[key], now.get(key))
            for key in {**old.made_by, **now}
        }
        return old


def _result(values: dict[str, Any]) -> Result:
    calibration: Any = values.pop("calibration")
    if calibration is not None:
        lists = {k: tuple(v) for k, v in calibration.items() if isinstance(v, list)}
        calibration = Calibration(**{**calibration, **lists})
    return Result(**values, calibration=calibration)


def _and(was: Any, now: Any) -> Any:
    """Both, where they differ."""
    return was if now is None or str(was).endswith(str(now)) else f"{was}, then {now}"


def _key(case: str, structure: str) -> str:
    return f"{case}/{structure}"
