"""Standard codes and colours for common structures, so that exported segments say what they are.

The codes are SNOMED CT's, as in Slicer's "3D Slicer General Anatomy list", and so are the colours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from PWSegmentationLib.segments.colors import Color

Code: TypeAlias = tuple[str, str, str]
"""A coded concept: scheme, value, meaning."""

_CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
_ANATOMY = "SCT^123037004^Anatomical Structure"
_TISSUE = "SCT^85756007^Tissue"
_ALTERED = "SCT^49755003^Morphologically Altered Structure"
_SIDES = {"right": "SCT^24028007^Right", "left": "SCT^7771000^Left"}


@dataclass(frozen=True)
class Term:
    """One entry: category and type as ``scheme^code^meaning``, colour as 0 to 255, whether it has sides."""

    category: str
    type: str
    rgb: tuple[int, int, int]
    paired: bool = False

    def entry(self, side: str | None = None) -> str:
        """The text that Slicer keeps in a segment's terminology tag."""
        modifier = _SIDES[side] if side is not None and self.paired else "^^"
        return f"{_CONTEXT}~{self.category}~{self.type}~{modifier}~{_ANATOMIC_CONTEXT}~^^~^^"

    @property
    def color(self) -> Color:
        """Red, green, blue in [0, 1]."""
        return tuple(v / 255 for v in self.rgb)  # type: ignore[return-value]


def _organ(code: str, meaning: str, *rgb: int, paired: bool = False) -> Term:
    return Term(_ANATOMY, f"SCT^{code}^{meaning}", rgb, paired)  # type: ignore[arg-type]


UNSPECIFIED = Term(_TISSUE, _TISSUE, (128, 174, 128))

TERMS: dict[str, Term] = {
    "adrenal gland": _organ("23451007", "Adrenal gland", 249, 186, 150, paired=True),
    "aorta": _organ("15825003", "Aorta", 224, 97, 76),
    "artery": Term(_TISSUE, "SCT^51114001^Artery", (216, 101, 79)),
    "bladder": _organ("89837001", "Bladder", 222, 154, 132),
    "bone": Term(_TISSUE, "SCT^272673000^Bone", (241, 214, 145)),
    "brain": _organ("12738006", "Brain", 250, 250, 225),
    "caudate nucleus": _organ("11000004", "Caudate nucleus", 30, 111, 85, paired=True),
    "clavicle": _organ("51299004", "Clavicle", 205, 179, 108, paired=True),
    "colon": _organ("71854001", "Colon", 204, 168, 143),
    "cyst": Term(_ALTERED, "SCT^367643001^Cyst", (205, 205, 100)),
    "duodenum": _organ("38848004", "Duodenum", 255, 253, 229),
    "edema": Term(_ALTERED, "SCT^79654002^Edema", (140, 224, 228)),
    "esophagus": _organ("32849002", "Esophagus", 211, 171, 143),
    "fat": Term(_TISSUE, "SCT^248300009^Body fat", (230, 220, 70)),
    "gallbladder": _organ("28231008", "Gallbladder", 139, 150, 98),
    "heart": _organ("80891009", "Heart", 206, 110, 84),
    "hemorrhage": Term(_ALTERED, "SCT^50960005^Hemorrhage", (188, 65, 28)),
    "kidney": _organ("64033007", "Kidney", 185, 102, 83, paired=True),
    "liver": _organ("10200004", "Liver", 221, 130, 101),
    "lung": _organ("39607008", "Lung", 197, 165, 145, paired=True),
    "lymph node": Term(_TISSUE, "SCT^59441001^Lymph node", (68, 172, 100)),
    "mandible": _organ("91609006", "Mandible", 222, 198, 101),
    "mass": Term(_ALTERED, "SCT^4147007^Mass", (144, 238, 144)),
    "muscle": Term(_TISSUE, "SCT^71616004^Muscle", (192, 104, 88)),
    "pancreas": _organ("15776009", "Pancreas", 249, 180, 111),
    "prostate": _organ("41216001", "Prostate", 230, 158, 140),
    "putamen": _organ("89278009", "Putamen", 210, 157, 166, paired=True),
    "rib": _organ("113197003", "Rib", 253, 232, 158),
    "skin": Term(_TISSUE, "SCT^39937001^Skin", (177, 122, 101)),
    "small intestine": _organ("30315005", "Small Intestine", 205, 167, 142),
    "spinal cord": _organ("2748008", "Spinal cord", 244, 214, 49),
    "spleen": _organ("78961009", "Spleen", 157, 108, 162),
    "sternum": _organ("56873002", "Sternum", 244, 217, 154),
    "stomach": _organ("69695003", "Stomach", 216, 132, 105),
    "thalamus": _organ("119406000", "Thalamus", 122, 101, 38, paired=True),
    "thyroid": _organ("69748006", "Thyroid", 62, 162, 114),
    "trachea": _organ("44567001", "Trachea", 182, 228, 255),
    "uterus": _organ("35039007", "Uterus", 255, 181, 158),
    "vein": Term(_TISSUE, "SCT^29092000^Vein", (0, 151, 206)),
    # Not in Slicer's list; SNOMED CT's codes, and the colour of bone.
    "vertebra": _organ("51282000", "Vertebra", 241, 214, 145),
}

_OTHER_NAMES = {
    "adrenal": "adrenal gland",
    "bowel": "small intestine",
    "caudate": "caudate nucleus",
    "gall bladder": "gallbladder",
    "haemorrhage": "hemorrhage",
    "lesion": "mass",
    "oedema": "edema",
    "oesophagus": "esophagus",
    "thyroid gland": "thyroid",
    "tumor": "mass",
    "tumour": "mass",
    "urinary bladder": "bladder",
    "vertebrae": "vertebra",
}


def find_term(name: str) -> tuple[Term, str | None] | None:
    """The term that a segment's name means, and the side it names; None for names not in the table.

    Case, underscores, numbers, plurals and sides are looked through: "Left kidney", "kidney_L", "Vertebrae T10".
    """
    words = re.findall(r"[^\W\d_]+", name.lower())
    side = next((s for s in _SIDES if s in words or s[0] in words), None)
    kept = [w for w in words if w not in ("left", "right", "l", "r")]
    # From the whole name down to its first word: "vertebrae T" is found as "vertebrae".
    for count in range(len(kept), 0, -1):
        text = " ".join(kept[:count])
        for candidate in (text, text.removesuffix("s")):
            candidate = _OTHER_NAMES.get(candidate, candidate)
            if candidate in TERMS and (count == len(kept) or len(kept[-1]) == 1):
                return TERMS[candidate], side
    return None


def terminology_entry(name: str) -> str:
    """The terminology for a segment called ``name``: its own where it is known, "Tissue" otherwise."""
    found = find_term(name)
    return UNSPECIFIED.entry() if found is None else found[0].entry(found[1])


def code_parts(entry: str) -> tuple[Code, Code, Code | None]:
    """Category, type and modifier (None for none) of a terminology text, each as scheme, value, meaning."""
    fields = (entry.split("~") + [""] * 4)[1:4]
    parts = [(f"{f}^^").split("^")[:3] for f in fields]
    category, kind, modifier = ((p[0], p[1], p[2]) if p[1] else None for p in parts)
    if category is None or kind is None:
        return code_parts(UNSPECIFIED.entry())
    return category, kind, modifier


def terminology_text(category: Code, kind: Code, modifier: Code | None = None) -> str:
    """The text that Slicer keeps in a segment's terminology tag, from codes of scheme, value, meaning."""
    codes = ("^".join(category), "^".join(kind), "^".join(modifier or ("", "", "")))
    return f"{_CONTEXT}~{'~'.join(codes)}~{_ANATOMIC_CONTEXT}~^^~^^"
