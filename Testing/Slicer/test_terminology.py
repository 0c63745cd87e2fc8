"""Segments are called what radiologists call them, and carry the code of it."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)

from PWSegmentationLib.segments.terminology import TERMS, find_term, terminology_entry


@pytest.mark.parametrize(
    ("name", "term", "side"),
    [
        ("liver", "liver", None),
        ("Liver", "liver", None),
        ("Left kidney", "kidney", "left"),
        ("kidney_right", "kidney", "right"),
        ("Kidney R", "kidney", "right"),
        ("kidneys", "kidney", None),
        ("Vertebrae T10", "vertebra", None),
        ("vertebra_L3", "vertebra", "left"),
        ("Tumour 2", "mass", None),
        ("urinary bladder", "bladder", None),
        ("small intestine", "small intestine", None),
    ],
)
def test_names_are_understood(name: str, term: str, side: str | None) -> None:
    assert find_term(name) == (TERMS[term], side)


@pytest.mark.parametrize(
    "name", ["Segment_1", "liver tumour", "heart chamber", "not liver", "?", "lung upper lobe left"]
)
def test_names_are_not_guessed_at(name: str) -> None:
    assert find_term(name) is None
    assert "~SCT^85756007^Tissue~SCT^85756007^Tissue~" in terminology_entry(name)


def test_a_side_is_coded_where_the_organ_has_sides() -> None:
    assert "^Kidney~SCT^7771000^Left~" in terminology_entry("left kidney")
    assert "^Kidney~^^~" in terminology_entry("kidney")
    assert "^Vertebra~^^~" in terminology_entry("vertebra L3")


@pytest.mark.parametrize("name", sorted(TERMS))
def test_entries_have_slicers_seven_fields(name: str) -> None:
    fields = terminology_entry(name).split("~")

    assert len(fields) == 7
    assert all(field.count("^") == 2 for field in (*fields[1:4], *fields[5:]))
    assert all(0 <= v <= 1 for v in TERMS[name].color)
