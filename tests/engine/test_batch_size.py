"""The batch size that is chosen by trial."""

import copy
import mmap

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from stageinteractor.data.registration import resolve_dataset
from stageinteractor.engine import batch_size
from stageinteractor.engine.batch_size import Fit, largest_fit, resolve_batch_size
from stageinteractor.engine.run_config import save_run_config
from stageinteractor.engine.setup import check_settings
from stageinteractor.errors import ConfigError
from stageinteractor.machine import free_memory
from stageinteractor.machine.free_memory import peak_bytes, resident_bytes

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.parametrize(
    ("free", "images", "tried"),
    [(45, 4, [1, 2, 4]), (39, 2, [1, 2]), (25, 1, [1]), (1000, 16, [1, 2, 4, 8, 16])],
)
def test_next_size_is_tried_only_if_it_is_expected_to_fit(free, images, tried):
    """A batch of n images takes 10 + 8 n."""
    seen = []

    def peak_of(number):
        seen.append(number)
        return 10 + 8 * number

    fit = largest_fit(peak_of, free, max_images=20)
    assert (fit.images, fit.peak, seen) == (images, 10 + 8 * images, tried)
    assert (fit.next_peak > free) == (images < 16)


def test_a_failure_ends_the_search_and_one_image_must_fit():
    fit = largest_fit(lambda number: 5 * number + 1000 * (number > 4), 100, 64)
    assert fit == Fit(4, 20, 1040)
    with pytest.raises(ConfigError, match="one image takes"):
        largest_fit(lambda number: 101, 100, 64)


def test_peak_memory_of_a_call_is_measured():
    def write() -> None:  # to new memory: a tensor may get what another test has freed
        region = np.frombuffer(mmap.mmap(-1, 256 * MIB), dtype=np.uint8)
        region.fill(1)

    before = resident_bytes(CPU)
    peak = peak_bytes(write, CPU)
    assert 240 * MIB < peak - before < 312 * MIB  # the kernel counts to a few MiB
    assert peak_bytes(lambda: None, CPU) - resident_bytes(CPU) < 16 * MIB  # the peak is forgotten


@pytest.mark.parametrize(("limit", "free"), [("1000000", 600_000), ("max", None)])
def test_cached_files_of_a_container_are_free_memory(monkeypatch, tmp_path, limit, free):
    monkeypatch.setattr(free_memory, "CGROUP", tmp_path)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemAvailable:  4000 kB\n")
    monkeypatch.setattr(free_memory, "MEMINFO", meminfo)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 500000\n")
    assert free_memory.free_bytes(CPU) == (free or 4000 * 1024)


@pytest.fixture
def cfg(tiny_config, tmp_path):
    """The tiny config for a training with its batch size to be chosen."""
    cfg = copy.deepcopy(tiny_config)
    cfg.dataloader.train.total_batch_size = "auto"
    cfg.dataloader.train.dataset.filter_empty = False
    cfg.train.output_dir = str(tmp_path)
    cfg.train.backbone_weights = None
    check_settings(cfg)
    resolve_dataset(cfg.dataset)
    return cfg


def test_batch_size_is_chosen_and_the_learning_rate_scaled(cfg, caplog):
    cfg.train.epochs = 3
    cfg.train.scale_lr.base_batch_size = 8
    generator = torch.get_rng_state()
    with caplog.at_level("INFO"):
        resolve_batch_size(cfg, resume=False)
    assert cfg.dataloader.train.total_batch_size == 4  # the whole set
    assert cfg.train.max_iter == 3  # steps of all four images
    assert cfg.train.scale_lr.enabled
    (line,) = [each.message for each in caplog.records if "auto ->" in each.message]
    assert "auto -> 4 images" in line and "scaled by 0.5" in line and "GiB free" in line
    assert torch.equal(generator, torch.get_rng_state())
    save_run_config(cfg)
    cfg.dataloader.train.total_batch_size = "auto"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_size, "_largest_batch", None)  # is not called
        resolve_batch_size(cfg, resume=True)
    assert cfg.dataloader.train.total_batch_size == 4


def test_several_processes_are_refused(cfg, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(ConfigError, match="one process"):
        resolve_batch_size(cfg, resume=False)
