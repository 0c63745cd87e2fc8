"""``pwseg segment``: an image and prompts in, files out."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib import __version__
from PWSegmentationLib.commandline.export_options import (
    add_export_options,
    label_table,
    priority_of,
    source_files,
    write_all,
)
from PWSegmentationLib.commandline.file_checks import (
    NamedFile,
    check_files,
    check_writable,
    given,
    image_files,
    map_files,
    model_files,
    output_files,
    prompt_files,
)
from PWSegmentationLib.commandline.progress_bar import progress_bar
from PWSegmentationLib.commandline.prompt_files import AppendPromptFile, gather

if TYPE_CHECKING:
    from PWSegmentationLib.prediction.prediction import Prediction
    from PWSegmentationLib.prompts.prompts import PromptSet
    from PWSegmentationLib.session.session import Session
    from PWSegmentationLib.volume.volume import Volume

_DESCRIPTION = """\
Segment structures of an image from prompts.

IMAGE is a NIfTI, NRRD or MHA file, a DICOM folder or one of its files. Prompts come as one set (--prompts) or file by
file, as NAME=FILE with the segment's name; options may be repeated and combined, and files of one name add up.
"""

_EPILOG = """\
examples:
  pwseg segment ct.nii.gz --prompts prompts.json -o organs.seg.nrrd
  pwseg segment DICOM_FOLDER --points liver=liver.mrk.json --negative-points liver=not-liver.mrk.json -o liver.nii.gz
  pwseg segment mr.nrrd --scribbles tumour=strokes.nii.gz --finetune 20 -o tumour.seg.nrrd --uncertainty tumour-u.nii.gz
  pwseg segment DICOM_FOLDER --prompts prompts.json -o organs.seg.dcm -o organs.nii.gz --labels table.json
"""


@dataclass
class _Outcome:
    """What a run gave, for the table and for --json."""

    image: str
    device: str
    seed: int
    seconds: dict[str, float] = field(default_factory=dict)
    segments: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "segment",
        help="segment structures from prompts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    parser.add_argument("image", metavar="IMAGE", type=Path, help="image file or DICOM folder")
    parser.add_argument("--series", metavar="N", help="DICOM series number (or UID) where a folder holds several")
    _add_prompt_options(parser.add_argument_group("prompts"))
    _add_output_options(parser.add_argument_group("output"))
    _add_method_options(parser.add_argument_group("method"))


def _add_prompt_options(group: Any) -> None:
    def add(option: str, text: str) -> None:
        group.add_argument(option, metavar="NAME=FILE", dest="files", action=AppendPromptFile, help=text, default=[])

    sets = "a prompt set (pwseg-prompts JSON)"
    group.add_argument("--prompts", metavar="FILE", type=Path, action="append", default=[], help=sets)
    add("--points", "points inside, a Slicer markups file (.mrk.json)")
    add("--negative-points", "points outside, a Slicer markups file")
    add("--box", "a box around the segment, a Slicer ROI (.mrk.json)")
    add("--curves", "strokes inside, Slicer lines or curves (.mrk.json)")
    add("--negative-curves", "strokes outside, Slicer lines or curves")
    add("--scribbles", "a stroke labelmap image: 1 inside, 2 outside, 0 elsewhere")
    group.add_argument(
        "--radius", metavar="MM", type=_positive(float), default=2.0, help="brush radius of curves (default: 2)"
    )


def _add_output_options(group: Any) -> None:
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        type=Path,
        action="append",
        required=True,
        help=".seg.nrrd for a Slicer segmentation, .seg.dcm for a DICOM one; .nii.gz, .nii, .nrrd, .mha for a labelmap "
        "in which segment k has the value k, with side-cars .labels.json and .ctbl; .stl, .obj or .ply for surfaces "
        "(mm); may be repeated; beside it OUT.provenance.json",
    )
    add_export_options(group)
    for option, what in (("--probability", "probability"), ("--uncertainty", "uncertainty (0 certain to 1)")):
        text = f"also write the {what} map; with several segments one file each, STEM.SEGMENT.ENDING"
        group.add_argument(option, metavar="FILE", type=Path, help=text)
    text = "numbers of the maps: float (0 to 1) or 8-bit (0 to 255); default float"
    group.add_argument("--map-type", choices=("float", "8-bit"), default="float", help=text)
    text = "also write the prompts, all in one pwseg-prompts JSON file"
    group.add_argument("--save-prompts", metavar="FILE", type=Path, help=text)
    group.add_argument("--json", action="store_true", help="print the result as JSON and nothing else")
    group.add_argument("--quiet", action="store_true", help="no progress bars and no table")


def _add_method_options(group: Any) -> None:
    group.add_argument(
        "--finetune", metavar="SECONDS", type=_positive(float), help="adapt the network to this case first"
    )
    text = "stochastic passes of the network, averaged (default: 6)"
    group.add_argument("--samples", metavar="K", type=_positive(int), default=6, help=text)
    text = "network (auto): the network on the image-aware label; image-aware or gaussian: that label alone"
    group.add_argument("--method", choices=("auto", "network", "image-aware", "gaussian"), default="auto", help=text)
    text = "a promptable network (.safetensors with its card) to use in place of the one that ships"
    group.add_argument("--model", metavar="FILE", type=Path, help=text)
    group.add_argument("--allow-overlap", action="store_true", help="a voxel may belong to several segments")
    text = "auto, cpu, cuda, cuda:1, ... (default: auto, a GPU when there is one)"
    group.add_argument("--device", default="auto", help=text)
    text = "the same seed gives the same result on the same device (default: 0)"
    group.add_argument("--seed", metavar="N", type=int, default=0, help=text)


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be a positive number, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return parse


def run(args: argparse.Namespace) -> None:
    """Segment, write, report."""
    start = time.perf_counter()
    # What can be refused is refused before the image is read and minutes are spent.
    _check_outputs(args)
    prompts = gather(args.prompts, args.files, args.radius)
    _check_files(args, prompts.names)
    volume = _read(args)
    read = time.perf_counter()
    session, outcome = _session(args, volume, prompts)
    reports = _finetune(session, args)
    predictions = _predict(session, args)
    outcome.seconds = {"reading": read - start, "segmenting": time.perf_counter() - read}
    outcome.outputs = _write(session, predictions, volume, args)
    outcome.seconds["total"] = time.perf_counter() - start
    outcome.segments = [_row(n, k, p, reports) for k, (n, p) in enumerate(predictions.items(), start=1)]
    if args.json:
        print(json.dumps({"version": __version__, **asdict(outcome)}, indent=1, ensure_ascii=False))
    elif not args.quiet:
        print(_table(outcome))


def _check_outputs(args: argparse.Namespace) -> None:
    """Raise `InputError` for outputs that could not be written whatever the prompts are."""
    from PWSegmentationLib.export.writing import ENDINGS, check_installed
    from PWSegmentationLib.volume.writing import IMAGE_ENDINGS, check_ending

    for path in args.output:
        check_installed(check_ending(path, ENDINGS))
    for path in (args.probability, args.uncertainty):
        if path is not None:
            check_ending(path, IMAGE_ENDINGS)
    for path in (*args.output, args.probability, args.uncertainty, args.save_prompts):
        if path is not None:
            check_writable(path)


def _check_files(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise `InputError` if a file that is read would be written over, one written twice, or segments do not fit."""
    from PWSegmentationLib.export.writing import check_segments
    from PWSegmentationLib.segments.segmentation import label_values

    written = [
        *output_files(args.output, names, provenance=True),
        *map_files(args.probability, names, "--probability"),
        *map_files(args.uncertainty, names, "--uncertainty"),
        *given(args.save_prompts, "--save-prompts"),
    ]
    read = [
        *image_files(args.image, args.series, written),
        *prompt_files(args.prompts),
        *(NamedFile(file.path, "a file of prompts") for file in args.files),
        *given(args.labels, "--labels"),
        *model_files(args.model),
    ]
    check_files(read, written)
    check_segments(args.output, label_values(names, label_table(args)), priority_of(args))


def _map_files(args: argparse.Namespace, names: Sequence[str]) -> dict[str, dict[str, Path]]:
    """The files of each kind of map, by segment."""
    from PWSegmentationLib.export.maps import map_paths

    kinds = {"probability": args.probability, "uncertainty": args.uncertainty}
    return {kind: map_paths(path, names) for kind, path in kinds.items() if path is not None}


def _read(args: argparse.Namespace) -> Volume:
    from PWSegmentationLib.volume.reading import read_volume

    with progress_bar("reading the image", quiet=args.quiet) as progress:
        progress(0.0, "reading the image")
        return read_volume(args.image, series=args.series)


def _session(args: argparse.Namespace, volume: Volume, prompts: PromptSet) -> tuple[Session, _Outcome]:
    from PWSegmentationLib.prompts.checks import check_prompts

    check_prompts(prompts, volume.grid, may_overlap=args.allow_overlap)
    from PWSegmentationLib.networks.device import choose_device
    from PWSegmentationLib.session.session import Session

    device = choose_device(args.device)
    session = Session(
        device,
        args.seed,
        method=args.method,
        samples=int(args.samples),
        model=args.model or "",
        allow_overlap=args.allow_overlap,
    )
    session.set_volume(volume)
    session.prompts = prompts
    return session, _Outcome(str(args.image), device, args.seed)


def _finetune(session: Session, args: argparse.Namespace) -> Mapping[str, Any]:
    if args.finetune is None:
        return {}
    with progress_bar("fitting the network", quiet=args.quiet) as progress:
        return session.finetune(args.finetune, progress)


def _predict(session: Session, args: argparse.Namespace) -> dict[str, Prediction]:
    with progress_bar("segmenting", quiet=args.quiet) as progress:
        return session.predictions(progress=progress)


def _write(
    session: Session, predictions: Mapping[str, Prediction], volume: Volume, args: argparse.Namespace
) -> dict[str, Any]:
    from PWSegmentationLib.export.maps import write_map
    from PWSegmentationLib.prompts.json_format import write_prompts
    from PWSegmentationLib.segments.segmentation import Segmentation

    written: dict[str, Any] = {}
    made = Segmentation.of(predictions, volume.grid, values=label_table(args))
    with progress_bar("writing", quiet=args.quiet) as progress:
        progress(0.0, "writing")
        said = session.provenance(by=args.by, dated=args.dated)
        files = write_all(made, args.output, args, said, source_files(args.image, args.series, args.output))
        written["segmentation"] = str(files[0])
        # Only labelmaps have a table of their values.
        if tables := [str(f) for f in files if f.name.endswith(".labels.json")]:
            written["labels"] = tables[0]
        written["files"] = [str(f) for f in files]
        for kind, paths in _map_files(args, list(predictions)).items():
            written[kind] = {name: str(path) for name, path in paths.items()}
            for name, path in paths.items():
                progress(0.5, f"writing {path.name}")
                write_map(getattr(predictions[name], kind), volume.grid, path, eight_bit=args.map_type == "8-bit")
        if args.save_prompts is not None:
            write_prompts(session.prompts, args.save_prompts)
            written["prompts"] = str(args.save_prompts)
    return written


def _row(name: str, label: int, prediction: Prediction, reports: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        "name": name,
        "label": label,
        "voxels": int(prediction.region_mask.sum()),
        "volume_ml": float(f"{prediction.volume_ml:.6g}"),
        "method": prediction.method,
        "seconds": round(prediction.seconds, 3),
    }
    if prediction.note:
        row["note"] = prediction.note
    if name in reports:
        row["finetune"] = asdict(reports[name])
    return row


def _table(outcome: _Outcome) -> str:
    width = max(len("segment"), *(len(s["name"]) for s in outcome.segments))
    lines = [f"{'':>3}  {'segment':<{width}}  {'mL':>10}  {'s':>6}  method"]
    for row in outcome.segments:
        # In a mouse, a lesion is less than a hundredth of a millilitre.
        volume = format(row["volume_ml"], ".2f" if row["volume_ml"] >= 0.1 else ".2g")
        seconds = f"{row['seconds']:.2f}"
        lines.append(f"{row['label']:>3}  {row['name']:<{width}}  {volume:>10}  {seconds:>6}  {row['method']}")
        if "finetune" in row:
            lines.append(f"{'':>5}{row['finetune']['reason']}")
    lines += sorted({row["note"] for row in outcome.segments if "note" in row})
    maps = [files for files in outcome.outputs.values() if isinstance(files, dict)]
    others = [outcome.outputs["prompts"]] if "prompts" in outcome.outputs else []
    written = [*outcome.outputs["files"], *(f for files in maps for f in files.values()), *others]
    lines += [f"wrote {f}" for f in written]
    return "\n".join(lines)
