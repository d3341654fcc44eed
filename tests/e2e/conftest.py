import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "projects/stageinteractor/configs/demo/digits_in_photos.py")
CATEGORIES = [{"id": 7, "name": "disc"}, {"id": 19, "name": "square"}, {"id": 1000, "name": "bar"}]


@pytest.fixture(scope="session")
def shapes_set(tmp_path_factory) -> Path:
    """A COCO-format set: sizes differ, ids have gaps, every fourth image has no object."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 8)):
        (folder / split).mkdir()
        content = {"images": [], "annotations": [], "categories": CATEGORIES}
        for index in range(count):
            width, height = (int(x) for x in rng.integers(70, 150, 2))
            image = Image.new("RGB", (width, height), tuple(rng.integers(0, 90, 3).tolist()))
            name = f"image_{index}.png"
            image_id = 1000 - 3 * index
            for _ in range(0 if index % 4 == 0 else int(rng.integers(1, 4))):
                add_shape(rng, image, image_id, content["annotations"])
            image.save(folder / split / name)
            content["images"].append(
                {"id": image_id, "file_name": name, "width": width, "height": height}
            )
        (folder / f"{split}.json").write_text(json.dumps(content))
    return folder


def add_shape(rng, image, image_id, annotations):
    kind = int(rng.integers(3))
    w, h = [(30, 30), (26, 26), (44, 14)][kind]
    x, y = int(rng.integers(0, image.width - w)), int(rng.integers(0, image.height - h))
    draw = ImageDraw.Draw(image)
    fill = tuple(rng.integers(150, 256, 3).tolist())
    (draw.ellipse if kind == 0 else draw.rectangle)((x, y, x + w - 1, y + h - 1), fill=fill)
    annotations.append(
        {
            "id": len(annotations) + 1,
            "image_id": image_id,
            "category_id": CATEGORIES[kind]["id"],
            "bbox": [x, y, w, h],
        }
    )


@pytest.fixture
def e2e_config() -> str:
    """Path of the demo's config."""
    return CONFIG


@pytest.fixture
def small_run(shapes_set, tmp_path):
    """Overrides that make the demo config a quick run on the shapes."""
    return [
        "dataset.name=shapes",
        *(f"dataset.{s}.json={shapes_set}/{s}.json" for s in ("train", "val")),
        *(f"dataset.{s}.images={shapes_set}/{s}" for s in ("train", "val")),
        "model.backbone.weights=null",
        "model.decoder.num_stages=3",
        "model.decoder.embed_dim=64",
        "model.decoder.feedforward_dim=64",
        "model.queries.num_queries=12",
        "dataloader.train.total_batch_size=2",
        "dataloader.test.batch_size=2",
        f"train.output_dir={tmp_path / 'run'}",
        "train.device=cpu",
        "train.log_period=1",
    ]


@pytest.fixture
def train_net(load_tool):
    """The module tools/train_net.py."""
    return load_tool("train")


@pytest.fixture
def call(train_net):
    """Run train_net in this process."""
    return lambda *opts, config=CONFIG: train_net.main(["--config-file", str(config), *opts])


@pytest.fixture
def refused(call, capsys):
    """Call train_net, expect exit code 2 and return the one line on standard error."""

    def run(*arguments, **keywords) -> str:
        with pytest.raises(SystemExit) as stop:
            call(*arguments, **keywords)
        assert stop.value.code == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len([line for line in lines if line.startswith("error: ")]) == 1
        assert not any("Traceback" in line for line in lines)
        return lines[-1]

    return run


@pytest.fixture
def start():
    """Start train_net as a process of its own."""

    def run(*arguments: str, config: str = CONFIG, launcher: tuple[str, ...] = ()):
        command = [sys.executable, *launcher, str(ROOT / "tools/train_net.py")]
        return subprocess.Popen(
            [*command, "--config-file", config, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    return run
