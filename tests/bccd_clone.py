"""A tiny clone of the blood-cell set, in its published form."""

from pathlib import Path

from PIL import Image

SPLITS = ("train", "val", "test")


def write_bccd_clone(clone: Path) -> Path:
    """Write one image of 64x48 pixels for each split, with a WBC and 0, 1 and 2 RBCs."""
    root = clone / "BCCD"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / part).mkdir(parents=True)
    for number, split in enumerate(SPLITS):
        name = f"BloodImage_{number:05d}"
        Image.new("RGB", (64, 48), (200, 10 * number, 90)).save(root / f"JPEGImages/{name}.jpg")
        (root / f"ImageSets/Main/{split}.txt").write_text(f"{name}\n")
        cells = [("WBC", 1), *(("RBC", 11 + 10 * index) for index in range(number))]
        entries = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{left}</xmin><ymin>1</ymin>"
            f"<xmax>{left + 9}</xmax><ymax>20</ymax></bndbox></object>"
            for kind, left in cells
        )
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{entries}</annotation>")
    return clone
