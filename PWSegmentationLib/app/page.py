"""The page: what is where. What it shows are variables of `page_state`; what it does are methods of the workplace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v3

from PWSegmentationLib.app.page_dialogs import build_export, build_help, build_open
from PWSegmentationLib.app.page_elements import button, icon_button, part_of, slider
from PWSegmentationLib.app.page_panel import build_panel
from PWSegmentationLib.app.shortcuts import KEYS, SHORTCUTS
from PWSegmentationLib.app.slice_mouse import View
from PWSegmentationLib.app.views import NAMES, SLICE_VIEWS, Server

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

STATIC = Path(__file__).parent / "static"


class Page:
    """Builds the page of one workplace."""

    def __init__(self, server: Server, place: Workplace) -> None:
        self._server = server
        self._place = place
        files = {"scripts": ["pwseg/page.js"], "styles": ["pwseg/page.css"]}
        server.enable_module({"serve": {"pwseg": str(STATIC)}, **files})
        server.state.trame__title = "PWSegmentation"
        server.state.trame__favicon = "pwseg/icon.svg"
        self._connect()

    def _connect(self) -> None:
        """Keys, and variables that the user changes in the page."""
        server, place = self._server, self._place
        # Whoever reloads the page wants it mended.
        server.controller.add_task("on_client_connected")(place.try_again)

        @server.trigger("pwseg_key")
        def on_key(key: str) -> None:
            if key in KEYS:
                KEYS[key].call(place)

        def on_change(name: str, call: Callable[[Any], object]) -> None:
            server.state.change(name)(lambda **values: call(values[name]))

        def number(call: Callable[[float], object]) -> Callable[[Any], None]:
            def checked(value: Any) -> None:
                try:
                    call(float(value))
                except (TypeError, ValueError):
                    return

            return checked

        def keep(name: str, kind: Callable[[Any], Any]) -> Callable[[Any], None]:
            def put(value: Any) -> None:
                try:
                    setattr(place.settings, name, kind(value))
                except (TypeError, ValueError):
                    return
                place.on_saved()

            return put

        def seconds(value: Any) -> None:
            keep("refine_seconds", lambda v: min(600, max(5, int(v))))(value)
            # Whatever was typed: these are what it will take.
            place.state.set(refine_seconds=place.settings.refine_seconds)

        set_window = part_of(place, "window", "set")
        on_change("brush", keep("brush_mm", lambda v: min(30.0, max(0.5, float(v)))))
        on_change("auto_segment", keep("auto_segment", bool))
        on_change("many_lesions", keep("many_lesions", bool))
        on_change("refine_seconds", seconds)
        on_change("window", lambda v: set_window(v, server.state.level))
        on_change("level", lambda v: set_window(server.state.window, v))
        on_change("overlay_opacity", number(place.set_overlay_opacity))
        on_change("fill", number(part_of(place, "appearance", "set_fill")))
        on_change("fill", lambda _: place.on_saved())

    # ---- build -----------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Put all elements into the page."""
        config = {"theme": {"defaultTheme": "dark"}}
        with VAppLayout(self._server, vuetify_config=config, theme="dark") as layout:
            layout.root.classes = "pw-app"
            with html.Div(classes="pw-frame"):
                self._build_bar()
                with html.Div(classes="pw-middle"):
                    build_panel(self._place)
                    self._build_views()
                self._build_status()
            self._build_warnings()
            build_open(self._place)
            build_export()
            build_help(SHORTCUTS)

    def _build_bar(self) -> None:
        place = self._place
        with html.Div(classes="pw-bar"):
            html.Img(src="pwseg/icon.svg", classes="pw-icon", alt="")
            html.Span("PWSegmentation", classes="pw-brand")
            button("open", "mdi-folder-open-outline", "Open", "Open an image", "open_dialog = true")
            tip = "`${image.name}: ${image.size} voxels, ${image.spacing}`"
            with html.Div(classes="pw-image", v_if=("image",), title=(tip,)):
                html.Span("{{ image.name }}", classes="pw-image-name", data_test="image-name")
                html.Span("{{ image.size }} · {{ image.spacing }}", classes="pw-faint")
            html.Div(classes="pw-stretch")
            with html.Div(classes="pw-group", v_if=("image",)):
                with html.Select(
                    classes="pw-select",
                    title="Range of values to show",
                    change=(part_of(place, "window", "choose"), "[$event.target.value]"),
                    data_test="window-preset",
                ):
                    html.Option("{{ name }}", v_for="name in windows", value=("name",), key="name")
                for name, text in (("window", "W"), ("level", "L")):
                    html.Span(text, classes="pw-faint")
                    html.Input(
                        type="number",
                        classes="pw-number",
                        v_model_lazy=(name,),
                        title=f"{name.capitalize()}; or drag in a slice with no tool chosen",
                        data_test=name,
                    )
            with html.Div(classes="pw-group", v_if=("image",)):
                for layout, icon in (
                    ("four", "mdi-view-grid-outline"),
                    *((tag, f"mdi-alpha-{name[0].lower()}-box-outline") for tag, name in SLICE_VIEWS.items()),
                    ("ThreeD", "mdi-cube-outline"),
                ):
                    text = "Four views" if layout == "four" else f"{NAMES[layout]} view only"
                    icon_button(
                        f"layout-{layout}", icon, text, (place.choose_layout, f"['{layout}']"), f"layout === '{layout}'"
                    )
                icon_button(
                    "crossings",
                    "mdi-crosshairs",
                    "Show where slices cross, with handles to turn and move them",
                    (place.choose_crossings, "[!crossings]"),
                    "crossings",
                )
                icon_button("reset", "mdi-fit-to-page-outline", "Show the whole image, straight", place.reset_views)
            button(
                "download",
                "mdi-tray-arrow-down",
                "Download",
                "Files of what was made here",
                place.open_export,
                v_if=("image",),
            )
            icon_button("help", "mdi-keyboard-outline", "Keys and mouse", "help_dialog = true")
            with html.Button(
                classes="pw-mini",
                title="End session: delete the image and all that was made here from the server",
                aria_label="End session",
                data_test="end-session",
            ):
                v3.VIcon("mdi-logout", size="18")

    def _build_views(self) -> None:
        with html.Div(classes=("'pw-views ' + (layout === 'four' ? 'pw-four' : 'pw-one')",)):
            for tag in NAMES:
                with html.Div(
                    classes="pw-view",
                    v_if=(f"layout === 'four' || layout === '{tag}'",),
                    id=f"view-{tag}",
                    data_view=tag,
                    role="group",
                    aria_label=f"{NAMES[tag]} view",
                    key=tag,
                ):
                    client.ServerTemplate(name=tag)
            with html.Div(classes="pw-empty", v_if=("!image",)), html.Div(classes="pw-empty-box"):
                html.Div("Segment CT and MR from a few clicks", classes="pw-empty-title")
                html.Div(
                    "Open a NIfTI, NRRD or MHA file or a DICOM series, or drop it here. "
                    "Nothing leaves the computer that runs this program.",
                    classes="pw-empty-text",
                )
                with html.Div(classes="pw-empty-buttons"):
                    v3.VBtn(
                        "Open an image",
                        click="open_dialog = true",
                        prepend_icon="mdi-folder-open-outline",
                        color="primary",
                        variant="flat",
                        data_test="empty-open",
                    )
                    v3.VBtn(
                        "Sample: chest CT",
                        click=self._place.open_sample,
                        prepend_icon="mdi-lungs",
                        variant="tonal",
                        loading=("opening",),
                        data_test="sample",
                    )
                html.Div("{{ opening_text }}", v_if=("opening",), classes="pw-faint")
                html.Div("{{ open_error }}", v_if=("open_error && !opening",), classes="pw-error", role="alert")

    def _build_warnings(self) -> None:
        """What must not be overlooked, for as long as it is so."""
        with html.Div(classes="pw-warnings"):
            html.Div("{{ unsaved }}", v_if=("unsaved",), role="alert", data_test="unsaved")
            with html.Div(v_if=("unrestored",), role="alert", data_test="unrestored"):
                html.Span("{{ unrestored }}")
                html.Button("Try again", v_if=("unrestored_again",), click=self._place.try_again, data_test="try-again")
                html.Button("OK", v_if=("!unrestored_again",), click="unrestored = ''", data_test="warning-read")

    def _build_status(self) -> None:
        with html.Div(classes="pw-status"):
            v3.VIcon("mdi-alert-circle-outline", size="16", v_if=("message_is_error",), color="warning")
            html.Span(
                "{{ message }}",
                classes=("message_is_error ? 'pw-message pw-error' : 'pw-message'",),
                title=("message",),
                data_test="message",
                role="status",
            )
            html.Div(classes="pw-stretch")
            html.Span("Research software, not a medical device", classes="pw-faint")

    def fill_view(self, tag: str, view: View) -> None:
        """Put name, letters and slider over a view."""
        place = self._place
        html.Div(NAMES[tag], classes="pw-view-name")
        with html.Div(classes="pw-view-buttons"):
            if tag in SLICE_VIEWS:
                for axis, icon in (
                    ("vertical", "mdi-axis-y-rotate-clockwise"),
                    ("horizontal", "mdi-axis-x-rotate-clockwise"),
                ):
                    icon_button(
                        f"turn-{axis}-{tag}",
                        icon,
                        f"Turn this slice by 15° about its {axis}: an oblique slice",
                        (place.turn_slice, f"['{tag}', '{axis}']"),
                    )
            icon_button(
                f"maximise-{tag}",
                "mdi-arrow-expand",
                "Only this view, or all four",
                (place.choose_layout, f"[layout === 'four' ? '{tag}' : 'four']"),
            )
        if tag not in SLICE_VIEWS:
            return
        state = f"slice_{tag}"
        for side in ("left", "right", "up", "down"):
            html.Div("{{ " + f"{state}.{side}" + " }}", classes=f"pw-letter pw-{side}", v_if=("image",))
        with html.Div(classes="pw-slider", v_if=(f"image && {state}.high > {state}.low",)):
            slider(
                f"Which {NAMES[tag].lower()} slice",
                ((f"{state}.low",), (f"{state}.high",), (f"{state}.step",)),
                value=(f"{state}.offset",),
                input=(place.set_offset, f"['{tag}', Number($event.target.value)]"),
                data_test=f"slider-{tag}",
            )
            html.Span("{{ " + f"{state}.offset" + ".toFixed(1) }} mm", classes="pw-offset")
