"""Hand-drawn process diagrams: hdBPMN, 704 photographs and scans, 18 classes of symbols.

Read from a clone, which has a BPMN file for every image (CC BY 4.0). The files were drawn over the
images in an editor that scaled them to a width, ``backgroundSize``; positions of shapes count in
its pixels. The images are reduced to a long side of 640 pixels. Writers, and not images, are split
into train, val and test, as published. Flows between the symbols have no boxes and are left out,
and so are the kinds of symbols with fewer than 60 boxes.
"""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image
from tqdm import tqdm

from ..errors import DataError
from ..files import atomic_write_text, finished_folder
from .conversion import Objects, as_coco
from .image_io import read_image
from .text_files import read_text

ADDRESS = "https://github.com/dwslab/hdBPMN"
SPLITS = ("train", "val", "test")
LONG_SIDE = 640  # pixels
JPEG_QUALITY = 90
EVENTS = {"messageEventDefinition": "message", "timerEventDefinition": "timer"}
CLASSES = (
    *("dataObjectReference", "dataStoreReference", "endEvent", "eventBasedGateway"),
    *("exclusiveGateway", "lane", "messageEndEvent", "messageIntermediateCatchEvent"),
    *("messageIntermediateThrowEvent", "messageStartEvent", "parallelGateway", "participant"),
    *("startEvent", "subProcess", "task", "textAnnotation", "timerIntermediateCatchEvent"),
    "timerStartEvent",
)
BACKGROUND = re.compile(r'<!--\s*\{"backgroundSize":\s*([\d.]+)\}\s*-->')
MODEL = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"
SHAPE = "{http://www.omg.org/spec/BPMN/20100524/DI}BPMNShape"
BOUNDS = "{http://www.omg.org/spec/DD/20100524/DC}Bounds"


def prepare_diagrams(clone: str | Path, output_dir: str | Path) -> bool:
    """Write ``train.json``, ``val.json``, ``test.json`` and a folder of JPEG images for each.

    Args:
        output_dir: folder to write; it is kept as it is if it exists.

    Returns:
        False if the folder exists already, True if it has been written.

    Raises:
        DataError: ``clone`` is something else, or a file in it cannot be read.
    """
    if Path(output_dir).exists():
        return False
    data = Path(clone) / "data"
    missing = f"no such file; give a clone of {ADDRESS}"
    table = read_text(data / "writer_split.csv", if_missing=missing)
    split_of = {row["writer"]: row["split"] for row in csv.DictReader(table.splitlines())}
    images = {path.stem: path for path in sorted((data / "images").glob("*/*"))}
    drawings = sorted((data / "annotations").glob("*/*.bpmn"))
    with finished_folder(output_dir) as folder:
        objects: dict[str, dict[Path, Objects]] = {split: {} for split in SPLITS}
        for split in SPLITS:
            (folder / split).mkdir()
        for path in tqdm(drawings, desc="diagrams", unit="image"):
            split = split_of.get(path.stem.rpartition("_")[2], "")
            if split not in SPLITS or path.stem not in images:
                raise DataError(f"{path}: its writer or its image is not in {data}; clone again")
            image = folder / split / f"{path.stem}.jpg"
            objects[split][image] = read_shapes(path, *_reduce(images[path.stem], image))
        for split in SPLITS:
            content = as_coco(objects[split], CLASSES)
            atomic_write_text(folder / f"{split}.json", json.dumps(content))
    return True


def _reduce(source: Path, target: Path) -> tuple[int, int]:
    """Write an image with a long side of at most `LONG_SIDE`; return its width and height."""
    image = read_image(source)
    scale = min(1.0, LONG_SIDE / max(image.size))
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0).save(
        target, quality=JPEG_QUALITY
    )
    return size


def read_shapes(path: Path, width: int, height: int) -> Objects:
    """Return class names and boxes, xyxy in pixels, of the symbols in a BPMN file.

    Args:
        width, height: of the image in pixels; boxes are clipped to it.

    Raises:
        DataError: it is not readable as XML, says no ``backgroundSize``, or a shape has no bounds.
    """
    text = read_text(path)
    background = BACKGROUND.search(text)
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not readable as XML: {error}") from error
    if background is None or not float(background[1]) > 0:
        raise DataError(f"{path}: no comment with the backgroundSize, a width in pixels")
    scale = width / float(background[1])
    names = {each.get("id"): _class_name(each) for each in root.iter() if each.get("id")}
    objects = []
    for shape in root.iter(SHAPE):
        name = names.get(shape.get("bpmnElement"))
        if name in CLASSES:
            x, y, w, h = (scale * value for value in _bounds(path, shape))
            box = (max(x, 0), max(y, 0), min(x + w, width), min(y + h, height))
            objects.append((name, box))
    return objects


def _class_name(element: ElementTree.Element) -> str:
    """Return the kind of a symbol: its tag, after that of an event's message or timer."""
    tag = element.tag.removeprefix(MODEL)
    for child in element:
        if kind := EVENTS.get(child.tag.removeprefix(MODEL)):
            return kind + tag[0].upper() + tag[1:]
    return tag


def _bounds(path: Path, shape: ElementTree.Element) -> list[float]:
    """Return x, y, width and height of a shape in pixels of the editor."""
    bounds = shape.find(BOUNDS)
    texts = {} if bounds is None else bounds.attrib
    try:
        values = [float(texts[key]) for key in ("x", "y", "width", "height")]
    except (KeyError, ValueError):
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise DataError(f"{path}: shape {shape.get('id')!r} has no Bounds of four numbers")
    return values
