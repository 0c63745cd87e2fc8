"""``pwseg predict``: images in, labelmaps out, by a trained model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PWSegmentationLib.commandline.file_checks import (
    NamedFile,
    check_files,
    given,
    image_files,
    map_files,
    model_files,
)
from PWSegmentationLib.commandline.progress_bar import progress_bar
from PWSegmentationLib.errors import InputError

if TYPE_CHECKING:
    from PWSegmentationLib.cases.case_files import CaseFiles
    from PWSegmentationLib.prediction.trained_model import TrainedModel, VolumeSegmentation


_MAPS = ("entropy", "variance", "mutual_information")


def add_to(subparsers: Any) -> None:
    """Add the subcommand's parser."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "predict",
        help="segment images with a trained model",
        description="Segment an image, or every image of a folder, and write labelmaps on the images' own grids.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", type=Path, help="a folder that `pwseg train` wrote, or .safetensors")
    text = "an image, a DICOM folder, or a folder of images, of DICOM folders or of cases"
    parser.add_argument("images", metavar="FOLDER_OR_IMAGE", type=Path, help=text)
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="folder for the files")
    text = "prompts (pwseg-prompts JSON) for a model that takes them; one image only"
    parser.add_argument("--prompts", metavar="FILE", type=Path, help=text)
    parser.add_argument("--probability", action="store_true", help="also write the probability of each structure")
    text = "also write entropy, variance and mutual information of each structure"
    parser.add_argument("--uncertainty", action="store_true", help=text)
    text = "leave the largest connected part of each structure"
    parser.add_argument("--largest-only", action="store_true", help=text)
    parser.add_argument("--samples", metavar="K", type=int, default=6, help="stochastic passes (default: 6; 0: none)")
    text = "all of them also in windows where the first ones leave no doubt"
    parser.add_argument("--all-samples", action="store_true", help=text)
    parser.add_argument("--overlap", metavar="SHARE", type=float, default=0.5, help="of windows (default: 0.5)")
    parser.add_argument("--precision", choices=("auto", "off", "bf16", "fp16"), default="auto")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of the stochastic passes (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars and no report")


def run(args: argparse.Namespace) -> None:
    """Segment image after image."""
    from PWSegmentationLib.networks.device import choose_device
    from PWSegmentationLib.prediction.trained_model import TrainedModel

    if not 0 <= args.overlap < 1 or args.samples < 0:
        raise InputError("--overlap takes a share from 0 to below 1, and --samples a whole number from 0.")
    images = find_images(args.images)
    if args.prompts and len(images) > 1:
        raise InputError("--prompts belong to one image: give that image, not a folder.")
    model = TrainedModel.load(args.model, choose_device(args.device))
    _check_files(args, images, model.structures)
    for name, image in images.items():
        found = _segment(model, image, args)
        _write(found, args.output, name, args)
        if not args.quiet:
            print(f"{name}: {found.cost}")


def find_images(path: Path) -> dict[str, Path]:
    """The image ``path``, or those in it, by the stem of what is written for them."""
    from PWSegmentationLib.volume.reading import IMAGE_ENDINGS

    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")

    def stem(file: Path) -> str:
        ending = next((e for e in IMAGE_ENDINGS if file.name.endswith(e)), "")
        return file.name[: len(file.name) - len(ending)]

    if path.is_file():
        return {stem(path): path}
    files = sorted(p for p in path.iterdir() if p.name.endswith(IMAGE_ENDINGS))
    if not files:
        cases = {c.name: c.image for c in _cases_in(path) if not c.problem}
        if cases:
            return cases
        folders = sorted(p for p in path.iterdir() if p.is_dir() and any(f.is_file() for f in p.iterdir()))
        files = [path] if any(p.is_file() for p in path.iterdir()) else folders
    if not files:
        raise InputError(f"There is no image in {path}: give a folder of {', '.join(IMAGE_ENDINGS)} or DICOM files.")
    names = [stem(f) for f in files]
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise InputError(f"Two images in {path} are called '{twice[0]}': rename one, or segment them one by one.")
    return dict(zip(names, files, strict=True))


def _cases_in(folder: Path) -> list[CaseFiles]:
    """The cases of a folder that models are trained on; none in one of DICOM files."""
    from PWSegmentationLib.cases.folders import find_cases

    return find_cases(folder) if any(p.is_dir() for p in folder.iterdir()) else []


def _check_files(args: argparse.Namespace, images: Mapping[str, Path], structures: Mapping[str, int]) -> None:
    """Raise `InputError` if what is written for an image would replace a file that is read, or leave a wrong table."""
    from PWSegmentationLib.export.labelmaps import check_table

    kinds = [*(["probability"] if args.probability else []), *(_MAPS if args.uncertainty else ())]
    written = []
    for name in images:
        written += [NamedFile(args.output / f"{name}{ending}", "--output") for ending in (".nii.gz", ".labels.json")]
        for kind in kinds:
            written += map_files(args.output / f"{name}.{kind}.nii.gz", list(structures), f"a map of '{name}'")
    read = [file for image in images.values() for file in image_files(image, None, written)]
    check_files([*read, *given(args.prompts, "--prompts"), *model_files(args.model)], written)
    for name in images:
        check_table(args.output / f"{name}.nii.gz", structures)


def _segment(model: TrainedModel, image: Path, args: argparse.Namespace) -> VolumeSegmentation:
    from PWSegmentationLib.prompts.json_format import read_prompts
    from PWSegmentationLib.volume.reading import read_volume

    with progress_bar(image.name, quiet=args.quiet) as progress:
        return model.segment(
            read_volume(image),
            prompts=read_prompts(args.prompts) if args.prompts else None,
            draws=args.samples,
            seed=args.seed,
            overlap=args.overlap,
            precision=args.precision,
            all_draws=args.all_samples,
            progress=progress,
        )


def _write(found: VolumeSegmentation, folder: Path, name: str, args: argparse.Namespace) -> None:
    """The labelmap with the names of its values, and the maps asked for."""
    from PWSegmentationLib.export.maps import map_paths
    from PWSegmentationLib.files import replacing
    from PWSegmentationLib.volume.writing import write_image

    grid = found.prepared.canonical.source
    write_image(found.labels(largest_only=args.largest_only), grid, folder / f"{name}.nii.gz")
    with replacing(folder / f"{name}.labels.json") as temporary:
        temporary.write_text(json.dumps(found.structures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    kinds: Sequence[str] = ("probability",) if args.probability else ()
    kinds = (*kinds, *(_MAPS if args.uncertainty else ()))
    for kind in kinds:
        paths = map_paths(folder / f"{name}.{kind}.nii.gz", list(found.structures))
        for structure, path in paths.items():
            write_image(found.map(kind, structure), grid, path)
