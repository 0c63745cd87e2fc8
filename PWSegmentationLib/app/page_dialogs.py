"""Dialogs of the page: open an image, download what was made, and help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from PWSegmentationLib.app.exporting import NOTHING
from PWSegmentationLib.app.shortcuts import Shortcut

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

MOUSE = (
    ("Wheel", "Next slice"),
    ("Ctrl + wheel, or right button", "Zoom"),
    ("Shift + left, or middle button", "Move the image"),
    ("Left button, no tool", "Window and level; drag points and box handles"),
    ("Handles where slices cross", "Turn and move the other slices: oblique ones"),
    ("Shift + move", "Show the same place in all views"),
)

# Rows of the download dialog: what they are about, what can be chosen (kind and word), and what is to be known of it.
EXPORTS = (
    (
        "3D Slicer",
        (("segmentation", ".seg.nrrd"), ("scene", "Whole scene .mrb")),
        "Names, colours and status; the scene has the image and the prompts, too.",
    ),
    (
        "Labelmap",
        (("nifti", "NIfTI"), ("nrrd", "NRRD")),
        "A number for each segment on the image's grid; names and colours beside it.",
    ),
    ("DICOM", (("dicom", "Segmentation"),), "Belongs to the series that was opened, and to its patient."),
    ("Surfaces", (("stl", "STL"), ("obj", "OBJ"), ("ply", "PLY")), "A file for each segment, in mm."),
    ("Maps", (("probability", "Probability"), ("uncertainty", "Uncertainty")), "NIfTI, a file for each segment."),
    ("Review", (("report", "Report .html"),), "One page with pictures, measures, flags and comments; it prints."),
    ("Prompts", (("prompts", "JSON"),), "For pwseg segment, or to be dropped on this page again."),
)


def build_open(place: Workplace) -> None:
    """Open by upload, by path, or the sample."""
    with (
        v3.VDialog(v_model=("open_dialog",), max_width=560),
        v3.VCard(classes="pw-dialog", data_test="open-dialog"),
    ):
        v3.VCardTitle("Open an image")
        with v3.VCardText():
            with html.Div(classes="pw-drop"):
                html.Div("Drop a file, a DICOM folder or a zip of one here, or choose:", classes="mb-2")
                with html.Div(classes="pw-row"):
                    with html.Label("File or zip", classes="pw-file"):
                        html.Input(
                            type="file",
                            accept=".nii,.gz,.nrrd,.mha,.mgz,.mgh,.dcm,.zip,.json",
                            data_test="upload-file",
                        )
                    with html.Label("DICOM folder", classes="pw-file"):
                        html.Input(
                            type="file",
                            webkitdirectory="",
                            data_test="upload-folder",
                        )
                html.Div("{{ upload_text }}", v_if=("upload_text",), classes="pw-faint mt-2", data_test="upload-text")
            with html.Div(classes="pw-row mt-4", v_if=("open_by_path",)):
                v3.VTextField(
                    v_model=("open_path",),
                    label="Path on the computer that runs PWSegmentation",
                    density="compact",
                    variant="outlined",
                    hide_details=True,
                    data_test="path",
                )
                v3.VBtn("Open", click=(place.open_path, "[open_path]"), variant="tonal", data_test="open-path")
            with (
                html.Div(classes="pw-list mt-2", v_if=("open_list.length",)),
                html.Button(
                    "{{ name }}",
                    v_for="name in open_list",
                    key="name",
                    click=(place.open_path, "[name]"),
                    classes="pw-list-item",
                ),
            ):
                pass
            html.Div("{{ opening_text }}", v_if=("opening",), classes="pw-faint mt-3")
            v3.VProgressLinear(indeterminate=True, v_if=("opening",), classes="mt-2", color="primary")
            html.Div(
                "{{ open_error }}",
                v_if=("open_error && !opening",),
                classes="pw-error mt-3",
                role="alert",
                data_test="open-error",
            )
            html.Div(
                "The image that is open, and what was made on it, is closed: download it first.",
                v_if=("image && segments.length",),
                classes="pw-faint mt-3",
            )
        with v3.VCardActions():
            v3.VBtn("Sample: chest CT", click=place.open_sample, prepend_icon="mdi-lungs", data_test="dialog-sample")
            v3.VSpacer()
            v3.VBtn("Close", click="open_dialog = false", data_test="close-open")


def build_export() -> None:
    """Choose formats; what cannot be had now says why."""
    with (
        v3.VDialog(v_model=("export_dialog",), max_width=620),
        v3.VCard(classes="pw-dialog", data_test="export-dialog"),
    ):
        v3.VCardTitle("Download")
        with v3.VCardText():
            for name, choices, text in EXPORTS:
                _build_export_row(name, choices, text)
            with html.Label(classes="pw-check mt-3", title="FILE.provenance.json beside each file of segments"):
                html.Input(type="checkbox", v_model=("export_provenance",), data_test="export-provenance")
                html.Span("With provenance: versions, settings, prompts and digests; nothing of the patient")
            nothing = f"Object.values(export_problems).includes({NOTHING!r}) ? {NOTHING!r} : ''"
            html.Div(
                f"{{{{ export_error || ({nothing}) }}}}",
                v_if=("!exporting",),
                classes="pw-error mt-3",
                role="alert",
                data_test="export-error",
            )
        with v3.VCardActions():
            html.Span("{{ export_text }}", v_if=("exporting",), classes="pw-faint ml-3")
            v3.VSpacer()
            v3.VBtn("Close", click="export_dialog = false", data_test="close-export")
            v3.VBtn(
                "Download",
                color="primary",
                variant="flat",
                prepend_icon="mdi-tray-arrow-down",
                loading=("exporting",),
                disabled=("!export_kinds.some(k => !export_problems[k])",),
                title="One file as it is, several as a zip",
                data_test="export",
            )


def _build_export_row(name: str, choices: Sequence[tuple[str, str]], text: str) -> None:
    kinds = [kind for kind, _word in choices]
    # Why the first of them cannot be had takes the place of what is to be known of it; that there is nothing at all is
    # said once for all rows.
    first = " || ".join(f"export_problems['{kind}']" for kind in kinds)
    problem = f"[{first}].find(p => p && p !== {NOTHING!r})"
    with html.Div(classes="pw-export"):
        html.Span(name, classes="pw-export-name")
        with html.Div():
            with html.Div(classes="pw-row"):
                for kind, word in choices:
                    with html.Label(classes=(f"export_problems['{kind}'] ? 'pw-check pw-off' : 'pw-check'",)):
                        html.Input(
                            type="checkbox",
                            value=kind,
                            v_model=("export_kinds",),
                            disabled=(f"!!export_problems['{kind}']",),
                            data_test=f"export-{kind}",
                        )
                        html.Span(word)
                if "probability" in kinds:
                    html.Div(classes="pw-stretch")
                    with html.Label(classes="pw-check", title="Whole numbers to 255 instead of fractions to 1"):
                        html.Input(type="checkbox", v_model=("export_eight_bit",), data_test="export-eight-bit")
                        html.Span("8-bit", classes="pw-faint")
            html.Div(
                f"{{{{ {problem} || {text!r} }}}}",
                classes=(f"{problem} ? 'pw-faint pw-warn' : 'pw-faint'",),
                data_test=f"export-note-{kinds[0]}",
            )


def build_help(shortcuts: Sequence[Shortcut]) -> None:
    """Keys and mouse."""
    with (
        v3.VDialog(v_model=("help_dialog",), max_width=640),
        v3.VCard(classes="pw-dialog", data_test="help-dialog"),
    ):
        v3.VCardTitle("Keys and mouse")
        with v3.VCardText(), html.Div(classes="pw-help"):
            for rows in ([(s.key, s.name) for s in shortcuts], list(MOUSE)):
                with html.Table():
                    for key, name in rows:
                        with html.Tr():
                            html.Td(key, classes="pw-key")
                            html.Td(name)
        with v3.VCardActions():
            v3.VSpacer()
            v3.VBtn("Close", click="help_dialog = false")
