"""The panel's review pane: the work list, what is known of the selected segment, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v3

from PWSegmentationLib.app.page_elements import button, part_of

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace


def build_review(place: Workplace) -> None:
    """All of the pane."""
    _build_work_list(place)
    with html.Div(classes="pw-review-now", v_if=("review_now",), data_test="review-now"):
        _build_findings(place)
    _build_buttons(place)


def _build_work_list(place: Workplace) -> None:
    with html.Div(classes="pw-heading"):
        html.Span("Work list")
        html.Div(classes="pw-stretch")
        html.Button(
            "Stop",
            v_if=("review_busy",),
            click=part_of(place, "review", "cancel"),
            classes="pw-link",
            title="Stop looking at segments; what was found stays",
            data_test="stop-review",
        )
        html.Button(
            "Check all",
            v_else=True,
            click=part_of(place, "review", "check"),
            disabled=("!segments.length",),
            classes="pw-link",
            title="Measure all segments and look for signs that they may be wrong",
            data_test="check",
        )
    with html.Div(classes="pw-progress", v_if=("review_busy",), data_test="review-progress"):
        v3.VProgressLinear(model_value=("review_progress",), color="primary", height="4")
        html.Span("Checking {{ review_busy }}…", classes="pw-faint")
    with html.Div(classes="pw-table pw-worklist", data_test="worklist"):
        html.Div("There is nothing to review yet.", v_if=("!review_rows.length",), classes="pw-hint")
        with html.Div(
            v_for="r in review_rows",
            key="r.id",
            classes=("r.id === current ? 'pw-tr pw-selected' : 'pw-tr'",),
            click=(place.select_for_review, "[r.id]"),
            tabindex="0",
            title=("r.need === null ? 'Not checked as it is now' : 'Need for correction: ' + r.need + ' %'",),
            data_test="work-item",
        ):
            html.Span(classes="pw-dot", style=("{ background: r.color }",))
            html.Span("{{ r.name }}", classes="pw-name")
            html.Span("⚠ {{ r.alarms }}", v_if=("r.alarms",), classes="pw-error", title="Alarms")
            html.Span("{{ r.status }}", classes=("'pw-status-word pw-is-' + r.kind",), data_test="work-status")
            with html.Span(classes="pw-need", v_if=("r.need !== null",)):
                html.I(style=("{ width: r.need + '%' }",))
            html.Span("–", v_else=True, classes="pw-need-unknown")


def _build_findings(place: Workplace) -> None:
    html.Div("{{ review_now.measures }}", classes="pw-faint", data_test="review-measures")
    html.Button(
        "{{ (f.alarm ? '⚠ ' : '· ') + f.text }}",
        v_for="(f, n) in review_now.flags",
        key="n",
        click=(part_of(place, "review", "show_flag"), "[n]"),
        classes=("f.alarm ? 'pw-flag pw-error' : 'pw-flag'",),
        title="Show the place",
        data_test="flag",
    )
    with html.Div(classes="pw-row", v_if=("review_now.changes",)):
        html.Span("± {{ review_now.changes }}", classes="pw-changes", data_test="review-changes")
        html.Div(classes="pw-stretch")
        with html.Label(classes="pw-check", title="Added since it was reviewed green, removed red"):
            html.Input(
                type="checkbox",
                checked=("review_changes",),
                change=(part_of(place, "review", "choose_changes"), "[$event.target.checked]"),
                data_test="show-changes",
            )
            html.Span("Show")


def _build_buttons(place: Workplace) -> None:
    html.Input(
        value=("review_now ? review_now.comment : ''",),
        v_memo=("[review_now?.id, review_now?.comment]",),
        input=(part_of(place, "review", "typed"), "[review_now.id, $event.target.value]"),
        change=(part_of(place, "review", "set_comment"), "[review_now.id, $event.target.value]"),
        keydown="$event.stopPropagation(); if ($event.key === 'Enter') $event.target.blur()",
        disabled=("!review_now",),
        placeholder="Comment",
        classes="pw-comment",
        title="What is to be said of the segment; it is saved with it",
        aria_label="Comment",
        data_test="comment",
    )
    with html.Div(classes="pw-buttons"):
        for name, icon, text, tip, call in (
            ("accept", "mdi-check", "Accept", "It is right: lock it and go on", "accept"),
            ("fix", "mdi-pencil-outline", "Fix", "It is being corrected: unlock it", "fix"),
            ("flag", "mdi-flag-outline", "Flag", "It is wrong: say so and go on", "flag"),
            ("next-review", "mdi-arrow-right", "Next", "The segment that needs you most, and the place in it", "next"),
        ):
            needed = "!segments.length" if call == "next" else "!review_now"
            button(name, icon, text, tip, part_of(place, "review", call), disabled=(needed,))
    with html.Div(classes="pw-row"):
        v3.VBtn(
            "Report",
            prepend_icon="mdi-file-document-outline",
            variant="tonal",
            size="small",
            loading=("exporting",),
            disabled=("!segments.length",),
            title="One page with pictures, measures, flags and comments, to keep or to print",
            data_test="report",
        )
        html.Span("{{ export_text }}", v_if=("exporting",), classes="pw-faint")
