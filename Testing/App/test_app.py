"""The browser app in a real browser, on a real CT."""

from __future__ import annotations

import numpy as np

from PWSegmentationLib import Session
from PWSegmentationLib.prompts.json_format import read_prompts
from PWSegmentationLib.samples.catalogue import CHEST_CT
from PWSegmentationLib.samples.packages import default_cache, fetch
from PWSegmentationLib.volume.reading import read_volume
from Testing.App.app_page import VIEWS
from Testing.timing import wait_until

# The descending aorta in the middle axial slice, as parts of the view.
AORTA = ("Red", 0.519, 0.629)


def voxel(position, affine) -> tuple[int, ...]:
    return tuple(np.rint(np.linalg.inv(affine) @ [*position, 1])[:3].astype(int))


def test_a_click_becomes_a_segment_in_all_views_and_in_the_file(chest, tmp_path):
    before = {tag: chest.colored(tag) for tag in VIEWS}
    chest.choose("inside")

    chest.answered(lambda: chest.click(*AORTA))
    chest.find("prompt").first.click()

    for tag in VIEWS:
        wait_until(lambda tag=tag: chest.colored(tag) > before[tag] + 80, f"the segment in {tag}")
    labels, affine = chest.labels(tmp_path)
    prompts = read_prompts(chest.download(tmp_path, "prompts"))
    (point,) = prompts["Segment 1"].points
    assert labels[voxel(point.position, affine)] == 1
    millilitres = np.count_nonzero(labels) * abs(np.linalg.det(affine[:3, :3])) / 1000
    assert abs(millilitres - chest.volume_ml) < 0.06
    # What the library itself says to the same point.
    session = Session()
    volume = read_volume(fetch(CHEST_CT, default_cache()) / "cxr.nii.gz")
    session.set_volume(volume)
    session.prompts = prompts
    assert np.array_equal(session.predict("Segment 1").mask, labels == 1)


def test_undo_and_redo_take_prompt_and_mask_together(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    first = chest.volume_ml
    chest.choose("outside")
    chest.answered(lambda: chest.click("Red", 0.519, 0.45))
    assert chest.prompts == ["point +", "point −"]

    chest.answered(lambda: chest.page.keyboard.press("Control+z"))

    assert chest.prompts == ["point +"]
    assert chest.volume_ml == first
    chest.answered(lambda: chest.page.keyboard.press("Control+y"))
    assert chest.prompts == ["point +", "point −"]


def test_a_click_beside_the_volume_is_refused_in_one_sentence(chest):
    chest.choose("inside")

    chest.click("Red", 0.06, 0.3)

    chest.wait_for_message("outside the volume")
    assert chest.segments == []


def test_a_box_becomes_a_segment_within_it(chest, tmp_path):
    chest.choose("box")

    chest.answered(lambda: chest.drag("Red", (0.485, 0.57), (0.55, 0.69)))

    assert chest.prompts == ["box"]
    labels, affine = chest.labels(tmp_path)
    (box,) = read_prompts(chest.download(tmp_path, "prompts"))["Segment 1"].boxes
    inside = np.argwhere(labels == 1) @ affine[:3, :3].T + affine[:3, 3]
    assert len(inside) > 200
    along = np.abs((inside - box.center) @ np.array(box.orientation).reshape(3, 3))
    assert (along <= 0.5 * np.array(box.size) + 2.5).all()


def test_scribbles_say_where_a_segment_is_and_where_not(chest, tmp_path):
    chest.choose("scribble-inside")
    chest.answered(lambda: chest.drag("Green", (0.535, 0.75), (0.54, 0.80), (0.54, 0.86)))
    chest.choose("scribble-outside")
    chest.answered(lambda: chest.drag("Green", (0.56, 0.70), (0.565, 0.76)))

    assert chest.prompts == ["scribble +", "scribble −"]
    labels, affine = chest.labels(tmp_path)
    plus, minus = read_prompts(chest.download(tmp_path, "prompts"))["Segment 1"].scribbles
    assert plus.radius == minus.radius == 4.0
    assert plus.positive and not minus.positive
    assert all(labels[voxel(at, affine)] == 1 for at in plus.points)
    assert not any(labels[voxel(at, affine)] == 1 for at in minus.points)


def test_a_point_on_an_oblique_slice_is_where_it_was_clicked(chest, tmp_path):
    chest.find("turn-vertical-Red").click()
    chest.find("turn-horizontal-Red").click()
    chest.choose("inside")

    chest.answered(lambda: chest.click("Red", 0.519, 0.629))

    labels, affine = chest.labels(tmp_path)
    (point,) = read_prompts(chest.download(tmp_path, "prompts"))["Segment 1"].points
    assert labels[voxel(point.position, affine)] == 1
    assert wait_until(lambda: chest.colored("Red"), "the segment on the oblique slice") > 80


def test_slices_are_turned_by_the_handles_where_they_cross(chest):
    right = chest.page.locator("#view-Red .pw-right")
    assert right.inner_text() == "L"
    chest.find("crossings").click()
    chest.wait_for_message("Drag a handle")

    chest.drag("Green", (0.965, 0.497), (0.9, 0.75))

    wait_until(lambda: len(right.inner_text()) == 2, "an oblique slice")
    chest.find("crossings").click()
    chest.find("reset").click()
    wait_until(lambda: right.inner_text() == "L", "the slice to be straight")


def test_a_prompt_is_deleted_by_a_click_and_from_the_list(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    chest.choose("outside")
    chest.answered(lambda: chest.click("Red", 0.519, 0.45))
    chest.choose("delete")

    chest.answered(lambda: chest.click("Red", 0.519, 0.45))

    assert chest.prompts == ["point +"]
    chest.answered(lambda: chest.find("delete-prompt").first.click())
    assert chest.prompts == []
    assert chest.volume_ml == 0


def test_a_locked_segment_does_not_change(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    volume = chest.volume_ml
    chest.find("segment-lock").click()

    chest.click("Red", 0.5, 0.4)

    chest.wait_for_message("is locked")
    assert chest.prompts == ["point +"]
    assert chest.volume_ml == volume
    chest.find("segment-lock").click()
    wait_until(lambda: "pw-on" not in chest.find("segment-lock").get_attribute("class"), "the lock to open")


def test_hidden_segments_and_faint_ones_are_seen_less(chest):
    chest.choose("inside")
    before = chest.colored("Red")
    chest.answered(lambda: chest.click(*AORTA))
    wait_until(lambda: chest.colored("Red") > before + 80, "the segment")

    chest.find("segment-visible").click()

    wait_until(lambda: chest.colored("Red") <= before + 10, "the segment to be hidden")


def test_the_overlay_and_the_next_uncertain_spot(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    chest.find("segment-visible").click()
    plain = chest.picture("Red")

    chest.find("overlay-probability").click()

    def seen() -> bool:
        red, green, blue = (chest.picture("Red")[..., n] for n in range(3))
        return int(((green - red > 40) | (blue - red > 40) | (red - blue > 90)).sum()) > 100

    wait_until(seen, "the overlay")
    assert "certain" in chest.find("legend").inner_text()
    chest.find("overlay-none").click()
    wait_until(lambda: np.abs(chest.picture("Red") - plain).mean() < 3, "the overlay to go")
    offset = chest.page.locator("#view-Red .pw-offset").inner_text()
    chest.find("spot").click()
    chest.wait_for_message("in doubt")
    assert chest.page.locator("#view-Red .pw-offset").inner_text() != offset or "% sure" in chest.message


def test_refine_shows_how_far_it_is_and_cancel_ends_it_while_the_page_lives(chest):
    chest.prompt_enough_to_refine()
    wait_until(lambda: len(chest.prompts) == 6, "the prompts")
    chest.find("refine-seconds").fill("300")
    chest.find("refine-seconds").press("Tab")
    chest.page.keyboard.press("r")
    chest.wait_for_message("Refining")
    bar = chest.page.locator("[data-test=progress] [data-progress]")
    wait_until(lambda: chest.find("progress").is_visible() and int(bar.get_attribute("data-progress")) > 0, "progress")

    before = chest.picture("Red")
    slider = chest.find("slider-Red")
    slider.focus()
    for _ in range(5):
        slider.press("ArrowRight")
    wait_until(lambda: np.abs(chest.picture("Red") - before).mean() > 3, "another slice while refining")
    chest.find("cancel").click()

    wait_until(lambda: not chest.find("progress").is_visible(), "the end of refining")
    wait_until(
        lambda: any(t in chest.message for t in ("Refined", "Nothing was changed", "Stopped")), "what came of it"
    )
    assert len(chest.prompts) == 6
    chest.answered(lambda: chest.page.keyboard.press("Control+z"))
    chest.find("auto").check()


def test_after_a_reload_the_work_goes_on(chest):
    chest.choose("inside")
    chest.answered(lambda: chest.click(*AORTA))
    volume = chest.volume_ml

    chest.page.reload()

    chest.wait_for_image()
    assert chest.prompts == ["point +"]
    assert chest.volume_ml == volume
    chest.answered(lambda: chest.find("undo").click())
    assert chest.prompts == []
    chest.answered(lambda: chest.find("redo").click())
    assert chest.prompts == ["point +"]
    assert chest.volume_ml == volume


def test_keys_do_what_the_help_says(chest):
    chest.page.keyboard.press("a")
    wait_until(lambda: chest.segments == ["Segment 1"], "a new segment")
    chest.page.keyboard.press("a")
    wait_until(lambda: chest.segments == ["Segment 1", "Segment 2"], "another one")
    for key, tool in {"p": "inside", "n": "outside", "b": "box", "s": "scribble-inside", "x": "delete"}.items():
        chest.page.keyboard.press(key)
        button = chest.find(f"tool-{tool}")
        wait_until(lambda button=button: button.get_attribute("aria-pressed") == "true", f"the tool of {key}")
    chest.find("help").click()
    assert "Next uncertain spot" in chest.find("help-dialog").inner_text()
    chest.page.get_by_role("button", name="Close").click()
    chest.find("help-dialog").wait_for(state="hidden")


def test_a_name_that_is_taken_is_refused(chest):
    chest.page.keyboard.press("a")
    wait_until(lambda: len(chest.segments) == 1, "a segment")
    name = chest.find("segment-name").first
    name.fill("liver")
    # What happens elsewhere meanwhile does not take away what is being typed.
    chest.page.evaluate("window.trame.state.set('message', 'working')")
    chest.wait_for_message("working")
    name.press("Enter")
    wait_until(lambda: chest.segments == ["liver"], "the new name")
    chest.page.keyboard.press("a")
    wait_until(lambda: len(chest.segments) == 2, "another segment")
    other = chest.find("segment-name").nth(1)
    other.fill("liver")
    other.press("Enter")
    chest.wait_for_message("already is a segment 'liver'")
