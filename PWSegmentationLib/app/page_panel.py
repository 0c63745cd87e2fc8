"""The panel on the left: tools, segments, prompts, what is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from PWSegmentationLib.app.page_elements import button, icon_button, part_of, slider
from PWSegmentationLib.app.page_review import build_review
from PWSegmentationLib.app.shortcuts import hint

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

TOOL_BUTTONS = (
    ("inside", "mdi-plus-circle-outline", "Point +", "Click into the structure"),
    ("outside", "mdi-minus-circle-outline", "Point −", "Click where the structure is not"),
    ("box", "mdi-selection", "Box", "Draw a box around the structure, from corner to corner"),
    ("scribble inside", "mdi-draw", "Scribble +", "Draw into the structure"),
    ("scribble outside", "mdi-draw-pen", "Scribble −", "Draw where the structure is not"),
    ("delete", "mdi-eraser", "Delete", "Click on a prompt of the selected segment to delete it"),
)

_COLORS = {"inside": "pw-plus", "outside": "pw-minus", "scribble inside": "pw-plus", "scribble outside": "pw-minus"}


def build_panel(place: Workplace) -> None:
    """All of the panel."""
    with html.Div(classes=("image ? 'pw-panel' : 'pw-panel pw-off'",)):
        with html.Div(classes="pw-choice pw-panes", role="tablist"):
            for name in ("segment", "review"):
                html.Button(
                    name.capitalize(),
                    click=f"pane = '{name}'",
                    classes=(f"pane === '{name}' ? 'pw-on' : ''",),
                    role="tab",
                    aria_selected=(f"pane === '{name}'",),
                    data_test=f"pane-{name}",
                )
        with html.Div(classes="pw-pane", v_show=("pane === 'segment'",)):
            _build_tools(place)
            _build_segments(place)
            _build_prompts(place)
            _build_work(place)
        with html.Div(classes="pw-pane", v_show=("pane === 'review'",)):
            build_review(place)
        _build_overlay(place)
        with html.Div(classes="pw-pane pw-fixed", v_show=("pane === 'segment'",)):
            _build_method(place)


def _build_tools(place: Workplace) -> None:
    with html.Div(classes="pw-tools"):
        for name, icon, text, tip in TOOL_BUTTONS:
            with html.Button(
                click=(place.toggle_tool, f"['{name}']"),
                title=hint(name, tip),
                classes=(f"tool === '{name}' ? 'pw-tool-button pw-on' : 'pw-tool-button'",),
                aria_pressed=(f"tool === '{name}'",),
                data_test=f"tool-{name.replace(' ', '-')}",
            ):
                v3.VIcon(icon, size="20", classes=_COLORS.get(name, ""))
                html.Span(text)
    with html.Div(classes="pw-row pw-line"):
        html.Span("Brush", classes="pw-label")
        slider("Radius of the brush", (0.5, 30, 0.5), v_model_number=("brush",), data_test="brush")
        html.Span("{{ Number(brush).toFixed(1) }} mm", classes="pw-value")


def _build_segments(place: Workplace) -> None:
    with html.Div(classes="pw-heading"):
        html.Span("Segments")
        html.Div(classes="pw-stretch")
        icon_button("add", "mdi-plus", "New segment", part_of(place, "case", "add_segment"))
    with html.Div(classes="pw-table pw-segments", data_test="segments", data_answers=("answers",)):
        html.Div("Click into a structure: its segment appears here.", v_if=("!segments.length",), classes="pw-hint")
        with html.Div(
            v_for="s in segments",
            key="s.id",
            v_memo=("[s.id === current, ...Object.values(s)]",),
            classes=("s.id === current ? 'pw-tr pw-selected' : 'pw-tr'",),
            click=(part_of(place, "case", "select"), "[s.id]"),
            data_test="segment-row",
        ):
            html.Input(
                type="color",
                value=("s.color",),
                change=(part_of(place, "appearance", "set_color"), "[s.id, $event.target.value]"),
                classes="pw-color",
                data_test="segment-color",
                title="Colour",
                aria_label=("'Colour: ' + s.name",),
            )
            html.Input(
                value=("s.name",),
                change=(part_of(place, "case", "rename_segment"), "[s.id, $event.target.value]"),
                keydown="$event.stopPropagation(); if ($event.key === 'Enter') $event.target.blur()",
                classes="pw-name",
                title="Name; type another one",
                aria_label="Name",
                data_test="segment-name",
            )
            html.Span("{{ s.volume }}", classes="pw-value", data_test="segment-volume")
            for test, icon, tip, call in (
                (
                    "visible",
                    "s.visible ? 'mdi-eye-outline' : 'mdi-eye-off-outline'",
                    "Show or hide",
                    part_of(place, "appearance", "toggle_visible"),
                ),
                (
                    "lock",
                    "s.locked ? 'mdi-lock' : 'mdi-lock-open-variant-outline'",
                    "Lock: a locked segment never changes",
                    part_of(place, "case", "toggle_lock"),
                ),
                (
                    "remove",
                    "'mdi-close'",
                    "Remove the segment and its prompts",
                    part_of(place, "case", "remove_segment"),
                ),
            ):
                with html.Button(
                    v_on_click_stop=(call, "[s.id]"),
                    classes=("s.locked && '" + test + "' === 'lock' ? 'pw-mini pw-on' : 'pw-mini'",),
                    title=hint(test, tip),
                    aria_label=(f"'{tip}: ' + s.name",),
                    data_test=f"segment-{test}",
                ):
                    v3.VIcon(icon=(icon,), size="16")
    with html.Div(classes="pw-row pw-line", v_if=("current && segments.some(s => s.id === current)",)):
        html.Span("Opacity", classes="pw-label")
        slider(
            "Opacity of the selected segment, in slices and in 3D",
            (0.05, 1, 0.05),
            value=("segments.find(s => s.id === current).opacity",),
            change=(part_of(place, "appearance", "set_opacity"), "[current, Number($event.target.value)]"),
            data_test="segment-opacity",
        )
        html.Span("Fill", classes="pw-label")
        tip = "How much of the image all segments hide in slices"
        slider(tip, (0, 1, 0.05), v_model_number=("fill",), data_test="fill")


def _build_prompts(place: Workplace) -> None:
    with html.Div(classes="pw-heading"):
        html.Span("Prompts of the segment")
        html.Div(classes="pw-stretch")
        with html.Button(
            "Clear",
            click=place.clear_prompts,
            disabled=("!prompts.length",),
            classes="pw-link",
            title="Delete all prompts of the selected segment",
            data_test="clear-prompts",
        ):
            pass
    with html.Div(classes="pw-table pw-prompts", data_test="prompts"):
        html.Div("None yet.", v_if=("!prompts.length",), classes="pw-hint")
        with html.Div(
            v_for="p in prompts",
            key="p.number",
            classes="pw-tr",
            click=(place.jump_to_prompt, "[p.number]"),
            tabindex="0",
            title="Show this place",
            data_test="prompt",
        ):
            html.Span(
                "{{ p.kind }}",
                classes=("'pw-kind ' + (p.role === 'box' ? 'pw-blue' : p.positive ? 'pw-plus' : 'pw-minus')",),
            )
            html.Span("{{ p.place }}", classes="pw-place")
            with html.Button(
                v_on_click_stop=(place.delete_prompt, "[p.number]"),
                classes="pw-mini",
                title="Delete this prompt",
                aria_label="Delete this prompt",
                data_test="delete-prompt",
            ):
                v3.VIcon("mdi-close", size="16")


def _build_work(place: Workplace) -> None:
    with html.Div(classes="pw-buttons"):
        button(
            "undo",
            "mdi-undo",
            "Undo",
            "Take the last step back: prompts and masks together",
            part_of(place, "case", "undo"),
            disabled=("!can.undo",),
        )
        button(
            "redo",
            "mdi-redo",
            "Redo",
            "Do the step undone last again",
            part_of(place, "case", "redo"),
            disabled=("!can.redo",),
        )
        button(
            "segment",
            "mdi-auto-fix",
            "Segment",
            "Segment from the prompts of the selected segment",
            part_of(place, "case", "segment_now"),
            disabled=("!can.segment",),
        )
        button(
            "spot",
            "mdi-crosshairs-question",
            "Doubt",
            "Next uncertain spot: where a prompt would help most",
            part_of(place, "case", "next_uncertain_spot"),
            disabled=("!can.spot",),
        )
    with html.Div(classes="pw-row pw-line"):
        button(
            "refine",
            "mdi-school-outline",
            "Refine",
            "Fit a network to this case; it is used where it helps",
            part_of(place, "case", "refine"),
            disabled=("!can.refine",),
        )
        html.Input(
            type="number",
            min="5",
            max="600",
            v_model_lazy=("refine_seconds",),
            classes="pw-number",
            title="How long Refine may take, seconds",
            aria_label="Seconds to refine",
            data_test="refine-seconds",
        )
        html.Span("s", classes="pw-faint")
        html.Div(classes="pw-stretch")
        button(
            "cancel",
            "mdi-stop",
            "Cancel",
            "Stop what is computed",
            part_of(place, "case", "cancel"),
            disabled=("!busy",),
        )
    with html.Div(classes="pw-progress", v_if=("busy && busy !== 'overlay'",), data_test="progress"):
        v3.VProgressLinear(
            model_value=("busy_progress",),
            indeterminate=("busy_progress < 1",),
            color="primary",
            height="4",
            data_progress=("busy_progress",),
        )
        html.Span("{{ busy_text }}", classes="pw-faint")
        html.Div(classes="pw-stretch")
        html.Span("{{ busy_left }}", classes="pw-faint")


def _build_overlay(place: Workplace) -> None:
    with html.Div(classes="pw-row pw-line"):
        html.Span("Overlay", classes="pw-label")
        with html.Div(classes="pw-choice"):
            for kind, text in (("none", "None"), ("probability", "Probability"), ("uncertainty", "Uncertainty")):
                html.Button(
                    text,
                    click=(place.set_overlay, f"['{kind}']"),
                    classes=(f"overlay === '{kind}' ? 'pw-on' : ''",),
                    aria_pressed=(f"overlay === '{kind}'",),
                    title=f"{text} of the selected segment over the image" if kind != "none" else "No overlay",
                    data_test=f"overlay-{kind}",
                )
    with html.Div(v_if=("overlay !== 'none'",)):
        html.Div(
            "{{ legends[overlay] }}",
            classes=("'pw-legend pw-' + overlay",),
            data_test="legend",
        )
        with html.Div(classes="pw-row pw-line"):
            html.Span("Strength", classes="pw-label")
            slider("How much of the image the overlay hides", (0, 1, 0.05), v_model_number=("overlay_opacity",))


def _build_method(place: Workplace) -> None:
    with html.Div(classes="pw-row pw-line"):
        with html.Label(classes="pw-check", title="Segment at once when a prompt is placed"):
            html.Input(type="checkbox", v_model=("auto_segment",), data_test="auto")
            html.Span("Segment at once")
        with html.Label(classes="pw-check", title="Every + point begins a segment of its own"):
            html.Input(type="checkbox", v_model=("many_lesions",), data_test="many-lesions")
            html.Span("Many lesions")
    with html.Div(classes="pw-row pw-line"):
        html.Span("Method", classes="pw-label")
        with html.Select(
            classes="pw-select",
            v_model=("method",),
            change=(place.set_method, "[$event.target.value]"),
            title="How prompts become a segment",
            data_test="method",
        ):
            for value, text in (
                ("auto", "Automatic"),
                ("network", "Network"),
                ("image-aware", "Image-aware label"),
                ("gaussian", "Gaussian label"),
            ):
                html.Option(text, value=value)
