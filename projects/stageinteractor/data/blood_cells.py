"""Blood cells under the microscope: BCCD, 364 images of 640 x 480 pixels and 3 classes.

Read from a clone, which is in Pascal VOC's form (MIT licence). The images are copied as they are;
train, val and test are the published lists.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..errors import DataError
from ..files import atomic_write_text, finished_folder
from .voc import convert_voc

ADDRESS = "https://github.com/Shenggan/BCCD_Dataset"
SPLITS = ("train", "val", "test")


def prepare_blood_cells(clone: str | Path, output_dir: str | Path) -> bool:
    """Write ``train.json``, ``val.json``, ``test.json`` and a folder of images for each.

    Args:
        clone: folder of the clone, or its folder ``BCCD``.
        output_dir: folder to write; it is kept as it is if it exists.

    Returns:
        False if the folder exists already, True if it has been written.

    Raises:
        DataError: ``clone`` is something else, or a file in it cannot be read.
    """
    if Path(output_dir).exists():
        return False
    root = next((path for path in _roots(Path(clone)) if (path / "Annotations").is_dir()), None)
    if root is None:
        raise DataError(f"{clone}: no folder Annotations; give a clone of {ADDRESS}")
    with finished_folder(output_dir) as folder:
        for split in SPLITS:
            content, images = convert_voc(root, split)
            (folder / split).mkdir()
            for image in content["images"]:
                shutil.copyfile(images / image["file_name"], folder / split / image["file_name"])
            atomic_write_text(folder / f"{split}.json", json.dumps(content))
    return True


def _roots(clone: Path) -> tuple[Path, Path]:
    return clone / "BCCD", clone
