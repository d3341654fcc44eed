"""Files behind URLs: a web server on this machine, fsspec's memory, and what cannot be read."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler

import fsspec
import pytest
import torch
from web_folder import served

from stageinteractor.data.image_store import missing_names, require_images
from stageinteractor.data.mapper import DetectionMapper
from stageinteractor.engine.weights import read_checkpoint
from stageinteractor.errors import DataError, MissingDependencyError
from stageinteractor.regular_files import UnsuitableFileError
from stageinteractor.stored_bytes import part_of_shard, read_bytes
from stageinteractor.urls import is_url, join, local_file, names_in, read_url


@pytest.fixture
def web(tmp_path):
    """A temporary folder and its URL."""
    with served(tmp_path) as url:
        yield tmp_path, url


@pytest.fixture
def memory():
    """fsspec's file system in memory."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_schemes_are_told_from_local_paths():
    assert is_url("s3://bucket/a.png") and is_url("memory://a")
    assert not any(map(is_url, ("a.png", "/a:b/c.png", "C:\\a.png", "a//b.png")))


def test_names_join_to_paths_and_urls():
    assert join("/data", "a b.png") == "/data/a b.png"
    assert join("s3://bucket/train/", "x/a b.png") == "s3://bucket/train/x/a b.png"
    assert join("http://host/train", "a #1.png") == "http://host/train/a%20%231.png"
    assert join("http://host/a", "http://other/b.png") == "http://host/a/http%3A//other/b.png"


def test_a_web_server_and_a_memory_give_the_bytes(web, memory):
    folder, url = web
    (folder / "a #1.txt").write_bytes(b"0123456789")
    memory.pipe("/set/a.txt", b"0123456789")
    for address in (join(url, "a #1.txt"), "memory://set/a.txt"):
        assert read_url(address) == b"0123456789"
        assert read_url(address, 3, 6) == b"345"
        assert read_bytes(address, 10) == b"0123456789"
        with pytest.raises(UnsuitableFileError, match="10 bytes"):
            read_bytes(address, 9)


def test_a_part_of_a_shard_is_read_from_everywhere(web, memory):
    folder, url = web
    (folder / "a.tar").write_bytes(b"0123456789")
    memory.pipe("/a.tar", b"0123456789")
    for shard in (folder / "a.tar", f"{url}/a.tar", "memory://a.tar"):
        assert read_bytes(part_of_shard(shard, 2, 3, "x.png"), 100) == b"234"
        with pytest.raises(DataError, match=r"a\.tar"):
            read_bytes(part_of_shard(shard, 8, 3, "x.png"), 100)


def test_a_server_without_ranges_is_reported(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"0123456789")
    with (
        served(tmp_path, SimpleHTTPRequestHandler) as url,
        pytest.raises(DataError, match="cannot read a part"),
    ):
        read_url(f"{url}/a.tar", 2, 4)


def test_a_missing_file_is_missing(web, memory):
    _, url = web
    for address in (f"{url}/no.png", "memory://no.png"):
        with pytest.raises(FileNotFoundError):
            read_url(address)
    with pytest.raises(DataError, match="http://127.0.0.1:9/a.png: cannot be read"):
        read_url("http://127.0.0.1:9/a.png")  # a port where nobody listens


def test_folders_are_listed_once_but_not_those_of_web_servers(web, memory):
    folder, url = web
    memory.pipe({"/set/a.png": b"a", "/set/x/b.png": b"b"})
    names = ["a.png", "x/b.png", "x/c.png", "y/d.png"]
    assert missing_names("memory://set", names) == ["x/c.png", "y/d.png"]
    assert names_in("memory://set") >= {"a.png", "x"}
    assert missing_names(url, names) == []
    with pytest.raises(DataError, match=r"memory://none: no such folder.*dataset\.train\.images"):
        require_images("memory://none", "dataset.train.images")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_package_is_named(monkeypatch, scheme, package):
    monkeypatch.setitem(sys.modules, package, None)
    for read in (read_url, partial(require_images, key="dataset.train.images")):
        with pytest.raises(MissingDependencyError, match=f"{scheme}://.*pip install {package}"):
            read(f"{scheme}://bucket/train")


@pytest.mark.parametrize("url", ["ftp://host/a", "s3:///a::http://host/b", "detectron2://X.pkl"])
def test_other_urls_are_refused_or_not_chained(url, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises((DataError, MissingDependencyError), match="download it|s3fs"):
        read_url(url)


def test_a_checkpoint_behind_a_url_is_read(web, memory):
    folder, url = web
    torch.save({"model": {"weight": torch.ones(2)}}, folder / "model.pth")
    memory.pipe("/model.pth", (folder / "model.pth").read_bytes())
    for address in (f"{url}/model.pth", "memory://model.pth"):
        assert read_checkpoint(address)["model"]["weight"].tolist() == [1, 1]
    with local_file(f"{url}/model.pth?download=true&name=x/y.z") as copy:
        assert copy.suffix == ".pth" and copy.exists()
    assert not copy.exists()
    with pytest.raises(DataError, match=r"no\.pth: no such checkpoint"):
        read_checkpoint(f"{url}/no.pth")


def test_an_image_that_is_not_there_is_named_with_its_id(web):
    _, url = web
    read = DetectionMapper(is_train=False, augmentations=[])
    record = {"image_id": 7, "height": 4, "width": 4}
    with pytest.raises(DataError, match=rf"^{url}/no\.png \(image id 7\): no such file"):
        read(record | {"file_name": f"{url}/no.png"})
    closed = "http://127.0.0.1:9/a.png"
    with pytest.raises(DataError, match=rf"^{closed} \(image id 7\): cannot be read"):
        read(record | {"file_name": closed})
