"""Detections for COCO's evaluation server: the images that a JSON file lists, and the file to send.

COCO's test-dev has no public annotations: ``image_info_test-dev2017.json`` lists 20,288 of the
40,670 images of ``test2017``. The server takes a zip of
``detections_test-dev2017_NAME_results.json``, a list of {"image_id", "category_id",
"bbox": (x, y, width, height) pixels, "score"}, of which it counts the best 100 of an image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from detectron2.structures import Instances

from ..data.image_store import locate, missing_names
from ..errors import ConfigError, DataError
from ..json_files import read_json
from .class_metadata import ClassMetadata
from .drawing import detection_rows
from .frames import Frame
from .sinks import Write, growing_file
from .sources import ImageFiles

BEST = 100  # detections of an image that COCO counts
ADVICE = "give COCO's image_info_test-dev2017.json"


@dataclass(frozen=True)
class Submission:
    """What is detected in, and the file that is sent.

    Args:
        images: the listed images.
        image_ids: by file name.
        category_ids: that the list has; empty if it has none.
        file_name: as COCO's server expects it.
    """

    images: ImageFiles
    image_ids: dict[str, int]
    category_ids: frozenset[int]
    file_name: str

    def require_classes(self, classes: ClassMetadata) -> None:
        """Raise DataError if the model detects categories that the list does not have."""
        others = sorted(set(classes.category_ids) - self.category_ids)
        if self.category_ids and others:
            raise DataError(
                f"category ids of the model, such as {others[0]}, are not in the list of images: "
                "the model was trained on another data set"
            )

    @contextmanager
    def sink(self, path: str | Path, classes: ClassMetadata) -> Iterator[Write]:
        """Write the best detections of every image, boxes to a hundredth of a pixel."""
        with growing_file(path, "[", "\n]\n") as append:
            separator = "\n"

            def write(frame: Frame, instances: Instances) -> None:
                nonlocal separator
                rows = sorted(detection_rows(instances), key=lambda row: -row[1])[:BEST]
                for (x0, y0, x1, y1), score, index in rows:
                    entry = {
                        "image_id": self.image_ids[frame.name],
                        "category_id": classes.category_id(index),
                        "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                        "score": round(score, 5),
                    }
                    append(separator + json.dumps(entry))
                    separator = ",\n"

            yield write


def read_submission(info_file: str, folder: str, algorithm: str) -> Submission:
    """Read the list of images to detect in.

    Args:
        info_file: JSON with "images"; annotations are not needed.
        folder: of the images, such as test2017; or a URL or an index of shards (`image_store`).
        algorithm: name of the model, a part of the file name.

    Raises:
        ConfigError: the name has other characters than letters, digits, "-", "_" and ".".
        DataError: the file is no such list, or images are missing.
    """
    if not re.fullmatch(r"[\w.-]+", algorithm, re.ASCII):
        raise ConfigError(f"--algorithm {algorithm!r}: use letters, digits, '-', '_' and '.'")
    content = read_json(info_file, dict, ADVICE)
    try:
        image_ids = {str(image["file_name"]): image["id"] for image in content["images"]}
        category_ids = frozenset(each["id"] for each in content.get("categories", []))
    except (KeyError, TypeError) as error:
        raise DataError(f"{info_file}: no list 'images' with file_name and id; {ADVICE}") from error
    missing = missing_names(folder, image_ids)
    if missing or not image_ids:
        raise DataError(
            f"{info_file}: {len(missing)} of {len(image_ids)} images are missing in {folder}, such "
            f"as {missing[0] if missing else 'all'}; give the folder test2017"
        )
    name = Path(info_file).stem.removeprefix("image_info_")
    files = [(each, locate(folder, each)) for each in image_ids]
    return Submission(
        ImageFiles(files), image_ids, category_ids, f"detections_{name}_{algorithm}_results.json"
    )
