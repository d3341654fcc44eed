"""Every leaf of ``train`` and ``dataloader`` with odd values: one line, or it works."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, ListConfig

from stageinteractor.config import apply_overrides, get_config
from stageinteractor.engine.training import train
from stageinteractor.errors import StageInteractorError

VALUES = ("null", "-1", "0", "text", "[1,text]")


def leaves(node: Any, prefix: str) -> Iterator[str]:
    names = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for name in names:
        child = node._get_node(name)
        yield f"{prefix}.{name}"
        if isinstance(child, DictConfig | ListConfig) and not child._is_none():
            yield from leaves(child, f"{prefix}.{name}")


KEYS = [
    *leaves(get_config("common/train.py").train, "train"),
    *leaves(get_config("common/data/coco_format.py").dataloader, "dataloader"),
]


@pytest.mark.parametrize("key", KEYS)
def test_odd_values_work_or_are_refused_in_one_line(
    toy: DictConfig, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for value in VALUES:
        cfg = toy.copy()
        try:
            apply_overrides(cfg, [f"{key}={value}"])
            train(cfg)
        except StageInteractorError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
