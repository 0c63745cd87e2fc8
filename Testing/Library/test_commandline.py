"""The command as its users meet it: a child process, files on disk, exit codes, one sentence on bad input."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from PWSegmentationLib import __version__
from PWSegmentationLib.commandline.main import main
from PWSegmentationLib.export.maps import map_paths
from PWSegmentationLib.prompts.json_format import write_prompts
from PWSegmentationLib.prompts.prompts import Point, PromptSet, SegmentPrompts
from PWSegmentationLib.volume.reading import read_volume
from Testing.Library.conftest import bright_ellipsoid, dice
from Testing.timing import PATIENCE_S, allowed

ROOT = Path(__file__).resolve().parents[2]
AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.0, 0, -20], [0, 0, 1.5, 100], [0, 0, 0, 1]])
SHAPE = (56, 48, 40)


def start(*args: object, **options: object) -> subprocess.Popen[str]:
    return popen([sys.executable, "-m", "PWSegmentationLib.commandline", *map(str, args)], **options)


def popen(command: list[str], **options: object) -> subprocess.Popen[str]:
    # Whoever runs these tests in the background of a script has Ctrl-C ignored, in their children, too.
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def pwseg_process(*args: object) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    process = start(*args)
    out, err = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def pwseg(*args: object) -> subprocess.CompletedProcess[str]:
    """The command in this process, where all that it imports is there: most of what a small one takes."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(a) for a in args])
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def one_sentence(code: int, out: str, err: str) -> str:
    """What ``pwseg`` refuses with."""
    assert code == 2, err
    assert out == ""
    assert err.startswith("pwseg: ")
    assert err.count("\n") == 1, err
    return err.removeprefix("pwseg: ").strip()


def markups(path: Path, kind: str, *positions: object, **fields: object) -> Path:
    points = [{"position": [float(v) for v in p]} for p in positions]  # type: ignore[attr-defined]
    item = {"type": kind, "coordinateSystem": "RAS", "controlPoints": points, **fields}
    path.write_text(json.dumps({"markups": [item]}), encoding="utf-8")
    return path


def shifted(place: np.ndarray, right: float, front: float = 0, up: float = 0) -> np.ndarray:
    return place + np.array((right, front, up))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image of one bright lesion and prompts for it in every format."""
    folder = tmp_path_factory.mktemp("scene")
    image, mask, center = bright_ellipsoid(SHAPE, AFFINE, (9, 9, 9))
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "image.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / "truth.nii.gz")
    away = shifted(center, 15)
    prompts = (Point(tuple(center)), Point(tuple(away), False))
    write_prompts(PromptSet((SegmentPrompts("lesion", prompts),)), folder / "prompts.json")
    markups(folder / "inside.mrk.json", "Fiducial", center, shifted(center, 0, 4))
    markups(folder / "outside.mrk.json", "Fiducial", away, shifted(center, 0, -16))
    markups(folder / "box.mrk.json", "ROI", center=center.tolist(), size=[22, 22, 22])
    markups(folder / "curve.mrk.json", "Curve", shifted(center, -4), center, shifted(center, 0, 4))
    markups(folder / "ring.mrk.json", "ClosedCurve", *[shifted(away, *v) for v in ((0, 5, 0), (0, 0, 5), (0, -5, 0))])
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[26:30, 23:26, 20], strokes[10:13, 20:30, 20] = 1, 2
    nibabel.save(nibabel.Nifti1Image(strokes, AFFINE), folder / "strokes.nii.gz")
    return folder


# ---- help -------------------------------------------------------------------------------------------------------


@pytest.mark.stopwatch
@pytest.mark.parametrize("args", [("--help",), ("segment", "--help"), ("info", "--help"), ("demo", "--help")])
def test_help_is_quick(args: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom PWSegmentationLib.commandline.main import main\n"
        f"try:\n    main({list(args)!r})\nfinally:\n"
        "    assert not {'torch', 'monai', 'SimpleITK', 'scipy'} & set(sys.modules), 'heavy imports'\n"
    )
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: pwseg" in done.stdout
    # A second is the aim; the rest is for files that come from a cold disk.
    assert time.perf_counter() - begin < allowed(5.0)


def test_version() -> None:
    assert pwseg_process("--version").stdout == f"pwseg {__version__}\n"


# ---- segment ----------------------------------------------------------------------------------------------------


def test_prompt_set_to_segmentation_and_json(scene: Path, tmp_path: Path) -> None:
    args = ["--probability", tmp_path / "p.nii.gz", "--uncertainty", tmp_path / "u.nrrd", "--device", "cpu", "--json"]
    done = pwseg_process(
        "segment", scene / "image.nii.gz", "--prompts", scene / "prompts.json", "-o", tmp_path / "out.seg.nrrd", *args
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    assert said["version"] == __version__
    assert (said["device"], said["seed"]) == ("cpu", 0)
    (segment,) = said["segments"]
    truth = read_volume(scene / "truth.nii.gz").array > 0
    found = read_volume(tmp_path / "out.seg.nrrd")
    assert found.grid.same_as(read_volume(scene / "image.nii.gz").grid)
    assert dice(found.array == 1, truth) > 0.85
    assert segment["voxels"] == np.count_nonzero(found.array)
    assert segment["volume_ml"] == pytest.approx(segment["voxels"] * 1.5 / 1000, abs=1e-3)
    assert set(said["seconds"]) == {"reading", "segmenting", "total"}
    probability, uncertainty = read_volume(tmp_path / "p.nii.gz"), read_volume(tmp_path / "u.nrrd")
    assert probability.array.dtype == uncertainty.array.dtype == np.float32
    # To the precision that probabilities are kept in.
    assert found.array[probability.array > 0.501].all()
    assert not found.array[probability.array < 0.499].any()
    assert 0 <= uncertainty.array.min() <= uncertainty.array.max() <= 1
    assert said["outputs"]["probability"] == {"lesion": str(tmp_path / "p.nii.gz")}


def test_json_names_the_table_of_values_and_nothing_else(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "segment",
        scene / "image.nii.gz",
        "--prompts",
        scene / "prompts.json",
        "--method",
        "image-aware",
        "--json",
    ]
    outputs = []
    for names in (["a.seg.nrrd"], ["a.seg.nrrd", "b.nrrd"], ["c.stl"]):
        assert main([*map(str, words), *(str(w) for name in names for w in ("-o", tmp_path / name))]) == 0
        outputs.append(json.loads(capsys.readouterr().out)["outputs"])
    assert "labels" not in outputs[0] and "labels" not in outputs[2]
    assert outputs[1]["labels"] == str(tmp_path / "b.labels.json")
    assert [Path(o["segmentation"]).name for o in outputs] == ["a.seg.nrrd", "a.seg.nrrd", "c.stl"]


def test_every_kind_of_prompt_file_at_once(scene: Path, tmp_path: Path) -> None:
    done = pwseg(
        *("segment", scene / "image.nii.gz", "-o", tmp_path / "out.nii.gz", "--allow-overlap"),
        *("--points", f"a={scene / 'inside.mrk.json'}", "--negative-points", f"a={scene / 'outside.mrk.json'}"),
        *("--box", f"a={scene / 'box.mrk.json'}", "--curves", f"a={scene / 'curve.mrk.json'}"),
        *("--negative-curves", f"a={scene / 'ring.mrk.json'}", "--scribbles", f"a={scene / 'strokes.nii.gz'}"),
    )
    assert done.returncode == 0, done.stderr
    assert "a " in done.stdout
    truth = read_volume(scene / "truth.nii.gz").array > 0
    assert dice(read_volume(tmp_path / "out.nii.gz").array == 1, truth) > 0.7
    assert json.loads((tmp_path / "out.labels.json").read_text()) == {"a": 1}


def test_several_segments_in_the_order_named(scene: Path, tmp_path: Path) -> None:
    center = (AFFINE @ [*(0.5 * np.array(SHAPE) - 0.5), 1])[:3]
    tissue = markups(tmp_path / "tissue.mrk.json", "Fiducial", shifted(center, 18))
    maps = tmp_path / "p.nii.gz"
    done = pwseg(
        *("segment", scene / "image.nii.gz", "-o", tmp_path / "out.nrrd", "--probability", maps, "--json"),
        *("--points", f"the tissue={tissue}", "--points", f"lesion={scene / 'inside.mrk.json'}"),
    )
    assert done.returncode == 0, done.stderr
    assert [(s["name"], s["label"]) for s in json.loads(done.stdout)["segments"]] == [("the tissue", 1), ("lesion", 2)]
    assert json.loads((tmp_path / "out.labels.json").read_text()) == {"the tissue": 1, "lesion": 2}
    assert sorted(p.name for p in tmp_path.glob("p.*")) == ["p.lesion.nii.gz", "p.the_tissue.nii.gz"]
    labels = read_volume(tmp_path / "out.nrrd").array
    assert labels[28, 24, 20] == 2


def test_the_same_seed_gives_the_same_file(scene: Path, tmp_path: Path) -> None:
    for name in ("a.nrrd", "b.nrrd"):
        args = ("--prompts", scene / "prompts.json", "--seed", 3, "--quiet")
        assert pwseg_process("segment", scene / "image.nii.gz", *args, "-o", tmp_path / name).stdout == ""
    assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()


# ---- refusals ---------------------------------------------------------------------------------------------------


def test_a_refusal_of_the_process(tmp_path: Path) -> None:
    done = pwseg_process("info", tmp_path / "none")
    assert "no file or folder" in one_sentence(done.returncode, done.stdout, done.stderr)


def test_bad_input_is_refused_with_one_sentence(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, prompts, out = scene / "image.nii.gz", ("--prompts", scene / "prompts.json"), ("-o", tmp_path / "o.nii.gz")
    far = markups(tmp_path / "far.mrk.json", "Fiducial", (900, 0, 0))
    inside, box = scene / "inside.mrk.json", scene / "box.mrk.json"
    dicom = ("-o", tmp_path / "o.seg.dcm")
    for said, *args in [
        ("no file or folder", tmp_path / "none.nii.gz", *prompts, *out),
        ("There are no prompts", image, *out),
        ("unknown ending", image, *prompts, "-o", tmp_path / "o.png"),
        ("no name before its ending", image, *prompts, "-o", tmp_path / ".stl"),
        ("Cannot read the label names", image, *prompts, *out, "--labels", tmp_path / "none.json"),
        # Before the image is read, which is not there.
        ("There is no segment 'nobody'", tmp_path / "none.nii.gz", *prompts, *out, "--priority", "nobody"),
        ("use 1 to 64 characters", tmp_path / "none.nii.gz", "--points", f"{65 * 'a'}={inside}", *dicom),
        ("unknown ending", image, *prompts, *out, "--probability", tmp_path / "p.seg.png"),
        ("is a folder", image, *prompts, "-o", dotted_folder(tmp_path)),
        ("is no folder", image, *prompts, "-o", far / "o.nii.gz"),
        ("is also the image itself", image, *prompts, "-o", image),
        ("is also --output", image, *prompts, *out, "--uncertainty", tmp_path / "o.nii.gz"),
        ("Cannot read the prompts", image, "--prompts", tmp_path / "none.json", *out),
        ("Cannot read the markups", image, "--points", f"a={tmp_path / 'none.mrk.json'}", *out),
        ("something else than points", image, "--points", f"a={box}", *out),
        ("something else than a ROI", image, "--box", f"a={inside}", *out),
        ("outside the volume", image, "--points", f"a={far}", *out),
        ("only negative prompts", image, "--negative-points", f"a={inside}", *out),
        ("only hold 0", image, "--scribbles", f"a={image}", *out),
        ("device 'tpu'", image, *prompts, *out, "--device", "tpu"),
    ]:
        code = main(["segment", *map(str, args)])
        assert said in one_sentence(code, *capsys.readouterr())
    assert not (tmp_path / "o.nii.gz").exists()


def test_a_segment_without_prompts_is_refused_and_no_value_is_shifted(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((scene / "prompts.json").read_text(encoding="utf-8"))
    document["segments"].insert(0, {"name": "liver", "points": []})
    (tmp_path / "empty.json").write_text(json.dumps(document), encoding="utf-8")
    words = [scene / "image.nii.gz", "--prompts", tmp_path / "empty.json", "-o", tmp_path / "o.nii.gz", "--quiet"]
    code = main(["segment", *map(str, words)])
    assert "Segment 'liver' has no prompts" in one_sentence(code, *capsys.readouterr())
    assert not (tmp_path / "o.nii.gz").exists()
    # Its prompts may come from another file, and its place is kept.
    more = markups(tmp_path / "liver.mrk.json", "Fiducial", (AFFINE @ [5, 5, 5, 1])[:3])
    assert main(["segment", *map(str, words), "--points", f"liver={more}"]) == 0
    assert json.loads((tmp_path / "o.labels.json").read_text()) == {"liver": 1, "lesion": 2}


def dotted_folder(tmp_path: Path) -> Path:
    (tmp_path / "folder.nii.gz").mkdir()
    return tmp_path / "folder.nii.gz"


@pytest.mark.parametrize(
    "args",
    [
        ("segment",),
        ("segment", "a.nii.gz"),
        ("segment", "a.nii.gz", "-o", "o.nrrd", "--points", "no-name.mrk.json"),
        ("segment", "a.nii.gz", "-o", "o.nrrd", "--finetune", "-3"),
        ("segment", "a.nii.gz", "-o", "o.nrrd", "--samples", "two"),
        ("nonsense",),
    ],
)
def test_bad_arguments_exit_with_2_and_a_hint(args: tuple[str, ...]) -> None:
    done = pwseg(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_sentence(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "out.nii.gz"))

    monkeypatch.setattr(nibabel, "save", full_disk)
    args = ["segment", scene / "image.nii.gz", "--prompts", scene / "prompts.json", "-o", tmp_path / "out.nii.gz"]
    assert main([*map(str, args), "--quiet"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_nothing_half_written(scene: Path, tmp_path: Path, sent: int, code: int) -> None:
    out = tmp_path / "out.seg.nrrd"
    out.write_bytes(b"old")
    # A signal can be answered from the moment the program itself runs; then torch is still to be loaded.
    ready = (
        "import sys; from PWSegmentationLib.commandline.main import main; print('ready', flush=True); sys.exit(main())"
    )
    arguments = ("segment", scene / "image.nii.gz", "--prompts", scene / "prompts.json", "-o", out)
    command = [sys.executable, "-c", ready, *map(str, arguments)]
    process = popen(command)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(sent)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert "Traceback" not in said
    assert out.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.seg.nrrd"]


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("instead", ["pass", "raise ValueError('of no meaning') from None"])
def test_stopping_is_heeded_though_compiled_code_drops_it(sent: int, code: int, instead: str) -> None:
    # As a callback of compiled code does with what is raised in it; the command then goes on, or fails otherwise.
    program = f"""
import sys, time
from PWSegmentationLib.commandline import info, main
def run(args):
    print("ready", flush=True)
    try:
        time.sleep(60)
    except BaseException:
        {instead}
    time.sleep(60)
info.run = run
sys.exit(main.main(["info", "image.nii.gz"]))
"""
    process = popen([sys.executable, "-c", program])
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sent)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (code, "pwseg: stopped.\n")


# ---- info -------------------------------------------------------------------------------------------------------


def test_info(scene: Path) -> None:
    said = pwseg("info", scene / "image.nii.gz").stdout
    assert "56 × 48 × 40 voxels" in said
    assert "LAS" in said
    assert "left-handed" in said
    facts = json.loads(pwseg("info", scene / "image.nii.gz", "--json").stdout)
    assert facts["shape"] == list(SHAPE)
    assert facts["spacing_mm"] == [1, 1, 1.5]
    assert facts["dtype"] == "float32"


# ---- names of map files -----------------------------------------------------------------------------------------


def test_map_names_never_collide() -> None:
    assert map_paths(Path("x/p.nii.gz"), ["liver"]) == {"liver": Path("x/p.nii.gz")}
    names = ["left lung", "left/lung", "Left lung", "..", "Milz ü"]
    paths = map_paths(Path("x/p.nii.gz"), names)
    assert list(paths) == names
    assert len({str(p).lower() for p in paths.values()}) == len(names)
    assert all(p.parent == Path("x") for p in paths.values())
    assert paths["left lung"].name == "p.left_lung.nii.gz"


def test_long_names_fit_into_file_names(tmp_path: Path) -> None:
    names = ["x" * 300, "x" * 299 + "y", "脾" * 200]
    paths = map_paths(tmp_path / "p.nii.gz", names)
    for path in paths.values():
        path.write_bytes(b"")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_small_volume_is_not_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    affine = np.diag([0.05, 0.05, 0.05, 1.0])
    image, _, center = bright_ellipsoid((40, 36, 32), affine, (0.4, 0.4, 0.4))
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "mouse.nii.gz")
    prompts = PromptSet().with_prompt("nodule", Point(tuple(center)))
    write_prompts(prompts, tmp_path / "p.json")
    words = [tmp_path / "mouse.nii.gz", "--prompts", tmp_path / "p.json", "-o", tmp_path / "o.nii.gz"]
    assert main(["segment", *map(str, words)]) == 0
    shown = next(line for line in capsys.readouterr().out.splitlines() if "nodule" in line).split()
    assert float(shown[2]) == pytest.approx(4 / 3 * np.pi * 0.4**3 / 1000, rel=0.3)
