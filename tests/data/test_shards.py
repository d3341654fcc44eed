"""Tar shards: the same batches as from a folder, resumed or not; what is wrong is named."""

import json
import shutil
import tarfile
from functools import partial
from itertools import islice

import fsspec
import pytest
import torch
import webdataset
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from omegaconf import OmegaConf

from stageinteractor.cli.shards import main
from stageinteractor.data.image_store import locate
from stageinteractor.data.loaders import build_train_loader
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.data.registration import resolve_dataset
from stageinteractor.data.shards import read_index
from stageinteractor.errors import DataError


@pytest.fixture
def shards(tiny_set, tmp_path):
    """The tiny set in shards of two images each; returns the index."""
    arguments = [str(tiny_set / "set.json"), str(tiny_set / "images")]
    assert main([*arguments, "--to", str(tmp_path / "set"), "--shard-mb", "0.01"]) == 0
    return tmp_path / "set.index.json"


@pytest.fixture
def batches(tiny_set):
    """Batches of a training on the tiny set, whose images are at a place."""

    def read(images, first=0, json_file=None, workers=0):
        split = {"json": str(json_file or tiny_set / "set.json"), "images": str(images)}
        resolve_dataset(OmegaConf.create({"name": "sharded", "train": split, "val": split}))
        mapper = DetectionMapper(
            is_train=True,
            augmentations=[
                T.RandomFlip(),
                T.ResizeShortestEdge([30, 40, 50], sample_style="choice"),
            ],
        )
        loader = build_train_loader(
            dataset=DatasetCatalog.get("sharded_train"),
            mapper=mapper,
            total_batch_size=2,
            num_workers=workers,
            seed=4,
            first_batch=first,
        )
        return list(islice(loader, 8 - first))

    yield read
    for split in ("train", "val"):
        if f"sharded_{split}" in DatasetCatalog:
            DatasetCatalog.remove(f"sharded_{split}")
            MetadataCatalog.remove(f"sharded_{split}")


def require_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert [each["image_id"] for each in batch] == [each["image_id"] for each in other]
        for record, twin in zip(batch, other, strict=True):
            assert torch.equal(record["image"], twin["image"])
            boxes, same = record["instances"].gt_boxes.tensor, twin["instances"].gt_boxes.tensor
            assert torch.equal(boxes, same)


def test_batches_equal_those_of_the_folder_and_continue(shards, tiny_set, batches):
    assert len(list(shards.parent.glob("set-*.tar"))) > 1
    from_folder = batches(tiny_set / "images")
    require_equal(batches(shards), from_folder)
    require_equal(batches(shards, first=3), from_folder[3:])
    require_equal(batches(shards, workers=1), from_folder)


def test_shards_in_a_memory_store_give_the_same_batches(shards, tiny_set, batches):
    memory = fsspec.filesystem("memory")
    for path in shards.parent.iterdir():
        memory.pipe(f"/shards/{path.name}", path.read_bytes())
    memory.pipe("/set.json", (tiny_set / "set.json").read_bytes())
    for path in (tiny_set / "images").iterdir():
        memory.pipe(f"/images/{path.name}", path.read_bytes())
    from_folder = batches(tiny_set / "images")
    from_memory = partial(batches, json_file="memory://set.json")
    require_equal(from_memory("memory://shards/set.index.json"), from_folder)
    require_equal(from_memory("memory://images"), from_folder)
    memory.rm("/images/photo_2.png")
    with pytest.raises(DataError, match=r"1 of 4 images are missing.*memory://images/photo_2"):
        from_memory("memory://images")
    memory.store.clear()


def test_an_index_of_others_shards_is_the_same(shards, capsys):
    tars = sorted(map(str, shards.parent.glob("set-*.tar")))
    twin = shards.with_name("twin.index.json")
    assert main(["--index", str(twin), *tars]) == 0
    assert json.loads(twin.read_text()) == json.loads(shards.read_text())
    copy = str(shutil.copy(tars[0], shards.parent / "b.tar"))
    assert main(["--index", str(twin), tars[0], copy]) == 2
    assert "photo_0.png is in set-000000.tar too" in capsys.readouterr().err


def test_webdataset_reads_the_shards(shards, tiny_set):
    tars = sorted(map(str, shards.parent.glob("set-*.tar")))
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    assert [each["__key__"] for each in samples] == [f"photo_{n}" for n in range(4)]
    assert samples[2]["png"] == (tiny_set / "images/photo_2.png").read_bytes()
    (box,) = json.loads(samples[0]["json"])
    assert box["bbox"] == [10, 10, 30, 20]


def test_what_an_index_lacks_is_named(shards, tiny_set, batches, tmp_path):
    content = json.loads(shards.read_text())
    del content["refs"]["photo_1.png"]
    shards.write_text(json.dumps(content))  # as another process does
    with pytest.raises(DataError, match=r"image id 8\D.*photo_1\.png in .*set\.index\.json"):
        batches(shards)
    with pytest.raises(DataError, match=r"does not list photo_1\.png"):
        locate(shards, "photo_1.png")
    broken = tmp_path / "broken.index.json"
    for text in ("[]", '{"refs": {"a": 3}}', "{"):
        broken.write_text(text)
        with pytest.raises(DataError, match=r"broken\.index\.json.*write it again"):
            read_index(str(broken))


def test_a_cut_shard_names_file_and_image(shards, batches):
    cut = shards.parent / "set-000000.tar"
    cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(DataError, match=r"set-000000\.tar.*photo_\d\.png \(image id \d+\)"):
        batches(shards)


def test_a_tar_that_is_compressed_is_refused(shards, capsys):
    packed = shards.with_name("packed.tar")
    with tarfile.open(packed, "w:gz"):
        pass
    assert main(["--index", str(shards.with_name("x.index.json")), str(packed)]) == 2
    assert "uncompressed" in capsys.readouterr().err


def test_shards_of_another_name_would_not_be_read_and_are_refused(shards, capsys):
    renamed = (shards.parent / "set-000000.tar").rename(shards.parent / "set.tar.0")
    assert main(["--index", str(shards.with_name("x.index.json")), str(renamed)]) == 2
    assert "set.tar.0: the name of a shard has to end with .tar" in capsys.readouterr().err


def test_shards_do_not_replace_those_that_they_are_made_from(shards, tiny_set, capsys):
    before = (shards.parent / "set-000000.tar").read_bytes()
    arguments = [str(tiny_set / "set.json"), str(shards), "--to", str(shards.parent / "set")]
    assert main([*arguments, "--shard-mb", "0.005"]) == 2
    assert "set.index.json: is an input" in capsys.readouterr().err
    assert (shards.parent / "set-000000.tar").read_bytes() == before
    assert main([*arguments[:-1], str(shards.parent / "again")]) == 0  # under another name


def test_shards_beside_an_index_in_the_root_are_there(monkeypatch):
    text = json.dumps({"refs": {"a.png": ["a.tar", 512, 9]}})
    monkeypatch.setattr("stageinteractor.json_files.read_text", lambda *_: text)
    assert read_index("/root.index.json") == {"a.png": "/a.tar#512+9/a.png"}
    assert read_index("here.index.json") == {"a.png": "a.tar#512+9/a.png"}
