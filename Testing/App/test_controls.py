"""Fields, keys and clicks that are not as the page would like them: nothing typed or pressed is lost, or loses work."""

from __future__ import annotations

import numpy as np
import pytest

from PWSegmentationLib.mrml.scene_questions import shown_ml
from Testing.App.app_page import AppPage
from Testing.App.conftest import SIZE
from Testing.App.image_files import write_ball
from Testing.timing import wait_until


def test_a_button_is_pressed_and_a_box_checked_by_the_space_bar(chest):
    chest.find("tool-box").focus()
    chest.page.keyboard.press("Space")
    wait_until(lambda: chest.find("tool-box").get_attribute("aria-pressed") == "true", "the tool")

    chest.find("many-lesions").focus()
    for is_on in (True, False):
        chest.page.keyboard.press("Space")
        assert chest.find("many-lesions").is_checked() is is_on


def test_a_prompt_of_the_list_is_shown_by_the_keyboard_alone(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click("Red", 0.519, 0.629))
    chest.find("reset").click()
    offset = chest.page.locator("#view-Yellow .pw-offset")
    before = offset.inner_text()

    chest.find("prompt").first.focus()
    chest.page.keyboard.press("Enter")

    wait_until(lambda: offset.inner_text() != before, "the place of the prompt")


@pytest.mark.parametrize(("field", "typed"), [("window", ""), ("window", "-5"), ("level", ""), ("refine-seconds", "")])
def test_a_field_goes_back_to_what_is_used(chest, field, typed):
    used = chest.find(field).input_value()

    chest.find(field).fill(typed)
    chest.find(field).press("Tab")

    wait_until(lambda: chest.find(field).input_value() == used, f"{used} in the field again")


def test_the_field_says_how_long_refining_takes_whatever_was_typed(chest):
    used = chest.find("refine-seconds").input_value()
    for typed, taken in (("9999", "600"), ("1", "5"), (used, used)):
        chest.find("refine-seconds").fill(typed)
        chest.find("refine-seconds").press("Tab")
        wait_until(lambda taken=taken: chest.find("refine-seconds").input_value() == taken, f"{taken} s")


def test_a_double_click_downloads_once(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click("Red", 0.519, 0.629))
    chest.choose_downloads("prompts")
    found: list[str] = []
    chest.page.on("download", lambda download: found.append(download.suggested_filename))

    chest.find("export").dblclick()

    chest.wait_for_message("is with your browser's downloads")
    chest.page.wait_for_timeout(1500)
    assert found == ["Chest-CT-prompts.json"]


def test_a_prompt_is_answered_though_another_segment_is_removed_meanwhile(chest):
    for count in (1, 2, 3):
        chest.page.keyboard.press("a")
        wait_until(lambda count=count: len(chest.segments) == count, "a segment")
    chest.find("segment-row").first.click()
    chest.choose("inside")

    chest.click("Red", 0.519, 0.629)
    wait_until(lambda: chest.prompts == ["point +"], "the prompt")
    # To another segment, as whoever goes on does.
    chest.find("segment-name").nth(1).click()
    chest.find("segment-remove").nth(2).click()

    wait_until(lambda: chest.find("segment-row").count() == 2, "the segment to go")
    wait_until(lambda: chest.volume_ml > 1, "the answer")
    chest.wait_for_message("Segment 1: ")


def test_a_double_click_places_one_point(chest):
    chest.choose("inside")

    chest.answered(lambda: chest.page.mouse.dblclick(*chest.at("Red", 0.519, 0.629)))
    chest.choose("outside")
    chest.answered(lambda: chest.click("Red", 0.519, 0.45))

    assert chest.prompts == ["point +", "point −"]


def test_the_selected_segment_is_seen_in_a_long_table(chest):
    for count in range(1, 13):
        chest.page.keyboard.press("a")
        wait_until(lambda count=count: len(chest.segments) == count, "a segment")

    table, row = chest.find("segments"), chest.page.locator(".pw-segments .pw-selected")

    def is_seen() -> bool:
        outer, inner = table.bounding_box(), row.bounding_box()
        return outer["y"] <= inner["y"] and inner["y"] + inner["height"] <= outer["y"] + outer["height"] + 1

    wait_until(is_seen, "the last segment in the table")
    chest.page.keyboard.press("e")
    wait_until(lambda: row.locator("input").nth(1).input_value() == "Segment 1" and is_seen(), "the first one")


def test_the_parts_of_the_panel_do_not_lie_over_each_other_on_a_low_screen(chest):
    chest.page.set_viewport_size({"width": 1280, "height": 720})
    try:
        chest.find("overlay-uncertainty").click()
        chest.find("legend").wait_for()
        chest.choose("inside")
        chest.answered(lambda: chest.click("Red", 0.519, 0.629))
        parts = "[...document.querySelectorAll('.pw-pane > *, .pw-panel > .pw-row, .pw-panel > :has(.pw-legend)')]"
        shown = f"{parts}.map(e => e.getBoundingClientRect()).filter(r => r.height).map(r => [r.top, r.bottom])"
        places = np.array(sorted(chest.page.evaluate(shown)))
        assert len(places) > 8 and (places[1:, 0] >= places[:-1, 1]).all()
    finally:
        chest.find("overlay-none").click()
        chest.page.set_viewport_size(SIZE)


def test_a_click_is_where_it_is_seen_though_another_tab_has_another_form(restartable, new_tab):
    one = new_tab().open(restartable.address)
    one.wait_for_image("ball")
    one.find("auto").uncheck()
    two = AppPage(one.page.context.new_page())
    two.page.set_viewport_size({"width": 700, "height": 800})
    two.open(one.page.url)
    two.wait_for_image("ball")

    one.page.mouse.move(*one.at("Red", 0.5, 0.4))
    picture = one.page.locator("#view-Red img.image-display-area")
    form = (
        "e => Math.abs(e.naturalWidth / e.naturalHeight - e.parentElement.clientWidth / e.parentElement.clientHeight)"
    )
    wait_until(lambda: picture.evaluate(form) < 0.03, "the picture in the form of the view")
    one.page.wait_for_timeout(300)
    bright = one.picture("Red")[30:-60, 60:-60].mean(axis=2) > 170
    top = 30 + int(np.flatnonzero(bright.any(axis=1))[0])
    height = one.page.locator("#view-Red").bounding_box()["height"]
    one.click("Red", 0.5, top / height)

    # The ball's front: 9.5 mm before its middle.
    wait_until(lambda: one.prompts == ["point +"], "the point")
    anterior = one.page.evaluate("window.trame.state.get('prompts')[0].place").split()[1]
    assert abs(float(anterior) - (-20 + 9.5)) <= 1.0


def test_the_volume_of_a_small_lesion_is_not_nothing():
    assert [shown_ml(v) for v in (0.034, 0.96, 1.04, 1257.0)] == ["0.03 ml", "0.96 ml", "1.0 ml", "1257.0 ml"]


def test_a_path_is_opened_by_the_return_key(restartable, new_tab, ball):
    other = write_ball(ball.with_name("other.nrrd"))
    tab = new_tab().open(restartable.address)
    tab.wait_for_image("ball")

    tab.find("open").click()
    tab.find("path").locator("input").fill(str(other))
    tab.find("path").locator("input").press("Enter")

    tab.wait_for_image("other")
