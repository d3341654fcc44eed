"""Recipes of detrex, and stable matching on their models, for recipes of ours.

    dataloader, lr_multiplier, model, optimizer, train = load_recipe(
        "dino/configs/dino-resnet/dino_r50_4scale_12ep.py", "my_dino"
    )
    use_stable_matching(model)

These five names are a recipe, for detrex's trainer and ours.
"""

from __future__ import annotations

from typing import NamedTuple

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from ..assigner import PerStageAssigner
from ..config import get_config
from ..errors import ConfigError
from ..evaluation import CocoEvaluator
from .detrex import (
    backbone_lr_factor,
    load_project_config,
    set_class_weight,
    use_cross_stage,
    use_memory_fusion,
    use_position_modulated_cost,
)

__all__ = ["Recipe", "evaluate_with_nms", "load_recipe", "use_stable_matching"]
ITERATIONS_PER_EPOCH = 7500  # detrex's: COCO's training images in batches of 16
LENGTHS = (12, 24, 36, 50)  # epochs of detrex's schedules


class Recipe(NamedTuple):
    """The config nodes that detrex's trainer reads."""

    dataloader: DictConfig
    lr_multiplier: DictConfig
    model: DictConfig
    optimizer: DictConfig
    train: DictConfig


def load_recipe(path: str, name: str, epochs: int | None = None) -> Recipe:
    """Load a recipe of detrex's folder ``projects``, with an output folder of its own.

    Args:
        path: such as "dino/configs/dino-resnet/dino_r50_4scale_12ep.py".
        name: of our recipe; the runs are written to ``output/detrex/NAME``.
        epochs: 12, 24, 36 or 50 of COCO, with detrex's schedule of that length; by default the
            recipe's own.

    Raises:
        ConfigError: there is no schedule of that length.
        MissingDependencyError: detrex or its ``projects`` cannot be imported.
    """
    if epochs not in (None, *LENGTHS):
        raise ConfigError(
            f"{name}: detrex has no schedule of {epochs} epochs, but {', '.join(map(str, LENGTHS))}"
        )
    recipe = load_project_config(path)
    recipe.optimizer.params.lr_factor_func = backbone_lr_factor  # detrex's, with a name
    if epochs is not None:
        from detrex.config import get_config as get_detrex_config

        schedules = get_detrex_config("common/coco_schedule.py")
        recipe.lr_multiplier = schedules[f"lr_multiplier_{epochs}ep"]
        recipe.train.max_iter = ITERATIONS_PER_EPOCH * epochs
    recipe.train.output_dir = f"output/detrex/{name}"
    recipe.dataloader.evaluator.output_dir = "${train.output_dir}"
    recipe.model.device = "${train.device}"
    if "num_classes" in recipe.model:  # not in Anchor-DETR's; its criterion may have a copy
        recipe.model.criterion.num_classes = "${..num_classes}"
    return Recipe(*(recipe[key] for key in Recipe._fields))


def use_stable_matching(model: DictConfig, class_weight: float = 6.0) -> None:
    """Change the config node of a detrex model in place to stable matching (Stable-DINO).

    Position-supervised class losses with per-stage labels, the position-modulated cost and dense
    memory fusion, as in Liu et al., ICCV 2023, sections 3 and 4.

    Args:
        model: with nodes ``criterion``, ``criterion.matcher`` and ``transformer.encoder``, or that
            of MaskDINO.
        class_weight: of the class losses; 6 is published for DINO only.

    Raises:
        ConfigError: a part of the model cannot be changed.
    """
    use_cross_stage(
        model.criterion,
        normalizer="host",
        assigner=L(PerStageAssigner)(),
        class_loss=get_config("common/class_loss.py").position_supervised,
    )
    use_position_modulated_cost(model.criterion.matcher, exponent=0.5)
    encoder = model.sem_seg_head.pixel_decoder if "sem_seg_head" in model else model.transformer
    use_memory_fusion(encoder, "dense")
    set_class_weight(model.criterion, class_weight)


def evaluate_with_nms(dataloader: DictConfig, threshold: float = 0.8) -> None:
    """Change ``dataloader.evaluator`` so that AP after NMS stands beside the plain AP.

    Both trainers get `CocoEvaluator`; Stable-DINO's figures are with NMS at an IoU of 0.8. With a
    mapper that reads masks, mask AP is measured too, after the NMS of the boxes.
    """
    dataloader.evaluator = L(CocoEvaluator)(
        dataset_name="${..test.dataset.names}",
        output_dir="${train.output_dir}/evaluation",
        nms_threshold=threshold,
    )
    if "masks" in dataloader.test.mapper:
        dataloader.evaluator.masks = "${..test.mapper.masks}"
