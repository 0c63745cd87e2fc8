"""The kinds of buttons that the page has, and attributes that trame does not know of by itself."""

from __future__ import annotations

from typing import Any

from trame.widgets import vuetify3 as v3
from trame_client.widgets.core import AbstractElement

from PWSegmentationLib.app.shortcuts import hint

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
    """A small button with a picture on it; ``active`` is an expression that says when it is on."""
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
