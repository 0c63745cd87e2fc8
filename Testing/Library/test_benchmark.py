"""``pwseg benchmark`` on folders it has never seen: one JSON, one page, nothing lost."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import nibabel
import numpy as np
import pytest

from PWSegmentationLib import InputError
from PWSegmentationLib.annotator.protocols import protocol
from PWSegmentationLib.cases import find_cases
from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.evaluation.benchmark import Benchmark
from PWSegmentationLib.evaluation.metrics import Answer, Calibration
from PWSegmentationLib.evaluation.results import Failure, Result, Results
from PWSegmentationLib.evaluation.summary import difference, numbers, summary
from PWSegmentationLib.evaluation.tables import accuracy_table, fine_tuning_table, plain, table
from Testing.Library.conftest import bright_ellipsoid
from Testing.Library.test_commandline import one_sentence, pwseg, start
from Testing.timing import PATIENCE_S, wait_until

AFFINE = np.array([[0, 0, 2.0, -30], [-1.2, 0, 0, 20], [0, -1.0, 0, 100], [0, 0, 0, 1]])
SHAPE = (36, 40, 22)
QUICK = ("--prompts", "points 2+4", "--prompts", "box", "--against", "gaussian")


def write_case(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True)
    image, mask, _ = bright_ellipsoid(SHAPE, AFFINE, (10, 8, 9), seed)
    labels = mask.astype(np.uint8)
    labels[2:6, 2:6, 2:6] = 5
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / "labels.nii.gz")
    (folder / "labels.json").write_text(json.dumps({"lesion <b>|x|": 1, "corner": 5}), encoding="utf-8")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good cases with a broken one between them."""
    folder = tmp_path_factory.mktemp("cases")
    write_case(folder / "a", 0)
    write_case(folder / "c", 1)
    (folder / "b").mkdir()
    (folder / "b" / "image.nii.gz").write_bytes(b"this is no image")
    (folder / "b" / "labels.nii.gz").write_bytes(b"nor are these labels")
    return folder


@pytest.fixture(scope="module")
def done(cases: Path, tmp_path_factory: pytest.TempPathFactory):
    """One finished run: what it printed, its JSON, its folder."""
    folder = tmp_path_factory.mktemp("out")
    process = pwseg("benchmark", cases, *QUICK, "-o", folder / "results.json")
    assert process.returncode == 0, process.stderr
    return process, json.loads((folder / "results.json").read_text(encoding="utf-8")), folder


def test_a_folder_never_seen_gives_one_json_and_one_page(done):
    process, document, folder = done
    assert {r["structure"] for r in document["results"]} == {"lesion <b>|x|", "corner"}
    assert {r["case"] for r in document["results"]} == {"a", "c"}
    assert {r["method"] for r in document["results"]} == {"PWSegmentation", "Gaussian label, best threshold"}
    ours = [r for r in document["results"] if r["method"] == "PWSegmentation" and r["structure"].startswith("lesion")]
    assert [r["step"] for r in ours if r["case"] == "a" and r["prompts"] == "box"] == [0, 1, 2, 3, 4, 5]
    assert all(r["dice"] > 0.75 for r in ours)
    for key in ("machine", "python", "torch", "commit"):
        assert document["made by"][key]
    assert sorted(p.name for p in folder.iterdir()) == ["results-pictures", "results.html", "results.json"]
    assert "| prompts " in process.stdout and str(folder / "results.html") in process.stdout


def test_a_broken_case_is_reported_and_the_rest_goes_on(done):
    process, document, folder = done
    (failure,) = document["failures"]
    assert failure["case"] == "b" and "image.nii.gz" in failure["sentence"]
    assert "not measured: b:" in process.stderr
    assert "Not measured" in (folder / "results.html").read_text(encoding="utf-8")


def test_the_page_stands_alone_and_takes_names_as_text(done):
    text = (done[2] / "results.html").read_text(encoding="utf-8")
    assert "lesion &lt;b&gt;|x|" in text and "<b>" not in text
    assert text.count("data:image/png;base64,") == 3 and "data:image/webp;base64," in text
    # Pictures are letters at random, which may spell anything.
    words = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert "http" not in words.replace("http-equiv", "")
    assert "Where it fails, worst first" in text and "Can the probability be trusted?" in text


def test_the_page_can_be_made_again_with_notes_as_markdown(done, tmp_path):
    folder = done[2]
    notes = tmp_path / "notes.json"
    notes.write_text(json.dumps({"failures": {"a/corner": "A corner of *nothing*."}, "remarks": ["## Known\n\nAll."]}))
    process = pwseg("benchmark", folder / "results.json", "--notes", notes, "--page", tmp_path / "page.md")
    assert process.returncode == 0, process.stderr
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "A corner of *nothing*." in text and "## Known" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.rsplit("(", 1)[1].rstrip(")")).is_file(), line


def test_the_page_speaks_of_other_methods_only_where_there_are_some(done, tmp_path):
    several = (done[2] / "results.html").read_text(encoding="utf-8")
    assert "Every method gets the same prompts" in several and "in brackets by how much" in several
    alone = Results.read(done[2] / "results.json")
    alone.results = [r for r in alone.results if r.method == "PWSegmentation"]
    alone.write(tmp_path / "alone.json")
    process = pwseg("benchmark", tmp_path / "alone.json", "--page", tmp_path / "alone.md")
    assert process.returncode == 0, process.stderr
    text = (tmp_path / "alone.md").read_text(encoding="utf-8")
    assert "Every method" not in text and "brackets" not in text and "Mean Dice after the last prompt.\n" in text


def test_the_page_shows_speed_where_it_was_measured(done, tmp_path):
    stage = {"stage": "Gaussian label", "device": "cpu", "what": "separable", "reference": "as published"}
    figures = {"seconds": 0.07, "ratio": 351.0, "memory ratio": None}
    seconds = {"seconds": 0.5, "spread": [0.4, 0.7]}
    by_volume = [{"megavoxels": m, "whole seconds": w, **seconds} for m, w in ((2, 3.5), (200, None))]
    by_object = [{"diameter mm": d, "seconds": 0.01 * d} for d in (5.0, 50.0)]
    document = {
        "made by": {"machine": "a machine"},
        "threads": 1,
        "stages": [{**stage, **figures}],
        "latency": {"by volume": by_volume, "by object": by_object},
    }
    (tmp_path / "speed.json").write_text(json.dumps(document), encoding="utf-8")
    page = tmp_path / "page.md"
    process = pwseg("benchmark", done[2] / "results.json", "--speed", tmp_path / "speed.json", "--page", page)
    assert process.returncode == 0, process.stderr
    text = page.read_text(encoding="utf-8")
    assert "351.0×" in text and "a machine" in text and (tmp_path / "page-pictures" / "latency.png").is_file()
    refused = pwseg("benchmark", done[2] / "results.json", "--speed", done[2] / "results.json")
    assert "python -m Testing.Benchmarks" in one_sentence(refused.returncode, refused.stdout, refused.stderr)


def test_finished_structures_are_not_measured_again(cases, done, tmp_path):
    results = tmp_path / "results.json"
    results.write_bytes((done[2] / "results.json").read_bytes())
    process = pwseg("benchmark", cases, *QUICK, "-o", results)
    assert process.returncode == 0, process.stderr
    assert "a, corner" not in process.stderr
    again = json.loads(results.read_text(encoding="utf-8"))
    assert again["results"] == done[1]["results"], "times and all: nothing was run"


def test_an_interrupted_run_goes_on_where_it_stopped(cases, done, tmp_path):
    results = tmp_path / "results.json"
    process = start("benchmark", cases, *QUICK, "-o", results)
    wait_until(lambda: results.exists() and "/corner" in results.read_text(encoding="utf-8"), "the first structure")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130 and err.rstrip().endswith("pwseg: stopped."), err
    before = json.loads(results.read_text(encoding="utf-8"))
    assert before["fingerprints"] and len(before["fingerprints"]) < 4
    process = pwseg("benchmark", cases, *QUICK, "-o", results)
    assert process.returncode == 0, process.stderr
    after = json.loads(results.read_text(encoding="utf-8"))
    kept = [r for r in after["results"] if f"{r['case']}/{r['structure']}" in before["fingerprints"]]
    assert [r for r in before["results"] if f"{r['case']}/{r['structure']}" in before["fingerprints"]] == kept
    assert [(r["structure"], r["dice"]) for r in after["results"]] == [
        (r["structure"], r["dice"]) for r in done[1]["results"]
    ], "the same as in one go"


def test_a_repaired_case_is_measured_the_next_time(cases, done, tmp_path):
    results = tmp_path / "results.json"
    results.write_bytes((done[2] / "results.json").read_bytes())
    repaired = tmp_path / "cases"
    repaired.mkdir()
    for name in ("a", "c"):
        (repaired / name).symlink_to(cases / name)
    write_case(repaired / "b", 2)
    document = json.loads(results.read_text(encoding="utf-8"))
    document["settings"]["cases"] = "cases"
    results.write_text(json.dumps(document), encoding="utf-8")
    process = pwseg("benchmark", repaired, *QUICK, "-o", results)
    assert process.returncode == 0, process.stderr
    document = json.loads(results.read_text(encoding="utf-8"))
    assert document["failures"] == [] and "b/corner" in document["fingerprints"]


def test_figures_made_differently_are_not_mixed(cases, done):
    results = done[2] / "results.json"
    refused = pwseg("benchmark", cases, *QUICK, "--seed", "1", "-o", results)
    said = one_sentence(refused.returncode, refused.stdout, refused.stderr)
    assert "another seed (0; now 1)" in said and "--restart" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "There is no folder"),
        (["--prompts", "lasso"], "no way of prompting called 'lasso'"),
        (["--method", "magic"], "no method 'magic'"),
        (["--against", "magic"], "no method 'magic'"),
        (["--jitter", "-3"], "0 to 50 mm"),
        (["--device", "cuda:77"], "The device 'cuda:77' cannot be used here"),
        (["--seed", "-1"], "--seed takes a whole number from 0"),
        (["-o", "results.txt"], ".json"),
        (["--page", "page.pdf"], ".html or .md"),
        (["--notes", "pyproject.toml"], "not valid JSON"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(cases, words, said, tmp_path, capsys):
    output = [] if "-o" in words else ["-o", tmp_path / "results.json"]
    folder = [] if words == ["nowhere"] else [cases]
    code = main([str(word) for word in ("benchmark", *folder, *words, *output)])
    assert said in one_sentence(code, *capsys.readouterr())


def result(dice: float, step: int = 0, structure: str = "s", method: str = "m", **values: object) -> Result:
    made = {"case": "c", "use": "", "prompts": "one click", "surface_dice": dice, "hd95_mm": 1.0, "seconds": 1.0}
    return Result(structure=structure, method=method, step=step, dice=dice, voxels=10, **{**made, **values})  # type: ignore[arg-type]


def test_curves_are_summed_up_as_in_the_challenge():
    """Areas over the clicks without the first prompts; clicks counted until .85."""
    rising = [result(d, step) for step, d in enumerate((0.5, 0.6, 0.7, 0.8, 0.9, 1.0))]
    flat = [result(0.5, step, "t") for step in range(6)]
    found = numbers(rising + flat)
    assert found["structures"] == 2
    assert found["dice"] == pytest.approx(0.75)
    assert found["dice auc"] == pytest.approx((0.5 * 0.6 + 0.7 + 0.8 + 0.9 + 0.5 * 1.0 + 4 * 0.5) / 2)
    assert found["surface dice auc"] == found["dice auc"]
    assert found["dice by step"][0] == 0.5 and found["dice by step"][-1] == pytest.approx(0.75)
    # The fifth click got there once; the other one never did.
    assert found["clicks to 0.85"] == pytest.approx((5 + 7) / 2) and found["reached 0.85"] == 0.5


@pytest.mark.parametrize(("distances", "median"), [((1.0, 3.0, None), 3.0), ((1.0, None, None), None)])
def test_an_answer_without_a_surface_is_infinitely_far(distances, median):
    assert numbers([result(0.5, structure=str(i), hd95_mm=d) for i, d in enumerate(distances)])["hd95 mm"] == median


def test_differences_are_paired_and_have_an_interval():
    ours = [result(0.8 + 0.01 * i, structure=str(i)) for i in range(10)]
    theirs = [result(0.7 + 0.01 * i, structure=str(i), method="n") for i in range(9)]
    found = difference(ours, theirs)
    assert found["structures"] == 9 and found["better"] == 9
    assert found["dice"] == pytest.approx(0.1)
    assert found["interval"] == pytest.approx([0.1, 0.1])


def test_results_survive_the_file(tmp_path):
    trust = Calibration((3, 0), (0.25, None), (0.5, None), 0.25, None)
    results = Results({"seed": 0}, made_by={"machine": "m"})
    results.add("c", "s", "print", [result(0.5, calibration=trust), result(0.25, 1, surface_dice=None)], [])
    results.add("d", "", "", [], [Failure("d", "", "", "", "It is broken.")])
    results.write(tmp_path / "r.json")
    again = Results.read(tmp_path / "r.json")
    assert again == results
    assert again.is_finished("c", "s", "print") and not again.is_finished("c", "s", "other")
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="was not written by this version"):
        Results.read(tmp_path / "x.json")


def test_versions_are_mixed_only_when_asked_to_and_then_named(tmp_path):
    path = tmp_path / "r.json"
    results = Results({"seed": 0})
    results.made_by = {**results.made_by, "commit": "0000000"}
    results.write(path)
    with pytest.raises(InputError, match=r"another commit .0000000; now .*--mixed"):
        Results.resume(path, {"seed": 0})
    with pytest.raises(InputError, match="another seed"):
        Results.resume(path, {"seed": 1}, mixed=True)
    mixed = Results.resume(path, {"seed": 0}, mixed=True)
    now = Results({}).made_by
    assert mixed.made_by == {**now, "commit": f"0000000, then {now['commit']}"}
    mixed.write(path)
    assert Results.resume(path, {"seed": 0}, mixed=True).made_by == mixed.made_by


class Fickle:
    """Answers the first prompts, and no others."""

    name = "fickle"

    def open(self, volume) -> None:
        pass

    def begin(self) -> None:
        pass

    def answer(self, prompts, reference):
        return Answer(reference.region, np.zeros_like(reference.mask)) if len(prompts) == 1 else None


def test_an_answer_stands_where_a_method_has_no_other(cases, tmp_path):
    results = Benchmark([protocol("box")], [Fickle()], Results({}), tmp_path / "r.json").run(find_cases(cases / "a"))
    corner = [r for r in results.results if r.structure == "corner"]
    assert [r.step for r in corner] == [0, 1, 2, 3, 4, 5]
    assert [r.seconds is None for r in corner] == [False, True, True, True, True, True]
    assert not results.failures


def test_what_failed_is_not_finished():
    results = Results({}, made_by={})
    results.add("c", "s", "print", [result(0.5)], [Failure("c", "s", "box", "m", "Out of memory.")])
    assert not results.is_finished("c", "s", "print")
    results.add("c", "s", "print", [result(0.6)], [])
    assert results.is_finished("c", "s", "print") and not results.failures and len(results.results) == 1


def test_what_fine_tuning_adds_counts_weak_masks_only():
    plainly = [result(d, structure=n) for n, d in (("a", 0.6), ("b", 0.8), ("c", 0.9))]
    tuned = [result(d, structure=n, method="m, fine-tuned 30 s") for n, d in (("a", 0.7), ("b", 0.79), ("c", 0.2))]
    lines = fine_tuning_table(plainly + tuned).splitlines()
    assert len(lines) == 3 and [c.strip() for c in lines[2].split("|")[2:5]] == ["2", "+0.045", "-0.010"]
    assert fine_tuning_table(plainly) == ""


def test_tables_are_aligned_markdown():
    assert table(["a", "b"], [["long", "1"]]) == "| a    |   b |\n|------|----:|\n| long |   1 |"
    assert plain("a|b\n*c*") == "a\\|b \\*c\\*"
    lines = accuracy_table([result(0.8), result(0.5, method="n")]).splitlines()
    assert "0.500 (+0.30: +0.30 to +0.30)" in lines[2]


def test_the_summary_of_the_published_results_is_theirs():
    path = Path(__file__).parents[2] / "docs" / "accuracy-results.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["summary"]
    found = json.loads(json.dumps(summary(Results.read(path).results)))
    counts = {use: {n["structures"] for m in found.values() for n in m.values()} for use, found in stored.items()}
    assert counts == {"tuning": {17}, "reported": {21}}
    # Sums of many numbers differ in the last place from one processor to the next.
    assert numbers_in(stored) == pytest.approx(numbers_in(found), rel=1e-9)


def numbers_in(values, name=""):
    """Every number of nested dictionaries and lists, by where it is; what is none is -1."""
    if isinstance(values, dict | list):
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return {k: v for key, value in items for k, v in numbers_in(value, f"{name}/{key}").items()}
    return {name: -1.0 if values is None else values}
