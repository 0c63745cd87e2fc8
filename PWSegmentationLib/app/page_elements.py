"""The kinds of buttons that the page has, and attributes that trame does not know of by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trame.widgets import html
from trame.widgets import vuetify3 as v3
from trame_client.widgets.core import AbstractElement

from PWSegmentationLib.app.shortcuts import hint

if TYPE_CHECKING:
    from PWSegmentationLib.app.workplace import Workplace

for _name in (
    "data_test",
    "data_view",
    "data_progress",
    "data_answers",
    "aria_label",
    "aria_pressed",
    "aria_selected",
    "role",
    # What it names must change before an element is drawn anew: what is being typed would be lost each time.
    "v_memo",
):
    AbstractElement.register_directive(_name, _name.replace("_", "-"))


def part_of(place: Workplace, part: str, method: str) -> Callable[..., object]:
    """What a method of a part of the workplace does: "case", "review", ..., which are there while an image is open."""

    def call(*arguments: Any) -> object:
        found = getattr(place, part)
        return None if found is None else getattr(found, method)(*arguments)

    return call


def button(test: str, icon: str, text: str, tip: str, click: Any, **more: Any) -> Any:
    """A button with a word on it."""
    return v3.VBtn(
        text,
        prepend_icon=icon,
        click=click,
        title=hint(test, tip),
        variant="tonal",
        size="small",
        data_test=test,
        **more,
    )


def icon_button(test: str, icon: str, tip: str, click: Any, active: str = "false", **more: Any) -> Any:
    """A small button with a picture on it; ``active`` is an expression that says when it is on, if it can be."""
    if active != "false":
        more["aria_pressed"] = (active,)
    return v3.VBtn(
        icon=icon,
        click=click,
        title=hint(test, tip),
        aria_label=tip,
        size="x-small",
        variant="text",
        rounded="lg",
        color=(f"{active} ? 'primary' : undefined",),
        classes=(f"{active} ? 'pw-tool pw-on' : 'pw-tool'",),
        data_test=test,
        **more,
    )


def slider(tip: str, reach: tuple[Any, Any, Any], **more: Any) -> Any:
    """A slider over ``reach``: lowest, highest, step; numbers or expressions."""
    low, high, step = (end if isinstance(end, tuple) else str(end) for end in reach)
    return html.Input(type="range", min=low, max=high, step=step, title=tip, aria_label=tip, **more)
