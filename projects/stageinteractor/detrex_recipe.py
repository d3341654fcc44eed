"""Complete a recipe that is written for detrex's trainer, so that ours runs it unchanged.

Such a recipe has ``train``, ``model``, ``optimizer``, ``lr_multiplier`` and ``dataloader``, but no
``dataset``: its sets are registered, and loader, mapper and evaluator are those of detectron2 and
detrex. detrex is not imported here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.config import LazyCall as L
from omegaconf import DictConfig, ListConfig, OmegaConf

CLASS_COUNTS = ("num_classes", "num_labels")  # ours and detrex's, and that of transformers
EXCLUDED = "backbone"  # may hold the number of classes of a classifier
# detectron2's conversions of torchvision's files, which have a pinned sha256 here
PINNED = {
    f"detectron2://ImageNetPretrained/torchvision/R-{depth}.pkl": f"resnet{depth}"
    for depth in (50, 101)
}
_DATA = f"{__package__}.data"
ClassCount = tuple[DictConfig, str, str]  # node, name in it, whole key


def is_for_detrex(cfg: DictConfig) -> bool:
    """Return whether a config has no ``dataset`` and detectron2's loader for training."""
    if "dataset" in cfg or not {"train", "model", "dataloader"} <= set(cfg):
        return False
    loader = OmegaConf.select(cfg, "dataloader.train", default=None)
    return isinstance(loader, DictConfig) and _name(loader) == "build_detection_train_loader"


def complete_recipe(cfg: DictConfig, defaults: DictConfig) -> None:
    """Add in place what our trainer needs to a recipe for detrex's.

    Keys of ``train`` that the recipe lacks get our defaults. ``dataset`` describes the registered
    sets, and the numbers of classes in ``model`` refer to it. Loaders, evaluator and
    ``DetrDatasetMapper`` become ours, which read, augment and evaluate in the same way. Copies of
    ``train.device`` and ``train.output_dir`` become references.

    Args:
        cfg: loaded; see `is_for_detrex`.
        defaults: ``train`` of ``common/train.py``.
    """
    cfg.train = OmegaConf.merge(defaults, cfg.train)
    weights = PINNED.get(cfg.train.init_checkpoint)
    if weights:
        cfg.train.init_checkpoint = ""
        cfg.train.backbone_weights = f"datasets/weights/{weights}.pth"
    if cfg.model.get("device") in ("cuda", cfg.train.device):
        cfg.model.device = "${train.device}"
    cfg.dataset = _dataset(cfg.dataloader)
    _refer_to_classes(cfg)
    _use_our_loaders(cfg.dataloader)


def class_counts(node: Any, key: str) -> Iterator[ClassCount]:
    """Yield all numbers of classes below a config node, without those of backbones."""
    if isinstance(node, ListConfig):
        for index in range(len(node)):
            yield from class_counts(_value(node, index), f"{key}.{index}")
    if not isinstance(node, DictConfig):
        return
    for name in node:
        value = _value(node, name)
        if name in CLASS_COUNTS and isinstance(value, int):
            yield node, name, f"{key}.{name}"
        elif name != EXCLUDED:
            yield from class_counts(value, f"{key}.{name}")


def _value(node: DictConfig | ListConfig, name: Any) -> Any:
    return None if OmegaConf.is_missing(node, name) else node[name]


def _name(node: DictConfig) -> str:
    """Return the name of what a node builds, without its module."""
    target = node.get("_target_", "")
    return str(getattr(target, "__name__", target)).rpartition(".")[2]


def _dataset(dataloader: DictConfig) -> dict[str, Any]:
    """Return our ``dataset``, with the files that detectron2 has registered under the names."""
    names = {"train": dataloader.train.dataset.names, "val": dataloader.test.dataset.names}
    files = {split: _files_of(name) for split, name in names.items()}
    train = names["train"] if isinstance(names["train"], str) else names["train"][0]
    classes = {"num_classes": 80, "class_names": None, "category_ids": None}
    masks = bool(dataloader.train.mapper.get("masks"))
    return {"name": train.removesuffix("_train"), **files, **classes, "masks": masks}


def _files_of(names: str | ListConfig) -> dict[str, str]:
    """Return the files of a registered set; "???" for several sets, or one of another kind."""
    from detectron2.data import MetadataCatalog  # imports much more than a config needs

    metadata = MetadataCatalog.get(names) if isinstance(names, str) else None
    return {
        "json": getattr(metadata, "json_file", "???"),
        "images": getattr(metadata, "image_root", "???"),
    }


def _refer_to_classes(cfg: DictConfig) -> None:
    """Let the model's numbers of classes follow the data set, if it has one number everywhere."""
    counts = list(class_counts(cfg.model, "model"))
    if len({node[name] for node, name, _ in counts}) != 1:
        return
    for node, name, _ in counts:
        cfg.dataset.num_classes = node[name]
        if not OmegaConf.is_interpolation(node, name):
            node[name] = "${dataset.num_classes}"


def _use_our_loaders(dataloader: DictConfig) -> None:
    for loader, split, name in (
        (dataloader.train, "train", "build_train_loader"),
        (dataloader.test, "val", "build_test_loader"),
    ):
        loader["_target_"] = f"{_DATA}.loaders.{name}"
        loader.dataset.names = f"${{dataset.name}}_{split}"
        loader.dataset.setdefault("filter_empty", True)
        loader.device = "${train.device}"
        if _name(loader.mapper) == "DetrDatasetMapper" and not loader.mapper.get("mask_on"):
            loader.mapper = _our_mapper(loader.mapper)
    dataloader.train.seed = "${train.seed}"
    if _name(dataloader.evaluator) == "COCOEvaluator":
        dataloader.evaluator = L(f"{__package__}.evaluation.CocoEvaluator")(
            dataset_name="${dataset.name}_val",
            output_dir="${train.output_dir}/evaluation",
            masks="${dataset.masks}",
        )


def _our_mapper(theirs: DictConfig) -> DictConfig:
    """Return the node of our mapper that does the same as detrex's ``DetrDatasetMapper``."""
    augmentations = theirs.augmentation
    if theirs.get("augmentation_with_crop") is not None:
        augmentations = [
            L(f"{_DATA}.augmentation.OneOf")(chains=[augmentations, theirs.augmentation_with_crop])
        ]
    return L(f"{_DATA}.mapper.DetectionMapper")(
        is_train=theirs.get("is_train", True),
        augmentations=augmentations,
        image_format=theirs.get("img_format", "RGB"),
    )
