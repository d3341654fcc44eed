"""Write a pretrained folder: the config without local paths, safetensors, a model card."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from ..config import save_config
from ..engine.min_scores import KEY, MinScores
from ..errors import ConfigError
from ..files import atomic_path, atomic_write_text
from ..urls import is_url
from .card import RunFacts, model_card

CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
CARD = "README.md"


def save_pretrained(
    model: nn.Module,
    cfg: DictConfig,
    folder: str | os.PathLike[str],
    *,
    facts: RunFacts | None = None,
    min_scores: MinScores | None = None,
) -> Path:
    """Write ``config.yaml``, ``model.safetensors`` and the model card ``README.md`` to a folder.

    Files of these names are replaced, each at once; the weights are written last.

    Args:
        model: its parameters and buffers are saved as they are.
        cfg: what the model was built from. Paths of this machine and the names of Weights & Biases
            are left out of what is saved.
        folder: made if it does not exist.
        min_scores: thresholds of best F1, for the metadata of the weights.
        facts: for the card: metrics, command, licence; by default only what the config says.

    Returns:
        the folder.

    Raises:
        ConfigError: the config describes no model.
        OutputError: a file cannot be written.
    """
    from safetensors.torch import save_file

    target = Path(folder)
    shared = shareable(cfg)
    save_config(shared, target / CONFIG)
    atomic_write_text(target / CARD, model_card(shared, model, facts or RunFacts()))
    tensors = {  # contiguous copies: safetensors refuses tensors that share memory
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
    }
    metadata = {"format": "pt"}
    if min_scores is not None:
        metadata[KEY] = json.dumps(min_scores._asdict(), ensure_ascii=False)
    with atomic_path(target / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return target


def shareable(cfg: DictConfig) -> DictConfig:
    """Return a copy of a config without paths and names that mean something on one machine only.

    Annotation files and image folders keep their names, below ``datasets/``; the weights that
    training began with become null.

    Raises:
        ConfigError: the config has no ``model``.
    """
    if "model" not in cfg:
        raise ConfigError("config key 'model' is missing")
    shared = copy.deepcopy(cfg)
    for split in ("train", "val"):
        node = OmegaConf.select(shared, f"dataset.{split}", default=None) or {}
        for key in ("json", "images"):
            if isinstance(node.get(key), str):
                path = urlsplit(node[key]).path if is_url(node[key]) else node[key]
                node[key] = f"datasets/{Path(path).name}"
    for key in ("train.backbone_weights", "train.init_checkpoint"):
        _set_null(shared, key)
    forget_initial_weights(shared.model)
    if OmegaConf.select(shared, "train.output_dir", default=None) is not None:
        shared.train.output_dir = "./output"
    if OmegaConf.select(shared, "train.wandb", default=None) is not None:
        shared.train.wandb = {"enabled": False, "params": {}}
    return shared


def _set_null(cfg: DictConfig, key: str) -> None:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent, default=None)
    if isinstance(node, DictConfig) and name in node:
        node[name] = None


def forget_initial_weights(node: DictConfig | ListConfig) -> None:
    """Set every ``weights`` of a constructor to null, in place: a checkpoint holds them all."""
    if isinstance(node, DictConfig) and "_target_" in node and isinstance(node.get("weights"), str):
        node.weights = None
    keys: Sequence[Any] = range(len(node)) if isinstance(node, ListConfig) else list(node)
    for key in keys:
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        if OmegaConf.is_config(node[key]):
            forget_initial_weights(node[key])
