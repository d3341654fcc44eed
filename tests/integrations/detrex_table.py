"""The part of docs/hosts.md on detrex: what each of its projects is served, by trying it."""

import pytest
import torch
from detectron2.config import LazyCall, LazyConfig
from integrations import detrex_host
from integrations.detrex_cases import build_model, two_images
from integrations.test_detrex_models import REFUSED, SERVED
from integrations.test_maskdino import FOLDER, SMALL, images_with_masks
from omegaconf import OmegaConf

from stageinteractor import get_config
from stageinteractor.assigner import PerStageAssigner
from stageinteractor.config import apply_overrides
from stageinteractor.errors import StageInteractorError
from stageinteractor.integrations import detrex
from stageinteractor.integrations.duplicate_removal import remove_duplicates
from stageinteractor.modeling import DuplicateSuppressor

MASKDINO = "maskdino/configs/models/maskdino_r50.py"
CO_MOT = "co_mot/configs/mot_r50.py"
HOSTS = {path: [] for path in (*REFUSED, CO_MOT, MASKDINO)} | SERVED
SMALLER = [
    "model.device=cpu",
    "model.transformer.encoder.num_layers=2",
    "model.transformer.decoder.num_layers=2",
]
INTRODUCTION = """## Detectors of detrex

With detrex e244e6c, R50 models of two encoder and two decoder layers; the recipes are in
[the assigner in detrex](detrex.md).
"""


def tried(attempt, *arguments):
    """Return "yes", or the message of the refusal."""
    torch.manual_seed(0)
    try:
        attempt(*arguments)
    except StageInteractorError as error:
        return " ".join(str(error).split())
    return "yes"


def config_of(path, overrides):
    """Return the config of a small model."""
    if path == MASKDINO:  # our file of the same model: LazyConfig cannot read detrex's
        cfg = LazyConfig.load(str(FOLDER / "models/maskdino_r50.py"))
        layers = "model.sem_seg_head.pixel_decoder.transformer_enc_layers=2"
        apply_overrides(cfg, [*SMALL, layers])
        return cfg
    with detrex_host.stand_ins():
        cfg = detrex.load_project_config(path)
    small = [each for each in SMALLER if OmegaConf.select(cfg, each.split("=")[0]) is not None]
    apply_overrides(cfg, [*small, *overrides])
    return cfg


def cell(path, overrides, column):
    """Train a model of detrex for one step, with what a column names."""
    cfg = config_of(path, overrides)
    masks = path == MASKDINO
    if column == 0:
        detrex.use_cross_stage(cfg.model.criterion, iou_threshold=0.0)
    elif column == 1:
        loss = get_config("common/class_loss.py").position_supervised
        node = LazyCall(PerStageAssigner)()
        detrex.use_cross_stage(cfg.model.criterion, 0.5, assigner=node, class_loss=loss)
    elif column == 2:
        detrex.use_position_modulated_cost(cfg.model.criterion.matcher)
    elif column == 3:
        node = cfg.model.sem_seg_head.pixel_decoder if masks else cfg.model.transformer
        detrex.use_memory_fusion(node)
    model = build_model(cfg)
    if column == 4:
        suppressor = DuplicateSuppressor(embed_dim=256, num_classes=80, feedforward_dim=64)
        model = remove_duplicates(model, suppressor).train()
    many = OmegaConf.select(cfg, "model.num_queries", default=0) >= 300
    batch = images_with_masks() if masks else two_images(*((384, 480) if many else (96, 128)))
    losses = model(batch)
    assert all(loss.isfinite().all() for loss in losses.values()), path
    sum(losses.values()).backward()


def rows():
    """Yield the name of every project and its cells."""
    detrex_host.arrange()
    with pytest.MonkeyPatch.context() as patch:
        detrex_host.stay_on_cpu(patch)
        for path, overrides in sorted(HOSTS.items()):
            cells = [tried(cell, path, overrides, column) for column in range(5)]
            yield f"`{path.partition('/')[0]}`", cells
