"""Dialogs of the page: open an image, and help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from PWSegmentationLib.app.shortcuts import Shortcut

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

MOUSE = (
    ("Wheel", "Next slice"),
    ("Ctrl + wheel, or right button", "Zoom"),
    ("Shift + left, or middle button", "Move the image"),
    ("Left button, no tool", "Window and level; drag points and box handles"),
    ("Shift + move", "Show the same place in all views"),
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
                            accept=".nii,.gz,.nrrd,.mha,.mgz,.mgh,.dcm,.zip",
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
